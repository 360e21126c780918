"""Runs are compared on the same clips, with their seeds pooled, and never on what one was trained on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from abawkit.challenge import EMI
from abawkit.data.groups import write_groups
from abawkit.data.labels import write_labels
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.bootstrap import PAIRED_RESAMPLES
from abawkit.evaluation.paired import compare
from abawkit.metrics import score
from abawkit.runs.predictions import write_predictions
from abawkit.runs.run import Run
from abawkit.workspace import Workspace
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run, make_workspace

IDS = clip_ids(100, 200)
TRUTH = drawn_labels(200)


def noisy(noise: float, seed: int) -> np.ndarray:
    return TRUTH + noise * np.random.default_rng(seed).normal(size=TRUTH.shape)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "workspace")


def two(workspace: Workspace, noise: float = 0.45) -> list[Run]:
    return [
        make_run(workspace, "F4-official-s1-a", IDS, TRUTH, noisy(0.4, 1), system="F4", train=clip_ids(0, 50)),
        make_run(workspace, "F3-official-s1-b", IDS, TRUTH, noisy(noise, 2), system="F3", train=clip_ids(0, 50)),
    ]


def test_a_real_difference_and_none(workspace: Workspace, tmp_path: Path) -> None:
    found = compare(workspace, two(workspace, noise=1.5))
    (difference,) = found.differences
    assert difference.verdict.startswith("F4 − F3 = +.") and difference.verdict.endswith("]: F4 is better")
    expected = [score(EMI, TRUTH, noisy(0.4, 1)).mean_pearson, score(EMI, TRUTH, noisy(1.5, 2)).mean_pearson]
    assert [system.score.value for system in found.systems] == pytest.approx(expected)
    assert difference.mean.interval.value == pytest.approx(expected[0] - expected[1])
    assert difference.mean.p == difference.mean.corrected <= 0.001 and not found.remark
    assert all(tested.corrected >= tested.p for tested in difference.targets.values())
    record = json.loads(json.dumps(found.to_json()))
    assert record["n"] == 200 and record["resamples"] == PAIRED_RESAMPLES and len(record["differences"]) == 1
    assert record["differences"][0]["mean"]["distinguishable"] and record["groups"] is None
    alike = compare(make_workspace(tmp_path / "alike"), two(make_workspace(tmp_path / "alike"), noise=0.4))
    assert alike.differences[0].verdict.endswith(": not distinguishable")


def test_seeds_of_one_system_are_pooled(workspace: Workspace) -> None:
    runs = two(workspace)
    runs.append(make_run(workspace, "F4-official-s2-c", IDS, TRUTH, noisy(0.5, 3), system="F4", seed=2))
    found = compare(workspace, runs)
    pooled, single = found.systems
    each = [score(EMI, TRUTH, noisy(noise, seed)).mean_pearson for noise, seed in ((0.4, 1), (0.5, 3))]
    assert (pooled.label, len(pooled.runs), single.label) == ("F4", 2, "F3")
    assert pooled.score.value == pytest.approx(np.mean(each)) and pooled.each == pytest.approx(each)
    assert pooled.seed_deviation == pytest.approx(np.std(each, ddof=1)) and np.isnan(single.seed_deviation)
    with pytest.raises(UsageError, match="nothing to compare"):
        compare(workspace, [runs[0], runs[2]])


def test_all_pairs_are_corrected_together(workspace: Workspace) -> None:
    runs = [*two(workspace, 0.6), make_run(workspace, "F5-official-s1-d", IDS, TRUTH, noisy(0.5, 4), system="F5")]
    found = compare(workspace, runs)
    assert [(d.one, d.other) for d in found.differences] == [("F4", "F3"), ("F4", "F5"), ("F3", "F5")]
    least = min(found.differences, key=lambda d: d.mean.p)
    assert least.mean.corrected == pytest.approx(min(1, 3 * least.mean.p))
    assert "after correction for 3 comparisons" in least.verdict
    weakest = min((t for d in found.differences for t in d.targets.values()), key=lambda t: t.p)
    assert weakest.corrected == pytest.approx(min(1, 18 * weakest.p))


def test_other_validation_clips_leave_what_all_have_held_out(workspace: Workspace) -> None:
    runs = two(workspace)
    inner = slice(60, 200)
    runs[1] = make_run(
        workspace, "F3-4to1-e", IDS[inner], TRUTH[inner], noisy(0.5, 5)[inner], split="4to1", train=IDS[:60]
    )
    found = compare(workspace, runs)
    assert found.ids == tuple(IDS[inner]) and "compared on the 140 clips" in found.remark
    assert found.validated == {runs[0].name: 200, runs[1].name: 140}
    expected = score(EMI, TRUTH[inner], noisy(0.4, 1)[inner]).mean_pearson
    assert found.systems[0].score.value == pytest.approx(expected)
    # A clip that any of them was trained on is not among them, even when both have validated on it.
    leaky = make_run(workspace, "F2-f", IDS, TRUTH, noisy(0.5, 6), system="F2", split="x", train=IDS[100:110])
    assert not set(compare(workspace, [runs[0], leaky]).ids) & set(IDS[100:110])
    strict = Workspace.open(workspace.root, environ={}, overrides={"submit.min_shared": 150})
    with pytest.raises(UsageError, match="share only 140 held-out clips") as caught:
        compare(strict, runs)
    assert all(run.name in str(caught.value) for run in runs)


def test_runs_that_cannot_be_compared(workspace: Workspace) -> None:
    runs = two(workspace)
    other = TRUTH.copy()
    other[0, 0] = 1 - other[0, 0]
    wrong = make_run(workspace, "F2-g", IDS, other, noisy(0.5, 7), system="F2")
    with pytest.raises(AbawkitError, match="different labels of the same clips"):
        compare(workspace, [runs[0], wrong])
    flat = make_run(workspace, "F1-h", IDS, TRUTH, np.full_like(TRUTH, 0.3), system="F1")
    with pytest.raises(AbawkitError, match="constant"):
        compare(workspace, [runs[0], flat])
    path = runs[1].path / "predictions" / "valid.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    with pytest.raises(AbawkitError, match="no validation prediction for 2 of its own clips"):
        compare(workspace, runs)


def test_groups_widen_what_is_compared(workspace: Workspace) -> None:
    runs = two(workspace)
    path = workspace.root / "who.csv"
    write_groups(path, EMI, {clip: f"p{index // 10}" for index, clip in enumerate(IDS)})
    found = compare(workspace, runs, groups=path)
    assert found.resampling.words.startswith("by 20 subjects") and found.systems[0].score.units == 20
    assert found.to_json()["groups"]["path"] == str(path)


def test_test_clips_are_compared_when_their_labels_are_given(workspace: Workspace, tmp_path: Path) -> None:
    runs = two(workspace, noise=1.5)
    test, truth = clip_ids(500, 90), drawn_labels(90, 5)
    for run, noise in zip(runs, (1.5, 0.4), strict=True):  # the other one is better here
        values = truth + noise * np.random.default_rng(7).normal(size=truth.shape)
        table = pd.DataFrame(values, index=pd.Index(test, name=EMI.id_column), columns=list(EMI.targets))
        write_predictions(run.path / "predictions" / "test.csv", table)
    labels = tmp_path / "test.csv"
    write_labels(labels, EMI, test[:80], truth[:80])
    found = compare(workspace, runs, on="test", labels=labels)
    assert found.on == "test" and found.ids == tuple(test[:80]) and not found.remark
    assert found.differences[0].verdict.endswith("F3 is better")
    predictions = runs[0].predictions("test", EMI).of(test[:80])
    assert found.systems[0].score.value == pytest.approx(score(EMI, truth[:80], predictions).mean_pearson)
    for on, given in (("test", None), ("valid", labels)):
        with pytest.raises(UsageError, match="--on test --labels CSV"):
            compare(workspace, runs, on=on, labels=given)  # type: ignore[arg-type]
    write_labels(labels, EMI, [*test, "00999"], np.concatenate([truth, truth[:1]]))
    with pytest.raises(AbawkitError, match="no test prediction for 1 of the 91"):
        compare(workspace, runs, on="test", labels=labels)
    write_labels(labels, EMI, test, truth)
    path = runs[1].path / "clips.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train": test[:3]}))
    with pytest.raises(AbawkitError, match="F3-official-s1-b was trained on 3 of these clips"):
        compare(workspace, [runs[0], Run.open(runs[1].path)], on="test", labels=labels)
