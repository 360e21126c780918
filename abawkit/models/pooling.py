"""Attention pooling over ragged clips: every clip pays for its own frames, and no padding exists.

Paper Sec. 4.4: a linear scorer gives one score per frame, a softmax over the clip's time turns them into weights,
and the weighted sum of the frames is the clip's vector. On the processor a compiled kernel does it clip by clip; on a
GPU, where launches cost more than arithmetic, a batch is done as a whole by torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from abawkit.models.kernels import pool_clip, pool_clip_gradient


def attention_pool(frames: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Returns one vector per clip, ``[B, D]`` in the dtype of ``weight``.

    Args:
        frames: B tensors ``[T_i, D]`` of any floating dtype; a clip may have no frames: its vector is zero. They are
            data and get no gradient.
        weight: The scorer's weight ``[D]``, float32 or float64.
        bias: The scorer's bias, a scalar; the softmax cancels it, so its gradient is zero.

    >>> attention_pool([torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.zeros(0, 2)], torch.zeros(2), torch.zeros(()))
    tensor([[2., 0.],
            [0., 0.]])
    """
    if weight.device.type == "cpu":
        pooled: Tensor = _ClipByClip.apply(weight, bias, frames)  # type: ignore[no-untyped-call]
        return pooled
    return pool_together(frames, weight, bias)


def pool_together(frames: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Returns what :func:`attention_pool` returns, computed for all clips at once, on any device.

    The frames of all clips follow one another, ``[ΣT, D]``; the scores lie in a matrix ``[B, ΣT]`` that is −∞ outside
    each clip's own frames, so that softmax and sum are one operation each for the whole batch.
    """
    lengths = torch.tensor([len(clip) for clip in frames])
    whole = torch.cat(list(frames)).to(weight.dtype)  # [ΣT, D]
    if not len(whole):
        return weight.new_zeros(len(frames), len(weight))
    clip = torch.repeat_interleave(torch.arange(len(frames)), lengths).to(weight.device, non_blocking=True)
    own = clip == torch.arange(len(frames), device=weight.device)[:, None]  # [B, ΣT]
    scores = (whole @ weight + bias).masked_fill(~own, float("-inf"))  # [B, ΣT]
    empty = (lengths == 0).to(weight.device, non_blocking=True)[:, None]
    share = torch.softmax(scores.masked_fill(empty, 0.0), dim=1).masked_fill(empty, 0.0)
    return share @ whole  # [B, D]


class _ClipByClip(torch.autograd.Function):
    """``y = pᵀX`` with ``p = softmax(Xw + b)`` per clip, and its gradient ``dw = Xᵀ(p ∘ (Xg − g·y))``."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, frames: Sequence[Tensor]) -> Tensor:
        clips = [_bits(clip, len(weight)) for clip in frames]
        pooled = np.zeros((len(clips), len(weight)), weight.detach().numpy().dtype)  # [B, D]; no frames: zero
        shares = [np.empty(len(clip), pooled.dtype) for clip in clips]
        w, b = weight.detach().contiguous().numpy(), pooled.dtype.type(bias.item())

        def pool(row: int) -> None:
            if len(clips[row]):
                pool_clip(clips[row], w, b, pooled[row], shares[row])

        _each(pool, len(clips))
        result = torch.from_numpy(pooled)
        ctx.save_for_backward(result)
        ctx.clips, ctx.shares = clips, shares
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (pooled,) = ctx.saved_tensors
        towards = (gradient * pooled).sum(dim=1).numpy()  # [B]: g·y of each clip
        g = gradient.contiguous().numpy()
        parts = np.zeros_like(g)  # [B, D]: each clip's share of the sum, whose order does not depend on threads

        def derive(row: int) -> None:
            if len(ctx.clips[row]):
                pool_clip_gradient(ctx.clips[row], g[row], ctx.shares[row], towards[row], parts[row])

        _each(derive, len(ctx.clips))
        return torch.from_numpy(parts.sum(axis=0)), gradient.new_zeros(()), None


def _bits(clip: Tensor, dim: int) -> NDArray[Any]:
    """Returns a clip's frames as the kernels take them, which check nothing: float16 as its bits."""
    if clip.ndim != 2 or clip.shape[1] != dim or clip.device.type != "cpu":
        raise ValueError(f"frames of shape {tuple(clip.shape)} on {clip.device}, expected [T, {dim}] on the CPU")
    if clip.dtype == torch.float16:
        return clip.view(torch.uint16).numpy()
    return clip.contiguous().numpy()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="pooling")


def _each(work: Callable[[int], None], count: int) -> None:
    """Calls ``work`` for each row, in as many threads as torch uses."""
    threads = min(torch.get_num_threads(), count)
    if threads < 2:
        for row in range(count):
            work(row)
        return

    def some(first: int) -> None:
        for row in range(first, count, threads):
            work(row)

    for _ in _threads(threads).map(some, range(threads)):
        pass
