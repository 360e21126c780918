"""``abawkit check --fix``: a corrected copy of a submission, where there is only one way to correct it.

Mended are: a byte-order mark, the order and the spelling of the columns (case and spaces), spaces, the padding and
endings of ids (``12``, ``12.0``, ``12.mp4``), the order of the rows, line ends, and the form of numbers (a decimal
comma in quotes, an exponent). What a value or an id should have been is never guessed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from abawkit.challenge import Task
from abawkit.errors import FindingsError, UsageError
from abawkit.fileio import write_text
from abawkit.submission.form import examine, read_bytes


@dataclass(frozen=True)
class Mended:
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


def mend(path: Path, task: Task, ids: Sequence[str] | None = None, *, int_ids: bool = False) -> Mended:
    """Writes ``FILE.fixed.csv`` beside the submission and returns what was changed; the file itself stays as it is.

    Args:
        path: The submission.
        task: The challenge track.
        ids: The test ids; None: they are not known.
        int_ids: Write ids as plain integers.

    Raises:
        UsageError: There is no such file, or ``FILE.fixed.csv`` holds something else.
        FindingsError: It has errors that cannot be mended without guessing; nothing is written.
    """
    data = read_bytes(path)
    found = examine(data, path, task, ids, int_ids=int_ids)
    counts: dict[str, int] = {}

    def changed(what: str) -> None:
        counts[what] = counts.get(what, 0) + 1

    table = []
    for _, cells in found.rows:
        if None in found.columns or len(cells) <= max(at for at in found.columns if at is not None):
            break
        kept = [cells[at] for at in found.columns if at is not None]
        table.append((*_id(kept[0], task, int_ids), kept))
    codes = {finding.code for finding in found.report.findings}
    if data.startswith(b"\xef\xbb\xbf"):
        changed("byte-order mark taken away")
    if "S501" in codes:
        changed("header and columns brought into the official form")
    if table != sorted(table, key=lambda row: row[0]):
        changed("rows sorted by id")
        table.sort(key=lambda row: row[0])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if task.submission.header:
        writer.writerow(task.header)
    for _, clip, cells in table:
        if clip != cells[0]:
            changed("id brought into the form that was asked for")
        numbers = [plain(cell) for cell in cells[1:]]
        for cell, number in zip(cells[1:], numbers, strict=True):
            if cell != number:
                changed("number written plainly")
        writer.writerow([clip, *numbers])
    made = text.getvalue()
    target = path.with_name(path.name + ".fixed.csv")
    after = examine(made.encode(), path, task, ids, int_ids=int_ids).report
    # Rows that could not be read whole, and columns whose meaning nothing says.
    lost = len(table) != len(found.rows) or not found.named or bool(codes & {"S503", "S511", "S512", "S513"})
    if lost or not after.ok:
        left = found.report if lost else after
        left.raise_if_bad("it cannot be mended without guessing", "correct these first; --fix has written nothing")
        raise FindingsError("it cannot be mended without guessing", path=path, todo="write it again: abawkit submit")
    if made.encode() == data:
        return Mended(None, ())
    if not counts:
        changed("line ends or quotes written plainly")
    if target.exists() and target.read_bytes() != made.encode():
        raise UsageError("this file is there already, with other content", path=target, todo="move it away first")
    write_text(target, made)
    return Mended(target, tuple(f"{what} ({count})" if count > 1 else what for what, count in counts.items()))


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
