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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawkit.models.encoders import AttentionEncoder, TextMLPEncoder, UnimodalModel
from abawkit.models.fusion import FusionModel
from abawkit.models.layers import BLOCK
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
        self._bounds = list(pairwise(np.cumsum([0, *(flat.numel() for flat in self._flat)]).tolist()))
        self._memory = _Memory(model, modality, self._flat, batch)
        # The running means of the gradient and of its square; the optimiser's state are views of them.
        self._means = torch.zeros(2, self._bounds[-1][1], dtype=self._flat[0].dtype)
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
        states = self._own_states()
        first, second = self._means.numpy()
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
        for state in states:
            state["step"] += len(batches)
        return float(lost) / len(self._clips)

    def predict(self, clips: ClipData) -> NDArray[np.float64]:
        """Returns predictions ``float64 [N, E]`` for all clips, in eval mode."""
        memory, data = self._memory, self._memory.data(clips)
        out = np.empty((len(clips), memory.network.predicted.shape[2]), memory.network.parameters.dtype)
        memory.run(lambda threads, me: predict(threads, me, memory.network, data, memory.samples, out))
        return out.astype(np.float64)

    def _own_states(self) -> list[dict[str, Any]]:
        """Returns the optimiser's state of each parameter, after one that was loaded has been taken over."""
        states = []
        for flat, (first, end) in zip(self._flat, self._bounds, strict=True):
            state: dict[str, Any] = self._optimizer.state[flat]
            state.setdefault("step", torch.zeros(()))
            for key, mean in zip(("exp_avg", "exp_avg_sq"), self._means[:, first:end], strict=True):
                if key in state and state[key].data_ptr() != mean.data_ptr():
                    mean.copy_(state[key])
                state[key] = mean
            states.append(state)
        return states

    def _groups(self) -> NDArray[np.float64]:
        table = [
            (*bounds, group["lr"], group["weight_decay"], *group["betas"], group["eps"])
            for group, bounds in zip(self._optimizer.param_groups, self._bounds, strict=True)
        ]
        return np.array(table, np.float64)


class _Memory:
    """A model as tables, and the room its passes need.

    Attributes:
        network: Tables and room.
        samples: Most clips of a part at a time.
    """

    def __init__(self, model: nn.Module, modality: str, flat: Sequence[Tensor], batch: int) -> None:
        whole, dtype = _whole(flat), flat[0].detach().numpy().dtype
        self._dtype = flat[0].dtype
        self.samples = BLOCK * math.ceil(math.ceil(batch / 2) / BLOCK)
        self._tables: list[tuple[int, ...]] = []
        self._rates: list[float] = []
        self._at = self._drawn = 0
        chains, rows, drop = [0], [], 0.0
        if isinstance(model, FusionModel):
            drop, head = model.config.modality_dropout, model.fusion_head.mlp
            ready = {m: model.config.encoders[m].hidden for m in model.config.frozen}
            encoders = {m: model.encoder(m) for m in model.config.encoders}
        else:
            assert isinstance(model, UnimodalModel)
            head, ready, encoders = model.head, {}, {modality: model.encoder}
        for name, encoder in encoders.items():
            if name in ready:
                rows.append((READY, ready[name], ready[name], -1, -1, -1))
            elif isinstance(encoder, TextMLPEncoder):
                rows.append((VECTOR, *self._chain(encoder.feature, whole), -1, -1, -1))
            elif isinstance(encoder, AttentionEncoder):
                scorer, bias = _place(encoder.attn.weight, whole), _place(encoder.attn.bias, whole)
                missing = -1 if encoder.missing is None else _place(encoder.missing, whole)
                rows.append((ATTENTION, *self._chain(encoder.proj, whole), scorer, bias, missing))
            else:
                raise TypeError(f"there is no kernel for {type(encoder).__name__}")
            chains.append(len(self._tables))
        self._modalities, self._kinds = list(encoders), [row[0] for row in rows]
        self._chain(head, whole)
        table = np.array(self._tables, np.int64).reshape(-1, COLUMNS)
        count, together = len(rows), sum(row[2] for row in rows)
        widest = max(*(row[1] for row in rows), int(table[:, 1:3].max()))
        self.network = Network(
            parameters=whole,
            gradients=np.zeros((2, whole.size), dtype),
            layers=table,
            rates=np.array(self._rates, dtype),
            chains=np.array([*chains, len(table)], np.int64),
            encoders=np.array(rows, np.int64),
            drop=np.array([drop]),
            outputs=np.empty((2, self.samples * self._at), dtype),
            draws=np.empty((2, self.samples * self._drawn), dtype),
            moments=np.empty((2, len(table), 2, self.samples), dtype),
            scratch=np.empty((2, 2, self.samples * widest), dtype),
            pooled=np.empty((2, count, self.samples * widest), dtype),
            fused=np.empty((2, 2, self.samples * together), dtype),
            scale=np.ones((2, self.samples, count), dtype),
            share=np.empty((2, count, 0), dtype),
            predicted=np.empty((2, self.samples, int(table[-1, 2])), dtype),
            squares=np.zeros(2),
            sync=np.zeros(3, np.int64),
        )
        self._known: dict[int, tuple[ClipData, Data]] = {}

    def _chain(self, layers: nn.Sequential, whole: NDArray[Any]) -> tuple[int, int]:
        """Adds the layers of a chain to the tables; returns how many values it takes, and how many it gives."""
        first = next(layer for layer in layers if isinstance(layer, nn.LayerNorm | nn.Linear))
        taken = width = first.in_features if isinstance(first, nn.Linear) else int(first.normalized_shape[0])
        for layer in layers:
            kind, height, rate = _kind(layer, width)
            own = list(layer.parameters())
            self._tables.append((kind, width, height, _place(own[0], whole) if own else 0, self._at, self._drawn))
            self._rates.append(rate)
            self._at += height
            self._drawn += height if kind == DROPOUT else 0
            width = height
        return taken, width

    def data(self, clips: ClipData) -> Data:
        """Returns where the clips lie; it is found once."""
        if id(clips) not in self._known:
            data = self._placed(clips)
            # The longest clips that can meet in a part.
            longest = max(int(np.sort(lengths)[-self.samples :].sum()) for lengths in data.lengths)
            if longest > self.network.share.shape[2]:
                share = self.network.share
                self.network = self.network._replace(share=np.empty((*share.shape[:2], longest), share.dtype))
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
    """Returns a layer's kind, how many values it gives, and its epsilon or its rate.

    Raises:
        TypeError: The kernels cannot compute it.
    """
    if isinstance(layer, nn.LayerNorm) and layer.normalized_shape == (width,) and layer.bias is not None:
        return NORM, width, layer.eps
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        return LINEAR, layer.out_features, 0.0
    if isinstance(layer, nn.GELU) and layer.approximate == "none":
        return GELU, width, 0.0
    if isinstance(layer, nn.Dropout):
        return DROPOUT, width, layer.p
    raise TypeError(f"there is no kernel for {layer}")


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
