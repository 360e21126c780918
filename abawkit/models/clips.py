"""The one input form of every modality: B clips of frames, and which of them are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Most frames, padding included, of a group that :meth:`Packed.groups` makes of several clips: 128 MiB at D = 1,024.
GROUP_FRAMES = 32_768


@dataclass(frozen=True)
class Packed:
    """B clips of one slot, ragged: text is one frame per clip, or one per token.

    A clip that is absent (it has no frames, or it is marked so) counts as one frame, the ``filler``. What a clip gives
    does not depend on the clips beside it.

    Attributes:
        frames: B tensors ``[T_i, D]`` of one floating dtype on one device. They are data and get no gradient.
        present: Which clips are there, ``bool [B]`` on the same device; never true for a clip without frames.
        filler: What stands in for an absent clip, ``[D]``, with its gradient; None: zeros.
        values: The frames of all clips one after another, ``[ΣT, D]``, where they lie so in memory (on a GPU).
        clip: Which clip each row of ``values`` belongs to, ``int64 [ΣT]`` from 0.

    >>> two = Packed.of([torch.ones(2, 3), torch.zeros(0, 3)])
    >>> len(two), two.dim, two.lengths, two.present
    (2, 3, [2, 0], tensor([ True, False]))
    """

    frames: Sequence[Tensor]
    present: Tensor
    filler: Tensor | None = None
    values: Tensor | None = None
    clip: Tensor | None = None

    @classmethod
    def of(cls, frames: Sequence[Tensor]) -> Packed:
        """Returns the clips ``[T_i, D]`` where they lie; those without frames are absent."""
        lengths = torch.tensor([len(clip) > 0 for clip in frames])
        return cls(frames, lengths.to(frames[0].device) if frames else lengths)

    @classmethod
    def joined(cls, frames: Sequence[Tensor]) -> Packed:
        """Returns the clips ``[T_i, D]`` one after another in one new tensor, as a GPU takes them."""
        lengths = torch.tensor([len(clip) for clip in frames])
        values = torch.cat(list(frames))
        clip = torch.repeat_interleave(torch.arange(len(frames)), lengths).to(values.device)
        return cls(torch.split(values, lengths.tolist()), (lengths > 0).to(values.device), None, values, clip)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def dim(self) -> int:
        """Values per frame D."""
        return self.frames[0].shape[1]

    @property
    def device(self) -> torch.device:
        """Where the frames are."""
        return self.frames[0].device

    @property
    def lengths(self) -> list[int]:
        """Frames per clip, ``[B]``; 0 for a clip without any."""
        return [len(clip) for clip in self.frames]

    def without(self, absent: Tensor) -> Packed:
        """Returns the same clips, those where ``absent`` (``bool [B]``) is true marked as absent."""
        return replace(self, present=self.present & ~absent)

    def fill(self, pooled: Tensor) -> Tensor:
        """Returns vectors ``[B, D]`` with the filler in the rows of absent clips."""
        filler = pooled.new_zeros(()) if self.filler is None else self.filler.to(pooled.dtype)
        return torch.where(self.present[:, None], pooled, filler)

    def vectors(self, dtype: torch.dtype) -> Tensor:
        """Returns the one frame of each clip, ``[B, D]``; the filler for absent clips.

        Raises:
            ValueError: A clip has several frames.
        """
        if any(len(clip) > 1 for clip in self.frames):
            raise ValueError("this encoder takes one vector per clip, and a clip has several frames")
        if self.values is not None and self.clip is not None:
            made = torch.zeros(len(self), self.dim, dtype=dtype, device=self.device)
            return self.fill(made.index_copy_(0, self.clip, self.values.to(dtype)))
        blank = self.frames[0].new_zeros(1, self.dim)
        return self.fill(torch.cat([clip if len(clip) else blank for clip in self.frames]).to(dtype))

    def groups(self, dtype: torch.dtype) -> Iterator[Group]:
        """Yields the clips, padded, in groups of similar lengths: padding is never more than the frames themselves.

        One clip of 12,500 frames in a batch of sixteen is a group of its own, so that nothing else is padded to it.
        """
        lengths = [max(1, len(clip)) for clip in self.frames]
        order = sorted(range(len(self)), key=lambda row: -lengths[row])
        filler = torch.zeros(self.dim, dtype=dtype, device=self.device) if self.filler is None else self.filler
        while order:
            longest = lengths[order[0]]
            most = max(1, GROUP_FRAMES // longest)
            rows = [row for row in order[:most] if 2 * lengths[row] >= longest]
            order = order[len(rows) :]
            padded = torch.zeros(len(rows), longest, self.dim, dtype=dtype, device=self.device)
            for place, row in enumerate(rows):
                padded[place, : len(self.frames[row])] = self.frames[row]
            present = self.present[rows]
            first = torch.where(present[:, None], padded[:, 0], filler.to(dtype))  # an absent clip is one filler frame
            padded = torch.cat([first[:, None], padded[:, 1:]], dim=1)
            own = torch.tensor([lengths[row] for row in rows], device=self.device)
            yield Group(rows, padded, torch.where(present, own, 1))


@dataclass(frozen=True)
class Group:
    """Some clips of a batch, padded.

    Attributes:
        rows: Their places in the batch.
        frames: ``[b, T, D]``; zeros after the end of a clip (an absent clip has one frame, and what follows it is
            of no meaning).
        lengths: Frames per clip, ``int64 [b]``, at least 1.
    """

    rows: Sequence[int]
    frames: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """Which frames are a clip's own, ``bool [b, T]``."""
        return torch.arange(self.frames.shape[1], device=self.frames.device)[None] < self.lengths[:, None]


def in_order(rows: Sequence[Sequence[int]], parts: Sequence[Tensor]) -> Tensor:
    """Returns the results of groups, ``[b_i, …]``, as one tensor ``[B, …]`` in the order of the batch.

    >>> in_order([[2, 0], [1]], [torch.tensor([2, 0]), torch.tensor([1])])
    tensor([0, 1, 2])
    """
    places = torch.tensor([row for group in rows for row in group], device=parts[0].device)
    return torch.cat(list(parts)).index_select(0, torch.argsort(places))
