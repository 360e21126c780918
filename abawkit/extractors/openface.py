"""OpenFace output files: 17 action-unit intensities and 6 head-pose values per frame (paper, Sec. 4.3)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import Damage, MediaError

_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)

#: Columns of the 23-d descriptor, in order: intensities (0 to 5), position (mm), rotation (radians).
COLUMNS = (
    *(f"AU{unit:02d}_r" for unit in _UNITS),
    *("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"),
)

_OPTIONAL = ("frame", "timestamp", "confidence", "success", "face_id")
_BROKEN_OFF = Damage("the last row breaks off and is left out")
_TODO = "run OpenFace's FeatureExtraction with -aus -pose on the clip again"
_POINTS = f"write decimals with points where commas separate the columns, or {_TODO}"


@dataclass
class OpenFaceTable:
    """The frames of one face in which OpenFace found it.

    Attributes:
        values: Raw values in the order of :data:`COLUMNS`, ``float32 [T, 23]``; T can be 0.
        frames: Which frame of the video each row is, counted from 0, ``int64 [T]``; None without such a column.
        times: OpenFace's timestamps (s), ``float32 [T]``, in increasing order; NaN without such a column.
        confidence: ``float32 [T]`` in [0, 1]; NaN without such a column.
        success: Share of this face's rows that are in ``values``; 0 when there are none.
        rows: Number of this face's rows, those without success among them.
        face_id: Which face; 0 in files without such a column.
        broken_off: Whether the last row is not whole.
        warnings: What was odd: rows left out, other faces, missing columns.
    """

    values: NDArray[np.float32]
    frames: NDArray[np.int64] | None
    times: NDArray[np.float32]
    confidence: NDArray[np.float32]
    success: float
    rows: int
    face_id: int
    broken_off: bool
    warnings: tuple[str, ...]


def read_openface(path: Path) -> OpenFaceTable:
    """Returns the table of an OpenFace 1.x or 2.x CSV.

    Understood: spaces around names and values, commas or semicolons, decimal commas in semicolon files, any other
    columns in any order, files without ``frame``, ``face_id``, ``success``, ``confidence`` or ``timestamp``; frames
    counted from 1, as OpenFace does, or from 0. Of several faces the one with the most usable rows is kept (on a tie
    the one with the higher mean confidence, then the lowest id). A row is usable when ``success`` is 1 and its 23
    values are finite; others are left out, and a warning gives their share. A last row that breaks off is left out
    with a warning. Empty cells beyond the header's are ignored.

    Raises:
        MediaError: The file cannot be read as text, lacks one of the 23 columns, has a row with fewer cells than the
            header or with more that are not empty, or a value that is not a number.
    """
    try:
        header, rows, warnings = _read(path, path.read_bytes())
    except OSError as error:
        raise MediaError("cannot be read", path=path, got=error.strerror) from error
    except UnicodeDecodeError as error:
        raise MediaError("is not an OpenFace CSV", path=path, got=str(error)[:120], todo=_TODO) from error

    def column(name: str, otherwise: float) -> NDArray[np.float64]:
        return rows[:, header.index(name)] if name in header else np.full(len(rows), otherwise)

    faces, success = np.nan_to_num(column("face_id", 0.0)), column("success", 1.0)
    confidence = column("confidence", math.nan)
    values = rows[:, [header.index(name) for name in COLUMNS]]
    with np.errstate(over="ignore"):
        usable = (success == 1) & np.isfinite(values.astype(np.float32)).all(axis=1)
    face = _most_seen(faces, usable, confidence)
    mine = faces == face
    kept = np.flatnonzero(usable & mine)
    times, frames = column("timestamp", math.nan), _from_zero(column("frame", math.nan))
    order = times if frames is None else frames
    if np.isfinite(order[kept]).all():
        kept = kept[np.argsort(order[kept], kind="stable")]
    total = int(mine.sum())
    if len(kept) < total:
        share = (total - len(kept)) / total
        warnings.append(f"{total - len(kept)} of {total} rows ({share:.0%}) have no face or a NaN and are left out")
    others = len(set(faces.tolist()) - {face})
    if others:
        warnings.append(f"face {face:.0f} is kept, {others} other faces are not ({len(rows) - total} rows)")
    return OpenFaceTable(
        values=values[kept].astype(np.float32),
        frames=None if frames is None else frames[kept],
        times=times[kept].astype(np.float32),
        confidence=confidence[kept].astype(np.float32),
        success=len(kept) / total if total else 0.0,
        rows=total,
        face_id=int(face),
        broken_off=_BROKEN_OFF in warnings,
        warnings=tuple(warnings),
    )


def _most_seen(faces: NDArray[np.float64], usable: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Returns the id of the face with the most usable rows, on a tie of the surest one, then the lowest id."""
    if len(faces) == 0:
        return 0.0
    ids, place = np.unique(faces, return_inverse=True)
    rows = np.bincount(place, usable)
    sure = np.bincount(place, np.nan_to_num(confidence) * usable) / np.maximum(rows, 1)
    return float(ids[np.lexsort((ids, -sure, -rows))[0]])


def _from_zero(numbers: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Returns frame numbers counted from 0, whether the file counts from 0 or 1; None if they are not frame numbers."""
    if len(numbers) == 0 or not ((numbers >= 0) & (numbers < 2**31) & (numbers == np.floor(numbers))).all():
        return None
    counted = numbers.astype(np.int64)
    return counted - min(1, int(counted.min()))


def _read(path: Path, data: bytes) -> tuple[list[str], NDArray[np.float64], list[str]]:
    """Returns the names and values ``[R, C]`` of the columns that are needed and there, and warnings."""
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig")
    first = next(lines, "")
    separator = ";" if first.count(";") > first.count(",") else ","
    blank = f"{separator} \n"
    names = [name.strip(' "') for name in first.rstrip(blank).split(separator)]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        got = f"{len(names)} columns, without {', '.join(missing)}" if first.strip() else "an empty file"
        expected = "AU01_r … AU45_r (17) and pose_Tx … pose_Rz (6)"
        raise MediaError("lacks columns of the 23-d descriptor", path=path, got=got, expected=expected, todo=_TODO)
    wanted = [name for name in (*_OPTIONAL, *COLUMNS) if name in names]
    absent = [name for name in _OPTIONAL if name not in names and name not in ("frame", "face_id")]
    warnings = [f"without the columns {', '.join(absent)}"] if absent else []
    needed = itemgetter(*(names.index(name) for name in wanted))
    values: list[list[float]] = []
    short: tuple[int, int] | None = None
    for number, text in enumerate(lines, start=2):
        if short is not None:
            raise _wrong_width(path, *short, len(names))
        if not text.strip(blank):
            continue
        row = text.split(separator)  # no csv module: a stray quote would swallow the lines after it
        if len(row) < len(names):  # allowed for the last row: OpenFace was stopped while it wrote
            short = (number, len(row))
            continue
        if len(row) > len(names) and any(cell.strip(' "\t\n') for cell in row[len(names) :]):
            raise _wrong_width(path, number, len(row), len(names), _POINTS if separator == "," else _TODO)
        values.append(_numbers(path, number, wanted, needed(row), separator))
    if short is not None:
        warnings.append(_BROKEN_OFF)
    return wanted, np.array(values, np.float64).reshape(-1, len(wanted)), warnings


def _wrong_width(path: Path, line: int, got: int, expected: int, todo: str = _TODO) -> MediaError:
    return MediaError("wrong number of columns", path=path, line=line, got=str(got), expected=str(expected), todo=todo)


def _numbers(path: Path, line: int, names: Sequence[str], cells: Sequence[str], separator: str) -> list[float]:
    try:
        return list(map(float, cells))
    except ValueError:
        pass
    numbers = []
    for name, cell in zip(names, cells, strict=True):
        text = cell.strip(' "\n').lower()
        if separator == ";":
            text = text.replace(",", ".")
        try:
            # Windows writes -nan(ind); a table program leaves the cell empty.
            numbers.append(math.nan if not text or "nan" in text else float(text))
        except ValueError as error:
            raise MediaError(f"{name} is not a number", path=path, line=line, got=repr(cell.strip()[:40])) from error
    return numbers
