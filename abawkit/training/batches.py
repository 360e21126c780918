"""Clips of a split as the models take them: text as one matrix, frames as ragged views of memory-mapped stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawkit.errors import AbawkitError
from abawkit.features.spec import Modality, Status
from abawkit.features.store import FeatureStore
from abawkit.models.encoders import Inputs


@dataclass(frozen=True)
class ClipData:
    """The clips of one side of a split.

    Attributes:
        ids: N clip ids.
        text: L2-normalised sentence embeddings ``float32 [N, D]``; zeros where text is missing. None: not used.
        frames: Modality → N tensors ``[T_i, D]`` in the store's dtype; no frames where the modality is missing.
        truth: ``float32 [N, E]``; None for clips without labels.
        present: Modality → ``bool [N]``.
        ready: Modality → embeddings ``[N, H]`` of a frozen encoder, computed once.
    """

    ids: tuple[str, ...]
    text: Tensor | None
    frames: Mapping[Modality, Sequence[Tensor]]
    truth: Tensor | None
    present: Mapping[Modality, NDArray[np.bool_]]
    ready: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self, rows: Sequence[int], *, skip: Mapping[str, Tensor]) -> dict[str, Inputs]:
        """Returns what the encoders take for these rows, but for the modalities in ``skip``."""
        batch: dict[str, Inputs] = {}
        if self.text is not None and "text" not in skip:
            batch["text"] = self.text[list(rows)]
        for modality, clips in self.frames.items():
            if modality not in skip:
                batch[modality] = [clips[row] for row in rows]
        return batch

    def only(self, modality: Modality) -> ClipData:
        """Returns the same clips with a single modality."""
        frames: dict[Modality, Sequence[Tensor]] = {} if modality == "text" else {modality: self.frames[modality]}
        return replace(self, text=self.text if modality == "text" else None, frames=frames)

    def lengths(self, modality: Modality) -> NDArray[np.int64]:
        """Returns the number of frames of each clip, ``int64 [N]``."""
        if modality == "text":
            return self.present["text"].astype(np.int64)
        return np.array([len(clip) for clip in self.frames[modality]], dtype=np.int64)


def load_clips(
    stores: Mapping[Modality, FeatureStore],
    ids: Sequence[str],
    truth: NDArray[np.float64] | None = None,
) -> ClipData:
    """Returns the clips' features, joined by id; frames stay memory-mapped (see :mod:`abawkit.training.placement`).

    Raises:
        AbawkitError: A clip is not in one of the stores, or has several text vectors.
    """
    for modality, store in stores.items():
        absent = [clip for clip in ids if clip not in store]
        if absent:
            raise AbawkitError(
                f"{len(absent)} of {len(ids)} clips have no {modality} features",
                path=store.path,
                got=f"missing: {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}",
                todo=store.spec.command,
            )
    present = {m: np.array([store.status(c) == Status.PRESENT for c in ids], bool) for m, store in stores.items()}
    text = None
    if "text" in stores:
        rows = [np.asarray(stores["text"].frames(clip), np.float32) for clip in ids]
        _refuse_tokens(stores["text"], ids, rows)
        zero = np.zeros(stores["text"].spec.dim, np.float32)
        matrix = torch.from_numpy(np.stack([row[0] if len(row) else zero for row in rows]))
        text = torch.nn.functional.normalize(matrix, dim=1)  # a row of zeros stays zeros
    frames: dict[Modality, Sequence[Tensor]] = {
        modality: [torch.from_numpy(store.frames(clip)) for clip in ids]
        for modality, store in stores.items()
        if modality != "text"
    }
    target = None if truth is None else torch.from_numpy(np.asarray(truth, np.float32))
    return ClipData(tuple(ids), text, frames, target, present, {})


def _refuse_tokens(store: FeatureStore, ids: Sequence[str], rows: Sequence[NDArray[np.float32]]) -> None:
    # The mean over the tokens would work, and hide that the sequence is not used: it is a store of its own.
    several = [(clip, len(row)) for clip, row in zip(ids, rows, strict=True) if len(row) > 1]
    if several:
        raise AbawkitError(
            "these text features have one vector per token, and the text encoder takes one vector per clip",
            path=store.path,
            got=f"{len(several)} clips with several vectors, such as {several[0][0]} with {several[0][1]}",
            expected="sentence embeddings",
            todo="abawkit extract --modality text (without tokens); or name the store: --features text=NAME",
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
