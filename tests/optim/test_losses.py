"""The losses against ``tests/plain.py`` and scipy, in float64."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor

from abawkit.models.network import Output
from abawkit.optim.losses import CccMse, Mse, Pearson, ccc_per_target, total_loss
from tests import plain


def tied(clips: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(clips)
    return tuple(torch.rand(clips, 6, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def batches() -> Mapping[str, tuple[Tensor, Tensor]]:
    """Truth and predictions, as they come in batches and worse."""
    usual, prediction = tied(16)
    zero_column = usual.clone()
    zero_column[:, 3] = 0.0  # nobody sees Empathic Pain in most batches
    nearly = torch.full_like(prediction, 0.5) + 1e-7 * prediction
    return {
        "usual": (usual, prediction),
        "a constant truth": (zero_column, prediction),
        "a nearly constant prediction": (usual, nearly),
        "both constant": (torch.zeros_like(usual), torch.full_like(usual, 0.25)),
        "two clips": tied(2),
        "one clip": tied(1),
        "far from [0, 1]": (usual, prediction * 1e4 - 5e3),
    }


@pytest.mark.parametrize("kind", list(batches()))
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_the_loss_and_its_gradient_are_equation_1(kind: str, alpha: float) -> None:
    target, prediction = batches()[kind]
    prediction.requires_grad_()
    ours, expected = CccMse(alpha=alpha).value(target, prediction), plain.loss(target, prediction, alpha)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad(ours, prediction)
    assert bool(torch.isfinite(gradient).all())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, prediction)[0], rtol=1e-9, atol=1e-10)


def test_a_target_that_is_constant_in_a_batch_has_no_concordance() -> None:
    assert ccc_per_target(torch.zeros(16, 6), torch.rand(16, 6)).tolist() == [0.0] * 6


def test_a_batch_of_one_has_only_its_square() -> None:
    loss = CccMse().value(torch.tensor([[0.5]]), torch.tensor([[0.25]]))
    assert float(loss) == pytest.approx(0.7 + 0.3 * 0.0625, abs=1e-5)


def output(prediction: Tensor, **heads: Tensor) -> Output:
    return Output(prediction, heads, {})


def test_the_gradient_in_closed_form_passes_gradcheck() -> None:
    target, prediction = tied(7)
    assert torch.autograd.gradcheck(lambda p: CccMse().value(target, p), prediction.requires_grad_())


def test_pearson_is_that_of_scipy() -> None:
    target, prediction = tied(16)
    expected = 1 - np.mean([pearsonr(target[:, e], prediction[:, e]).statistic for e in range(6)])
    assert float(Pearson().value(target, prediction)) == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(lambda p: Pearson().value(target, p), prediction.requires_grad_())


@pytest.mark.parametrize("kind", ["a constant truth", "both constant", "one clip"])
def test_pearson_without_variance_counts_as_zero(kind: str) -> None:
    target, prediction = (values.clone() for values in batches()[kind])
    prediction.requires_grad_()
    loss = Pearson().value(target, prediction)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert bool(torch.isfinite(loss)) and bool(torch.isfinite(gradient).all())
    if kind != "a constant truth":
        assert float(loss.detach()) == 1.0
    else:
        assert gradient[:, 3].tolist() == [0.0] * 16


def test_terms_are_weighted_and_summed_and_can_judge_a_head() -> None:
    (target, prediction), (_, head) = tied(16), tied(9)
    head = torch.cat([head, head[:7]])
    terms = [Mse(), Pearson(weight=0.25), Mse(weight=0.5, on="audio")]
    found = total_loss(terms, output(prediction, audio=head), target, {})
    expected = ((target - prediction) ** 2).mean() + 0.25 * Pearson().value(target, prediction)
    expected = expected + 0.5 * ((target - head) ** 2).mean()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["constant", "nearly constant"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pearson_of_a_constant_prediction_counts_as_zero(kind: str, dtype: torch.dtype) -> None:
    target, prediction = (values.to(dtype) for values in tied(16))
    level = prediction[:, 2] * 1e-6 if kind == "nearly constant" else 0.0
    prediction[:, 2] = 0.1 + level  # variance below 1e-10
    prediction.requires_grad_()
    loss = Pearson().value(target, prediction)
    (gradient,) = torch.autograd.grad(loss, prediction)
    rest = [e for e in range(6) if e != 2]
    r = [pearsonr(target[:, e], prediction.detach()[:, e]).statistic for e in rest]
    assert float(loss.detach()) == pytest.approx(1 - sum(r) / 6, abs=1e-6)
    assert bool(torch.isfinite(gradient).all()) and gradient[:, 2].tolist() == [0.0] * 16
