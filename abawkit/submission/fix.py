"""``abawkit check --fix``: a corrected copy of a submission, where there is only one way to correct it.

What is fixed: a byte-order mark, the order and the spelling of the columns (case and spaces), spaces, the padding and
endings of ids (``12``, ``12.0``, ``12.mp4``), the order of the rows, line ends, and the form of numbers (a decimal
comma in quotes, an exponent). What a value or an id should have been is never guessed.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from abawkit.challenge import Task
from abawkit.errors import FindingsError, UsageError
from abawkit.fileio import write_text
from abawkit.submission.form import Submitted, examine, read_bytes

#: Findings after which no copy is written: other separators, unreadable rows, an empty file, other text than UTF-8.
_UNREADABLE = {"S503", "S511", "S512", "S513"}


@dataclass(frozen=True)
class Fixed:
    """What ``--fix`` did.

    Attributes:
        path: The corrected copy; None: nothing had to be changed.
        changes: What was changed, in words, each with how often.
    """

    path: Path | None
    changes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Returns ``file`` and ``changes``."""
        return {"file": None if self.path is None else str(self.path), "changes": list(self.changes)}


@dataclass(frozen=True)
class _Row:
    """One row: the official id, by which rows are sorted, the id as it is written, and the cells."""

    clip: str
    written: str
    cells: list[str]


def fix(path: Path, task: Task, ids: Sequence[str] | None = None, *, int_ids: bool = False) -> Fixed:
    """Writes ``FILE.fixed.csv`` beside the submission and returns what was changed; the file itself stays as it is.

    Args:
        path: The submission.
        task: The challenge track.
        ids: The test ids; None: they are not known.
        int_ids: Write ids as plain integers.

    Raises:
        UsageError: The file does not exist, or ``FILE.fixed.csv`` holds something else.
        FindingsError: It has errors that cannot be fixed without guessing; nothing is written.
    """
    data = read_bytes(path)
    found = examine(data, path, task, ids, int_ids=int_ids)
    codes = {finding.code for finding in found.report.findings}
    changes: Counter[str] = Counter()
    if data.startswith(b"\xef\xbb\xbf"):
        changes["byte-order mark removed"] += 1
    if "S501" in codes:
        changes["header and columns brought into the official form"] += 1
    rows = _readable_rows(found, task, int_ids)
    ordered = sorted(rows, key=lambda row: row.clip)
    if rows != ordered:
        changes["rows sorted by id"] += 1
    text = _text(ordered, task, changes)
    target = path.with_name(path.name + ".fixed.csv")
    after = examine(text.encode(), path, task, ids, int_ids=int_ids).report
    lost = len(rows) != len(found.rows) or not found.named or bool(codes & _UNREADABLE)
    if lost or not after.ok:
        left = found.report if lost else after
        left.raise_if_bad("it cannot be fixed without guessing", "correct these first; --fix has written nothing")
        raise FindingsError("it cannot be fixed without guessing", path=path, todo="write it again: abawkit submit")
    if text.encode() == data:
        return Fixed(None, ())
    if not changes:
        changes["line ends or quotes written plainly"] += 1
    if target.exists() and target.read_bytes() != text.encode():
        raise UsageError("this file exists already, with other content", path=target, todo="move it away first")
    write_text(target, text)
    return Fixed(target, tuple(f"{what} ({count})" if count > 1 else what for what, count in changes.items()))


def _readable_rows(found: Submitted, task: Task, int_ids: bool) -> list[_Row]:
    """Returns the rows up to the first that lacks a column, their cells in the official order."""
    rows = []
    columns = [at for at in found.columns if at is not None]
    for _, cells in found.rows:
        if len(columns) < len(found.columns) or len(cells) <= max(columns):
            break
        kept = [cells[at] for at in columns]
        rows.append(_Row(*_id(kept[0], task, int_ids), kept))
    return rows


def _text(rows: Sequence[_Row], task: Task, changes: Counter[str]) -> str:
    """Returns the text of the file, and counts what was changed in ids and numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if task.submission.header:
        writer.writerow(task.header)
    for row in rows:
        numbers = [plain(cell) for cell in row.cells[1:]]
        changes["id brought into the form that was asked for"] += row.written != row.cells[0]
        changes["number written plainly"] += sum(a != b for a, b in zip(row.cells[1:], numbers, strict=True))
        writer.writerow([row.written, *numbers])
    for what in [what for what, count in changes.items() if not count]:
        del changes[what]
    return text.getvalue()


def _id(text: str, task: Task, int_ids: bool) -> tuple[str, str]:
    """Returns the official id, by which rows are sorted, and the id as it is to be written."""
    try:
        clip, _ = task.ids.read(text)
    except ValueError:
        return text, text
    return clip, str(int(clip)) if int_ids and task.ids.digits is not None else clip


def plain(cell: str) -> str:
    """Returns a number without spaces, exponent and decimal comma, with the same value; anything else as it is.

    >>> plain(" 1e-05"), plain("0,25"), plain("0.50"), plain("nan"), plain("1,000.5")
    ('0.00001', '0.25', '0.50', 'nan', '1,000.5')
    """
    text = cell.strip(" ")
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    if not text.isascii() or "_" in text or text != text.strip():
        return cell
    try:
        number = Decimal(text)
    except InvalidOperation:
        return cell
    if not number.is_finite() or abs(number.adjusted()) > 30:
        return cell
    return text if text[:1].isdigit() and "e" not in text.lower() else f"{number:f}"
