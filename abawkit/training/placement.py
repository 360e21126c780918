"""Where the frames are while a stage trains: in their files, in the device's memory, or being sent to it.

On the processor a batch is views of the memory-mapped stores. On a GPU the frames of all clips stay in its memory where
they fit (the whole challenge is 13 GiB), and a batch is one gather; where they do not fit, a thread copies the next
batches through pinned memory while the device computes. No step waits for the device: what a batch needs besides
frames follows from the order of the rows, which is sent once for all batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from abawkit.models.clips import Packed
from abawkit.models.network import Inputs
from abawkit.training.batches import ClipData, row_batches

#: Clips per batch when nothing is learned: results do not depend on it, only the memory.
EVALUATION_BATCH = 128

#: Bytes of a device that resident frames leave free: for the models, cuBLAS and the gaps between blocks. What the
#: largest batch takes is counted separately, by :func:`resident_bytes`.
RESERVE = 2 << 30

#: Batches that are on their way while another is computed, each in a buffer of its own.
AHEAD = 2

Rows = Sequence[int]


@dataclass(frozen=True)
class Batch:
    """The clips of one step.

    Attributes:
        inputs: What the network takes.
        truth: ``[B, E]``; None for clips without labels.
    """

    inputs: Inputs
    truth: Tensor | None


Batches = Generator[Batch, None, None]


class Placed(Protocol):
    """Clips where batches can be made of them."""

    clips: ClipData

    def batches(self, steps: Sequence[Rows]) -> Batches:
        """Yields a batch for each list of rows; to be closed by whoever stops early."""


class InPlace:
    """Clips that stay where they are: batches are views of them, on the processor.

    Args:
        clips: The clips.
    """

    def __init__(self, clips: ClipData) -> None:
        self.clips = clips

    def batches(self, steps: Sequence[Rows]) -> Batches:
        """Yields a batch for each list of rows."""
        clips = self.clips
        for rows in steps:
            packed = {slot: Packed.of([clips.frames[slot][row] for row in rows]) for slot in clips.slots}
            present = {slot: own.present for slot, own in packed.items()}
            for slot in clips.ready:
                present[slot] = torch.from_numpy(clips.present[slot][list(rows)])
            ready = {slot: vectors[rows] for slot, vectors in clips.ready.items()}
            yield Batch(Inputs(packed, ready, present), None if clips.truth is None else clips.truth[rows])


@dataclass(frozen=True)
class Shipment:
    """Frames that are on their way to a device; ``arrival`` is None where they are there already."""

    values: Mapping[str, Tensor]
    arrival: torch.cuda.Event | None = None


class Link:
    """The way from the processor's memory to a device: on a GPU a stream separate from the computing one.

    Args:
        device: ``cpu``, where sending is copying, or ``cuda:N``.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if torch.device(device).type == "cuda" else None  # type: ignore[no-untyped-call]

    @property
    def pinned(self) -> bool:
        """Whether buffers are to be in pinned memory, from which a GPU copies by itself."""
        return self._stream is not None

    def send(self, buffers: Mapping[str, Tensor]) -> Shipment:
        """Begins to copy and returns at once; the buffers must stay as they are until :meth:`sent`."""
        if self._stream is None:
            return Shipment({slot: values.clone() for slot, values in buffers.items()})
        with torch.cuda.stream(self._stream):
            there = {slot: values.to(self._device, non_blocking=True) for slot, values in buffers.items()}
            return Shipment(there, self._stream.record_event())

    def sent(self, shipment: Shipment) -> None:
        """Waits until the shipment has left its buffers."""
        if shipment.arrival is not None:
            shipment.arrival.synchronize()

    def receive(self, shipment: Shipment) -> Mapping[str, Tensor]:
        """Returns the values; the stream that computes, not the caller, waits until they are there."""
        if shipment.arrival is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(shipment.arrival)
            for values in shipment.values.values():
                values.record_stream(computing)
        return shipment.values


class _OnDevice:
    """Clips of which everything but the frames is on the device; frames come from :meth:`_frames`."""

    def __init__(self, clips: ClipData, device: str) -> None:
        self.clips, self._device = clips, device
        self._lengths = {slot: torch.from_numpy(clips.lengths(slot)) for slot in clips.slots}
        self._lengths_there = {slot: lengths.to(device) for slot, lengths in self._lengths.items()}
        self._present = {slot: lengths > 0 for slot, lengths in self._lengths_there.items()}
        self._present |= {slot: torch.from_numpy(clips.present[slot]).to(device) for slot in clips.ready}
        self._ready = {slot: vectors.to(device) for slot, vectors in clips.ready.items()}
        self._truth = None if clips.truth is None else clips.truth.to(device)

    def batches(self, steps: Sequence[Rows]) -> Batches:
        """Yields a batch for each list of rows."""
        order = torch.tensor([row for rows in steps for row in rows], dtype=torch.int64)
        rows = order.to(self._device)
        places = torch.tensor([place for rows in steps for place in range(len(rows))]).to(self._device)
        ends = np.cumsum([0, *(len(step) for step in steps)]).tolist()
        lengths = {slot: known[order].tolist() for slot, known in self._lengths.items()}
        sizes = {slot: [sum(own[a:b]) for a, b in pairwise(ends)] for slot, own in lengths.items()}
        clip = {slot: self._per_frame(slot, rows, places, sum(own)) for slot, own in sizes.items()}
        clip_of = {slot: torch.split(clip[slot], own) for slot, own in sizes.items()}
        there = {slot: known[rows] for slot, known in self._present.items()}
        with closing(self._frames(steps, rows, sizes)) as frames:
            for at, values in enumerate(frames):
                own = slice(ends[at], ends[at + 1])
                present = {slot: known[own] for slot, known in there.items()}
                packed = {
                    slot: Packed(
                        torch.split(all_frames, lengths[slot][own]), present[slot], None, all_frames, clip_of[slot][at]
                    )
                    for slot, all_frames in values.items()
                }
                ready = {slot: vectors.index_select(0, rows[own]) for slot, vectors in self._ready.items()}
                truth = None if self._truth is None else self._truth.index_select(0, rows[own])
                yield Batch(Inputs(packed, ready, present), truth)

    def _per_frame(self, slot: str, rows: Tensor, values: Tensor, total: int) -> Tensor:
        """Returns the value of each row's clip for each of its frames, ``[ΣT]``; ``total`` spares asking the device."""
        return torch.repeat_interleave(values, self._lengths_there[slot][rows], output_size=total)

    def _frames(
        self, steps: Sequence[Rows], rows: Tensor, sizes: Mapping[str, list[int]]
    ) -> Generator[Mapping[str, Tensor], None, None]:
        """Yields the frames ``[ΣT, D]`` of each step, of all modalities; ``sizes`` has each step's ΣT."""
        raise NotImplementedError


class Streamed(_OnDevice):
    """Clips whose frames come to the device batch by batch, gathered by a thread while the last ones are computed.

    Args:
        clips: The clips, on the processor.
        device: Where to.
        link: How; the default is the device's own.
    """

    def __init__(self, clips: ClipData, device: str, *, link: Link | None = None) -> None:
        super().__init__(clips, device)
        self._link = Link(device) if link is None else link

    def _frames(
        self, steps: Sequence[Rows], rows: Tensor, sizes: Mapping[str, list[int]]
    ) -> Generator[Mapping[str, Tensor], None, None]:
        most = {slot: max(own, default=0) for slot, own in sizes.items()}
        with torch.inference_mode(False):  # the thread, which writes to them, is not in that mode
            buffers = [_Buffer(self.clips, most, self._link) for _ in range(AHEAD)]
        thread = ThreadPoolExecutor(1, "frames")
        try:
            coming = deque(thread.submit(buffers[at].send, steps[at]) for at in range(min(AHEAD, len(steps))))
            for at in range(len(steps)):
                values = self._link.receive(coming.popleft().result())
                if at + AHEAD < len(steps):
                    coming.append(thread.submit(buffers[at % AHEAD].send, steps[at + AHEAD]))
                yield values
        finally:
            thread.shutdown(cancel_futures=True)


class _Buffer:
    """Memory for the frames of one batch, used again when they have left it."""

    def __init__(self, clips: ClipData, most: Mapping[str, int], link: Link) -> None:
        self._clips, self._link = clips, link
        self._last: Shipment | None = None
        self._memory = {}
        for slot, frames in most.items():
            like = clips.frames[slot][0]
            self._memory[slot] = torch.empty(frames, like.shape[1], dtype=like.dtype, pin_memory=link.pinned)

    def send(self, rows: Rows) -> Shipment:
        """Gathers the frames of the rows and sends them."""
        if self._last is not None:
            self._link.sent(self._last)
        gathered = {}
        for slot, memory in self._memory.items():
            clips = [self._clips.frames[slot][row] for row in rows]
            gathered[slot] = torch.cat(clips, out=memory[: sum(len(clip) for clip in clips)])
        self._last = self._link.send(gathered)
        return self._last


class Resident(_OnDevice):
    """Clips whose frames lie on the device, one after the other: a batch is a gather.

    Args:
        clips: The clips, on the processor.
        device: Where to; frames are sent in the store's dtype, once.
    """

    def __init__(self, clips: ClipData, device: str) -> None:
        super().__init__(clips, device)
        self._starts = {slot: own.cumsum(0) - own for slot, own in self._lengths_there.items()}
        steps = list(row_batches(len(clips), EVALUATION_BATCH))
        sizes = {m: [int(own[rows[0] : rows[-1] + 1].sum()) for rows in steps] for m, own in self._lengths.items()}
        self._all: dict[str, Tensor] = {}
        for slot, own in sizes.items():
            like = clips.frames[slot][0]
            self._all[slot] = torch.empty(sum(own), like.shape[1], dtype=like.dtype, device=device)
        parts = {slot: torch.split(self._all[slot], own) for slot, own in sizes.items()}
        for at, values in enumerate(Streamed(clips, device)._frames(steps, torch.empty(0), sizes)):
            for slot, packed in values.items():
                parts[slot][at].copy_(packed)

    def _frames(
        self, steps: Sequence[Rows], rows: Tensor, sizes: Mapping[str, list[int]]
    ) -> Generator[Mapping[str, Tensor], None, None]:
        index = {}
        for slot, own in sizes.items():
            lengths, total = self._lengths_there[slot][rows], sum(own)
            shift = self._starts[slot][rows] - (lengths.cumsum(0) - lengths)
            whole = self._per_frame(slot, rows, shift, total) + torch.arange(total, device=self._device)
            index[slot] = torch.split(whole, own)
        for at in range(len(steps)):
            yield {slot: whole.index_select(0, index[slot][at]) for slot, whole in self._all.items()}


def resident_bytes(clips: ClipData) -> int:
    """Returns how many bytes of a device resident frames take, with those of the largest batch; 0 without frames."""
    total = 0
    for slot in clips.slots:
        lengths, (_, dim) = clips.lengths(slot), clips.frames[slot][0].shape
        frame = dim * clips.frames[slot][0].element_size()
        longest = int(np.sort(lengths)[-EVALUATION_BATCH:].sum())
        # Two int64 of the epoch's order per frame; in a batch the frame, in float32 too, and scores for each clip.
        total += int(lengths.sum()) * (frame + 16) + longest * (frame + 4 * dim + 20 * EVALUATION_BATCH)
    return total


def fitting(needed: Sequence[int], free: int) -> list[bool]:
    """Returns which sides are to be resident, the first before the others; :data:`RESERVE` bytes stay free.

    Args:
        needed: Bytes that each side takes (:func:`resident_bytes`).
        free: Free bytes of the device.

    >>> fitting([6 << 30, 3 << 30], 12 << 30), fitting([6 << 30, 3 << 30], 9 << 30), fitting([6 << 30, 0], 4 << 30)
    ([True, True], [True, False], [False, True])
    """
    fit = []
    for own in needed:
        fit.append(own == 0 or own + RESERVE <= free)
        free -= own if fit[-1] else 0
    return fit


def free_bytes(device: str) -> int:
    """Returns the free bytes of a GPU, with those that torch holds and does not use."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def place(sides: Sequence[ClipData], device: str, free: int) -> list[Placed]:
    """Returns the sides of a stage, each with its frames resident on the device where they fit, else streamed to it.

    Args:
        sides: Training clips, then validation clips.
        device: Any device but this is meant for a GPU; the processor takes :class:`InPlace`.
        free: Free bytes of the device (:func:`free_bytes`).
    """
    fit = fitting([resident_bytes(clips) for clips in sides], free)
    return [Resident(clips, device) if own else Streamed(clips, device) for clips, own in zip(sides, fit, strict=True)]


def describe(placed: Sequence[Placed], device: str) -> str:
    """Returns, in words, where the frames of the sides are and how much they are; empty without frames."""
    words = []
    for name, kind in (("in the memory of", Resident), ("streamed to", Streamed)):
        sides = [each.clips for each in placed if isinstance(each, kind)]
        size = sum(_frame_bytes(clips) for clips in sides) / 2**30
        if size:
            words.append(f"{size:.2f} GiB of frames {name} {device}")
    return ", ".join(words)


def _frame_bytes(clips: ClipData) -> int:
    return sum(frames.numel() * frames.element_size() for m in clips.slots for frames in clips.frames[m])


def for_one_pass(clips: ClipData, device: str) -> Placed:
    """Returns clips for a single pass over them: in place on the processor, streamed to any other device."""
    return InPlace(clips) if device == "cpu" else Streamed(clips, device)
