"""LayerNorm, Linear, GELU and dropout with their gradients on the processor, compiled, for a handful of samples.

Arrays are ``[B, D]`` with B a multiple of four: the products keep blocks of four samples in registers. Rows that fill
up a block hold zeros and get zero gradients.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.models.kernels import compiled

#: Samples come in blocks of so many.
BLOCK = 4


@compiled
def linear(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], out: NDArray[Any]) -> None:
    """Writes ``x Wᵀ + b`` with W ``[H, D]``: blocks of four samples and two outputs."""
    height, dim = weight.shape
    zero = x.dtype.type(0)
    for m in range(0, len(x), 4):
        x0, x1, x2, x3 = x[m], x[m + 1], x[m + 2], x[m + 3]
        for first in range(0, height, 2):
            h, k = first, min(first + 1, height - 1)
            u, v = weight[h], weight[k]
            a0, a1, a2, a3 = zero, zero, zero, zero
            c0, c1, c2, c3 = zero, zero, zero, zero
            for d in range(dim):
                a0 += u[d] * x0[d]
                a1 += u[d] * x1[d]
                a2 += u[d] * x2[d]
                a3 += u[d] * x3[d]
                c0 += v[d] * x0[d]
                c1 += v[d] * x1[d]
                c2 += v[d] * x2[d]
                c3 += v[d] * x3[d]
            out[m, h], out[m + 1, h] = a0 + bias[h], a1 + bias[h]
            out[m + 2, h], out[m + 3, h] = a2 + bias[h], a3 + bias[h]
            out[m, k], out[m + 1, k] = c0 + bias[k], c1 + bias[k]
            out[m + 2, k], out[m + 3, k] = c2 + bias[k], c3 + bias[k]


@compiled
def linear_gradient(g: NDArray[Any], x: NDArray[Any], for_weight: NDArray[Any], for_bias: NDArray[Any]) -> None:
    """Writes ``gᵀ x`` ``[H, D]`` and the sum of g: blocks of two outputs and four samples."""
    height, dim = for_weight.shape
    for h in range(height):
        for_bias[h] = g[:, h].sum()
    for h in range(0, height - 1, 2):
        upper, lower = for_weight[h], for_weight[h + 1]
        for m in range(0, len(x), 4):
            x0, x1, x2, x3 = x[m], x[m + 1], x[m + 2], x[m + 3]
            p0, p1, p2, p3 = g[m, h], g[m + 1, h], g[m + 2, h], g[m + 3, h]
            q0, q1, q2, q3 = g[m, h + 1], g[m + 1, h + 1], g[m + 2, h + 1], g[m + 3, h + 1]
            if m == 0:
                for d in range(dim):
                    upper[d] = p0 * x0[d] + p1 * x1[d] + p2 * x2[d] + p3 * x3[d]
                    lower[d] = q0 * x0[d] + q1 * x1[d] + q2 * x2[d] + q3 * x3[d]
            else:
                for d in range(dim):
                    upper[d] += p0 * x0[d] + p1 * x1[d] + p2 * x2[d] + p3 * x3[d]
                    lower[d] += q0 * x0[d] + q1 * x1[d] + q2 * x2[d] + q3 * x3[d]
    if height % 2:
        last = for_weight[height - 1]
        last[:] = x.dtype.type(0)
        for m in range(len(x)):
            for d in range(dim):
                last[d] += g[m, height - 1] * x[m, d]


@compiled
def linear_towards(g: NDArray[Any], weight: NDArray[Any], out: NDArray[Any]) -> None:
    """Writes ``g W`` ``[B, D]``, the gradient for the inputs: blocks of four outputs and two samples."""
    height, dim = weight.shape
    out[:] = g.dtype.type(0)
    whole = height - height % 4
    for h in range(0, whole, 4):
        w0, w1, w2, w3 = weight[h], weight[h + 1], weight[h + 2], weight[h + 3]
        for m in range(0, len(g), 2):
            upper, lower = out[m], out[m + 1]
            p0, p1, p2, p3 = g[m, h], g[m, h + 1], g[m, h + 2], g[m, h + 3]
            q0, q1, q2, q3 = g[m + 1, h], g[m + 1, h + 1], g[m + 1, h + 2], g[m + 1, h + 3]
            for d in range(dim):
                upper[d] += p0 * w0[d] + p1 * w1[d] + p2 * w2[d] + p3 * w3[d]
                lower[d] += q0 * w0[d] + q1 * w1[d] + q2 * w2[d] + q3 * w3[d]
    for h in range(whole, height):
        for m in range(len(g)):
            for d in range(dim):
                out[m, d] += g[m, h] * weight[h, d]


@compiled
def norm(
    x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], epsilon: float, out: NDArray[Any], moments: NDArray[Any]
) -> None:
    """Writes LayerNorm over the last dimension, and mean and 1/sd of each sample into ``moments`` ``[2, B]``."""
    dim = x.shape[1]
    for row in range(len(x)):
        mean = x[row].sum() / x.dtype.type(dim)
        square = x.dtype.type(0)
        for d in range(dim):
            square += (x[row, d] - mean) * (x[row, d] - mean)
        scale = x.dtype.type(1 / math.sqrt(square / dim + epsilon))
        moments[0, row], moments[1, row] = mean, scale
        for d in range(dim):
            out[row, d] = (x[row, d] - mean) * scale * weight[d] + bias[d]


@compiled
def norm_gradient(
    g: NDArray[Any],
    x: NDArray[Any],
    weight: NDArray[Any],
    moments: NDArray[Any],
    for_weight: NDArray[Any],
    for_bias: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Writes LayerNorm's gradients: for its weight and bias, and for its inputs ``[B, D]``."""
    dim = x.shape[1]
    zero = g.dtype.type(0)
    for_weight[:] = zero
    for_bias[:] = zero
    for row in range(len(x)):
        mean, scale = moments[0, row], moments[1, row]
        first, second = zero, zero
        for d in range(dim):
            normal = (x[row, d] - mean) * scale
            pull = g[row, d] * weight[d]
            first += pull
            second += pull * normal
            for_weight[d] += g[row, d] * normal
            for_bias[d] += g[row, d]
        first /= g.dtype.type(dim)
        second /= g.dtype.type(dim)
        for d in range(dim):
            normal = (x[row, d] - mean) * scale
            out[row, d] = scale * (g[row, d] * weight[d] - first - normal * second)


@compiled
def gelu(x: NDArray[Any], out: NDArray[Any]) -> None:
    """Writes ``x Φ(x)`` with the exact normal distribution function Φ."""
    one, half, root = x.dtype.type(1), x.dtype.type(0.5), x.dtype.type(math.sqrt(0.5))
    for row in range(len(x)):
        for d in range(x.shape[1]):
            out[row, d] = half * x[row, d] * (one + x.dtype.type(math.erf(x[row, d] * root)))


@compiled
def gelu_gradient(g: NDArray[Any], x: NDArray[Any], out: NDArray[Any]) -> None:
    """Writes ``g (Φ(x) + x φ(x))``."""
    one, half, root = g.dtype.type(1), g.dtype.type(0.5), g.dtype.type(math.sqrt(0.5))
    density = g.dtype.type(1 / math.sqrt(2 * math.pi))
    for row in range(len(x)):
        for d in range(x.shape[1]):
            value = x[row, d]
            below = half * (one + g.dtype.type(math.erf(value * root)))
            out[row, d] = g[row, d] * (below + value * density * np.exp(-half * value * value))


@compiled
def dropout(x: NDArray[Any], draws: NDArray[Any], rate: float, out: NDArray[Any]) -> None:
    """Writes x where the drawn number is not under the rate, scaled by 1 / (1 − rate), and zero elsewhere.

    It is its own gradient.
    """
    kept = x.dtype.type(1 / (1 - rate) if rate < 1 else 0)
    for row in range(len(x)):
        for d in range(x.shape[1]):
            out[row, d] = x[row, d] * kept if draws[row, d] >= rate else x.dtype.type(0)
