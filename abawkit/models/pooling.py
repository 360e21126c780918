"""Attention pooling over ragged clips: every clip pays for its own frames, and no padding exists.

Paper Sec. 4.4: a linear scorer gives one score per frame, a softmax over the clip's time turns them into weights,
and the weighted sum of the frames is the clip's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _AttentionPool(torch.autograd.Function):
    """``y = pᵀX`` with ``p = softmax(Xw + b)`` per clip, and its gradient for ``w`` and ``b``.

    With ``g`` the gradient for ``y``: ``dw = Xᵀ(p ∘ (Xg − g·y))``. The bias moves every score of a clip alike, so
    the softmax does not see it and its gradient is zero. The frames are data and get no gradient, which spares
    their float32 copy: each clip is converted twice, and stays in the cache meanwhile.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, *frames: Tensor) -> Tensor:
        pooled = weight.new_zeros(len(frames), weight.shape[0])  # [B, D]; a clip without frames stays zero
        shares = []
        for row, clip in enumerate(frames):
            values = clip.to(weight.dtype)  # [T, D]
            share = torch.softmax(values @ weight + bias, dim=0) if len(values) else values.new_zeros(0)  # [T]
            if len(values):
                pooled[row] = share @ values
            shares.append(share)
        ctx.save_for_backward(weight, pooled, *shares)
        ctx.frames = frames
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, pooled, *shares = ctx.saved_tensors
        d_weight = torch.zeros_like(weight)
        towards = (gradient * pooled).sum(dim=1)  # [B]: g·y of each clip
        for row, clip in enumerate(ctx.frames):
            if len(clip):
                values = clip.to(weight.dtype)
                d_weight += (shares[row] * (values @ gradient[row] - towards[row])) @ values
        return d_weight, weight.new_zeros(()), *[None for _ in ctx.frames]


def attention_pool(frames: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Returns one vector per clip, ``[B, D]`` in the dtype of ``weight``.

    Args:
        frames: B tensors ``[T_i, D]`` of any floating dtype; a clip may have no frames: its vector is zero.
        weight: The scorer's weight ``[D]``.
        bias: The scorer's bias, a scalar; the softmax cancels it.

    >>> attention_pool([torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.zeros(0, 2)], torch.zeros(2), torch.zeros(()))
    tensor([[2., 0.],
            [0., 0.]])
    """
    pooled: Tensor = _AttentionPool.apply(weight, bias, *frames)  # type: ignore[no-untyped-call]
    return pooled
