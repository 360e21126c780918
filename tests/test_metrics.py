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


def test_ccc_is_the_formula_written_another_way() -> None:
    rng = np.random.default_rng(1)
    truth, prediction = rng.random((50, 3)), rng.random((50, 3)) * 0.5 + 0.2
    for e in range(3):
        t, p = truth[:, e], prediction[:, e]
        rho = np.corrcoef(t, p)[0, 1]
        expected = 2 * rho * np.std(t) * np.std(p) / (np.var(t) + np.var(p) + (np.mean(t) - np.mean(p)) ** 2)
        assert ccc(truth, prediction)[e] == pytest.approx(expected, abs=1e-12)


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
