"""Scores, ranking and ensembles: only ever on clips that nobody was trained on."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr

from abawkit.challenge import EMI
from abawkit.data.labels import read_labels, write_labels
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.bootstrap import interval
from abawkit.evaluation.compare import rank, shared_held_out
from abawkit.evaluation.ensemble import ensemble
from abawkit.evaluation.scores import evaluate
from abawkit.runs.run import Ensemble, Run, find_run, list_runs
from abawkit.workspace import Workspace


@pytest.fixture
def workspace(predicted: Path) -> Workspace:
    return Workspace.open(predicted, environ={})


def test_the_score_is_the_mean_of_scipys_r(workspace: Workspace) -> None:
    run = find_run(workspace, "F1")
    found = evaluate(workspace, run)
    predictions = run.predictions("valid", EMI)
    official = read_labels(workspace.data / "valid_split.csv", EMI).subset(predictions.ids)
    kept = [e for e, name in enumerate(EMI.targets) if name not in found.scores.left_out]
    expected = [pearsonr(official.values[:, e], predictions.values[:, e]).statistic for e in kept]
    assert found.scores.n == 24 and found.scores.mean_pearson == pytest.approx(np.mean(expected), abs=1e-6)
    record = found.to_json()["scores"]["valid"]
    assert {"n", "mean_pearson", "pearson", "mean_ccc"} <= set(record) and set(record["pearson"]) == set(EMI.targets)


def test_a_run_is_never_scored_on_what_it_was_trained_on(workspace: Workspace, tmp_path: Path) -> None:
    run = find_run(workspace, "F4")  # 4:1: some official validation clips are training clips
    with pytest.raises(AbawkitError, match="was trained on 12 of these clips") as caught:
        run.refuse_leak(read_labels(workspace.data / "valid_split.csv", EMI).ids)
    assert caught.value.got
    labels = read_labels(workspace.root / "hidden.csv", EMI)
    path = tmp_path / "leaky.csv"
    write_labels(path, EMI, labels.ids, labels.values)
    assert evaluate(workspace, run, "test", labels=path).scores.n == 12
    train = read_labels(workspace.data / "train_split.csv", EMI)
    write_labels(path, EMI, train.ids, train.values)
    with pytest.raises(AbawkitError, match="no test prediction for 36 of the 36"):
        evaluate(workspace, run, "test", labels=path)
    with pytest.raises(UsageError, match="--on test --labels CSV"):
        evaluate(workspace, run, "test")


def test_the_interval_holds_what_it_says() -> None:
    """Coverage on drawn data: about 95 % of the intervals hold the true r."""
    rng = np.random.default_rng(0)
    true_r, hits, times = 0.5, 0, 60
    for _ in range(times):
        truth = rng.normal(size=(120, 6))
        prediction = true_r * truth + np.sqrt(1 - true_r**2) * rng.normal(size=(120, 6))
        found = interval(truth, prediction, resamples=300)
        hits += found.low <= true_r <= found.high
    assert 0.85 <= hits / times <= 1.0


def test_the_interval_is_the_loop_written_out() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((80, 6))
    prediction = truth + rng.normal(size=(80, 6))
    means = []
    for _ in range(800):
        rows = rng.integers(0, 80, 80)
        means.append(np.mean([pearsonr(truth[rows, e], prediction[rows, e]).statistic for e in range(6)]))
    found = interval(truth, prediction)
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)


def test_runs_are_ranked_on_what_they_share(workspace: Workspace) -> None:
    runs = [run for run in list_runs(workspace) if not isinstance(run, Ensemble)]
    shared = shared_held_out(runs)
    f4 = find_run(workspace, "F4")
    assert set(shared) == set(f4.valid_ids)  # F4's side is part of F1's
    ranked, used = rank(runs, EMI, min_shared=5)
    assert used == shared and ranked[0][1] >= ranked[1][1]
    with pytest.raises(UsageError, match="share only 12 held-out clips") as caught:
        rank(runs, EMI, min_shared=50)
    assert caught.value.exit_code == 2 and all(run.name in str(caught.value) for run in runs)
    assert "n = 24" in str(caught.value) and "split official" in str(caught.value)


def test_an_ensemble_is_the_mean_of_its_standardised_members(workspace: Workspace) -> None:
    (made,) = [run for run in list_runs(workspace) if isinstance(run, Ensemble)]
    members = [Run.open(workspace.runs / name) for name in made.record.members]
    shared = shared_held_out(members)
    assert made.valid_ids == shared and not made.train_ids & set(shared)
    assert made.train_ids == members[0].train_ids | members[1].train_ids
    for side in ("valid", "test"):
        predictions = made.predictions(side, EMI)
        standard = []
        for member in members:
            held_out = member.predictions("valid", EMI).of(shared)
            values = member.predictions(side, EMI).of(predictions.ids)
            standard.append((values - held_out.mean(axis=0)) / held_out.std(axis=0))
        expected = sum(standard) / 2
        for e in range(6):  # the same up to a scale and a shift
            assert pearsonr(expected[:, e], predictions.values[:, e]).statistic == pytest.approx(1)


def test_ensembles_that_cannot_be(workspace: Workspace) -> None:
    f1, f4 = find_run(workspace, "F1"), find_run(workspace, "F4")
    with pytest.raises(UsageError, match="at least two runs"):
        ensemble(workspace, [f1, f1])
    strict = Workspace.open(workspace.root, environ={}, overrides={"submit.min_shared": 50})
    with pytest.raises(UsageError, match="share only 12 held-out clips"):
        ensemble(strict, [f1, f4])
    names = [ensemble(workspace, pair, method="zmean").name for pair in ([f4, f1], [f1, f4])]
    assert names[0] == names[1]


def test_members_must_have_predicted_the_same_test_clips(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    f1 = find_run(workspace, "F1")
    path = f1.path / "predictions" / "test.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(AbawkitError, match="different test clips"):
        ensemble(workspace, [f1, find_run(workspace, "F4")])
    path.unlink()
    with pytest.raises(AbawkitError, match="has no predictions for the test clips"):
        ensemble(workspace, [Run.open(f1.path), find_run(workspace, "F4")])


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "Filename,Joy\n00000,x\n"])
def test_a_prediction_file_that_is_not_ours(predicted_copy: Path, text: str) -> None:
    run = find_run(Workspace.open(predicted_copy, environ={}), "F1")
    (run.path / "predictions" / "valid.csv").write_text(text)
    with pytest.raises(AbawkitError, match="is not a prediction file"):
        run.predictions("valid", EMI)


def test_finding_runs(workspace: Workspace) -> None:
    assert find_run(workspace, "F1").record.system == "F1"
    assert find_run(workspace, str(find_run(workspace, "F4").path)).record.system == "F4"
    with pytest.raises(UsageError, match="several runs"):
        find_run(workspace, "F")
    for name in ("nope", "../../etc"):
        with pytest.raises(UsageError, match="no such run"):
            find_run(workspace, name)


def test_a_clip_that_any_run_was_trained_on_is_not_shared(predicted_copy: Path) -> None:
    import json

    workspace = Workspace.open(predicted_copy, environ={})
    runs = [find_run(workspace, "F1"), find_run(workspace, "F4")]
    before = shared_held_out(runs)
    clips = json.loads((runs[1].path / "clips.json").read_text())
    clips["train"].append(before[0])  # as in an ensemble with a member of another split
    (runs[1].path / "clips.json").write_text(json.dumps(clips))
    assert shared_held_out([runs[0], Run.open(runs[1].path)]) == before[1:]
