"""Scores from sums are the scores of the clips themselves."""

import time

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.evaluation.bootstrap import resample
from abawkit.evaluation.moments import Moments
from abawkit.evaluation.scores import _intervals
from abawkit.metrics import score


def test_resamples_are_scored_as_their_clips_written_out() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 0, 0, 0.25, 1], (40, 6))
    truth[:, 3] = 0
    truth[:2, 3] = 1  # constant in some resamples
    predictions = [0.2 + 0.3 * truth + rng.normal(size=truth.shape), 7 - truth]
    moments = Moments(truth, predictions)
    counts = rng.multinomial(40, np.full(40, 1 / 40), 60).astype(float)
    found = moments.scores(counts @ moments.columns)
    assert found.partial.any() and not found.partial.all()
    for row, count in enumerate(counts.astype(int)):
        clips = np.repeat(np.arange(40), count)
        for place, prediction in enumerate(predictions):
            expected = score(EMI, truth[clips], prediction[clips])
            assert found.pearson[row, place] == pytest.approx(expected.pearson, nan_ok=True)
            assert found.ccc[row, place] == pytest.approx(expected.ccc, nan_ok=True)
            assert found.mse[row, place] == pytest.approx(expected.mse)
            assert found.mean_pearson[row, place] == pytest.approx(expected.mean_pearson)
            assert found.mean_ccc[row, place] == pytest.approx(expected.mean_ccc)
            assert found.mean_mse[row, place] == pytest.approx(expected.mse.mean())
            assert found.partial[row] == ("Empathic Pain" in expected.left_out)


def test_all_but_one_group_is_scored_as_those_clips() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((30, 6))
    prediction = truth + rng.normal(size=truth.shape)
    groups = rng.integers(0, 7, 30)
    moments = Moments(truth, [prediction])

    def scores(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = moments.scores(sums)
        return found.mean_pearson, found.partial

    found = resample(moments.columns, scores, groups=[str(one) for one in groups], resamples=5)
    first = list(dict.fromkeys(groups.tolist()))  # in the order of their first clips
    expected = [score(EMI, truth[groups != one], prediction[groups != one]).mean_pearson for one in first]
    assert found.without[:, 0] == pytest.approx(expected)
    assert found.whole[0] == pytest.approx(score(EMI, truth, prediction).mean_pearson)


def test_all_intervals_of_the_official_size_take_less_than_two_seconds() -> None:
    rng = np.random.default_rng(2)
    truth = rng.choice([0, 0, 0, 1 / 3, 1], (4588, 6))
    prediction = truth + rng.normal(size=truth.shape)
    began = time.process_time()
    _intervals(truth, prediction, EMI, None)
    assert time.process_time() - began < 2
