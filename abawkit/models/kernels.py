"""Attention pooling on the processor, compiled: every frame is read once and converted in registers.

With torch, a pass over a clip converts its float16 frames into memory and reads them back twice; that is five times
slower. The kernels are compiled when they are first called (seconds) and kept on disk by numba. They let go of the
interpreter's lock, so that threads can each do some clips.
Clips lie anywhere in memory, so that a batch is given by addresses: one call costs less than one per clip.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import carray, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from abawkit.jit import F, jit

#: What may be rearranged: sums, but nothing that would lose a nan.
_LOOSE = frozenset({"contract", "reassoc", "nsz", "arcp"})


def compiled(function: F) -> F:
    """Returns the function, compiled when it is called, with sums in any order; see :func:`abawkit.jit.jit`."""
    return jit(function, fastmath=_LOOSE)


@intrinsic  # type: ignore[untyped-decorator]
def _number(typing: Any, value: Any) -> Any:
    """Returns a frame's value: of the bits of a float16 (``uint16``) a float32, of anything else itself."""
    if value == types.uint16:

        def from_half(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

        return types.float32(value), from_half

    def same(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return value(value), same


@intrinsic  # type: ignore[untyped-decorator]
def pointer(typing: Any, address: Any, like: Any) -> Any:
    """Returns an address as a pointer to values of the type of those in the array ``like``."""

    def to_pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(address, like), to_pointer


@compiled
def _four(
    frames: NDArray[Any], start: int, weight: NDArray[Any], first: float, block: NDArray[Any]
) -> tuple[float, float, float, float]:
    """Returns ``first`` plus the product with ``weight`` of four frames, and writes the frames into ``block``.

    After the last frame it stands in; its weight is the caller's business.
    """
    last = len(frames) - 1
    x0, x1 = frames[start], frames[min(start + 1, last)]
    x2, x3 = frames[min(start + 2, last)], frames[min(start + 3, last)]
    b0, b1, b2, b3 = block[0], block[1], block[2], block[3]
    s0, s1, s2, s3 = first, first, first, first
    for d in range(weight.size):
        v0, v1, v2, v3 = _number(x0[d]), _number(x1[d]), _number(x2[d]), _number(x3[d])
        b0[d], b1[d], b2[d], b3[d] = v0, v1, v2, v3
        s0 += v0 * weight[d]
        s1 += v1 * weight[d]
        s2 += v2 * weight[d]
        s3 += v3 * weight[d]
    return s0, s1, s2, s3


@compiled
def pool_clip(
    frames: NDArray[Any], weight: NDArray[Any], bias: float, pooled: NDArray[Any], share: NDArray[Any]
) -> None:
    """Writes ``pᵀX`` with ``p = softmax(Xw + b)`` into ``pooled``, and ``p`` into ``share``.

    Args:
        frames: X ``[T, D]``: float32, float64, or the bits of float16 as uint16; T at least 1.
        weight: w ``[D]``, float32 or float64.
        bias: b, of the same type.
        pooled: ``[D]``.
        share: ``[T]``.
    """
    count, dim = frames.shape
    zero = weight.dtype.type(0)
    block = np.empty((4, dim + 24), weight.dtype)  # rows apart by other than a power of two: they share no cache sets
    b0, b1, b2, b3 = block[0, :dim], block[1, :dim], block[2, :dim], block[3, :dim]
    # The largest score so far; when it grows, what has been added up is scaled down.
    largest, total = weight.dtype.type(-np.inf), zero
    pooled[:] = zero
    for start in range(0, count, 4):
        s0, s1, s2, s3 = _four(frames, start, weight, bias, block)
        top = max(max(s0, s1), max(s2, s3))
        if top > largest:
            shrink = np.exp(largest - top)
            largest = top
            total *= shrink
            for d in range(dim):
                pooled[d] *= shrink
        share[start] = s0
        p0, p1, p2, p3 = np.exp(s0 - largest), zero, zero, zero
        if start + 1 < count:
            share[start + 1] = s1
            p1 = np.exp(s1 - largest)
        if start + 2 < count:
            share[start + 2] = s2
            p2 = np.exp(s2 - largest)
        if start + 3 < count:
            share[start + 3] = s3
            p3 = np.exp(s3 - largest)
        total += p0 + p1 + p2 + p3
        for d in range(dim):
            pooled[d] += p0 * b0[d] + p1 * b1[d] + p2 * b2[d] + p3 * b3[d]
    for d in range(dim):
        pooled[d] /= total
    for frame in range(count):
        share[frame] = np.exp(share[frame] - largest) / total


@compiled
def pool_clip_gradient(
    frames: NDArray[Any], gradient: NDArray[Any], share: NDArray[Any], towards: float, weight_gradient: NDArray[Any]
) -> None:
    """Writes ``Xᵀ(p ∘ (Xg − g·y))``, the clip's gradient for w, into ``weight_gradient``.

    Args:
        frames: X, as for :func:`pool_clip`.
        gradient: g, the gradient for the pooled vector y, ``[D]``.
        share: p ``[T]``.
        towards: ``g·y``.
        weight_gradient: ``[D]``.
    """
    count, dim = frames.shape
    zero = gradient.dtype.type(0)
    block = np.empty((4, dim + 24), gradient.dtype)  # rows apart by other than a power of two: they share no cache sets
    b0, b1, b2, b3 = block[0, :dim], block[1, :dim], block[2, :dim], block[3, :dim]
    weight_gradient[:] = zero
    for start in range(0, count, 4):
        s0, s1, s2, s3 = _four(frames, start, gradient, -towards, block)
        s0 *= share[start]
        s1 *= share[start + 1] if start + 1 < count else zero
        s2 *= share[start + 2] if start + 2 < count else zero
        s3 *= share[start + 3] if start + 3 < count else zero
        for d in range(dim):
            weight_gradient[d] += s0 * b0[d] + s1 * b1[d] + s2 * b2[d] + s3 * b3[d]


@compiled
def pool(
    addresses: NDArray[Any],
    starts: NDArray[Any],
    like: NDArray[Any],
    weight: NDArray[Any],
    bias: float,
    pooled: NDArray[Any],
    share: NDArray[Any],
) -> None:
    """Writes ``pᵀX`` with ``p = softmax(Xw + b)`` of the clips of a batch into ``pooled``, and ``p`` into ``share``.

    Args:
        addresses: Where the frames X ``[T, D]`` of each clip begin in memory, ``int64 [B]``; nothing is checked.
            Of a clip without frames nothing is written.
        starts: Where each clip begins in ``share``, ``int64 [B + 1]``.
        like: An array of the frames' type: float32, float64, or uint16 for the bits of float16.
        weight: w ``[D]``, float32 or float64.
        bias: b, of the same type.
        pooled: ``[B, D]``.
        share: ``[ΣT]``.
    """
    for row in range(len(addresses)):
        first, end = starts[row], starts[row + 1]
        if end > first:
            frames = carray(pointer(addresses[row], like), (end - first, weight.size))
            pool_clip(frames, weight, bias, pooled[row], share[first:end])


@compiled
def pool_gradient(
    addresses: NDArray[Any],
    starts: NDArray[Any],
    like: NDArray[Any],
    gradient: NDArray[Any],
    share: NDArray[Any],
    towards: NDArray[Any],
    weight_gradient: NDArray[Any],
) -> None:
    """Writes ``Xᵀ(p ∘ (Xg − g·y))`` of the clips, each one's gradient for w, into ``weight_gradient``.

    Args:
        addresses: As for :func:`pool`, with ``starts`` and ``like``; of a clip without frames nothing is written.
        starts: As above.
        like: As above.
        gradient: g, the gradient for the pooled vectors y, ``[B, D]``.
        share: p ``[ΣT]``.
        towards: ``g·y``, ``[B]``.
        weight_gradient: ``[B, D]``.
    """
    for row in range(len(addresses)):
        first, end = starts[row], starts[row + 1]
        if end > first:
            frames = carray(pointer(addresses[row], like), (end - first, gradient.shape[1]))
            pool_clip_gradient(frames, gradient[row], share[first:end], towards[row], weight_gradient[row])


@intrinsic  # type: ignore[untyped-decorator]
def add_atomically(typing: Any, array: Any, index: Any, amount: Any) -> Any:
    """Adds to a value of an ``int64`` array, for all threads to see, and returns what it was; adding 0 reads it."""

    def to_add(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [arguments[1]]), arguments[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), to_add
