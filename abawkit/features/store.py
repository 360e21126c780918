"""Feature stores: a folder of immutable segment files and a manifest that says which clip is in which.

``features/<modality>/<spec>-<signature>/`` holds ``store.json`` and ``segment-NNNN.h5``. A segment is ragged, not
one group per clip (measured to be eight times slower to read)::

    clips/id        text         [n]
    clips/offset    int64        [n + 1]   clip i owns the frames offset[i] : offset[i + 1]
    clips/status    uint8        [n]       0 present, 1 missing, 2 failed
    clips/source    text         [n]       digest of the source, so that a replaced clip is noticed
    clips/checksum  uint32       [n]       CRC-32 of the clip's values
    clips/note      text         [n]       why it failed, or what was odd (JSON)
    frames/values   float16|32   [ΣT, D]   contiguous, uncompressed, aligned: readers memory-map it
    frames/time     float32      [ΣT]      seconds; NaN where the source has none

A segment is written to a temporary file, synced and renamed, and only then entered in the manifest; a process that
is killed loses at most the segment it was computing. Nothing is rewritten: clips that are added or made again go
into new segments, and the newest segment that has a clip is the one that counts. A missing clip has no frames; what
stands in for it is the model's business.

This is the only module that reads or writes HDF5.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from abawkit import __version__
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import MODALITIES, ClipFeatures, FeatureSpec, Modality, Status
from abawkit.fileio import atomic_path, digest, locked, read_json, storage_errors, write_json

MANIFEST = "store.json"
_FORMAT = 1
_NOTE = "Derived from data under the organisers' EULA: do not publish, do not upload, do not commit."
_TEXT = h5py.string_dtype("utf-8")


@dataclass(frozen=True)
class Segment:
    """One segment file, read: its small tables in memory, its frames memory-mapped."""

    ids: tuple[str, ...]
    offset: NDArray[np.int64]
    status: NDArray[np.uint8]
    source: tuple[str, ...]
    checksum: NDArray[np.uint32]
    note: tuple[str, ...]
    values: NDArray[np.floating[Any]]
    time: NDArray[np.float32]


def write_segment(path: Path, clips: Sequence[ClipFeatures], spec: FeatureSpec) -> None:
    """Writes the clips as one segment, atomically.

    Raises:
        AbawkitError: The disk is full or the folder cannot be written to; nothing is left behind.
    """
    dtype = np.dtype(spec.dtype)
    blocks = [np.ascontiguousarray(clip.values, dtype=dtype).reshape(-1, spec.dim) for clip in clips]
    offset = np.concatenate([[0], np.cumsum([len(block) for block in blocks])]).astype(np.int64)
    # Built in memory and written by Python: on a full disk HDF5 itself crashes the process when it closes the file.
    # HDF5 would put a data set at an odd offset after small ones, where it cannot be memory-mapped well.
    image = io.BytesIO()
    with h5py.File(image, "w", libver="v110", alignment_threshold=1, alignment_interval=64) as file:
        file.attrs["format"] = _FORMAT
        file.attrs["signature"] = spec.signature
        table = file.create_group("clips")
        table.create_dataset("id", data=[clip.clip for clip in clips], dtype=_TEXT)
        table.create_dataset("offset", data=offset)
        table.create_dataset("status", data=np.array([int(clip.status) for clip in clips], dtype=np.uint8))
        table.create_dataset("source", data=[clip.source for clip in clips], dtype=_TEXT)
        table.create_dataset("checksum", data=np.array([zlib.crc32(block.data) for block in blocks], dtype=np.uint32))
        table.create_dataset("note", data=[clip.note for clip in clips], dtype=_TEXT)
        frames = file.create_group("frames")
        frames.create_dataset("values", shape=(int(offset[-1]), spec.dim), dtype=dtype)
        for block, start in zip(blocks, offset[:-1], strict=True):
            frames["values"][start : start + len(block)] = block
        times = [np.asarray(clip.times, dtype=np.float32) for clip in clips]
        frames.create_dataset("time", data=np.concatenate(times) if times else np.zeros(0, np.float32))
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def read_segment(path: Path, spec: FeatureSpec) -> Segment:
    """Returns the segment; its frames are memory-mapped copy-on-write, so they can be given to torch.

    Raises:
        AbawkitError: The file is missing, damaged, or belongs to another feature.
    """
    todo = "delete this file and run: abawkit extract"
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT or file.attrs.get("signature") != spec.signature:
                raise AbawkitError(
                    "this segment belongs to another feature",
                    path=path,
                    got=f"signature {file.attrs.get('signature')}",
                    expected=f"signature {spec.signature}",
                    todo=todo,
                )
            table, frames = file["clips"], file["frames"]
            values, start = frames["values"], frames["values"].id.get_offset()
            shape, dtype = values.shape, values.dtype
            segment = Segment(
                ids=tuple(table["id"].asstr()[:]),
                offset=table["offset"][:],
                status=table["status"][:],
                source=tuple(table["source"].asstr()[:]),
                checksum=table["checksum"][:],
                note=tuple(table["note"].asstr()[:]),
                # An empty data set has no place in the file to map.
                values=np.zeros(shape, dtype) if start is None else np.memmap(path, dtype, "c", start, shape),
                time=frames["time"][:],
            )
    except FileNotFoundError as error:
        raise AbawkitError("a segment of the feature store is missing", path=path, todo=todo) from error
    except (OSError, KeyError, ValueError) as error:
        raise AbawkitError("this segment is damaged", path=path, got=str(error)[:160], todo=todo) from error
    n = len(segment.ids)
    whole = segment.offset.shape == (n + 1,) and segment.status.shape == (n,) and segment.values.ndim == 2
    if not whole or int(segment.offset[-1]) != len(segment.values) or segment.values.shape[1] != spec.dim:
        raise AbawkitError("this segment is damaged", path=path, got="tables of different lengths", todo=todo)
    return segment


class FeatureStore:
    """A feature store, opened for reading.

    Attributes:
        path: Its folder.
        spec: What the features are.
    """

    def __init__(self, path: Path, spec: FeatureSpec, segments: dict[str, list[str]]) -> None:
        self.path = path
        self.spec = spec
        self.segments = segments

    @classmethod
    def open(cls, path: Path) -> FeatureStore:
        """Returns the store in folder ``path``.

        Raises:
            AbawkitError: It is no feature store, or its manifest does not fit its signature.
        """
        manifest = path / MANIFEST
        record = read_json(manifest, "a feature store")
        try:
            spec = FeatureSpec(**record["spec"])
            segments = {str(name): [str(clip) for clip in clips] for name, clips in record["segments"].items()}
            format_, signature = record["format"], record["signature"]
        except (KeyError, TypeError, AttributeError) as error:
            raise AbawkitError("is not the manifest of a feature store", path=manifest, got=str(error)) from error
        if format_ != _FORMAT:
            raise AbawkitError(
                "this store was written by another version",
                path=manifest,
                got=f"format {format_}",
                expected=f"format {_FORMAT}",
                todo="move it away and run: abawkit extract",
            )
        if signature != spec.signature:
            raise AbawkitError(
                "the store's signature does not fit its own description: it was edited",
                path=manifest,
                got=str(signature),
                expected=spec.signature,
                todo="move it away and run: abawkit extract",
            )
        return cls(path, spec, segments)

    @cached_property
    def _segments(self) -> dict[str, Segment]:
        return {name: read_segment(self.path / name, self.spec) for name in sorted(self.segments)}

    @cached_property
    def _index(self) -> dict[str, tuple[Segment, int]]:
        index: dict[str, tuple[Segment, int]] = {}
        for segment in self._segments.values():
            index.update({clip: (segment, row) for row, clip in enumerate(segment.ids)})
        return index

    @property
    def ids(self) -> list[str]:
        """Ids of all clips that were processed, whatever became of them, sorted."""
        return sorted(self._index)

    def __contains__(self, clip: str) -> bool:
        return clip in self._index

    def __len__(self) -> int:
        return len(self._index)

    def _row(self, clip: str) -> tuple[Segment, int]:
        try:
            return self._index[clip]
        except KeyError:
            raise AbawkitError(
                f"clip {clip} is not in the feature store", path=self.path, todo="abawkit extract"
            ) from None

    def status(self, clip: str) -> Status:
        """Returns what became of the clip."""
        segment, row = self._row(clip)
        return Status(int(segment.status[row]))

    def source(self, clip: str) -> str:
        """Returns the digest of the source that the clip's features were made from."""
        segment, row = self._row(clip)
        return segment.source[row]

    def note(self, clip: str) -> str:
        """Returns what was odd about the clip, as JSON; empty when nothing was."""
        segment, row = self._row(clip)
        return segment.note[row]

    def frames(self, clip: str) -> NDArray[np.floating[Any]]:
        """Returns the clip's frames ``[T, D]`` in the store's dtype, memory-mapped; ``[0, D]`` when it has none."""
        segment, row = self._row(clip)
        return segment.values[segment.offset[row] : segment.offset[row + 1]]

    def times(self, clip: str) -> NDArray[np.float32]:
        """Returns the times of the clip's frames, ``float32 [T]`` seconds, NaN where the source has none."""
        segment, row = self._row(clip)
        return segment.time[segment.offset[row] : segment.offset[row + 1]]

    def content_digest(self, clips: Iterable[str]) -> str:
        """Returns a digest of these clips' features: it changes when one of them is made anew and differs."""
        parts = []
        for clip in clips:
            segment, row = self._row(clip)
            parts.append(f"{clip} {segment.status[row]} {segment.checksum[row]}")
        return digest(self.spec.signature, *parts)

    def verify(self) -> None:
        """Compares every clip's values with its checksum.

        Raises:
            AbawkitError: A clip's values are not those that were written.
        """
        for clip in self.ids:
            segment, row = self._row(clip)
            if zlib.crc32(np.ascontiguousarray(self.frames(clip)).data) != segment.checksum[row]:
                raise AbawkitError(f"the values of clip {clip} are damaged", path=self.path, todo="abawkit extract")


class StoreWriter:
    """The one writer of a store, made by :func:`open_for_writing`."""

    def __init__(self, path: Path, spec: FeatureSpec) -> None:
        self.path = path
        self.spec = spec
        if (path / MANIFEST).exists():
            self.store = FeatureStore.open(path)
            if self.store.spec.signature != spec.signature:
                raise AbawkitError("the store in this folder is of another feature", path=path)
        else:
            self.store = FeatureStore(path, spec, {})
            self._write_manifest()
        self._adopt()

    def _adopt(self) -> None:
        """Enters whole segments that a killed process renamed but did not live to enter."""
        strays = sorted(set(file.name for file in self.path.glob("segment-*.h5")) - set(self.store.segments))
        for name in strays:
            self.store.segments[name] = list(read_segment(self.path / name, self.spec).ids)
        for left in self.path.glob(".tmp-*"):
            left.unlink()
        if strays:
            self._write_manifest()

    def _write_manifest(self) -> None:
        record = {
            "format": _FORMAT,
            "signature": self.spec.signature,
            "spec": self.spec.to_json(),
            "tool": f"abawkit {__version__}",
            "note": _NOTE,
            "segments": dict(sorted(self.store.segments.items())),
        }
        write_json(self.path / MANIFEST, record)

    def add(self, clips: Sequence[ClipFeatures]) -> Path:
        """Writes the clips as the next segment and returns its path."""
        taken = [int(name[len("segment-") : -len(".h5")]) for name in self.store.segments]
        path = self.path / f"segment-{max(taken, default=-1) + 1:04d}.h5"
        write_segment(path, clips, self.spec)
        self.store.segments[path.name] = [clip.clip for clip in clips]
        self._write_manifest()
        return path


@contextmanager
def open_for_writing(path: Path, spec: FeatureSpec) -> Iterator[StoreWriter]:
    """Yields the one writer of the store in folder ``path``, which is made when it is not there.

    Raises:
        AbawkitError: Another process is writing it, or the folder cannot be written to.
    """
    with locked(path, f"extracting {spec.modality}"), storage_errors(path):
        yield StoreWriter(path, spec)


def list_stores(features: Path) -> list[FeatureStore]:
    """Returns all stores below the folder ``features``, by modality and name."""
    return [
        FeatureStore.open(manifest.parent)
        for modality in MODALITIES
        for manifest in sorted((features / modality).glob(f"*/{MANIFEST}"))
    ]


def choose_store(features: Path, modality: Modality, *, lite: bool, wanted: str | None = None) -> FeatureStore:
    """Returns the modality's store that a system should read.

    Args:
        features: The workspace's ``features`` folder.
        modality: Which modality.
        lite: Whether the workspace's preset is ``lite``; stores of the other preset are not candidates.
        wanted: Folder name, spec name or signature of the store to take.

    Raises:
        UsageError: There is none, or several and none is named.
    """
    stores = [store for store in list_stores(features) if store.spec.modality == modality]
    if wanted is not None:
        chosen = [s for s in stores if wanted in (s.path.name, s.spec.name, s.spec.signature)]
    else:
        chosen = [s for s in stores if (s.spec.name == "lite") == lite]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(store.path.name for store in stores) or "none"
    if not chosen:
        todo = f"abawkit extract --modality {modality}"
        if stores and wanted is None:
            todo += f"; or take what is there: --features {modality}={stores[0].path.name}"
        raise UsageError(
            f"there are no {modality} features" + (f" named {wanted}" if wanted else " of the workspace's preset"),
            path=features / modality,
            got=names,
            todo=todo,
        )
    raise UsageError(
        f"there are several stores of {modality} features",
        path=features / modality,
        got=names,
        todo=f"say which: --features {modality}={chosen[0].path.name}",
    )
