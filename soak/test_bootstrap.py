"""The bootstrap by group holds what it says, over many simulated runs; the one by clip does not."""

import pytest

from tests.evaluation.clustered import coverage

pytestmark = pytest.mark.soak


@pytest.mark.parametrize(("persons", "clips_each"), [(40, 12), (100, 8), (200, 4)])
def test_coverage(persons: int, clips_each: int) -> None:
    by_clip, by_group = coverage(times=500, persons=persons, clips_each=clips_each, resamples=400)
    alone = coverage(times=500, persons=persons, clips_each=clips_each, resamples=400, common=0.0)
    print(f"{persons} persons with {clips_each} clips: by clip {by_clip:.3f}, by person {by_group:.3f}; "
          f"where clips err alone {alone[0]:.3f}, {alone[1]:.3f}")  # fmt: skip
    assert by_clip < 0.88
    assert 0.91 <= by_group <= 0.98
    assert min(alone) >= 0.91 and max(alone) <= 0.98
