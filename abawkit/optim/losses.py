"""Losses: terms with weights, each on the prediction or on the head of one slot (paper Sec. 4.5, Eq. 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from abawkit.models.network import Output

#: As the authors' script: keeps the quotient finite in a batch whose truth and prediction are the same constant.
_EPSILON = 1e-8
#: Below this variance of truth or prediction a batch has no Pearson r.
_NO_VARIANCE = 1e-10


class LossTerm(Protocol):
    """One term of a loss: a frozen dataclass that a system's TOML fills in."""

    @property
    def kind(self) -> str:
        """The name in a system's TOML."""

    @property
    def weight(self) -> float:
        """What the term is multiplied with in the sum."""

    @property
    def on(self) -> str:
        """``prediction``, or the slot whose head the term judges."""

    def __call__(self, output: Output, truth: Tensor, present: Mapping[str, Tensor]) -> Tensor:
        """Returns the unweighted term, a scalar.

        Args:
            output: What the network gave, float32.
            truth: ``[B, E]``.
            present: Slot → ``bool [B]``.
        """


@dataclass(frozen=True)
class _Term:
    """A term that compares a prediction with the truth.

    Attributes:
        weight: What the term is multiplied with in the sum.
        on: ``prediction``, or the slot whose head it judges.
    """

    weight: float = 1.0
    on: str = "prediction"

    def __call__(self, output: Output, truth: Tensor, present: Mapping[str, Tensor]) -> Tensor:
        """Returns the unweighted term, a scalar."""
        return self.value(truth, output.prediction if self.on == "prediction" else output.heads[self.on])

    def value(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Returns the loss of predictions ``[B, E]``, a scalar."""
        raise NotImplementedError


@dataclass(frozen=True)
class CccMse(_Term):
    """The paper's loss: ``α · (1 − CCC averaged over the targets) + (1 − α) · MSE`` (Eq. 1).

    Attributes:
        kind: ``ccc_mse``.
        alpha: Share of the CCC term, in [0, 1] (paper: .7).
    """

    kind: Literal["ccc_mse"] = "ccc_mse"
    alpha: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], not {self.alpha}")

    def value(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        loss: Tensor = _CccMse.apply(prediction, truth, self.alpha)  # type: ignore[no-untyped-call]
        return loss


@dataclass(frozen=True)
class Mse(_Term):
    """The mean squared error."""

    kind: Literal["mse"] = "mse"

    def value(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        return torch.mean((truth - prediction) ** 2)


@dataclass(frozen=True)
class Pearson(_Term):
    """One minus the batch's Pearson r, averaged over the targets; a target without variance counts as r = 0.

    A batch's r is a loss, never a score: the mean of batches' r is not the r of the whole.
    """

    kind: Literal["pearson"] = "pearson"

    def value(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        t, p = truth - truth.mean(dim=0), prediction - prediction.mean(dim=0)
        t_square, p_square = (t * t).mean(dim=0), (p * p).mean(dim=0)
        defined = (t_square > _NO_VARIANCE) & (p_square > _NO_VARIANCE)
        # The inner where keeps the square root's gradient finite in the branch that is not taken.
        below = torch.sqrt(torch.where(defined, t_square * p_square, 1.0))
        r = torch.where(defined, (t * p).mean(dim=0) / below, 0.0)
        return 1 - r.mean()


#: The kinds that are part of the package; the entry points ``abawkit.losses`` add others.
KINDS: tuple[type, ...] = (CccMse, Mse, Pearson)


def total_loss(terms: Sequence[LossTerm], output: Output, truth: Tensor, present: Mapping[str, Tensor]) -> Tensor:
    """Returns the weighted sum of the terms, a scalar."""
    parts = [
        term(output, truth, present) if term.weight == 1 else term.weight * term(output, truth, present)
        for term in terms
    ]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def _moments(truth: Tensor, prediction: Tensor) -> tuple[Tensor, ...]:
    """Returns centred truth and prediction ``[B, E]``, difference of the means, CCC and its denominator ``[E]``."""
    t_mean, p_mean = truth.mean(dim=0), prediction.mean(dim=0)
    t, p = truth - t_mean, prediction - p_mean
    shift = t_mean - p_mean
    below = (t * t).mean(dim=0) + (p * p).mean(dim=0) + shift * shift + _EPSILON
    return t, p, shift, 2 * (t * p).mean(dim=0) / below, below


def ccc_per_target(truth: Tensor, prediction: Tensor) -> Tensor:
    """Returns the concordance correlation coefficient of a batch per target, ``[E]``, with population moments.

    A target that is constant in the batch has CCC 0 (unless the prediction is constant too, when it is near 0).

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> ccc_per_target(x, x).round(decimals=3)
    tensor([1.])
    """
    return _moments(truth, prediction)[3]


class _CccMse(torch.autograd.Function):
    """Eq. 1 with its gradient in closed form: ten operations a step instead of some sixty.

    For one target with n samples, centred truth t̃ and prediction p̃, shift = mean(t) − mean(p) and the denominator
    d = var(t) + var(p) + shift²: ``CCC = 2 mean(t̃ p̃) / d`` and ``∂CCC/∂p = 2/(n d) · (t̃ − CCC · (p̃ − shift))``.
    """

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, truth: Tensor, alpha: float) -> Tensor:
        t, p, shift, ccc, below = _moments(truth, prediction)
        error = prediction - truth
        count = prediction.numel()
        towards = (2 * (1 - alpha) / count) * error
        ctx.save_for_backward(towards.sub_((2 * alpha / count) / below * (t - ccc * (p - shift))))
        return alpha * (1 - ccc.mean()) + (1 - alpha) * (error * error).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (towards,) = ctx.saved_tensors
        return towards * gradient, None, None
