import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from abawkit.data.stats.shift import Shift, holm, shifts, verdict


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_against_the_definition(p_values: list[float]) -> None:
    corrected = holm(p_values)
    # By its definition: the sorted p-values are tested at alpha / m, alpha / (m - 1), … until one fails.
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[index] * (len(p_values) - rank) >= alpha:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(corrected) if p < alpha} == rejected


def test_holm_never_orders_p_values_otherwise() -> None:
    assert holm([0.02, 0.04, 0.03]) == pytest.approx([0.06, 0.06, 0.06])


def test_shifts_against_scipy_and_the_definition() -> None:
    rng = np.random.default_rng(0)
    train = rng.integers(0, 4, (300, 3)) / 3
    valid = np.stack([rng.integers(0, 4, 200) / 3, rng.integers(1, 4, 200) / 3, np.zeros(200)], axis=1)
    train[:, 2] = 0
    same, lower, constant = shifts(("a", "b", "c"), train, valid)
    for found, a, b in zip((same, lower), train.T, valid.T, strict=False):
        expected = reference.ks_2samp(a, b)
        assert (found.ks, found.p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-12)
        gaps = [abs((a <= x).mean() - (b <= x).mean()) for x in np.unique([*a, *b])]
        assert found.ks == pytest.approx(max(gaps))
        assert abs(found.at_most[0] - found.at_most[1]) == pytest.approx(100 * found.ks)
        assert found.at_most[0] == pytest.approx(100 * (a <= found.value).mean())
        assert found.standardised == pytest.approx((b.mean() - a.mean()) / np.std([*a, *b]))
    assert not same.shown and same.verdict == "no difference shown"
    assert lower.shown and lower.value == 0
    assert lower.verdict == "medium difference, validation is higher on average"
    assert (constant.ks, constant.standardised, constant.shown) == (0, 0, False)


def test_sizes_are_those_of_normal_distributions() -> None:
    for distance, below, above in ((0.2, "tiny", "small"), (0.5, "small", "medium"), (0.8, "medium", "large")):
        ks = 2 * reference.norm.cdf(distance / 2) - 1
        sizes = [Shift("a", ks + change, 0, 0, 0, (0, 0), (0, 0), 0).size for change in (-0.001, 0.001)]
        assert sizes == [below, above]


def shift(target: str, ks: float, p_holm: float, means: tuple[float, float] = (0.1, 0.07)) -> Shift:
    return Shift(target, ks, p_holm, p_holm, 0.0, (67.5, 74.9), means, (means[1] - means[0]) / 0.15)


def test_the_verdict_says_what_it_means() -> None:
    found = [shift("Joy", 0.05, 0.01, (0.1, 0.11)), shift("Determination", 0.075, 1e-9), shift("Pain", 0.02, 0.3)]
    told = verdict(found, (8072, 4588), "mean_pearson")
    assert "2 of 3 targets" in told[0] and "Determination (tiny, KS 0.075), Joy (tiny, KS 0.050)" in told[0]
    least = reference.kstwobign.isf(0.05) * np.sqrt(1 / 8072 + 1 / 4588)
    assert f"below about {least:.3f}" in told[0] and "Pain" not in " ".join(told)
    assert told[1].startswith("The widest gap: 67.5 % of the training clips and 74.9 % of the validation clips")
    assert told[1].endswith("have Determination at 0.")
    assert "training mean of Determination is 0.030 (0.20 standard deviations) too high" in " ".join(told)
    assert "Pearson r" in " ".join(told)
    classes = " ".join(verdict(found, (8072, 4588), "macro_f1"))
    assert "F1 depends on" in classes and "Pearson" not in classes


def test_no_shift_is_no_proof_of_sameness() -> None:
    (told,) = verdict([shift("Joy", 0.05, 0.4)], (30, 20), "mean_pearson")
    assert told.startswith("No target's labels are shown to differ") and "does not prove" in told
    assert "below about 0.392" in told
