from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.data.raters import fewest_raters, implied_raters
from abawkit.data.stats.tables import label_stats


@st.composite
def rows(draw: st.DrawFn) -> tuple[int, list[int]]:
    raters = draw(st.integers(1, 20))
    votes = draw(st.lists(st.integers(0, 6), min_size=raters, max_size=raters))
    return raters, [votes.count(target) for target in range(6)]


@settings(max_examples=60, deadline=None)
@given(rows(), st.sampled_from([17, 7, 4]))
def test_the_smallest_common_denominator_is_found(drawn: tuple[int, list[int]], digits: int) -> None:
    raters, votes = drawn
    labels = np.array([[round(count / raters, digits) for count in votes]])
    found = fewest_raters(labels, 1e-6 if digits == 17 else 0.5 * 10.0**-digits, 20)[0]
    # Independently: the least common multiple of the reduced denominators.
    assert found == np.lcm.reduce([Fraction(count, raters).denominator for count in votes])


def test_what_cannot_be_told_is_counted_apart() -> None:
    labels = np.array([[0.0, 0.0], [1 / 3, 2 / 3], [0.5, 0.5], [0.25, 0.0], [1.0, 0.0], [0.123456789, 0.1]])
    found = implied_raters(labels, 1e-6, 20)
    assert found.fewest == {1: 1, 2: 1, 3: 1, 4: 1}
    assert (found.all_zero, found.none_fits) == (1, 1)
    assert found.to_json()["fewest"] == {"1": 1, "2": 1, "3": 1, "4": 1}
    fewer = implied_raters(labels, 1e-6, 3)
    assert (fewer.fewest, fewer.none_fits) == ({1: 1, 2: 1, 3: 1}, 2)


def test_labels_of_float32_and_rounded_labels() -> None:
    exact = np.array([[1 / 7, 3 / 7], [1 / 9, 0.0], [5 / 6, 1 / 6], [0.2, 0.0]])
    expected = {5: 1, 6: 1, 7: 1, 9: 1}
    for labels in (exact.astype(np.float32).astype(np.float64), exact.round(3), exact.round(4), exact.round(6)):
        raters = label_stats(labels, 20).raters
        assert raters is not None and raters.fewest == expected
    # Two digits fit too many fractions to tell: nothing is claimed.
    raters = label_stats(exact.round(2), 20).raters
    assert raters is not None and raters.none_fits == 3 and raters.fewest == {5: 1}


def test_nothing_but_zeros() -> None:
    found = implied_raters(np.zeros((3, 6)), 1e-6, 20)
    assert (found.fewest, found.all_zero, found.none_fits) == ({}, 3, 0)
