"""The clips of one side of a split as a training takes them: ragged views of memory-mapped feature stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawkit.errors import AbawkitError
from abawkit.features.spec import Status
from abawkit.features.store import FeatureStore


@dataclass(frozen=True)
class ClipData:
    """The clips of one side of a split.

    Attributes:
        ids: N clip ids.
        frames: Slot → N tensors ``[T_i, D]``; no frames where the modality is missing.
        truth: ``float32 [N, E]``; None for clips without labels.
        present: Slot → ``bool [N]``.
        ready: Slot → vectors ``[N, H]`` of a frozen encoder, computed once.
    """

    ids: tuple[str, ...]
    frames: Mapping[str, Sequence[Tensor]]
    truth: Tensor | None
    present: Mapping[str, NDArray[np.bool_]]
    ready: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def slots(self) -> list[str]:
        """The slots whose frames an encoder takes: all but those in ``ready``."""
        return [slot for slot in self.frames if slot not in self.ready]

    def only(self, slots: Sequence[str]) -> ClipData:
        """Returns the same clips with some of the slots."""
        return replace(self, frames={slot: self.frames[slot] for slot in slots})

    def lengths(self, slot: str) -> NDArray[np.int64]:
        """Returns the number of frames of each clip, ``int64 [N]``."""
        return np.array([len(clip) for clip in self.frames[slot]], dtype=np.int64)


@dataclass(frozen=True)
class Source:
    """Where a slot's frames come from.

    Attributes:
        store: The feature store.
        normalize: Divide each frame by its length (L2), as the paper does with text (Sec. 4.2).
        one_frame: The encoder takes one vector per clip.
    """

    store: FeatureStore
    normalize: bool = False
    one_frame: bool = False


def takes_one_frame(encoder: Any) -> bool:
    """Returns whether an encoder takes one vector per clip."""
    return bool(getattr(type(encoder), "one_frame", False))


def load_clips(sources: Mapping[str, Source], ids: Sequence[str], truth: NDArray[np.float64] | None = None) -> ClipData:
    """Returns the clips' features, joined by id; frames stay memory-mapped unless they are normalized.

    Raises:
        AbawkitError: A clip is not in one of the stores, or has several frames for an encoder that takes one.
    """
    frames: dict[str, Sequence[Tensor]] = {}
    for slot, source in sources.items():
        store = source.store
        require_clips(store, ids)
        frames[slot] = [torch.from_numpy(store.frames(clip)) for clip in ids]
        if source.one_frame:
            _require_one_frame(store, ids, frames[slot])
        if source.normalize:
            frames[slot] = [torch.nn.functional.normalize(clip.float(), dim=1) for clip in frames[slot]]
    present = {
        slot: np.array([source.store.status(clip) == Status.PRESENT for clip in ids], bool)
        for slot, source in sources.items()
    }
    target = None if truth is None else torch.from_numpy(np.asarray(truth, np.float32))
    return ClipData(tuple(ids), frames, target, present, {})


def require_clips(store: FeatureStore, ids: Sequence[str]) -> None:
    """Raises where a clip is not in the store.

    Raises:
        AbawkitError: Names how many, which, and the command that makes them.
    """
    absent = [clip for clip in ids if clip not in store]
    if absent:
        raise AbawkitError(
            f"{len(absent)} of {len(ids)} clips have no {store.spec.modality} features",
            path=store.path,
            got=f"missing: {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}",
            todo=store.spec.command,
        )


def _require_one_frame(store: FeatureStore, ids: Sequence[str], frames: Sequence[Tensor]) -> None:
    several = [(clip, len(own)) for clip, own in zip(ids, frames, strict=True) if len(own) > 1]
    if several:
        raise AbawkitError(
            f"these {store.spec.modality} features have several vectors per clip, and the encoder mlp takes one",
            path=store.path,
            got=f"{len(several)} clips with several vectors, such as {several[0][0]} with {several[0][1]}",
            expected="one vector per clip, such as sentence embeddings",
            todo=f"name another store: --features {store.spec.modality}=NAME; or another encoder: mean, gru, lstm, …",
        )


def row_batches(count: int, size: int, *, seed: int | None = None) -> Iterator[list[int]]:
    """Yields lists of at most ``size`` row numbers that cover ``range(count)`` once; shuffled when a seed is given.

    >>> list(row_batches(3, 2))
    [[0, 1], [2]]
    """
    if seed is None:
        rows = list(range(count))
    else:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(count, generator=generator).tolist()
    for start in range(0, count, size):
        yield rows[start : start + size]
