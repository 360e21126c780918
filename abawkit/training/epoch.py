"""One epoch of a network on the processor, compiled as a whole: forward, loss, backward and AdamW, batch by batch.

A network is a number of encoders whose embeddings, side by side, go into a head; a unimodal model is one encoder with
its head. Every batch is two parts, each with gradients of its own which are then added. One thread does both parts of
every phase, or two do one each and wait for each other between phases: the results are the same, bit for bit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types
from numpy.typing import NDArray

from abawkit.models.kernels import add_atomically, compiled, pointer, pool, pool_gradient
from abawkit.models.layers import BLOCK
from abawkit.models.passes import adamw, backward, ccc_mse, forward, gather

#: Kinds of encoders: one vector per clip, attention over frames, an embedding that is ready.
VECTOR, ATTENTION, READY = range(3)
#: Types of frames: float16, or that of the parameters.
HALF, WHOLE = range(2)
#: How often a thread looks for the other before it lets others have its core: some ten microseconds.
_PATIENCE = 1000
_give_way = types.ExternalFunction("sched_yield", types.int32())


class Network(NamedTuple):
    """A network, and room for its passes. P parameters, E encoders, L layers, parts of at most S samples.

    Attributes:
        parameters: All parameters ``[P]``.
        gradients: Theirs, per part ``[2, P]``.
        layers: The layers of all encoders and of the head, ``int64 [L, 6]``, as :mod:`abawkit.models.passes` has them.
        rates: Of each layer ``[L]``.
        chains: The first layer of each encoder, of the head, and the end: ``int64 [E + 2]``.
        encoders: Per encoder kind, inputs, size of the embedding, where the scorer's weight and bias and the vector
            for missing clips are among the parameters (−1: nowhere), ``int64 [E, 6]``.
        drop: Probability of modality dropout, ``[1]``.
        outputs: Room for what the layers give, per part.
        draws: Room for drawn numbers.
        moments: Room for the moments of LayerNorms, ``[2, L, 2, S]``.
        scratch: Room for gradients on their way, ``[2, 2, …]``.
        pooled: Room for what the encoders' chains take.
        fused: Room for the embeddings side by side, and their gradient, ``[2, 2, …]``.
        scale: Room for what modality dropout multiplies with, ``[2, S, E]``.
        share: Room for the weights of frames, ``[2, E, …]``.
        predicted: Room for predictions, ``[2, S, targets]``.
        squares: The sums of the squares of the gradient's halves, ``[2]``.
        sync: Counters of the barrier: arrived, round, gone.
    """

    parameters: NDArray[Any]
    gradients: NDArray[Any]
    layers: NDArray[np.int64]
    rates: NDArray[Any]
    chains: NDArray[np.int64]
    encoders: NDArray[np.int64]
    drop: NDArray[np.float64]
    outputs: NDArray[Any]
    draws: NDArray[Any]
    moments: NDArray[Any]
    scratch: NDArray[Any]
    pooled: NDArray[Any]
    fused: NDArray[Any]
    scale: NDArray[Any]
    share: NDArray[Any]
    predicted: NDArray[Any]
    squares: NDArray[np.float64]
    sync: NDArray[np.int64]


class Data(NamedTuple):
    """Where N clips lie.

    Attributes:
        addresses: Where each encoder's frames of each clip begin in memory, ``int64 [E, N]``.
        lengths: How many frames there are, ``int64 [E, N]``.
        types: Their type per encoder, ``int64 [E]``.
        truth: ``[N, targets]``.
    """

    addresses: NDArray[np.int64]
    lengths: NDArray[np.int64]
    types: NDArray[np.int64]
    truth: NDArray[Any]


class Recipe(NamedTuple):
    """How an epoch goes.

    Attributes:
        rows: The clips of all batches, each batch's first part before its second.
        batches: Per batch where it begins in ``rows``, and how many clips its parts have, ``int64 [K, 3]``.
        alpha: Share of the CCC term in the loss.
        clip_norm: Largest norm of the gradient.
        groups: Per parameter group its first parameter, the end, learning rate, weight decay, β₁, β₂, ε: ``[G, 7]``.
        first: Running means of the gradient, ``[P]``.
        second: Running means of its square, ``[P]``.
        steps: Steps done before.
        seeds: The state of each part's random numbers, ``uint64 [2]``.
    """

    rows: NDArray[np.int64]
    batches: NDArray[np.int64]
    alpha: float
    clip_norm: float
    groups: NDArray[np.float64]
    first: NDArray[Any]
    second: NDArray[Any]
    steps: int
    seeds: NDArray[np.uint64]


@compiled
def _uniform(seeds: NDArray[np.uint64], part: int, out: NDArray[Any]) -> None:
    """Draws numbers in [0, 1) of 24 bits: splitmix64 (Steele, Lea and Flood 2014), two numbers of each state."""
    state = seeds[part]
    for i in range(0, out.size, 2):
        state += np.uint64(0x9E3779B97F4A7C15)
        z = state
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        out[i] = out.dtype.type(np.int64(z >> np.uint64(40))) * out.dtype.type(2.0**-24)
        if i + 1 < out.size:
            out[i + 1] = out.dtype.type(np.int64((z >> np.uint64(16)) & np.uint64(0xFFFFFF))) * out.dtype.type(2.0**-24)
    seeds[part] = state


@compiled
def _wait(sync: NDArray[np.int64], threads: int) -> bool:
    """Waits until all threads are here; returns whether to go on. The other thread may be gone for good."""
    if threads < 2:
        return True
    now = add_atomically(sync, 1, 0)
    if add_atomically(sync, 0, 1) == threads - 1:
        add_atomically(sync, 0, -threads)
        add_atomically(sync, 1, 1)
    else:
        turns = 0
        while add_atomically(sync, 1, 0) == now:
            if add_atomically(sync, 2, 0) != 0:
                return False
            turns += 1
            if turns > _PATIENCE:
                _give_way()
    alone: bool = add_atomically(sync, 2, 0) == 0
    return alone


@compiled
def _starts(data: Data, encoder: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns where each clip's frames begin when those of all clips follow one another, and the end."""
    starts = np.zeros(len(rows) + 1, np.int64)
    for row in range(len(rows)):
        starts[row + 1] = starts[row] + data.lengths[encoder, rows[row]]
    return starts


@compiled
def _pool(network: Network, data: Data, part: int, encoder: int, rows: NDArray[np.int64], pooled: NDArray[Any]) -> None:
    """Pools clips into the first rows of ``pooled``; without frames: the vector for missing clips, or zero."""
    scorer, bias, missing = network.encoders[encoder, 3], network.encoders[encoder, 4], network.encoders[encoder, 5]
    dim = pooled.shape[1]
    for row in range(len(rows)):
        if data.lengths[encoder, rows[row]] == 0:
            pooled[row] = pooled.dtype.type(0)
            if missing >= 0:
                pooled[row] = network.parameters[missing : missing + dim]
    weight, share = network.parameters[scorer : scorer + dim], network.share[part, encoder]
    addresses, starts = data.addresses[encoder][rows], _starts(data, encoder, rows)
    if data.types[encoder] == HALF:
        pool(addresses, starts, np.empty(0, np.uint16), weight, network.parameters[bias], pooled, share)
    else:
        pool(addresses, starts, network.parameters, weight, network.parameters[bias], pooled, share)


@compiled
def _unpool(
    network: Network, data: Data, part: int, encoder: int, rows: NDArray[np.int64], pooled: NDArray[Any],
    g: NDArray[Any],
) -> None:  # fmt: skip
    """Writes the gradients of the scorer and of the vector for missing clips, given that for ``pooled``."""
    scorer, missing = network.encoders[encoder, 3], network.encoders[encoder, 5]
    dim = pooled.shape[1]
    gradients = network.gradients[part]
    gradients[scorer : scorer + dim] = gradients.dtype.type(0)
    if missing >= 0:
        gradients[missing : missing + dim] = gradients.dtype.type(0)
    towards = np.zeros(len(rows), g.dtype)
    for row in range(len(rows)):
        for d in range(dim):
            towards[row] += g[row, d] * pooled[row, d]
    each = np.empty((len(rows), dim), g.dtype)
    share = network.share[part, encoder]
    addresses, starts = data.addresses[encoder][rows], _starts(data, encoder, rows)
    if data.types[encoder] == HALF:
        pool_gradient(addresses, starts, np.empty(0, np.uint16), g, share, towards, each)
    else:
        pool_gradient(addresses, starts, network.parameters, g, share, towards, each)
    for row in range(len(rows)):
        if starts[row + 1] > starts[row]:
            for d in range(dim):
                gradients[scorer + d] += each[row, d]
        elif missing >= 0:
            for d in range(dim):
                gradients[missing + d] += g[row, d]


@compiled
def _forward(
    network: Network, data: Data, part: int, rows: NDArray[np.int64], seeds: NDArray[np.uint64], training: bool
) -> None:
    """Writes the predictions for some clips, at most S, into ``network.predicted[part]``."""
    count = -(-len(rows) // BLOCK) * BLOCK
    encoders = len(network.encoders)
    total = 0
    for encoder in range(encoders):
        total += network.encoders[encoder, 2]
    draws = network.draws[part]
    if training:
        _uniform(seeds, part, draws)
    fused = network.fused[part, 0, : count * total].reshape((count, total))
    scale = network.scale[part]
    scale[:] = scale.dtype.type(1)
    if training and network.drop[0] > 0:
        chosen = np.empty(encoders + 1, draws.dtype)
        for row in range(count):
            _uniform(seeds, part, chosen)
            kept = 0
            for encoder in range(encoders):
                scale[row, encoder] = 1 / (1 - network.drop[0]) if chosen[encoder] >= network.drop[0] else 0
                kept += chosen[encoder] >= network.drop[0]
            if kept == 0:  # a sample keeps one at least
                scale[row, int(chosen[encoders] * encoders)] = 1 / (1 - network.drop[0])
    first = 0
    for encoder in range(encoders):
        kind, dim, width = network.encoders[encoder, 0], network.encoders[encoder, 1], network.encoders[encoder, 2]
        inputs = network.pooled[part, encoder, : count * dim].reshape((count, dim))
        inputs[len(rows) :] = inputs.dtype.type(0)
        if kind == ATTENTION:
            _pool(network, data, part, encoder, rows, inputs)
        else:
            for row in range(len(rows)):
                inputs[row] = carray(pointer(data.addresses[encoder, rows[row]], inputs), (dim,))
        begin, end = network.chains[encoder], network.chains[encoder + 1]
        made = forward(
            network.layers[begin:end], network.rates[begin:end], network.parameters, inputs, draws,
            network.outputs[part], network.moments[part, begin:end], training,
        )  # fmt: skip
        for row in range(count):
            for d in range(width):
                fused[row, first + d] = made[row, d] * scale[row, encoder]
        first += width
    begin, end = network.chains[encoders], network.chains[encoders + 1]
    made = forward(
        network.layers[begin:end], network.rates[begin:end], network.parameters, fused, draws,
        network.outputs[part], network.moments[part, begin:end], training,
    )  # fmt: skip
    network.predicted[part, :count] = made


@compiled
def _backward(network: Network, data: Data, part: int, rows: NDArray[np.int64], towards: NDArray[Any]) -> None:
    """Writes the gradients of all parameters, given that for the predictions, after :func:`_forward`."""
    count = len(towards)
    encoders = len(network.encoders)
    gradients, outputs, scratch = network.gradients[part], network.outputs[part], network.scratch[part]
    total = 0
    for encoder in range(encoders):
        total += network.encoders[encoder, 2]
    fused = network.fused[part, 0, : count * total].reshape((count, total))
    begin, end = network.chains[encoders], network.chains[encoders + 1]
    made = backward(
        network.layers[begin:end], network.rates[begin:end], network.parameters, gradients, fused,
        network.draws[part], outputs, network.moments[part, begin:end], towards, scratch, True,
    )  # fmt: skip
    for_fused = network.fused[part, 1, : count * total].reshape((count, total))
    for_fused[:] = made
    first = 0
    for encoder in range(encoders):
        kind, dim, width = network.encoders[encoder, 0], network.encoders[encoder, 1], network.encoders[encoder, 2]
        begin, end = network.chains[encoder], network.chains[encoder + 1]
        if kind != READY:
            own = np.empty((count, width), towards.dtype)
            for row in range(count):
                for d in range(width):
                    own[row, d] = for_fused[row, first + d] * network.scale[part, row, encoder]
            inputs = network.pooled[part, encoder, : count * dim].reshape((count, dim))
            g = backward(
                network.layers[begin:end], network.rates[begin:end], network.parameters, gradients, inputs,
                network.draws[part], outputs, network.moments[part, begin:end], own, scratch, kind == ATTENTION,
            )  # fmt: skip
            if kind == ATTENTION:
                _unpool(network, data, part, encoder, rows, inputs, g)
        first += width


@compiled
def train_epoch(threads: int, me: int, network: Network, data: Data, recipe: Recipe) -> float:
    """Trains for an epoch and returns the sum of the clips' losses; of no meaning when the other thread is gone.

    Args:
        threads: 1 or 2; with two, both call this at the same time.
        me: Which of them this is, from 0.
        network: Is trained.
        data: The clips.
        recipe: How.
    """
    half = network.parameters.size // 2
    targets = network.predicted.shape[2]
    lost = 0.0
    for batch in range(len(recipe.batches)):
        start, one, two = recipe.batches[batch]
        for part in range(2):
            if threads == 1 or part == me:
                begin = start if part == 0 else start + one
                rows = recipe.rows[begin : begin + (one if part == 0 else two)]
                _forward(network, data, part, rows, recipe.seeds, True)
        if not _wait(network.sync, threads):
            break
        truth = np.empty((one + two, targets), network.parameters.dtype)
        prediction, towards = np.empty_like(truth), np.empty_like(truth)
        for row in range(one + two):
            truth[row] = data.truth[recipe.rows[start + row]]
            prediction[row] = network.predicted[0, row] if row < one else network.predicted[1, row - one]
        lost += ccc_mse(truth, prediction, recipe.alpha, towards) * (one + two)
        for part in range(2):
            if threads == 1 or part == me:
                begin, many = (0, one) if part == 0 else (one, two)
                own = np.zeros((-(-many // BLOCK) * BLOCK, targets), towards.dtype)
                own[:many] = towards[begin : begin + many]
                _backward(network, data, part, recipe.rows[start + begin : start + begin + many], own)
        if not _wait(network.sync, threads):
            break
        for part in range(2):
            begin, end = (0, half) if part == 0 else (half, network.parameters.size)
            if threads == 1 or part == me:
                network.squares[part] = gather(network.gradients[0, begin:end], network.gradients[1, begin:end])
        if not _wait(network.sync, threads):
            break
        # As torch.nn.utils.clip_grad_norm_.
        shrink = min(1.0, recipe.clip_norm / (math.sqrt(network.squares[0] + network.squares[1]) + 1e-6))
        count = recipe.steps + batch + 1
        for part in range(2):
            if threads == 1 or part == me:
                low, high = (0, half) if part == 0 else (half, network.parameters.size)
                for group in range(len(recipe.groups)):
                    begin, end = max(low, int(recipe.groups[group, 0])), min(high, int(recipe.groups[group, 1]))
                    rate, decay = recipe.groups[group, 2], recipe.groups[group, 3]
                    b1, b2, epsilon = recipe.groups[group, 4], recipe.groups[group, 5], recipe.groups[group, 6]
                    if begin < end:
                        rates = (b1, b2, 1 - rate * decay, rate / (1 - b1**count), (1 - b2**count) ** -0.5, epsilon)
                        adamw(
                            network.parameters[begin:end], network.gradients[0, begin:end],
                            recipe.first[begin:end], recipe.second[begin:end], shrink, rates,
                        )  # fmt: skip
        if not _wait(network.sync, threads):
            break
    return lost


@compiled
def predict(threads: int, me: int, network: Network, data: Data, size: int, out: NDArray[Any]) -> None:
    """Writes the predictions for all clips in eval mode.

    Args:
        threads: 1 or 2; with two, both call this at the same time.
        me: Which of them this is, from 0.
        network: The network.
        data: The clips; no truth is needed.
        size: Clips at a time, at most S.
        out: ``[N, targets]``.
    """
    none = np.zeros(2, np.uint64)
    for block in range(me, (len(out) + size - 1) // size, threads):
        rows = np.arange(block * size, min(len(out), (block + 1) * size))
        _forward(network, data, me, rows, none, False)
        for row in range(len(rows)):
            out[rows[row]] = network.predicted[me, row]
