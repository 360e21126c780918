"""``submissions/ledger.csv``: which submissions were written and sent, and their scores where they are known."""

from __future__ import annotations

import csv
import datetime
import io
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import digest_file, locked, write_text
from abawkit.workspace import Workspace

NAME = "ledger.csv"


@dataclass(frozen=True)
class Entry:
    """One row of the ledger.

    Attributes:
        file: The submission, relative to the workspace where it lies in it.
        sha256: Of its bytes.
        run: What made it; empty where that is not known.
        written: When (UTC, ISO 8601); empty: not by this tool.
        sent: When it was sent; empty: it was not.
        score: Its leaderboard score; empty: not known.
    """

    file: str
    sha256: str
    run: str = ""
    written: str = ""
    sent: str = ""
    score: str = ""


def read_ledger(workspace: Workspace) -> list[Entry]:
    """Returns the rows of the ledger, oldest first; empty while the ledger does not exist.

    Raises:
        AbawkitError: It is not a ledger.
    """
    path, names = workspace.submissions / NAME, [field.name for field in fields(Entry)]
    if not path.exists():
        return []
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    for line, row in enumerate(rows, 1):
        if len(row) != len(names) or (line == 1 and row != names):
            got, expected = ",".join(row)[:80], ",".join(names)
            todo = "correct the row, or move the file away"
            raise AbawkitError("is not a ledger", path=path, line=line, got=got, expected=expected, todo=todo)
    return [Entry(*row) for row in rows[1:]]


def note_written(workspace: Workspace, path: Path, run: str) -> None:
    """Adds a row for a file that was written, unless there is one with this content."""
    entry = Entry(_shown(workspace, path), digest_file(path), run, _now())
    with locked(workspace.submissions, "writing the ledger", wait=10):
        known = read_ledger(workspace)
        if not any((each.file, each.sha256) == (entry.file, entry.sha256) for each in known):
            _write(workspace, [*known, entry])


def count_sent(workspace: Workspace, *, without: str = "") -> tuple[int, int | None]:
    """Returns how many submissions were sent, and how many may be (None: any number).

    Args:
        workspace: The workspace.
        without: SHA-256 of one that is not counted.
    """
    sent = {each.sha256 for each in read_ledger(workspace) if each.sent}
    return len(sent - {without}), workspace.task.submission.entries


def note_sent(
    workspace: Workspace, path: Path, *, score: float | None = None, force: bool = False
) -> tuple[int, int | None]:
    """Enters that a file was sent, and its score, and returns how many were sent and how many may be.

    A file that was sent already counts once; giving its score later changes nothing else.

    Args:
        workspace: The workspace.
        path: The submission.
        score: Its leaderboard score.
        force: Enter it though all entries are used up.

    Raises:
        UsageError: The file does not exist, or all entries are used up.
    """
    if not path.is_file():
        raise UsageError("this submission does not exist", path=path, todo="give the file that was sent")
    sha, allowed = digest_file(path), workspace.task.submission.entries
    with locked(workspace.submissions, "writing the ledger", wait=10):
        known = read_ledger(workspace)
        before = {each.sha256 for each in known if each.sent}
        if allowed is not None and sha not in before and len(before) >= allowed and not force:
            todo = "give --force when the organisers allow more"
            raise UsageError(f"all {allowed} entries are used up", path=workspace.submissions / NAME, todo=todo)
        at = next((index for index, each in enumerate(known) if each.sha256 == sha), None)
        entry = Entry(_shown(workspace, path), sha) if at is None else known[at]
        known_score = entry.score if score is None else f"{score:g}"
        entry = replace(entry, sent=entry.sent or _now(), score=known_score)
        _write(workspace, [*known, entry] if at is None else [*known[:at], entry, *known[at + 1 :]])
    return len(before | {sha}), allowed


def _write(workspace: Workspace, entries: list[Entry]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Entry)])
    writer.writerows(list(asdict(each).values()) for each in entries)
    write_text(workspace.submissions / NAME, text.getvalue())


def _shown(workspace: Workspace, path: Path) -> str:
    where, root = path.resolve(), workspace.root.resolve()
    return where.relative_to(root).as_posix() if where.is_relative_to(root) else str(where)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
