import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from abawkit.challenge import EMI, Task
from abawkit.errors import AbawkitError
from abawkit.metrics import ccc, f1, is_constant, pearson, score

BINARY = Task("binary", "made up", ("Hesitant",), score="macro_f1")


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_pearson_is_scipys(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((n, 6)), rng.normal(5, 3, (n, 6))
    expected = [scipy.stats.pearsonr(truth[:, e], prediction[:, e]).statistic for e in range(6)]
    np.testing.assert_allclose(pearson(truth, prediction), expected, rtol=0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=40, deadline=None)
def test_ccc_is_the_formula_written_another_way(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((n, 3)), rng.normal(0.2, scale, (n, 3))
    for e in range(3):
        t, p = truth[:, e], prediction[:, e]
        # The mean squared difference is var t + var p - 2 cov + (difference of the means)².
        below = np.var(t) + np.var(p) + (np.mean(t) - np.mean(p)) ** 2
        expected = 1 - np.mean((t - p) ** 2) / below
        assert ccc(truth, prediction)[e] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        if n > 1:
            rho = scipy.stats.pearsonr(t, p).statistic
            assert ccc(truth, prediction)[e] == pytest.approx(2 * rho * np.std(t) * np.std(p) / below, abs=1e-12)


def test_ccc_of_constant_columns() -> None:
    values = np.random.default_rng(0).random((9, 1))
    flat, other = np.full((9, 1), 0.25), np.full((9, 1), 0.5)
    for truth, prediction in ((flat, values), (values, flat), (flat, other)):
        assert abs(ccc(truth, prediction)[0]) < 1e-15
    for level in (0.0, 0.1, 0.25, 1 / 3, 1e9):  # the mean of equal values is not always that value exactly
        for n in (1, 3, 7, 10, 100):
            assert np.isnan(ccc(np.full((n, 1), level), np.full((n, 1), level))[0])
    assert ccc(values[:1], values[1:2])[0] == 0.0  # of one clip
    assert np.isnan(ccc(values[:0], values[:0])[0])


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_pearson_of_constant_columns_is_undefined_as_in_scipy() -> None:
    values = np.random.default_rng(0).random((9, 1))
    for level in (0.0, 0.1, 1 / 3, 1e9):  # the mean of nine times 1/3 is not 1/3 exactly
        flat = np.full((9, 1), level)
        for truth, prediction in ((flat, values), (values, flat), (flat, flat)):
            assert np.isnan(pearson(truth, prediction)[0])
            assert np.isnan(scipy.stats.pearsonr(truth[:, 0], prediction[:, 0]).statistic)
    assert np.isnan(pearson(values[:1], values[1:2])[0]) and np.isnan(pearson(values[:0], values[:0])[0])


@pytest.mark.filterwarnings("ignore::scipy.stats.NearConstantInputWarning")
@pytest.mark.parametrize("level", [0.0, 0.5, -3.0])
def test_pearson_of_nearly_constant_columns(level: float) -> None:
    """Above a millionth of the level a column counts as varying and agrees with scipy; below it has no r."""
    rng = np.random.default_rng(1)
    truth, noise = rng.random((200, 1)), rng.normal(size=(200, 1))
    for spread in (1e-2, 1e-4, 1e-5):
        prediction = level + spread * (truth + noise)
        expected = scipy.stats.pearsonr(truth[:, 0], truth[:, 0] + noise[:, 0]).statistic
        assert pearson(truth, prediction)[0] == pytest.approx(expected, abs=1e-9)
        assert pearson(truth, prediction)[0] == pytest.approx(
            scipy.stats.pearsonr(truth[:, 0], prediction[:, 0]).statistic, abs=1e-12
        )
    for spread in (1e-8, 1e-12):
        assert np.isnan(pearson(truth, level + spread * noise)[0]) == (level != 0.0)
    # What float32 makes of a constant: the last bit differs here and there.
    flipped = np.float32(level) + np.where(noise > 0, np.spacing(np.float32(level)), 0)
    assert np.isnan(pearson(truth, flipped)[0]) == (level != 0.0)


def test_pearson_of_very_few_clips() -> None:
    truth = np.array([[0.0, 0.5], [1.0, 0.5]])
    assert pearson(truth, np.array([[3.0, 1.0], [4.0, 2.0]])).tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert pearson(truth, np.array([[4.0, 1.0], [3.0, 2.0]]))[0] == pytest.approx(-1.0)


def test_constant_columns() -> None:
    values = np.array([[0.3, 0.3, 0.1], [0.3, 0.3 + 1e-9, 0.2], [0.3, 0.3, 0.3]])
    assert is_constant(values).tolist() == [True, True, False]
    assert is_constant(values * 1e-12).tolist() == [True, True, False]  # the scale does not matter
    assert np.isnan(pearson(values, np.random.default_rng(0).random((3, 3)))).tolist() == [True, True, False]


def test_a_constant_truth_is_left_out_and_said() -> None:
    rng = np.random.default_rng(2)
    truth, prediction = rng.random((30, 6)), rng.random((30, 6))
    truth[:, 3] = 0.0
    scores = score(EMI, truth, prediction)
    assert scores.left_out == ("Empathic Pain",)
    assert scores.mean_pearson == pytest.approx(np.delete(pearson(truth, prediction), 3).mean())
    assert scores.remark.startswith("mean of 5")


def test_a_constant_prediction_is_an_error() -> None:
    rng = np.random.default_rng(3)
    truth, prediction = rng.random((30, 6)), rng.random((30, 6))
    prediction[:, 0] = 0.5
    scores = score(EMI, truth, prediction)
    assert np.isnan(scores.mean_pearson)
    with pytest.raises(AbawkitError, match="Admiration is constant"):
        scores.require_defined("run x")


def test_the_score_is_over_the_whole_split_not_over_batches() -> None:
    # Two batches with opposite levels: r within each is -1, over the whole split nearly 1.
    truth = np.array([[0.0], [0.1], [0.9], [1.0]])
    prediction = np.array([[0.1], [0.0], [1.0], [0.9]])
    assert pearson(truth[:2], prediction[:2])[0] == pytest.approx(-1)
    assert pearson(truth, prediction)[0] > 0.95


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_macro_f1_is_sklearns() -> None:
    rng = np.random.default_rng(4)
    truth, prediction = rng.integers(0, 2, (40, 1)).astype(float), rng.random((40, 1))
    expected = f1_score(truth[:, 0], prediction[:, 0] >= 0.5, average="macro")
    assert f1(truth, prediction)[0] == pytest.approx(expected)
    assert score(BINARY, truth, prediction).primary == pytest.approx(expected)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="must be the same"):
        pearson(np.zeros((3, 6)), np.zeros((3, 5)))
