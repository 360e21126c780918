"""Moments of folds merge against those of the clips themselves, and fits from them against the plain formulas."""

import numpy as np
import pytest

from abawkit.evaluation.combine import METHODS, fit
from abawkit.evaluation.crossfit import assign_folds, compare_methods, out_of_fold
from abawkit.evaluation.joint import joint, merge
from abawkit.metrics import is_constant, pearson


def drawn(clips: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.maximum(rng.normal(size=(clips, 3)), 0)
    members = truth + np.array([0.5, 1.0, 2.0, 4.0])[:, None, None] * rng.normal(size=(4, clips, 3))
    return np.array([1, 1e-3, 50, 7])[:, None, None] * (members + 3), truth


def test_moments_of_uneven_folds_are_those_of_all_their_clips() -> None:
    members, truth = drawn()
    folds = np.random.default_rng(1).choice(5, 300, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    found = merge([joint(members[:, folds == fold], truth[folds == fold]) for fold in (0, 2, 3, 4)])
    rows, target = members[:, folds != 1], truth[folds != 1]
    assert found.count == len(target)
    assert found.mean == pytest.approx(np.concatenate([rows.mean(axis=1), target.mean(axis=0)[None]]), rel=1e-13)
    for e in range(3):
        expected = np.cov(np.vstack([rows[:, :, e], target[:, e]]), ddof=0)
        assert found.covariance[e] == pytest.approx(expected, rel=1e-11, abs=1e-13)
    assert found.std[-1] == pytest.approx(target.std(axis=0), rel=1e-13)
    assert np.array_equal(found.largest[:-1], np.abs(rows).max(axis=1))


def test_what_is_constant_in_some_folds_only_is_seen_to_be() -> None:
    members, truth = drawn()
    folds = np.arange(300) % 3
    truth[folds != 0, 0], truth[folds == 0, 0] = 0.1, 1e6  # nothing may be left of the fold that is not used
    members[1, folds != 0, 2] = 1 / 3
    found = merge([joint(members[:, folds == fold], truth[folds == fold]) for fold in (1, 2)])
    expected = np.vstack([[is_constant(one[folds != 0]) for one in members], is_constant(truth[folds != 0])])
    assert np.array_equal(found.flat, expected) and found.flat.sum() == 2
    apart = [joint(np.full((1, 4, 1), value), np.zeros((4, 1))) for value in (0.0, 1e-3)]
    assert not merge(apart).flat[0, 0]  # constant in each fold, but not in both


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_from_moments_is_that_of_the_clips(method: str) -> None:
    """The combination is standardised and put on the label scale by its own mean, deviation and regression."""
    members, truth = drawn()
    found = fit(method, members, truth)
    if method == "rank":
        levels = np.linspace(0, 1, 101)
        quantiles = np.quantile(members, levels, axis=1)
        assert found.quantiles == pytest.approx(quantiles, rel=1e-12)
        each = [[np.interp(members[m, :, e], quantiles[:, m, e], levels) for e in range(3)] for m in range(4)]
        standard = (np.array(each).transpose(0, 2, 1) - 0.5) * np.sqrt(12)
    else:
        standard = (members - members.mean(axis=1, keepdims=True)) / members.std(axis=1, keepdims=True)
    mixed = np.einsum("mne,me->ne", standard, found.weights)
    assert found.centre == pytest.approx(mixed.mean(axis=0), abs=1e-12)
    assert found.spread == pytest.approx(mixed.std(axis=0), rel=1e-12)
    slope = [np.polyfit((mixed[:, e] - mixed[:, e].mean()) / mixed[:, e].std(), truth[:, e], 1)[0] for e in range(3)]
    assert found.slope == pytest.approx(slope, rel=1e-12)
    expected = truth.mean(axis=0) + slope * (mixed - mixed.mean(axis=0)) / mixed.std(axis=0)
    assert found.predict(members) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_cross_fitting_from_moments_is_that_of_the_clips(method: str) -> None:
    members, truth = drawn()
    folds = assign_folds(300, 7)
    expected = np.empty_like(truth)
    for fold in range(7):
        held = folds == fold
        expected[held] = fit(method, members[:, ~held], truth[~held]).standard(members[:, held])
    assert out_of_fold(method, members, truth, folds) == pytest.approx(expected, abs=1e-12)
    (found,) = compare_methods(members, truth, folds, methods=[method])
    assert found.per_target == pytest.approx(pearson(truth, expected), abs=1e-12)
    assert found.optimistic == pytest.approx(pearson(truth, fit(method, members, truth).predict(members)).mean())
