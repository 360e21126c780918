"""From the frames of a clip to one vector: statistics over time, and attention pooling (paper Sec. 4.4).

Clips are ragged: each pays for its own frames, and no padding exists. On the processor clips are pooled one by one,
converted to the weights' dtype in one buffer that stays in the cache; on a GPU, where launches cost more than
arithmetic, a batch is pooled as a whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from abawkit.models.clips import Packed

_local = threading.local()

#: Values between two rows of the buffer beyond their own: rows 4 KiB apart (1,024 values) would share few places of the
#: processor's first cache, and products with them take half as long again.
_GAP = 16


def _converted(frames: Sequence[Tensor], dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
    """Yields row and frames ``[T, D]`` in ``dtype`` of each clip that has any; good until the next one is asked for."""
    width = (frames[0].shape[1] + _GAP) if frames else 0
    longest = max((len(clip) for clip in frames), default=0)
    buffers: dict[torch.dtype, Tensor] = _local.__dict__.setdefault("buffers", {})
    if dtype not in buffers or buffers[dtype].numel() < longest * width:
        # Not an inference tensor, which a later training step could not write to.
        with torch.inference_mode(False):
            buffers[dtype] = torch.empty(longest * width, dtype=dtype)
    for row, clip in enumerate(frames):
        if len(clip):
            own = buffers[dtype][: len(clip) * width].view(len(clip), width)
            yield row, own[:, : clip.shape[1]].copy_(clip)


def statistics(clips: Packed, names: Sequence[str], dtype: torch.dtype) -> Tensor:
    """Returns statistics of each clip over time, ``[B, len(names) · D]``; absent clips count as one filler frame.

    Args:
        clips: B clips of frames ``[T_i, D]``.
        names: Any of ``mean``, ``std`` (population; 0 for one frame), ``min``, ``max``, in the order of the result.
        dtype: Of the result.

    >>> statistics(Packed.of([torch.tensor([[1.0], [3.0]])]), ["mean", "std", "max"], torch.float32)
    tensor([[2., 1., 3.]])
    """
    of = {
        "mean": lambda x: x.mean(dim=0),
        "std": lambda x: x.std(dim=0, correction=0),
        "min": lambda x: x.amin(dim=0),
        "max": lambda x: x.amax(dim=0),
    }
    made = torch.zeros(len(names), len(clips), clips.dim, dtype=dtype, device=clips.device)
    with torch.no_grad():  # frames are data
        here = _converted(clips.frames, dtype) if clips.device.type == "cpu" else enumerate(clips.frames)
        for row, frames in here:
            if len(frames):
                for number, name in enumerate(names):
                    made[number, row] = of[name](frames.to(dtype))
    filler = clips.fill(made[0]) if clips.filler is not None else None
    parts = []
    for name, values in zip(names, made, strict=True):
        if name == "std" or filler is None:
            parts.append(torch.where(clips.present[:, None], values, 0.0))
        else:
            parts.append(torch.where(clips.present[:, None], values, filler))
    return torch.cat(parts, dim=1)


def attention_pool(clips: Packed, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns the attention-weighted mean of each clip's frames, ``[B, D]`` in the dtype of ``weight`` (Sec. 4.4).

    With the scores ``s = X w + b`` of a clip's frames X ``[T, D]``: ``y = softmax(s)ᵀ X``. The vector of an absent clip
    is the filler (one frame has the weight 1).

    Args:
        clips: B clips.
        weight: The scorer's weight ``[D]``, float32 or float64.
        bias: The scorer's bias, a scalar. The softmax cancels it, so its gradient is zero.

    >>> attention_pool(Packed.of([torch.tensor([[1.0, 0.0], [3.0, 0.0]])]), torch.zeros(2), torch.zeros(()))
    tensor([[2., 0.]])
    """
    if clips.device.type == "cpu":
        pooled: Tensor = _ClipByClip.apply(weight, bias, clips.frames)  # type: ignore[no-untyped-call]
    else:
        pooled = pool_joined(clips, weight, bias)
    return clips.fill(pooled)


class _ClipByClip(torch.autograd.Function):
    """Attention pooling with its gradient in closed form; each frame is read once forward and once backward.

    For one clip with ``p = softmax(X w)``, ``y = pᵀ X`` and the gradient g of the loss for y:
    ``∂L/∂p = X g``, ``∂L/∂s = p ∘ (X g − pᵀ X g) = p ∘ (X g − g·y)``, ``∂L/∂w = Xᵀ ∂L/∂s``.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, frames: Sequence[Tensor]) -> Tensor:
        pooled = weight.new_zeros(len(frames), len(weight))
        shares: dict[int, Tensor] = {}
        for row, clip in _converted(frames, weight.dtype):
            shares[row] = torch.softmax(torch.mv(clip, weight), dim=0)
            torch.mv(clip.t(), shares[row], out=pooled[row])
        ctx.frames, ctx.shares = frames, shares
        ctx.save_for_backward(pooled)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (pooled,) = ctx.saved_tensors
        towards = (gradient * pooled).sum(dim=1)  # g·y of each clip
        found = gradient.new_zeros(gradient.shape[1])
        for row, clip in _converted(ctx.frames, gradient.dtype):
            score = torch.mv(clip, gradient[row]).sub_(towards[row]).mul_(ctx.shares[row])
            found.addmv_(clip.t(), score)
        return found, gradient.new_zeros(()), None


def pool_joined(clips: Packed, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns what :func:`attention_pool` returns, for all clips at once and on any device; zeros without frames.

    The scores lie in a matrix ``[B, ΣT]`` that is −∞ outside each clip's own frames, so that softmax and sum are one
    operation each for the whole batch.
    """
    whole = clips if clips.values is not None else Packed.joined(clips.frames)
    assert whole.values is not None and whole.clip is not None
    frames = whole.values.to(weight.dtype)  # [ΣT, D]
    if not len(frames):
        return weight.new_zeros(len(clips), len(weight))
    own = whole.clip == torch.arange(len(clips), device=weight.device)[:, None]  # [B, ΣT]
    scores = (frames @ weight + bias.detach()).masked_fill(~own, float("-inf"))  # [B, ΣT]
    empty = ~own.any(dim=1, keepdim=True)
    share = torch.softmax(scores.masked_fill(empty, 0.0), dim=1).masked_fill(empty, 0.0)
    return share @ frames  # [B, D]
