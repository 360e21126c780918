"""The intervals hold what they say over many simulated validation sets, and so do the comparisons.

The subjects of the first scenario (``same=0.15``) make the interval by clip about as much too narrow as it is found to
be in practice (15 to 25 %). Those of the second (``same=0.3``) make it about half as wide as it should be. The interval
by group was found to hold 93.9 % there with 100 subjects and 93.4 % with 200, the percentile interval 94.5 % with
both; were they not expanded, 92.0 and 92.6 %, and 93.2 and 93.4 %.
"""

import pytest

from tests.evaluation.clustered import coverage
from tests.evaluation.votes import coverage as coverage_of_votes
from tests.evaluation.votes import false_positives

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("clips", [4588, 500])
def test_coverage_where_clips_err_alone(clips: int) -> None:
    found = coverage_of_votes(1000, clips)
    print(f"n = {clips}, by clip: {found}")
    assert 0.93 <= found["clip BCa"] <= 0.97


@pytest.mark.parametrize(("subjects", "clips"), [(100, 4588), (100, 500), (200, 4588)])
def test_coverage_where_clips_of_a_subject_err_together(subjects: int, clips: int) -> None:
    found = coverage_of_votes(1000, clips, subjects=subjects, same=0.15, seed=1)
    print(f"n = {clips}, {subjects} subjects: {found}")
    assert 0.93 <= found["group BCa"] <= 0.97
    assert clips < 1000 or found["clip BCa"] < 0.92


def test_coverage_with_subjects_who_are_very_much_alike() -> None:
    for subjects in (100, 200):
        found = coverage_of_votes(1000, 4588, subjects=subjects, same=0.3, seed=1)
        print(f"n = 4588, {subjects} subjects, very alike: {found}")
        assert found["clip BCa"] < 0.85 < 0.93 <= found["group BCa"] <= 0.97


@pytest.mark.parametrize(("subjects", "pairs"), [(0, 500), (100, 2000)])
def test_equally_good_systems_are_rarely_told_apart(subjects: int, pairs: int) -> None:
    """By group, 2,000 pairs: of the first 500 only 2.6 % are called different, of all of them 4.9 %."""
    share = false_positives(pairs, 4588, subjects=subjects, same=0.15, resamples=2000, seed=4)
    print(f"{subjects} subjects: {share:.3f} of {pairs} pairs are called different at the 5 % level")
    assert 0.03 <= share <= 0.07


@pytest.mark.parametrize(("persons", "clips_each"), [(40, 12), (100, 8), (200, 4)])
def test_coverage_of_normal_data(persons: int, clips_each: int) -> None:
    by_clip, by_group = coverage(times=500, persons=persons, clips_each=clips_each, resamples=400)
    alone = coverage(times=500, persons=persons, clips_each=clips_each, resamples=400, common=0.0)
    print(f"{persons} persons with {clips_each} clips: by clip {by_clip:.3f}, by person {by_group:.3f}; "
          f"where clips err alone {alone[0]:.3f}, {alone[1]:.3f}")  # fmt: skip
    assert by_clip < 0.88
    assert 0.91 <= by_group <= 0.98
    assert min(alone) >= 0.91 and max(alone) <= 0.98
