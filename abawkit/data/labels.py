"""Label CSVs: read with every problem collected, written in the organisers' form; the official splits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from abawkit.challenge import Task
from abawkit.data.rows import check_ids, find_id_column, read_clip_id, read_rows, write_rows
from abawkit.data.votes import check_votes
from abawkit.errors import UsageError
from abawkit.fileio import digest
from abawkit.findings import Report
from abawkit.layout.folder import ChallengeFolder, TestSource

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TODO = "run `abawkit validate` to see everything, then correct the files"


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The labels of one split.

    Attributes:
        path: The file that they were read from.
        ids: Official clip ids, unique, in the order of the file.
        values: float64 [N, E], one row per id, columns in the task's order of targets.
    """

    path: Path
    ids: tuple[str, ...]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Clip id → row of ``values``."""
        return {clip: row for row, clip in enumerate(self.ids)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids and labels in their order; not over the file's bytes, so line ends do not matter."""
        return digest("\n".join(self.ids), (self.values + 0.0).astype("<f8").tobytes())  # + 0.0: no negative zero

    def subset(self, ids: Iterable[str]) -> LabelTable:
        """Returns the rows of ``ids``, in the order of ``ids``.

        Raises:
            UsageError: An id is not in the table.
        """
        wanted = tuple(ids)
        unknown = [clip for clip in wanted if clip not in self.rows]
        if unknown:
            raise UsageError(
                f"{len(unknown)} clip(s) have no labels here", path=self.path, got=", ".join(map(repr, unknown[:5]))
            )
        return LabelTable(self.path, wanted, self.values[[self.rows[clip] for clip in wanted]])


@dataclass(frozen=True)
class Official:
    """The organisers' splits.

    Attributes:
        train: Official training labels.
        valid: Official validation labels.
        test_ids: Ids of the test clips, sorted; empty while they are not there.
        test_source: Where the test ids come from (see :meth:`ChallengeFolder.test_ids`).
        listed: Ids in both label files, those of rows with bad labels among them.
    """

    train: LabelTable
    valid: LabelTable
    test_ids: tuple[str, ...]
    test_source: TestSource
    listed: frozenset[str]


def read_labels(path: Path, task: Task, report: Report | None = None) -> LabelTable:
    """Returns the labels in a CSV of the organisers' form.

    Read strictly: header exactly ``task.header``, UTF-8, commas, finite numbers within ``task.value_range`` (0 or 1
    when the task is binary), ids unique. A byte-order mark and ids that lost their padding are understood and noted.

    Args:
        path: The file.
        task: What the challenge is.
        report: Takes every finding, with line numbers; the good rows are returned. A file with a wrong header has
            good rows only when all columns are there in another order. None: raise when there is an error.

    Raises:
        FindingsError: ``report`` is None and the file has errors; the first few are in the message.
    """
    found = Report() if report is None else report
    table, _ = _read_table(path, task, found)
    if report is None:
        found.raise_if_bad(path.name, _TODO)
    return table


def read_ids(path: Path, task: Task, report: Report | None = None) -> tuple[str, ...]:
    """Returns the clip ids in a CSV whose other columns do not matter; empty when it has only a header.

    Raises:
        FindingsError: ``report`` is None and the file has errors.
    """
    found = Report() if report is None else report
    before = len(found.findings)
    seen: dict[str, int] = {}
    column: int | None = None
    for line, cells in read_rows(path, found):
        if column is None:
            column = find_id_column(cells, task)
            if column is not None:
                continue
            column = 0
            got = ",".join(cells)[:80]
            found.add("L201", "wrong header", path=path, line=line, got=got, expected=f"a column {task.id_column}")
            if not _is_data(cells, task):
                continue
        if len(cells) <= column:
            got, expected = f"{len(cells)} column(s)", f"at least {column + 1}"
            found.add("L210", "too few columns", path=path, line=line, got=got, expected=expected)
        else:
            read_clip_id(cells[column], line, path, task, seen, found)
    if column is None and Report(found.findings[before:]).ok:
        found.add("L211", "the file is empty", path=path, expected=task.id_column)
    if report is None:
        found.raise_if_bad(path.name, _TODO)
    return tuple(seen)


def write_labels(path: Path, task: Task, ids: Sequence[str], values: ArrayLike) -> None:
    """Writes labels in the organisers' form, atomically; reading them gives back exactly the same numbers.

    Args:
        path: The file.
        task: What the challenge is.
        ids: Official ids, unique.
        values: [N, E], in ``task.value_range``.

    Raises:
        UsageError: An id is not an official id or occurs twice, or the values are of another shape or out of range.
    """
    array = np.asarray(values, dtype=np.float64)
    low, high = task.value_range
    if array.shape != (len(ids), len(task.targets)):
        raise UsageError(
            "labels of another shape", path=path, got=str(array.shape), expected=f"({len(ids)}, {len(task.targets)})"
        )
    if not ((array >= low) & (array <= high)).all():
        raise UsageError("labels out of range", path=path, expected=_expected_label(task))
    check_ids(path, task, ids)
    write_rows(path, task.header, ([clip, *map(repr, row)] for clip, row in zip(ids, array.tolist(), strict=True)))


def write_ids(path: Path, task: Task, ids: Sequence[str]) -> None:
    """Writes a CSV that has only the id column, atomically.

    Raises:
        UsageError: An id is not an official id or occurs twice.
    """
    check_ids(path, task, ids)
    write_rows(path, (task.id_column,), ([clip] for clip in ids))


def load_official(folder: ChallengeFolder) -> Official:
    """Returns the official splits.

    Raises:
        FindingsError: A label CSV is missing or has errors, or a clip is in two splits.
    """
    report = Report()
    official = read_official(folder, report)
    report.raise_if_bad("the label files", _TODO)
    return official


def read_official(folder: ChallengeFolder, report: Report) -> Official:
    """Returns what can be read of the official splits; everything that is wrong with them goes into ``report``."""
    task, names = folder.task, folder.task.folders
    train, train_lines = _read_split(folder.train_csv, folder.root / names.train_csv[0], task, report)
    valid, valid_lines = _read_split(folder.valid_csv, folder.root / names.valid_csv[0], task, report)
    listed = None
    if folder.test_csv is not None:
        listed = read_ids(folder.test_csv, task, report)
        if not listed:
            report.add("L211", "no test clips are listed", path=folder.test_csv)
    test_ids, source = folder.test_ids([*train_lines, *valid_lines], listed or None)
    if source == "subtraction" and not (train_lines and valid_lines):
        test_ids, source = [], "none"  # without both splits, what is left over is not a test set

    for clip in sorted(train_lines.keys() & valid_lines.keys()):
        message = f"the clip is also in {train.path.name}, line {train_lines[clip]}"
        report.add("L207", message, path=valid.path, line=valid_lines[clip], got=clip)
    where = folder.test_csv.name if source == "csv" and folder.test_csv else "the test folder"
    for path, lines in ((train.path, train_lines), (valid.path, valid_lines)):
        for clip in sorted(lines.keys() & set(test_ids)):
            report.add("L207", f"the clip is also a test clip, in {where}", path=path, line=lines[clip], got=clip)
    return Official(train, valid, tuple(test_ids), source, frozenset(train_lines.keys() | valid_lines.keys()))


def _read_split(path: Path | None, place: Path, task: Task, report: Report) -> tuple[LabelTable, dict[str, int]]:
    if path is not None:
        return _read_table(path, task, report)
    report.add("F102", f"{place.name} is missing", path=place)
    return LabelTable(place, (), np.empty((0, len(task.targets)))), {}


def _read_table(path: Path, task: Task, report: Report) -> tuple[LabelTable, dict[str, int]]:
    """Returns the good rows, and clip id → line of every row whose id is good."""
    seen: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    written: list[tuple[int, list[str]]] = []
    columns: list[int] | None = None
    header: list[str] | None = None
    id_column = 0
    before = len(report.findings)
    rows = 0
    for line, cells in read_rows(path, report):
        if header is None:
            header = cells
            columns = _label_columns(cells, line, path, task, report)
            id_column = find_id_column(cells, task) or 0
            if not _is_data(cells, task):
                continue
        rows += 1
        if len(cells) != len(header):
            if len(cells) == 1 and (";" in cells[0] or "\t" in cells[0]):
                report.add("L203", "not comma-separated", path=path, line=line, got=cells[0][:80], expected="commas")
            else:
                got, expected = f"{len(cells)} column(s)", f"{len(header)}"
                report.add("L210", "wrong number of columns", path=path, line=line, got=got, expected=expected)
            continue
        clip = read_clip_id(cells[id_column], line, path, task, seen, report)
        if columns is not None:
            texts = [cells[column] for column in columns]
            labels = _read_values(texts, line, path, task, report)
            if clip is not None and labels is not None:
                values[clip] = labels
                written.append((line, texts))
    if not rows and Report(report.findings[before:]).ok:
        report.add("L211", "no rows", path=path, expected="one row per clip")
    array = np.array(list(values.values()), dtype=np.float64).reshape(len(values), len(task.targets))
    if len(array):
        for target, column in zip(task.targets, array.T, strict=True):
            if not column.any():
                report.add("L213", f"{target} is 0 for every clip", path=path)
    check_votes(path, task, written, array, report)
    return LabelTable(path, tuple(values), array), seen


def _label_columns(cells: list[str], line: int, path: Path, task: Task, report: Report) -> list[int] | None:
    """Returns where each target's column is, None when that is not clear."""
    if tuple(cells) == task.header:
        return list(range(1, len(cells)))
    names = [cell.strip() for cell in cells]
    by_name = None
    if _is_data(cells, task):
        message = "there is no header"
        by_name = list(range(1, len(cells))) if len(cells) == len(task.header) else None
    elif sorted(names) == sorted(task.header):
        message = "spaces in the header" if tuple(names) == task.header else "the columns are in another order"
        by_name = [names.index(target) for target in task.targets]
    else:
        lacking = [name for name in task.header if name not in names]
        unknown = [name for name in names if name not in task.header]
        differences = [f"lacks {', '.join(lacking)}"] if lacking else []
        differences += [f"has {', '.join(map(repr, unknown))} besides"[:80]] if unknown else []
        message = "wrong header: " + ("; ".join(differences) or "a column occurs twice")
    report.add("L201", message, path=path, line=line, got=",".join(cells)[:200], expected=",".join(task.header))
    return by_name


def _is_data(cells: list[str], task: Task) -> bool:
    """Whether the first line of a file is a clip's row and no header."""
    try:
        task.ids.read(cells[0])
    except ValueError:
        return False
    return task.id_column not in cells and all(_NUMBER.fullmatch(cell.strip()) for cell in cells[1:])


def _read_values(cells: list[str], line: int, path: Path, task: Task, report: Report) -> list[float] | None:
    """Returns the labels of one row, None when one of them is bad."""
    low, high = task.value_range
    values: list[float] = []
    for target, cell in zip(task.targets, cells, strict=True):
        text = cell.strip()
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(value):
            code, message = "L208", f"{target} is not a finite number"
        elif not low <= value <= high or (task.score == "macro_f1" and value not in (0.0, 1.0)):
            code, message = "L209", f"{target} is out of range"
        else:
            values.append(value)
            continue
        report.add(code, message, path=path, line=line, got=repr(cell)[:80], expected=_expected_label(task))
    return values if len(values) == len(cells) else None


def _expected_label(task: Task) -> str:
    low, high = task.value_range
    return "0 or 1" if task.score == "macro_f1" else f"a number in [{low:g}, {high:g}]"
