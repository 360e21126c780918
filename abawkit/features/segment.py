"""One segment of a feature store: an immutable, ragged HDF5 file (the layout is in :mod:`abawkit.features.store`)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from abawkit.errors import AbawkitError
from abawkit.features.spec import ClipFeatures, FeatureSpec
from abawkit.fileio import atomic_path

_FORMAT = 1
#: Clips that are written in one call, of which each costs as much as a small clip.
_TOGETHER = 16
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
        values = frames.create_dataset("values", shape=(int(offset[-1]), spec.dim), dtype=dtype)
        for first in range(0, len(blocks), _TOGETHER):
            some = blocks[first : first + _TOGETHER]
            values[offset[first] : offset[first + len(some)]] = np.concatenate(some)
        times = [np.asarray(clip.times, dtype=np.float32) for clip in clips]
        frames.create_dataset("time", data=np.concatenate(times) if times else np.zeros(0, np.float32))
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def read_segment(path: Path, spec: FeatureSpec) -> Segment:
    """Returns the segment; its frames are memory-mapped copy-on-write, so they can be given to torch.

    Raises:
        AbawkitError: The file is missing, damaged, or belongs to another feature.
    """
    todo = f"delete this file, then: {spec.command}"
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
