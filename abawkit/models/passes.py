"""Forward and backward pass of a chain of LayerNorm, Linear, GELU and dropout on the processor, compiled.

At batch 16 the arithmetic of the paper's networks takes a few tenths of a millisecond, and torch's bookkeeping several
times as long. Here a chain is a table of layers over one buffer of parameters, and a pass is one call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.models.kernels import compiled
from abawkit.models.layers import (
    dropout,
    gelu,
    gelu_gradient,
    linear,
    linear_gradient,
    linear_towards,
    norm,
    norm_gradient,
)

#: Kinds of layers in the first column of a table.
NORM, LINEAR, GELU, DROPOUT = range(4)
#: A row of a table: kind, inputs, outputs, where its parameters begin (weight, then bias), where its outputs begin
#: among the outputs of one sample, where its draws begin among those of one sample.
COLUMNS = 6


@compiled
def forward(
    layers: NDArray[np.int64],
    rates: NDArray[Any],
    parameters: NDArray[Any],
    inputs: NDArray[Any],
    draws: NDArray[Any],
    outputs: NDArray[Any],
    moments: NDArray[Any],
    training: bool,
) -> NDArray[Any]:
    """Returns the output of the last layer ``[B, D_L]``, a view of ``outputs``; ``inputs`` if there are no layers.

    Args:
        layers: The table ``int64 [L, 6]``.
        rates: Per layer the epsilon of a LayerNorm, or the probability of a dropout, ``[L]``.
        parameters: All parameters of the chain, one after another.
        inputs: ``[B, D_0]``, B a multiple of four.
        draws: Evenly drawn numbers in [0, 1) for the dropouts; a value is dropped where its number is under the rate.
        outputs: Takes the outputs of all layers.
        moments: Takes mean and 1/sd of each sample in each LayerNorm, ``[L, 2, B]``.
        training: Whether anything is dropped.
    """
    count = inputs.shape[0]
    x = inputs
    for layer in range(len(layers)):
        kind, width, height, own, at, drawn = layers[layer]
        out = outputs[count * at : count * (at + height)].reshape((count, height))
        if kind == LINEAR:
            weight = parameters[own : own + width * height].reshape((height, width))
            linear(x, weight, parameters[own + width * height : own + (width + 1) * height], out)
        elif kind == NORM:
            weight_1, bias = parameters[own : own + width], parameters[own + width : own + 2 * width]
            norm(x, weight_1, bias, rates[layer], out, moments[layer])
        elif kind == GELU:
            gelu(x, out)
        elif not training:
            out[:] = x
        else:
            dropout(x, draws[count * drawn : count * (drawn + width)].reshape((count, width)), rates[layer], out)
        x = out
    return x


@compiled
def backward(
    layers: NDArray[np.int64],
    rates: NDArray[Any],
    parameters: NDArray[Any],
    gradients: NDArray[Any],
    inputs: NDArray[Any],
    draws: NDArray[Any],
    outputs: NDArray[Any],
    moments: NDArray[Any],
    towards: NDArray[Any],
    scratch: NDArray[Any],
    wanted: bool,
) -> NDArray[Any]:
    """Returns the gradient for the inputs ``[B, D_0]``, a view of ``scratch``; the parameters' are written.

    Args:
        layers: As for :func:`forward`, and so on.
        rates: As above.
        parameters: As above.
        gradients: Takes the parameters' gradients, in their places.
        inputs: As above.
        draws: As above.
        outputs: As :func:`forward` left them.
        moments: As :func:`forward` left them.
        towards: The gradient for the chain's output ``[B, D_L]``.
        scratch: Two rows, each with room for the largest of a layer's inputs.
        wanted: Whether the gradient for the inputs is needed; without it what is returned is of no meaning.
    """
    count = inputs.shape[0]
    g = towards
    for back in range(len(layers)):
        layer = len(layers) - 1 - back
        kind, width, height, own, _, drawn = layers[layer]
        x = inputs
        if layer > 0:
            before = layers[layer - 1, 4]
            x = outputs[count * before : count * (before + width)].reshape((count, width))
        out = scratch[layer % 2, : count * width].reshape((count, width))
        if kind == LINEAR:
            weight = parameters[own : own + width * height].reshape((height, width))
            for_weight = gradients[own : own + width * height].reshape((height, width))
            linear_gradient(g, x, for_weight, gradients[own + width * height : own + (width + 1) * height])
            if layer > 0 or wanted:
                linear_towards(g, weight, out)
        elif kind == NORM:
            first, second = gradients[own : own + width], gradients[own + width : own + 2 * width]
            norm_gradient(g, x, parameters[own : own + width], moments[layer], first, second, out)
        elif kind == GELU:
            gelu_gradient(g, x, out)
        else:
            dropout(g, draws[count * drawn : count * (drawn + width)].reshape((count, width)), rates[layer], out)
        g = out
    return g


@compiled
def ccc_mse(truth: NDArray[Any], prediction: NDArray[Any], alpha: float, gradient: NDArray[Any]) -> float:
    """Returns the loss of :func:`abawkit.training.losses.ccc_mse_loss`, and writes its gradient for ``prediction``.

    With c the covariance and d the denominator of a target's CCC, and t̃ and p̃ centred:
    ``∂CCC/∂p = 2/(n d) · (t̃ − CCC · (p̃ − shift))``, where shift is the difference of the means.

    Args:
        truth: ``[B, E]``.
        prediction: ``[B, E]``.
        alpha: Share of the CCC term.
        gradient: ``[B, E]``.
    """
    count, targets = prediction.shape
    concordance, square = 0.0, 0.0
    for e in range(targets):
        t_mean, p_mean = truth[:, e].mean(), prediction[:, e].mean()
        product, spread = 0.0, 0.0
        for row in range(count):
            t, p = truth[row, e] - t_mean, prediction[row, e] - p_mean
            product += t * p
            spread += t * t + p * p
            off = prediction[row, e] - truth[row, e]
            square += off * off
        shift = t_mean - p_mean
        below = spread / count + shift * shift + 1e-8
        ccc = 2 * product / count / below
        concordance += ccc
        for row in range(count):
            t, p = truth[row, e] - t_mean, prediction[row, e] - p_mean
            off = prediction[row, e] - truth[row, e]
            gradient[row, e] = (
                2 * (1 - alpha) * off - 2 * alpha / below * (t - ccc * (p - shift))
            ) / (count * targets)  # fmt: skip
    loss: float = alpha * (1 - concordance / targets) + (1 - alpha) * square / (count * targets)
    return loss


@compiled
def gather(gradient: NDArray[Any], other: NDArray[Any]) -> float:
    """Adds the other part's gradient to ``gradient`` and returns the sum of the squares of the result."""
    total = 0.0
    for i in range(gradient.size):
        gradient[i] += other[i]
        total += gradient[i] * gradient[i]
    return total


@compiled
def adamw(
    parameters: NDArray[Any],
    gradient: NDArray[Any],
    first: NDArray[Any],
    second: NDArray[Any],
    shrink: float,
    rates: tuple[float, float, float, float, float, float],
) -> None:
    """Does a step of AdamW in place.

    Args:
        parameters: Any number of them.
        gradient: Theirs.
        first: The running mean of the gradient.
        second: The running mean of its square.
        shrink: What the gradient is multiplied with first, for its norm to be clipped.
        rates: β₁, β₂, 1 − lr · decay, lr / (1 − β₁ᵗ), 1 / √(1 − β₂ᵗ), ε.
    """
    number = parameters.dtype.type
    c1, c2, scale = number(1 - rates[0]), number(1 - rates[1]), number(shrink)
    b2, keep, rate = number(rates[1]), number(rates[2]), number(rates[3])
    root, epsilon = number(rates[4]), number(rates[5])
    for i in range(parameters.size):
        g = gradient[i] * scale
        m = first[i] + (g - first[i]) * c1
        v = second[i] * b2 + g * g * c2
        first[i], second[i] = m, v
        parameters[i] = parameters[i] * keep - rate * m / (np.sqrt(v) * root + epsilon)
