"""The training loss (paper Sec. 4.5, Eq. 1)."""

from __future__ import annotations

import torch
from torch import Tensor

# As the authors' script: keeps the quotient finite in a batch whose truth and prediction are the same constant.
_EPSILON = 1e-8


def ccc_per_target(truth: Tensor, prediction: Tensor) -> Tensor:
    """Returns the concordance correlation coefficient of a batch per target, ``[E]``, with population moments.

    A target that is constant in the batch has CCC 0 (unless the prediction is constant too, when it is near 0).

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> ccc_per_target(x, x).round(decimals=3)
    tensor([1.])
    """
    t, p = truth - truth.mean(dim=0), prediction - prediction.mean(dim=0)
    shift = truth.mean(dim=0) - prediction.mean(dim=0)
    below = (t * t).mean(dim=0) + (p * p).mean(dim=0) + shift * shift
    return 2 * (t * p).mean(dim=0) / (below + _EPSILON)


def ccc_mse_loss(truth: Tensor, prediction: Tensor, alpha: float) -> Tensor:
    """Returns ``alpha · (1 − CCC averaged over the targets) + (1 − alpha) · MSE``, a scalar (Eq. 1).

    Args:
        truth: ``[B, E]``.
        prediction: ``[B, E]``.
        alpha: Share of the CCC term, in [0, 1] (paper: .7).
    """
    ccc = ccc_per_target(truth, prediction).mean()
    return alpha * (1 - ccc) + (1 - alpha) * torch.mean((truth - prediction) ** 2)
