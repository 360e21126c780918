"""``abawkit check``: everything that a platform could refuse a submission for, all at once, with line numbers.

Accepted as they are: CRLF line ends, cells in quotes, a last line with or without its end, empty lines after it,
numbers such as ``1e-05`` or ``+.5``, rows in any order (a warning), and spaces around a number (a warning: readers of
numbers skip them). Spaces around an id or a column name, an empty line between rows, and ids in another form than asked
for are refused: platforms join on them. A row that cannot be read whole still counts as the row of its clip, so that
one defect gives one finding.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.labels import load_official, read_ids
from abawkit.errors import UsageError
from abawkit.findings import Report
from abawkit.layout.folder import ChallengeFolder

_DELIMITERS = ";\t|"


@dataclass(frozen=True)
class Submitted:
    """A submission file as it was read.

    Attributes:
        report: What is wrong with it.
        rows: Line number and cells of every row but the header.
        columns: Where the id and each target stand in a row; None: that column is not there.
        ids: Official ids of the readable rows, in the order of the file.
        values: ``float64 [N, E]``, one row per id; nan where a cell is not a finite number.
        named: Whether the columns were found by their names in the header; else by their position.
    """

    report: Report
    rows: tuple[tuple[int, list[str]], ...]
    columns: tuple[int | None, ...]
    ids: tuple[str, ...]
    values: NDArray[np.float64]
    named: bool = True


def listed_test_ids(path: Path, task: Task) -> tuple[str, ...]:
    """Returns the clip ids in a CSV that has the id column, such as ``test_split.csv``.

    Raises:
        FindingsError: Its header is wrong, or one of them is not a clip id or is there twice.
        UsageError: The file cannot be read, or has no ids.
    """
    ids = read_ids(path, task)
    if not ids:
        raise UsageError("no test clips are listed", path=path, expected=f"a column {task.id_column} with clip ids")
    return ids


def official_test_ids(folder: ChallengeFolder) -> tuple[str, ...]:
    """Returns the ids of the test clips, sorted; none while they are not there.

    The label files are read only where the test clips are what is in neither of them.

    Raises:
        FindingsError: A file that had to be read has errors.
    """
    listed = None if folder.test_csv is None else read_ids(folder.test_csv, folder.task)
    if listed or folder.test_video_ids:
        return tuple(folder.test_ids((), listed or None)[0])
    return load_official(folder).test_ids


def check(path: Path, task: Task, ids: Sequence[str] | None = None, *, int_ids: bool = False) -> Report:
    """Returns everything that is wrong with a submission file.

    Args:
        path: The file.
        task: The challenge track, for header, ids and range.
        ids: The test ids; None: they are not known, and only the form is checked.
        int_ids: Ids have to be plain integers, without leading zeros.

    Raises:
        UsageError: The file does not exist.
    """
    return examine(read_bytes(path), path, task, ids, int_ids=int_ids).report


def read_bytes(path: Path) -> bytes:
    """Returns the bytes of a submission.

    Raises:
        UsageError: The file does not exist.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            "the submission cannot be read", path=path, got=error.strerror, todo="give its path"
        ) from error


def examine(
    data: bytes, path: Path, task: Task, ids: Sequence[str] | None = None, *, int_ids: bool = False
) -> Submitted:
    """Returns a submission of this content as it was read, with everything that is wrong with it.

    Args:
        data: Its bytes.
        path: Its name, for the findings.
        task: The challenge track.
        ids: The test ids; None: they are not known.
        int_ids: Ids have to be plain integers.
    """
    report = Report()
    nothing = Submitted(report, (), (), (), np.empty((0, len(task.targets))))
    report.counts = {"rows": 0, "clips": 0}
    if not data.strip():
        report.add("S512", "the file is empty", path=path)
        return nothing
    if data.startswith(b"\xef\xbb\xbf"):
        report.add("S502", "the file begins with a byte-order mark", path=path, line=1)
        data = data[3:]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        report.add("S513", "the file is not UTF-8 text", path=path, line=line, got=repr(data[error.start : error.end]))
        return nothing
    rows, whole = _rows(text, task, report, path)
    columns: tuple[int | None, ...] = tuple(range(len(task.header)))
    width, named = len(task.header), True
    if task.submission.header and rows:
        columns, width, named, is_data = _read_header(rows[0], task, report, path)
        rows = rows if is_data else rows[1:]
    if columns[0] is None:
        report.counts["rows"] = len(rows)
        return nothing
    clips, values = _check_rows(rows, columns, width, task, report, path, None if ids is None else set(ids), int_ids)
    report.counts = {"rows": len(rows), "clips": len(clips)}
    if whole:
        _check_ids(len(rows), clips, task, report, path, ids)
    found = Submitted(report, tuple(rows), columns, tuple(values), _array(values, task), named)
    _check_columns(found, task, report, path)
    return found


def _array(values: dict[str, list[float]], task: Task) -> NDArray[np.float64]:
    return np.array(list(values.values()), dtype=np.float64).reshape(len(values), len(task.targets))


def _rows(text: str, task: Task, report: Report, path: Path) -> tuple[list[tuple[int, list[str]]], bool]:
    """Returns line number and cells of every row, and whether the file could be read to its end."""
    first = text.split("\n", 1)[0]
    used = [mark for mark in _DELIMITERS if mark in first]
    delimiter = ","
    if "," not in first and used:
        delimiter = used[0]
        expected = ",".join(task.header) if task.submission.header else "commas"
        message = "the columns are not separated by commas"
        report.add("S503", message, path=path, line=1, got=first.strip()[:80], expected=expected)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    rows: list[tuple[int, list[str]]] = []
    empty: list[int] = []
    try:
        for cells in reader:
            if not cells:
                empty.append(reader.line_num)
                continue
            for line in empty:
                report.add("S511", "an empty line between rows", path=path, line=line)
            empty = []
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        report.add("S511", f"the row cannot be read: {error}", path=path, line=reader.line_num)
        return rows, False
    return rows, True


def _read_header(
    row: tuple[int, list[str]], task: Task, report: Report, path: Path
) -> tuple[tuple[int | None, ...], int, bool, bool]:
    """Returns the columns, how many cells a row has, whether they were found by name, and whether a header is missing.

    The columns are positions of the id and of each target in a row, as in :class:`Submitted`.
    """
    line, cells = row
    in_order: tuple[int | None, ...] = tuple(range(len(task.header)))
    if tuple(cells) == task.header:
        return in_order, len(cells), True, False
    got, expected = ",".join(cells)[:120], ",".join(task.header)
    if cells and (task.ids.is_id(cells[0]) or cells[0].isdigit()):
        report.add("S501", "there is no header", path=path, line=line, got=got, expected=expected)
        return in_order, len(task.header), False, True
    # Columns are found by their names, so that what else is wrong in the rows is found as well.
    named = {name.strip().casefold(): index for index, name in reversed(list(enumerate(cells)))}
    columns = tuple(named.get(name.casefold()) for name in task.header)
    message = "wrong header"
    by_name = None not in columns
    if None not in columns and len(cells) == len(task.header):
        in_place = [name.strip().casefold() for name in cells] == [name.casefold() for name in task.header]
        message = "a name in the header is not written exactly so" if in_place else "wrong order of columns"
    elif len(cells) == len(task.header):
        columns = in_order
    report.add("S501", message, path=path, line=line, got=got, expected=expected)
    return columns, len(cells), by_name, False


def _check_rows(
    rows: Sequence[tuple[int, list[str]]],
    columns: Sequence[int | None],
    width: int,
    task: Task,
    report: Report,
    path: Path,
    known: set[str] | None,
    int_ids: bool,
) -> tuple[dict[str, int], dict[str, list[float]]]:
    """Returns clip id → its line, and clip id → its values for the rows with the right number of columns."""
    first: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    spaced: list[int] = []
    at = columns[0] or 0
    for line, cells in rows:
        fits = len(cells) == width
        if not fits:
            got = f"{len(cells)}: {','.join(cells)[:60]}"
            report.add("S511", "wrong number of columns", path=path, line=line, got=got, expected=str(width))
        clip = _read_id(cells[at], task, int_ids, report, path, line) if at < len(cells) else None
        repeated = clip in first
        if clip is not None and repeated:
            report.add("S505", f"clip {clip} is there twice", path=path, line=line, got=f"first in line {first[clip]}")
        elif clip is not None:
            first[clip] = line
            if known is not None and clip not in known:
                report.add("S507", f"clip {clip} is not in the test set", path=path, line=line)
        if not fits:
            continue
        numbers = [
            math.nan if index is None else _read_value(cells[index], target, task, report, path, line, spaced)
            for target, index in zip(task.targets, columns[1:], strict=True)
        ]
        if clip is not None:
            values.setdefault(clip, numbers)
    if spaced:
        more = f" and in {len(spaced) - 1} more cells" if len(spaced) > 1 else ""
        report.add("S517", f"spaces around a number{more}", path=path, line=spaced[0])
    order = list(first)
    if order != sorted(order):
        line = next(first[b] for a, b in pairwise(order) if a > b)
        report.add("S518", "the rows are not sorted by id", path=path, line=line)
    return first, values


def _read_id(text: str, task: Task, int_ids: bool, report: Report, path: Path, line: int) -> str | None:
    """Returns the official id that the cell means, None when it means none; what is not in the form is reported."""
    plain = int_ids and task.ids.digits is not None
    try:
        clip, _ = task.ids.read(text)
    except ValueError:
        clip = None
    wanted = task.ids.example if clip is None else (str(int(clip)) if plain else clip)
    if clip is None or text != wanted:
        what = "not a clip id" if clip is None else "the id is not in the form that was asked for"
        report.add("S504", what, path=path, line=line, got=repr(text)[:80], expected=wanted)
    return clip


def _read_value(cell: str, target: str, task: Task, report: Report, path: Path, line: int, spaced: list[int]) -> float:
    low, high = task.value_range
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    # float() also reads "1_0" and "１", and skips tabs and line ends, which platforms may not.
    bare = cell.strip(" ")
    if not math.isfinite(value) or "_" in bare or not bare.isascii() or bare != bare.strip():
        expected = "such as 0.123456"
        report.add(
            "S508", f"{target} is not a finite number", path=path, line=line, got=repr(cell)[:80], expected=expected
        )
        return math.nan
    if bare != cell:
        spaced.append(line)
    if task.submission.values == "label" and value not in (0.0, 1.0):
        report.add("S509", f"{target} is not a label", path=path, line=line, got=cell, expected="0 or 1")
    elif not low <= value <= high:
        wanted = f"in [{low:g}, {high:g}]"
        report.add("S509", f"{target} is out of range", path=path, line=line, got=cell, expected=wanted)
    return value


def _check_ids(
    rows: int, clips: dict[str, int], task: Task, report: Report, path: Path, ids: Sequence[str] | None
) -> None:
    if ids is None:
        report.add("S514", "the test ids are not known here: only the form was checked", path=path)
        official = task.counts.get("test")
        if official is not None and rows != official:
            message = "the number of rows is not that of the official test set"
            report.add("S516", message, path=path, got=str(rows), expected=str(official))
        return
    if rows != len(ids):
        report.add("S515", "wrong number of rows", path=path, got=str(rows), expected=str(len(ids)))
    for clip in sorted(set(ids) - set(clips)):
        report.add("S506", f"test clip {clip} is missing", path=path, expected=clip)


def _check_columns(found: Submitted, task: Task, report: Report, path: Path) -> None:
    if len(found.ids) < 2 or task.submission.values == "label":
        return
    for index, target in enumerate(task.targets):
        column = found.values[np.isfinite(found.values[:, index]), index]
        if len(column) > 1 and (column == column[0]).all():
            report.add("S510", f"every value of {target} is the same", path=path, got=f"{column[0]:g}")
