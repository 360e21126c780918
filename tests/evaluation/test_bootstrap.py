"""The interval of a score: what is drawn, how it is counted, and that it holds what it says when clips err together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, pearsonr
from scipy.stats import t as t_distribution

from abawkit.data.groups import write_groups
from abawkit.data.splits.resplit import resplit
from abawkit.errors import FindingsError, UsageError
from abawkit.evaluation.bootstrap import Interval, Resampled, average, holm, interval, resample, resample_scores
from abawkit.evaluation.scores import evaluate
from abawkit.runs.run import find_run
from abawkit.training.train import train
from abawkit.workspace import Workspace
from tests.evaluation.clustered import coverage
from tests.evaluation.votes import TRUE_R, false_positives, world
from tests.evaluation.votes import coverage as coverage_of_votes
from tests.known_predictions import give_predictions


def noisy(clips: int, targets: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = rng.random((clips, targets))
    return truth, truth + rng.normal(size=truth.shape)


def ends(drawn: Interval) -> list[float]:
    return [drawn.low, drawn.high]


def expanded(without: Sequence[float], spread: float, level: float = 0.05) -> NDArray[np.float64]:
    """The two quantiles of the resamples, of that deviation, at which an expanded interval ends (Hesterberg 2015).

    It is expanded by the jackknife's standard error over that of the resamples.
    """
    units = len(without)
    error = np.sqrt((units - 1) / units * np.sum((without - np.mean(without)) ** 2))
    factor = max(np.sqrt(units / (units - 1)), error / spread)
    return norm.cdf(factor * t_distribution.ppf([level / 2, 1 - level / 2], units - 1))


def test_groups_of_one_clip_are_the_bootstrap_by_clip() -> None:
    truth, prediction = noisy(90, 6, 0)
    by_clip = interval(truth, prediction)
    assert interval(truth, prediction, groups=[f"clip {n}" for n in range(90)]) == by_clip
    assert by_clip.units == 90 and by_clip.resamples == 2000
    assert interval(truth, prediction, seed=1) != by_clip


def test_whole_groups_are_drawn() -> None:
    """Against the loop written out: groups with replacement, all clips of each, the score of what was drawn."""
    truth, prediction = noisy(60, 2, 1)
    groups = np.random.default_rng(2).integers(0, 15, 60)
    groups[:20] = 4  # sizes differ much, and so do the groups' means
    truth, prediction = truth + 0.3 * (groups[:, None] % 4), prediction + 0.2 * (groups[:, None] % 4)
    rows = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    rng = np.random.default_rng(3)

    def mean_r(units: NDArray[np.int64]) -> float:
        drawn = np.concatenate([rows[unit] for unit in units])
        return float(np.mean([np.corrcoef(truth[drawn, e], prediction[drawn, e])[0, 1] for e in range(2)]))

    means = [mean_r(rng.integers(0, len(rows), len(rows))) for _ in range(4000)]
    without = [mean_r(np.delete(np.arange(len(rows)), unit)) for unit in range(len(rows))]
    found = interval(truth, prediction, groups=[str(name) for name in groups], resamples=4000)
    assert found.units == len(rows)
    levels = expanded(without, float(np.std(means)))
    assert list(found.percentile) == pytest.approx(np.quantile(means, levels), abs=0.015)
    assert ends(found) != pytest.approx(ends(interval(truth, prediction)), abs=0.015)


def test_names_of_groups_do_not_matter_and_their_first_clips_order_them() -> None:
    truth, prediction = noisy(40, 3, 4)
    groups = [str(n % 10) for n in range(40)]
    assert interval(truth, prediction, groups=groups) == interval(
        truth, prediction, groups=[f"person {9 - int(name)}" for name in groups]
    )


def test_the_interval_by_clip_covers_too_little_and_that_by_group_about_95_percent() -> None:
    by_clip, by_group = coverage(times=120, persons=60, clips_each=8, resamples=300)
    assert by_clip < 0.8
    assert 0.88 <= by_group <= 1.0


def test_where_clips_err_alone_both_cover_alike() -> None:
    by_clip, by_group = coverage(times=120, persons=60, clips_each=8, resamples=300, common=0.0)
    assert 0.88 <= by_clip <= 1.0 and 0.88 <= by_group <= 1.0


def test_one_group_has_no_interval() -> None:
    truth, prediction = noisy(20, 2, 5)
    for found in (interval(truth, prediction, groups=["a"] * 20), interval(truth[:1], prediction[:1])):
        assert np.isnan(ends(found)).all() and found.units == 1 and found.undefined == found.resamples


def test_resamples_without_a_score_are_counted() -> None:
    rng = np.random.default_rng(6)
    truth, prediction = rng.random((8, 2)), rng.random((8, 2))
    truth[:, 1] = 0
    truth[:2, 1] = 1  # constant in the resamples that draw neither of the first two, or nothing else
    absent = (6 / 8) ** 8 + (2 / 8) ** 8
    found = interval(truth, prediction, resamples=20_000)
    assert found.partial / found.resamples == pytest.approx(absent, abs=3 * (absent / 20_000) ** 0.5)
    assert found.undefined <= 5 and "a target had a constant truth" in found.remark
    prediction[:, 0] = 0.5
    prediction[0, 0] = 0.7  # constant prediction in the resamples without the first clip: no score at all
    absent = (7 / 8) ** 8
    found = interval(truth, prediction, resamples=20_000)
    assert found.undefined / found.resamples == pytest.approx(absent, abs=3 * (absent / 20_000) ** 0.5)
    assert "of 20000 resamples had no score and are left out" in found.remark


def test_a_target_that_is_constant_throughout_is_left_out_and_not_counted() -> None:
    truth, prediction = noisy(50, 3, 7)
    truth[:, 1] = 0
    found = interval(truth, prediction)
    assert ends(found) == pytest.approx(ends(interval(truth[:, [0, 2]], prediction[:, [0, 2]])))
    assert found.partial == found.undefined == 0 and not found.remark
    prediction[:, 0] = 0.25  # the score is not defined, nor is its interval
    found = interval(truth, prediction)
    assert np.isnan(ends(found)).all() and found.undefined == found.resamples


def test_macro_f1_has_an_interval_of_its_own() -> None:
    rng = np.random.default_rng(8)
    truth = (rng.random((70, 1)) < 0.3).astype(float)
    prediction = np.clip(truth * 0.4 + rng.random((70, 1)) * 0.6, 0, 1)
    groups = rng.integers(0, 20, 70)
    rows = [np.flatnonzero(groups == name) for name in np.unique(groups)]

    def macro_f1(t: NDArray[np.bool_], p: NDArray[np.bool_]) -> float:
        each = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in ((t, p), (~t, ~p)) if a.any() or b.any()]
        return float(np.mean(each))

    scores = []
    for _ in range(4000):
        drawn = np.concatenate([rows[unit] for unit in rng.integers(0, len(rows), len(rows))])
        scores.append(macro_f1(truth[drawn, 0] > 0.5, prediction[drawn, 0] >= 0.5))
    found = interval(truth, prediction, score="macro_f1", groups=[str(name) for name in groups], resamples=4000)
    assert ends(found) == pytest.approx(np.percentile(scores, [2.5, 97.5]), abs=0.015)
    assert found.undefined == 0


def test_two_targets_of_macro_f1_are_averaged() -> None:
    truth = np.array([[0.0, 1.0], [1.0, 1.0]] * 20)
    found = interval(truth, truth[:, ::-1] * 0 + truth, score="macro_f1")
    assert ends(found) == [1.0, 1.0]


@pytest.fixture
def workspace(predicted_copy: Path) -> Workspace:
    return Workspace.open(predicted_copy, environ={})


def test_evaluate_by_a_groups_file(workspace: Workspace) -> None:
    run = find_run(workspace, "F1")
    ids = run.predictions("valid", workspace.task).ids
    by_clip = evaluate(workspace, run)
    assert by_clip.groups is None and by_clip.interval.units == 24
    assert by_clip.resampled_by == "by clip (clip-level, likely too narrow: clips share persons and seed videos)"
    path = workspace.root / "who.csv"
    write_groups(path, workspace.task, {clip: f"person {n // 3}" for n, clip in enumerate(ids[:21])})
    found = evaluate(workspace, run, groups=path)
    assert found.interval.units == 7 + 3 and found.ungrouped == 3 and found.scores.n == 24
    assert found.resampled_by.startswith("by 7 subjects and 3 clip(s) without a group: few")
    record = found.to_json()["scores"]["valid"]
    assert record["interval95"] == ends(found.interval) != by_clip.to_json()["scores"]["valid"]["interval95"]
    assert record["interval_note"] == f"resampled {found.resampled_by}" and record["interval_of"] == "mean_pearson"
    assert record["interval_groups"]["kind"] == "subject" and not record["interval_groups"]["proxy"]
    assert record["interval_resamples"]["drawn"] == 2000
    write_groups(path, workspace.task, {clip: f"p{n}" for n, clip in enumerate(ids)}, "proxy_person")
    same = evaluate(workspace, run, groups=path)
    assert same.interval == by_clip.interval and "24 guessed persons (proxy)" in same.resampled_by


def test_groups_files_that_do_not_fit(workspace: Workspace) -> None:
    run = find_run(workspace, "F1")
    path = workspace.root / "who.csv"
    path.write_text("Filename,who\n99999,ann\n")
    with pytest.raises(UsageError, match="none of the scored clips is in the groups file"):
        evaluate(workspace, run, groups=path)
    ids = run.predictions("valid", workspace.task).ids
    path.write_text(f"Filename,who,age\n{ids[0]},ann,30\n{ids[1]},,30\nx,bob,1\n")
    with pytest.raises(FindingsError, match="2 error"):
        evaluate(workspace, run, groups=path)
    path.write_text(f"Filename,who,age\n{ids[0]},ann,30\n{int(ids[1])},bob,30\n{int(ids[2])},bob,3\n")
    notes = evaluate(workspace, run, groups=path).notes
    assert len(notes) == 2 and "'who' is taken as the group" in notes[0] + notes[1]
    assert any("and 1 more such" in note for note in notes)


def test_a_split_by_groups_gives_its_groups(workspace: Workspace) -> None:
    ids = [f"{number:05d}" for number in range(60)]
    path = workspace.root / "who.csv"
    write_groups(path, workspace.task, {clip: f"person {n // 2}" for n, clip in enumerate(ids)}, "proxy_person")
    split = resplit(workspace, "4:1", groups=path)
    run = train(workspace, "F3", split=split.name)
    give_predictions(run)
    found = evaluate(workspace, run)
    assert found.groups is not None and found.interval.units == 6 and "6 guessed persons (proxy)" in found.resampled_by
    labels = workspace.root / "hidden.csv"
    on_test = evaluate(workspace, run, "test", labels=labels)  # the split's groups have no test clips
    assert on_test.groups is None and on_test.resampled_by.startswith("by clip")
    groups_file = split.folder / "groups.csv"
    groups_file.write_text(groups_file.read_text().replace("person 20", "person 21"))
    with pytest.raises(FindingsError, match="changed after the split was made"):
        evaluate(workspace, run)


def test_the_normal_interval_agrees_for_many_clips() -> None:
    """Fisher's z: for normal data the bootstrap is close to the textbook interval of r."""
    rng = np.random.default_rng(9)
    truth = rng.normal(size=(1500, 1))
    prediction = 0.5 * truth + np.sqrt(0.75) * rng.normal(size=truth.shape)
    z = np.arctanh(pearsonr(truth[:, 0], prediction[:, 0]).statistic)
    expected = np.tanh(z + norm.ppf([0.025, 0.975]) / np.sqrt(1497))
    assert ends(interval(truth, prediction)) == pytest.approx(expected, abs=0.008)


def test_bca_and_percentile_agree_with_scipy() -> None:
    rng = np.random.default_rng(10)
    prediction = rng.random((60, 1))
    truth = prediction**6 * rng.random((60, 1))  # skewed, so that BCa differs from the percentiles

    def r(t: NDArray[np.float64], p: NDArray[np.float64]) -> float:
        return float(np.corrcoef(t, p)[0, 1])

    found = interval(truth, prediction, resamples=20_000)
    without = [r(np.delete(truth, row), np.delete(prediction, row)) for row in range(60)]
    level = (
        1 - 2 * expanded(without, float(resample_scores(truth, [prediction], resamples=20_000)[0].drawn.std(0)[0]))[0]
    )
    assert 0.97 < level < 0.99  # skewed, and so expanded by much
    for method, ours in (("BCa", ends(found)), ("percentile", list(found.percentile))):
        theirs = bootstrap(
            (truth[:, 0], prediction[:, 0]), r, paired=True, vectorized=False, n_resamples=20_000, method=method, rng=1,
            confidence_level=level,
        ).confidence_interval  # fmt: skip
        assert ours == pytest.approx([theirs.low, theirs.high], abs=0.012)
    assert abs(found.low - found.percentile[0]) > 0.016
    assert found.value == pytest.approx(r(truth[:, 0], prediction[:, 0]))


def test_the_p_value_is_where_the_interval_ends_at_nothing() -> None:
    rng = np.random.default_rng(11)
    calls = []
    for apart in np.linspace(0, 0.3, 25):
        truth = rng.random((150, 3))
        one, other = truth + rng.normal(size=truth.shape), (1 - apart) * truth + rng.normal(size=truth.shape)
        a, b = resample_scores(truth, [one, other], resamples=2000)
        drawn, p = (a - b).interval(-1), (a - b).p_value(-1)
        if abs(p - 0.05) > 0.003:  # the quantile lies between two resamples
            assert (p < 0.05) == (drawn.low > 0 or drawn.high < 0)
            calls.append(p < 0.05)
    assert 0 < sum(calls) < len(calls)
    same = a - a
    assert same.p_value(-1) == 1.0 and ends(same.interval(-1)) == [0.0, 0.0]


def test_the_p_value_of_a_skewed_score_is_that_of_its_bca_interval() -> None:
    rng = np.random.default_rng(15)
    drawn, without = rng.lognormal(size=(40_000, 1)) - 0.2, -rng.lognormal(size=(50, 1))
    without *= 1.1 * drawn.std() / (7 * without.std())
    found = Resampled(np.array([0.9]), drawn, without, np.zeros(len(drawn), dtype=bool))
    apart = without.mean() - without[:, 0]
    bias, skew = norm.ppf((drawn < 0.9).mean()), (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    # The level at which the lower end of the interval is 0, found by trying (Efron and Tibshirani 1993, Eq. 14.10).
    levels = np.linspace(0.0005, 0.2, 4000)
    z = bias + 1.1 * t_distribution.ppf(levels / 2, 49)
    low = np.quantile(drawn, norm.cdf(bias + z / (1 - skew * z)))
    assert found.p_value(0) == pytest.approx(levels[np.argmin(np.abs(low))], rel=0.03)
    assert found.p_value(0) != pytest.approx(2 * (drawn < 0).mean(), rel=0.2)
    assert found.interval(0).low == pytest.approx(np.interp(0.05, levels, low), rel=0.01)


def test_the_interval_of_a_mean_is_expanded_as_a_t_interval_is_and_no_other_by_less() -> None:
    values = np.random.default_rng(16).random((12, 1))

    def mean(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        return sums[:, 1:] / sums[:, :1], np.zeros(len(sums), dtype=bool)

    found = resample(np.hstack([np.ones_like(values), values]), mean, resamples=20_000)
    half = t_distribution.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    assert list(found.interval(0).percentile) == pytest.approx([values.mean() - half, values.mean() + half], abs=0.02)
    sure = Resampled(
        found.whole, found.drawn, found.without * 1e-3, found.partial
    )  # a jackknife that varies too little
    levels = norm.cdf(np.sqrt(12 / 11) * t_distribution.ppf([0.025, 0.975], 11))
    assert list(sure.interval(0).percentile) == pytest.approx(np.quantile(found.drawn, levels), rel=1e-9)


def test_an_end_beyond_the_pole_of_the_correction_is_the_outermost_resample() -> None:
    """A jackknife far wider than the resamples, and skewed: z / (1 - a z) would change its sign there."""
    drawn, without = 0.5 + 0.001 * np.random.default_rng(0).normal(size=(2000, 1)), np.zeros((30, 1))
    without[0] = -1.0  # one unit makes all of the score
    found = Resampled(np.array([0.5]), drawn, without, np.zeros(2000, dtype=bool)).interval(0)
    assert found.high == drawn.max() and found.low < 0.5
    found = Resampled(np.array([0.5]), drawn, -without, np.zeros(2000, dtype=bool)).interval(0)
    assert found.low == drawn.min() and found.high > 0.5


def test_predictions_are_compared_on_identical_resamples() -> None:
    truth, prediction = noisy(100, 2, 12)
    near = prediction + 0.01 * np.random.default_rng(13).normal(size=truth.shape)
    one, other = resample_scores(truth, [prediction, near])
    alone = interval(truth, prediction)
    assert one.interval(-1, mean=True) == alone
    apart = (one - other).interval(-1)
    assert apart.high - apart.low < 0.1 * (alone.high - alone.low)
    both = average([one, other])
    assert both.drawn == pytest.approx((one.drawn + other.drawn) / 2)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, float("nan"), 0.02, 0.5]) == pytest.approx([0.04, 0.06, np.nan, 0.06, 0.5], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_the_simulated_votes_have_the_r_that_is_said() -> None:
    for subjects in (0, 60_000):
        labels, (prediction,), _ = world(np.random.default_rng(14), 200_000, subjects=subjects, same=0.3)
        found = np.mean([pearsonr(labels[:, e], prediction[:, e]).statistic for e in range(6)])
        assert found == pytest.approx(TRUE_R, abs=0.004)


def test_intervals_of_sparse_votes_hold_the_true_r() -> None:
    assert 0.87 <= coverage_of_votes(100, 500, resamples=500)["clip BCa"] <= 1.0
    found = coverage_of_votes(60, 2000, subjects=100, same=0.3, resamples=300)
    assert found["clip BCa"] < found["group BCa"] and found["group BCa"] >= 0.85


def test_equally_good_systems_are_rarely_told_apart() -> None:
    assert false_positives(100, 500, resamples=500) <= 0.12
