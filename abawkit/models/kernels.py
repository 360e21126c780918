"""Attention pooling of one clip on the processor, compiled: every frame is read once and converted in registers.

With torch, a pass over a clip converts its float16 frames into memory and reads them back twice; that is five times
slower. The kernels are compiled when they are first called (seconds) and kept on disk by numba. They let go of the
interpreter's lock, so that threads can each do a clip, and they give the same bits whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

#: Frames that are converted together; they stay in the first-level cache.
_ROWS = 4
#: What may be rearranged: sums, but nothing that would lose a nan.
_LOOSE = {"contract", "reassoc", "nsz", "arcp"}


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Returns the function, compiled when it is called; kept on disk where numba finds a place for it."""
    try:
        compiled: Callable[..., None] = njit(fastmath=_LOOSE, nogil=True, cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written to
        compiled = njit(fastmath=_LOOSE, nogil=True)(function)
    return compiled


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


@_compiled
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
    block = np.zeros((_ROWS, dim), weight.dtype)
    factor = np.zeros(_ROWS, weight.dtype)
    # The largest score so far; when it grows, what has been added up is scaled down.
    largest, total = weight.dtype.type(-np.inf), zero
    pooled[:] = zero
    for start in range(0, count, _ROWS):
        rows = min(_ROWS, count - start)
        top = largest
        for row in range(rows):
            score = zero
            for d in range(dim):
                value = _number(frames[start + row, d])
                block[row, d] = value
                score += value * weight[d]
            score += bias
            share[start + row] = score
            factor[row] = score
            top = max(top, score)
        if top > largest:
            shrink = np.exp(largest - top)
            largest = top
            total *= shrink
            for d in range(dim):
                pooled[d] *= shrink
        for row in range(rows):
            factor[row] = np.exp(factor[row] - largest)
            total += factor[row]
        for row in range(rows, _ROWS):
            factor[row] = zero
        first, second, third, fourth = factor[0], factor[1], factor[2], factor[3]
        for d in range(dim):
            pooled[d] += first * block[0, d] + second * block[1, d] + third * block[2, d] + fourth * block[3, d]
    for d in range(dim):
        pooled[d] /= total
    for frame in range(count):
        share[frame] = np.exp(share[frame] - largest) / total


@_compiled
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
    block = np.zeros((_ROWS, dim), gradient.dtype)
    factor = np.zeros(_ROWS, gradient.dtype)
    weight_gradient[:] = zero
    for start in range(0, count, _ROWS):
        rows = min(_ROWS, count - start)
        for row in range(rows):
            along = zero
            for d in range(dim):
                value = _number(frames[start + row, d])
                block[row, d] = value
                along += value * gradient[d]
            factor[row] = share[start + row] * (along - towards)
        for row in range(rows, _ROWS):
            factor[row] = zero
        first, second, third, fourth = factor[0], factor[1], factor[2], factor[3]
        for d in range(dim):
            weight_gradient[d] += (
                first * block[0, d] + second * block[1, d] + third * block[2, d] + fourth * block[3, d]
            )
