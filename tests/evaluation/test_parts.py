"""What `evaluate` tells besides the scores, from the prediction file alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.errors import AbawkitError
from abawkit.evaluation.calibration import calibration
from abawkit.evaluation.scores import Evaluation, evaluate
from abawkit.metrics import score
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run, make_workspace

N = 120
TRUTH = drawn_labels(N, 3)
RNG = np.random.default_rng(4)
PREDICTION, WITHOUT, HEAD = (TRUTH * scale + noise * RNG.normal(size=TRUTH.shape) for scale, noise in
                             ((1, 0.3), (1, 0.6), (0.5, 0.5)))  # fmt: skip
FRAMES = RNG.integers(5, 300, N)
FRAMES[:7] = 0
MISSING = ["audio"] * 7 + ["text"] * 12 + ["audio text"] + [""] * 100


def extra() -> dict[str, object]:
    columns: dict[str, object] = {"missing": MISSING, "frames.text": 1, "frames.audio": FRAMES}
    for prefix, values in (("audio:", HEAD), ("without-audio:", WITHOUT)):
        columns |= {prefix + target: values[:, index] for index, target in enumerate(EMI.targets)}
    return columns


@pytest.fixture
def found(tmp_path: Path) -> Evaluation:
    workspace = make_workspace(tmp_path)
    return evaluate(workspace, make_run(workspace, "F3-a", clip_ids(0, N), TRUTH, PREDICTION, extra=extra()))


def mean(rows: np.ndarray, prediction: np.ndarray = PREDICTION) -> float:
    return score(EMI, TRUTH[rows], prediction[rows]).mean_pearson


def test_by_length(found: Evaluation) -> None:
    modality, parts = found.lengths
    assert modality == "audio" and len(parts) == 4 and sum(part.clips for part in parts) == N - 7
    edges = np.quantile(FRAMES[7:], [0, 0.25, 0.5, 0.75, 1])
    first = (FRAMES > 0) & (edges[1] >= FRAMES)
    assert parts[0].clips == first.sum() and parts[0].score.value == pytest.approx(mean(first))
    last = edges[3] < FRAMES
    assert parts[3].clips == last.sum() and parts[3].score.value == pytest.approx(mean(last))
    assert parts[3].score.low < parts[3].score.value < parts[3].score.high
    assert parts[0].what == f"{FRAMES[7:].min()} to {FRAMES[first].max()} frames"


def test_by_missing(found: Evaluation) -> None:
    assert [(part.what, part.clips) for part in found.missing] == [
        ("nothing missing", 100),
        ("no text", 13),
        ("no audio", 8),
    ]
    assert found.missing[1].score.value == pytest.approx(mean(np.arange(7, 20)))


def test_what_each_modality_adds(found: Evaluation) -> None:
    (effect,) = found.modalities
    every = np.arange(N)
    assert effect.modality == "audio" and effect.alone == pytest.approx(mean(every, HEAD))
    assert effect.without == pytest.approx(mean(every, WITHOUT))
    assert effect.change.value == pytest.approx(mean(every, WITHOUT) - mean(every))
    assert effect.change.high < 0


def test_shares_and_calibration(found: Evaluation) -> None:
    joy = found.shares["Joy"]
    assert joy.zero == (TRUTH[:, 5] == 0).mean() and joy.truth == pytest.approx(TRUTH[:, 5].mean())
    assert joy.saturation == pytest.approx(((PREDICTION[:, 5] <= 0) | (PREDICTION[:, 5] >= 1)).mean())
    curve = found.calibration[5]
    assert len(curve.bins) == 10 and sum(each.clips for each in curve.bins) == N
    assert curve.slope == pytest.approx(np.polyfit(PREDICTION[:, 5], TRUTH[:, 5], 1)[0])
    order = np.argsort(PREDICTION[:, 5])[: curve.bins[0].clips]
    assert curve.bins[0].truth.value == pytest.approx(TRUTH[order, 5].mean())
    assert curve.bins[0].prediction == pytest.approx(PREDICTION[order, 5].mean())
    assert all(each.truth.low <= each.truth.value <= each.truth.high for each in curve.bins)


def test_equal_predictions_are_one_bin() -> None:
    prediction = np.where(TRUTH > 0, 0.8, 0.1)
    prediction[:, 1] = 0.5
    curves = calibration(TRUTH, prediction, EMI, None)
    assert [each.clips for each in curves[0].bins] == [(TRUTH[:, 0] == 0).sum(), (TRUTH[:, 0] > 0).sum()]
    assert len(curves[1].bins) == 1 and np.isnan(curves[1].slope)


def test_every_figure_has_both_intervals_in_json(found: Evaluation) -> None:
    record = json.loads(json.dumps(found.to_json()))["scores"]["valid"]
    expected = score(EMI, TRUTH, PREDICTION)
    assert set(record["intervals"]) == {"pearson", "ccc", "mse"}
    for metric, values in (("pearson", expected.pearson), ("ccc", expected.ccc), ("mse", expected.mse)):
        told = record["intervals"][metric]
        assert [told[target]["value"] for target in EMI.targets] == pytest.approx(values)
        for each in told.values():
            for ends in (each["bca"], each["percentile"]):
                assert ends[0] < each["value"] < ends[1]
    assert record["interval95"] == record["intervals"]["pearson"]["mean"]["bca"]
    assert record["by_length"]["frames_of"] == "audio" and len(record["modalities"]) == 1
    assert "clip-level, likely too narrow" in record["interval_note"]


def test_an_imported_or_combined_run_has_scores_alone(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    found = evaluate(workspace, make_run(workspace, "F3-a", clip_ids(0, N), TRUTH, PREDICTION))
    assert found.lengths == ("", ()) and found.missing == found.modalities == ()
    assert found.to_json()["scores"]["valid"]["by_length"] == {"frames_of": None, "parts": []}


def test_a_clip_that_was_trained_on_is_refused(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    run = make_run(workspace, "F3-a", clip_ids(0, N), TRUTH, PREDICTION, train=["00003", "00007", "99999"])
    with pytest.raises(AbawkitError, match="was trained on 2 of these clips") as caught:
        evaluate(workspace, run)
    assert caught.value.got == "00003, 00007"
