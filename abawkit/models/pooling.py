"""Attention pooling over ragged clips: every clip pays for its own frames, and no padding exists.

Paper Sec. 4.4: a linear scorer gives one score per frame, a softmax over the clip's time turns them into weights,
and the weighted sum of the frames is the clip's vector. On the processor a compiled kernel does it clip by clip; on a
GPU, where launches cost more than arithmetic, a batch is done as a whole by torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from abawkit.models.kernels import pool, pool_gradient


@dataclass(frozen=True)
class Packed(Sequence[Tensor]):
    """B clips whose frames follow one another in one tensor; to what takes them one by one, a sequence of views.

    Attributes:
        values: The frames of all clips, ``[ΣT, D]``.
        clip: Which clip each frame is of, ``int64 [ΣT]`` from 0.
        empty: Which clips have no frames, ``bool [B]``.
        lengths: Frames per clip, known to the processor without asking the device.

    >>> two = Packed.of([torch.zeros(2, 3), torch.zeros(0, 3)])
    >>> two.clip, two.empty, len(two[0])
    (tensor([0, 0]), tensor([False,  True]), 2)
    """

    values: Tensor
    clip: Tensor
    empty: Tensor
    lengths: Sequence[int]

    @classmethod
    def of(cls, frames: Sequence[Tensor]) -> Packed:
        """Returns clips ``[T_i, D]`` packed, on their device."""
        lengths = torch.tensor([len(clip) for clip in frames])
        clip = torch.repeat_interleave(torch.arange(len(frames)), lengths)
        whole = torch.cat(list(frames))
        there = [made.to(whole.device, non_blocking=True) for made in (clip, lengths == 0)]
        return cls(whole, there[0], there[1], lengths.tolist())

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        views: Sequence[Tensor] = torch.split(self.values, list(self.lengths))
        return views[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self[:])


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
        pooled: Tensor = _ClipByClip.apply(weight, bias, list(frames))  # type: ignore[no-untyped-call]
        return pooled
    return pool_together(frames, weight, bias)


def pool_together(frames: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Returns what :func:`attention_pool` returns, computed for all clips at once, on any device.

    The frames of all clips follow one another, ``[ΣT, D]``; the scores lie in a matrix ``[B, ΣT]`` that is −∞ outside
    each clip's own frames, so that softmax and sum are one operation each for the whole batch.
    """
    packed = frames if isinstance(frames, Packed) else Packed.of(frames)
    whole = packed.values.to(weight.dtype)  # [ΣT, D]
    if not len(whole):
        return weight.new_zeros(len(packed), len(weight))
    own = packed.clip == torch.arange(len(packed), device=weight.device)[:, None]  # [B, ΣT]
    scores = (whole @ weight + bias.detach()).masked_fill(~own, float("-inf"))  # [B, ΣT]
    empty = packed.empty[:, None]
    share = torch.softmax(scores.masked_fill(empty, 0.0), dim=1).masked_fill(empty, 0.0)
    return share @ whole  # [B, D]


class _ClipByClip(torch.autograd.Function):
    """``y = pᵀX`` with ``p = softmax(Xw + b)`` per clip, and its gradient ``dw = Xᵀ(p ∘ (Xg − g·y))``."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, frames: Sequence[Tensor]) -> Tensor:
        ctx.pooling = Pooling(frames, weight.detach().contiguous().numpy(), bias.item(), len(frames))
        return torch.from_numpy(ctx.pooling.pooled)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.pooling.weight_gradient(gradient.contiguous().numpy())
        return torch.from_numpy(found), gradient.new_zeros(()), None


class Pooling:
    """The clips of a batch pooled by the kernels, which take the clips where they lie in memory.

    Args:
        frames: B tensors ``[T_i, D]`` of one dtype on the CPU.
        weight: The scorer's weight ``[D]``, float32 or float64.
        bias: The scorer's bias.
        rows: At least B; ``pooled`` has so many rows.

    Attributes:
        pooled: ``[rows, D]`` in the dtype of ``weight``; zero for a clip without frames, and after the last clip.

    Raises:
        ValueError: The frames are of another shape, on another device, or not of one dtype.
    """

    def __init__(self, frames: Sequence[Tensor], weight: NDArray[Any], bias: float, rows: int) -> None:
        dim = len(weight)
        for clip in frames:  # the kernels check nothing
            if clip.ndim != 2 or clip.shape[1] != dim or clip.device.type != "cpu" or clip.dtype != frames[0].dtype:
                got = f"{clip.dtype} {tuple(clip.shape)} on {clip.device}"
                raise ValueError(f"frames {got}, expected {frames[0].dtype} [T, {dim}] on the CPU")
        clips = [clip.contiguous() for clip in frames]
        self._alive = clips  # the addresses below are only good as long as the clips are there
        self._addresses = np.array([clip.data_ptr() for clip in clips], np.int64)
        self._starts = np.zeros(len(clips) + 1, np.int64)
        np.cumsum([clip.shape[0] for clip in clips], out=self._starts[1:])
        self._like = _LIKE[clips[0].dtype] if clips else _LIKE[torch.float32]
        self._share = np.empty(self._starts[-1], weight.dtype)
        self.pooled = np.zeros((rows, dim), weight.dtype)
        bias = weight.dtype.type(bias)
        pool(self._addresses, self._starts, self._like, weight, bias, self.pooled, self._share)

    def weight_gradient(self, gradient: NDArray[Any]) -> NDArray[Any]:
        """Returns the gradient for the scorer's weight ``[D]``, of one for the pooled vectors ``[rows, D]``."""
        towards = np.einsum("bd,bd->b", gradient, self.pooled)  # g·y of each clip
        parts = np.zeros_like(gradient)
        pool_gradient(self._addresses, self._starts, self._like, gradient, self._share, towards, parts)
        found: NDArray[Any] = parts.sum(axis=0)
        return found


#: What tells the kernels the type of the frames; float16 goes as its bits.
_LIKE: dict[torch.dtype, NDArray[Any]] = {
    torch.float16: np.empty(0, np.uint16),
    torch.float32: np.empty(0, np.float32),
    torch.float64: np.empty(0, np.float64),
}
