"""CSVs of clips, for labels and groups: read with every problem and its line, written as the organisers do."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from abawkit.challenge import Task
from abawkit.errors import UsageError
from abawkit.fileio import write_text
from abawkit.findings import Report


def read_rows(path: Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of every line that is not blank, the header among them."""
    try:
        data = path.read_bytes()
    except OSError as error:
        report.add("F109", f"cannot be read: {error.strerror}", path=path)
        return
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        report.add("L212", "not UTF-8 text", path=path, line=1, got="UTF-16", expected="UTF-8")
        return
    if data.startswith(codecs.BOM_UTF8):
        report.add("L202", "byte-order mark at the start: read without it", path=path, line=1)
        data = data[len(codecs.BOM_UTF8) :]
    delimiter = ""
    # Line by line, since no cell can hold a line end: an open quotation mark then spoils one row, not the rest.
    for line, raw in enumerate(data.splitlines(), 1):
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            got = repr(raw[max(0, error.start - 12) : error.start + 4])[1:]
            report.add("L212", "not UTF-8 text", path=path, line=line, got=got, expected="UTF-8")
            continue
        if not text.strip():
            continue
        if not delimiter:
            delimiter = next((mark for mark in ",;\t" if mark in text), ",")
            if delimiter != ",":
                got = "tabs" if delimiter == "\t" else "semicolons"
                report.add("L203", "not comma-separated", path=path, line=line, got=got, expected="commas")
        try:
            cells = next(csv.reader([text], delimiter=delimiter, strict=True))
        except csv.Error as error:
            report.add("L210", f"the row cannot be taken apart: {error}", path=path, line=line, got=text[:80])
            continue
        if delimiter == ";":
            cells = [cell.replace(",", ".") for cell in cells]  # spreadsheets that write ; write decimal commas
        yield line, cells


def find_id_column(header: list[str], task: Task) -> int | None:
    """Returns where the id column is, by its name; None when there is none of that name."""
    names = [cell.strip() for cell in header]
    return names.index(task.id_column) if task.id_column in names else None


def read_clip_id(text: str, line: int, path: Path, task: Task, seen: dict[str, int], report: Report) -> str | None:
    """Returns the official id, None when it is not an id or occurred before; notes it in ``seen``."""
    try:
        clip, damage = task.ids.read(text)
    except ValueError:
        report.add("L204", "not a clip id", path=path, line=line, got=repr(text)[:80], expected=task.ids.example)
        return None
    if damage is not None:
        report.add("L205", f"damaged clip id: {damage}", path=path, line=line, got=repr(text)[:80], expected=clip)
    if clip in seen:
        report.add("L206", f"the clip is also on line {seen[clip]}", path=path, line=line, got=clip)
        return None
    seen[clip] = line
    return clip


def check_ids(path: Path, task: Task, ids: Sequence[str]) -> None:
    """Raises when ``ids`` cannot be written to ``path``.

    Raises:
        UsageError: An id is not an official id or occurs twice.
    """
    wrong = next((clip for clip in ids if not task.ids.is_id(clip)), None)
    if wrong is not None:
        raise UsageError("this is not a clip id", path=path, got=repr(wrong), expected=task.ids.example)
    if len(set(ids)) != len(ids):
        raise UsageError("a clip id occurs twice", path=path)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a CSV as the organisers write it, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
