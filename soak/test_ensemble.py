"""The cross-fitted score of an ensemble is its true score; what early stopping on the scored clips adds is told."""

import pytest

from tests.evaluation.test_ensemble_worlds import gain, measure, told

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("clips", [500, 4500])
def test_the_cross_fitted_score_is_the_true_one(clips: int) -> None:
    found = measure(200, clips)
    print(f"{clips} clips, 200 worlds\n{told(found)}")
    best = max((method for method in found if method != "auto"), key=lambda method: found[method][:, 2].mean())
    for other in ("best", "mean"):
        print(f"{best} - {other}, on test: {gain(found, best, other)}; auto: {gain(found, 'auto', other)}")
        assert gain(found, best, other)[1] > 0
    for method, values in found.items():
        if method != "auto":
            assert abs((values[:, 0] - values[:, 2]).mean()) <= 0.005, method


@pytest.mark.parametrize("clips", [500, 4500])
def test_what_early_stopping_on_the_scored_clips_adds(clips: int) -> None:
    found = measure(30, clips, epochs=10, seed=1)
    print(f"{clips} clips, 30 worlds, members that are the best of 10 epochs on these clips\n{told(found)}")
    assert all((values[:, 0] - values[:, 2]).mean() > 0 for values in found.values())
