"""Training on the processor without autograd: a model's tables and memory for :mod:`abawkit.training.epoch`.

The modules of :mod:`abawkit.models` say what is computed and own the parameters; the compiled epoch computes the same,
in place. ``tests/training/test_compiled.py`` holds it against the modules, torch's autograd and torch's AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawkit.models.encoders import AttentionEncoder, TextMLPEncoder, UnimodalModel
from abawkit.models.fusion import FusionModel
from abawkit.models.passes import COLUMNS, DROPOUT, GELU, LINEAR, NORM
from abawkit.training.batches import ClipData, row_batches
from abawkit.training.epoch import ATTENTION, HALF, READY, VECTOR, WHOLE, Data, Network, Recipe, predict
from abawkit.training.epoch import train_epoch as compiled_epoch
from abawkit.training.loop import FitPlan


class CompiledTrainer:
    """Trains a model on the CPU, and predicts with it (a :class:`abawkit.training.loop.Trainer`).

    Args:
        model: A :class:`UnimodalModel` or a :class:`FusionModel` whose parameters the optimiser has flattened.
        clips: What it is trained on; of a fusion model's frozen encoders the embeddings are ready.
        optimizer: AdamW over flattened parameters (:func:`abawkit.models.flat.flatten`); its state is kept up to date.
        modality: What a unimodal model takes of the clips.
        batch: Clips per step.
    """

    def __init__(
        self, model: nn.Module, clips: ClipData, optimizer: torch.optim.Optimizer, modality: str, batch: int
    ) -> None:
        self._optimizer = optimizer
        self._flat = [group["params"][0] for group in optimizer.param_groups]
        self._memory = _Memory(model, modality, self._flat, clips, batch)
        # The parts of a batch get clips of the same lengths: the longest first, by turns.
        self._cost = (self._memory.data(clips).lengths * self._memory.network.encoders[:, 1:2]).sum(axis=0)
        self._clips = clips

    def epoch(self, plan: FitPlan, epoch: int) -> float:
        """Trains for an epoch and returns the mean loss over its clips.

        Args:
            plan: How.
            epoch: Its number, from 0.
        """
        rows: list[int] = []
        batches = []
        for batch in row_batches(len(self._clips), plan.batch_size, seed=plan.seed + epoch):
            ordered = sorted(batch, key=lambda row: -int(self._cost[row]))
            batches.append((len(rows), len(ordered[0::2]), len(ordered[1::2])))
            rows += ordered[0::2] + ordered[1::2]
        states = [self._state(flat) for flat in self._flat]
        first = np.concatenate([state["exp_avg"].numpy() for state in states])
        second = np.concatenate([state["exp_avg_sq"].numpy() for state in states])
        recipe = Recipe(
            rows=np.array(rows, np.int64),
            batches=np.array(batches, np.int64),
            alpha=plan.alpha,
            clip_norm=plan.clip_norm,
            groups=self._groups(),
            first=first,
            second=second,
            steps=int(states[0]["step"]),
            seeds=np.random.SeedSequence([plan.seed, epoch]).generate_state(2, np.uint64).astype(np.uint64),
        )
        memory, data = self._memory, self._memory.data(self._clips)
        lost = memory.run(lambda threads, me: compiled_epoch(threads, me, memory.network, data, recipe))
        ends = np.cumsum([flat.numel() for flat in self._flat])[:-1]
        for state, mean, square in zip(states, np.split(first, ends), np.split(second, ends), strict=True):
            state["step"] += len(batches)
            state["exp_avg"].numpy()[:], state["exp_avg_sq"].numpy()[:] = mean, square
        return float(lost) / len(self._clips)

    def predict(self, clips: ClipData) -> NDArray[np.float64]:
        """Returns predictions ``float64 [N, E]`` for all clips, in eval mode."""
        memory, data = self._memory, self._memory.data(clips)
        out = np.empty((len(clips), memory.network.predicted.shape[2]), memory.network.parameters.dtype)
        memory.run(lambda threads, me: predict(threads, me, memory.network, data, memory.samples, out))
        return out.astype(np.float64)

    def _state(self, flat: nn.Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self._optimizer.state[flat]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(flat.data), torch.zeros_like(flat.data)
        return state

    def _groups(self) -> NDArray[np.float64]:
        table, first = [], 0
        for group, flat in zip(self._optimizer.param_groups, self._flat, strict=True):
            end = first + flat.numel()
            table.append((first, end, group["lr"], group["weight_decay"], *group["betas"], group["eps"]))
            first = end
        return np.array(table, np.float64)


class _Memory:
    """A model as tables, and the room its passes need.

    Attributes:
        network: Tables and room.
        samples: Most clips of a part at a time.
    """

    def __init__(self, model: nn.Module, modality: str, flat: Sequence[Tensor], clips: ClipData, batch: int) -> None:
        whole, dtype = _whole(flat), flat[0].detach().numpy().dtype
        self._dtype = flat[0].dtype
        self.samples = 4 * math.ceil(math.ceil(batch / 2) / 4)
        self._tables: list[tuple[int, ...]] = []
        self._rates: list[float] = []
        self._at = self._drawn = 0
        chains, encoders, self._modalities = [0], [], []
        drop = 0.0
        if isinstance(model, FusionModel):
            drop, head = model.config.modality_dropout, list(model.fusion_head.mlp)
            parts = [(m, None if m in model.config.frozen else model.encoder(m)) for m in model.config.encoders]
            sizes = [encoder.hidden for encoder in model.config.encoders.values()]
        else:
            assert isinstance(model, UnimodalModel)
            head, parts = list(model.head), [(modality, model.encoder)]
            sizes = [model.head.get_submodule("1").in_features]  # type: ignore[list-item]
        for (name, encoder), size in zip(parts, sizes, strict=True):
            kind, dim, scorer, bias, missing = READY, size, -1, -1, -1
            if isinstance(encoder, TextMLPEncoder):
                kind, dim = VECTOR, self._chain(list(encoder.feature), whole)
            elif isinstance(encoder, AttentionEncoder):
                kind, dim = ATTENTION, self._chain(list(encoder.proj), whole)
                scorer, bias = _place(encoder.attn.weight, whole), _place(encoder.attn.bias, whole)
                missing = -1 if encoder.missing is None else _place(encoder.missing, whole)
            encoders.append((kind, dim, size, scorer, bias, missing))
            chains.append(len(self._tables))
            self._modalities.append(name)
        self._chain(head, whole)
        table = np.array(self._tables, np.int64).reshape(-1, COLUMNS)
        count, widest = len(encoders), max(*(row[1] for row in encoders), sum(sizes), int(table[:, 1:3].max()))
        self._kinds = [row[0] for row in encoders]
        # The longest clips that can meet in a part.
        longest = [int(np.sort(lengths)[-self.samples :].sum()) for lengths in self._placed(clips).lengths]
        self.network = Network(
            parameters=whole,
            gradients=np.zeros((2, whole.size), dtype),
            layers=table,
            rates=np.array(self._rates, dtype),
            chains=np.array([*chains, len(table)], np.int64),
            encoders=np.array(encoders, np.int64),
            drop=np.array([drop]),
            outputs=np.empty((2, self.samples * self._at), dtype),
            draws=np.empty((2, self.samples * self._drawn), dtype),
            moments=np.empty((2, len(table), 2, self.samples), dtype),
            scratch=np.empty((2, 2, self.samples * widest), dtype),
            pooled=np.empty((2, count, self.samples * widest), dtype),
            fused=np.empty((2, 2, self.samples * sum(sizes)), dtype),
            scale=np.ones((2, self.samples, count), dtype),
            share=np.empty((2, count, max(longest)), dtype),
            predicted=np.empty((2, self.samples, int(table[-1, 2])), dtype),
            squares=np.zeros(2),
            sync=np.zeros(3, np.int64),
        )
        self._known: dict[int, tuple[ClipData, Data]] = {}

    def _chain(self, layers: Sequence[nn.Module], whole: NDArray[Any]) -> int:
        """Adds the layers of a chain to the tables; returns how many values it takes."""
        first = next(layer for layer in layers if isinstance(layer, nn.LayerNorm | nn.Linear))
        taken = width = first.in_features if isinstance(first, nn.Linear) else int(first.normalized_shape[0])
        for layer in layers:
            kind, height, rate = _kind(layer, width)
            own = [parameter for parameter in layer.parameters()]
            self._tables.append((kind, width, height, _place(own[0], whole) if own else 0, self._at, self._drawn))
            self._rates.append(rate)
            self._at += height
            self._drawn += height if kind == DROPOUT else 0
            width = height
        return taken

    def data(self, clips: ClipData) -> Data:
        """Returns where the clips lie; it is found once."""
        if id(clips) not in self._known:
            data = self._placed(clips)
            longest = max(int(np.sort(lengths)[-self.samples :].sum()) for lengths in data.lengths)
            if longest > self.network.share.shape[2]:
                shape = (2, len(self._kinds), longest)
                self.network = self.network._replace(share=np.empty(shape, self.network.share.dtype))
            self._known[id(clips)] = (clips, data)  # the clips must outlive their addresses
        return self._known[id(clips)][1]

    def _placed(self, clips: ClipData) -> Data:
        addresses, lengths, types = [], [], []
        for modality, kind in zip(self._modalities, self._kinds, strict=True):
            if kind == ATTENTION:
                frames = clips.frames[modality]  # type: ignore[index]
                kinds = {clip.dtype for clip in frames} or {self._dtype}
                if len(kinds) > 1 or not kinds <= {torch.float16, self._dtype}:
                    raise ValueError(f"frames of {modality} of type {kinds}, expected float16 or {self._dtype}")
                if not all(clip.is_contiguous() for clip in frames):
                    raise ValueError(f"frames of {modality} are not contiguous")
                addresses.append([clip.data_ptr() for clip in frames])
                lengths.append([len(clip) for clip in frames])
                types.append(HALF if torch.float16 in kinds else WHOLE)
            else:
                matrix = clips.ready[modality] if kind == READY else clips.text
                assert matrix is not None and matrix.is_contiguous() and matrix.dtype == self._dtype
                step = matrix.shape[1] * matrix.element_size()
                addresses.append([matrix.data_ptr() + row * step for row in range(len(clips))])
                lengths.append([1] * len(clips))
                types.append(WHOLE)
        truth = np.zeros((0, 0)) if clips.truth is None else clips.truth.numpy()
        return Data(np.array(addresses, np.int64), np.array(lengths, np.int64), np.array(types, np.int64), truth)

    def run(self, work: Callable[[int, int], Any]) -> Any:
        """Returns ``work(threads, 0)``; where two threads are allowed, another does ``work(2, 1)`` at the same time."""
        if _threads.get() < 2:
            return work(1, 0)
        self.network.sync[:] = 0
        other = _helper().submit(work, 2, 1)
        try:
            made = work(2, 0)
        finally:
            self.network.sync[2] = 1  # after its work the other has nothing to wait for
            other.result()
        return made


def _whole(flat: Sequence[Tensor]) -> NDArray[Any]:
    """Returns the flattened parameters, which follow one another, as one array over the same memory."""
    count = sum(part.numel() for part in flat)
    whole: NDArray[Any] = flat[0].detach().as_strided((count,), (1,)).numpy()
    return whole


def _place(parameter: Tensor, whole: NDArray[Any]) -> int:
    """Returns where a parameter begins in ``whole``.

    Raises:
        ValueError: It is not a part of it.
    """
    place = (parameter.data_ptr() - whole.ctypes.data) // whole.itemsize
    if not 0 <= place <= whole.size - parameter.numel():
        raise ValueError("a parameter of the model is not one that the optimiser has flattened")
    return place


def _kind(layer: nn.Module, width: int) -> tuple[int, int, float]:
    """Returns a layer's kind, how many values it gives, and its epsilon or its rate."""
    if isinstance(layer, nn.LayerNorm):
        return NORM, width, layer.eps
    if isinstance(layer, nn.Linear):
        return LINEAR, layer.out_features, 0.0
    if isinstance(layer, nn.GELU):
        return GELU, width, 0.0
    if isinstance(layer, nn.Dropout):
        return DROPOUT, width, layer.p
    raise TypeError(f"there is no kernel for {type(layer).__name__}")


_threads: ContextVar[int] = ContextVar("training threads", default=1)


@contextmanager
def training_threads(count: int) -> Iterator[None]:
    """Lets the parts of a batch be computed by two threads within the block, if ``count`` is over 1."""
    token = _threads.set(min(count, 2))
    try:
        yield
    finally:
        _threads.reset(token)


def threads_allowed() -> int:
    """Returns how many threads a training may use here: 1 or 2."""
    return _threads.get()


def compiled_before() -> bool:
    """Returns whether the compiled epoch is there from an earlier training; compiling takes about a minute."""
    folder = compiled_epoch.stats.cache_path  # type: ignore[attr-defined]
    return folder is not None and any(Path(folder).glob("epoch.train_epoch-*.nbc"))


@cache
def _helper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="training")
