"""Groups files: which clips show one person, or imitate one seed video.

A CSV with the header ``Filename,<anything>`` and one row per clip. The name of the second column tells where the
groups come from: ``proxy_person`` and ``proxy_seed`` are guesses of ``abawkit groups suggest``; any other name
stands for subject ids that the user knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from abawkit.challenge import Task
from abawkit.data.rows import check_ids, find_id_column, read_clip_id, read_rows, write_rows
from abawkit.errors import UsageError
from abawkit.fileio import digest
from abawkit.findings import Report

#: Kind of groups → what its groups are, in the plural.
NOUNS: Mapping[str, str] = {
    "subject": "subjects",
    "proxy_person": "guessed persons (proxy)",
    "proxy_seed": "guessed seed videos (proxy)",
}

_TODO = "correct the file: one row per clip, with its id and the name of its group"

#: Group names that tools write where a value is missing: taken as names, they would put unrelated clips into one group.
_LIKE_MISSING = frozenset({"nan", "na", "n/a", "<na>", "none", "null", "nil", "unknown", "?", "-", "-1", "-1.0"})


@dataclass(frozen=True)
class Groups:
    """A groups file, read.

    Attributes:
        path: The file.
        of: Clip id → name of its group; clips that are in no group are not in it.
        kind: ``subject``: ids that the user knows; ``proxy_person`` and ``proxy_seed``: guesses.
    """

    path: Path
    of: Mapping[str, str]
    kind: str = "subject"

    def __len__(self) -> int:
        return len(set(self.of.values()))

    @property
    def proxy(self) -> bool:
        """Whether the groups are guessed and not subject ids."""
        return self.kind != "subject"

    @property
    def noun(self) -> str:
        """What the groups are, in the plural: ``subjects``, ``guessed persons (proxy)`` and so on."""
        return NOUNS[self.kind]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over kind, clips and group names; neither the order of the rows nor further columns matter."""
        return digest(self.kind, *(text for pair in sorted(self.of.items()) for text in pair))

    def keys(self, ids: Iterable[str]) -> list[str]:
        r"""Returns one key per clip, the same for clips of one group; a clip without a group is its own group.

        >>> Groups(Path("g.csv"), {"00000": "ann", "00002": "ann"}).keys(["00000", "00001", "00002"])
        ['ann', '\n00001', 'ann']
        """
        return [self.of.get(clip, "\n" + clip) for clip in ids]  # no name holds a line end, so none is like this

    def tell_strangers(self, known: Iterable[str], report: Report) -> None:
        """Adds a finding when there are clips among the groups that are not among the ids ``known``."""
        strangers = sorted(self.of.keys() - set(known))
        if strangers:
            message = f"{len(strangers)} clip(s) with a group are not in the challenge folder: left aside"
            got = ", ".join(strangers[:5]) + (" …" if len(strangers) > 5 else "")
            expected = "clips of the challenge; test clips may come later"
            report.add("G604", message, path=self.path, got=got, expected=expected)


def read_groups(path: Path, task: Task, report: Report | None = None) -> Groups:
    """Returns the groups in a CSV with an id column and a column of group names.

    Read as label CSVs are: UTF-8, commas, ids unique; damaged ids are understood and noted. The first column after
    the id (before it when there is none after it) holds the group, further ones are left aside. Spaces around a name
    do not count.

    Args:
        path: The file.
        task: What the challenge is.
        report: Takes every finding, with line numbers; the good rows are returned. None: raise when there is an
            error.

    Raises:
        FindingsError: ``report`` is None and the file has errors; the first few are in the message.
    """
    found = Report() if report is None else report
    before = len(found.findings)
    seen: dict[str, int] = {}
    of: dict[str, str] = {}
    header: list[str] | None = None
    at, group_at, rows = 0, 1, 0
    for line, cells in read_rows(path, found):
        if header is None:
            header = [cell.strip() for cell in cells]
            named = find_id_column(cells, task)
            at = named or 0
            group_at = at + 1 if at + 1 < len(header) or not at else 0
            if not _check_header(header, named, group_at, line, path, task, found):
                continue
        rows += 1
        if len(cells) != len(header):
            got, expected = f"{len(cells)} column(s)", f"{len(header)}"
            found.add("L210", "wrong number of columns", path=path, line=line, got=got, expected=expected)
            continue
        clip = read_clip_id(cells[at], line, path, task, seen, found)
        if len(cells) == 1:
            continue
        group = cells[group_at].strip()
        if not group:
            expected = "the name of the clip's group; leave the row out when it has none"
            found.add("G601", "no group name", path=path, line=line, got=repr(cells[group_at])[:80], expected=expected)
        elif clip is not None:
            of[clip] = group
    if not rows and Report(found.findings[before:]).ok:
        found.add("L211", "no rows", path=path, expected="one row per clip")
    _tell_like_missing(of, path, found)
    if report is None:
        found.raise_if_bad(path.name, _TODO)
    column = header[group_at] if header and group_at < len(header) else ""
    return Groups(path, of, column if column in NOUNS else "subject")


def write_groups(path: Path, task: Task, of: Mapping[str, str], kind: str = "subject") -> Groups:
    """Writes a groups file, atomically, sorted by clip, and returns the groups; reading it gives back the same.

    Args:
        path: The file.
        task: What the challenge is.
        of: Clip id → name of its group.
        kind: ``subject``, ``proxy_person`` or ``proxy_seed``: the name of the column.

    Raises:
        UsageError: A clip id is not an official id, or a group name is empty, begins or ends with a space, or has a
            line end in it.
    """
    check_ids(path, task, list(of))
    for name in of.values():
        if not name or name != name.strip() or any(mark in name for mark in "\r\n"):
            raise UsageError("this cannot be the name of a group", path=path, got=repr(name)[:80])
    if kind not in NOUNS:
        raise UsageError("unknown kind of groups", path=path, got=kind, expected=", ".join(NOUNS))
    groups = Groups(path, dict(sorted(of.items())), kind)
    write_rows(path, (task.id_column, kind), groups.of.items())
    return groups


def _check_header(
    header: list[str], named: int | None, group_at: int, line: int, path: Path, task: Task, report: Report
) -> bool:
    """Returns whether the line is a row of data and not a header."""
    expected = f"{task.id_column},subject"
    got = ",".join(header)[:80]
    if named is None:
        try:
            task.ids.read(header[0])
        except ValueError:
            report.add("L201", "wrong header: no id column", path=path, line=line, got=got, expected=expected)
            return False
        report.add("L201", "there is no header", path=path, line=line, got=got, expected=expected)
        return True
    if len(header) == 1:
        report.add("L201", "wrong header: no column of groups", path=path, line=line, got=got, expected=expected)
    elif len(header) > 2:
        message = f"more than two columns: {header[group_at]!r} is taken as the group, the others are left aside"
        report.add("G603", message, path=path, line=line, got=got, expected=expected)
    return False


def _tell_like_missing(of: Mapping[str, str], path: Path, report: Report) -> None:
    for name, clips in Counter(name for name in of.values() if name.lower() in _LIKE_MISSING).items():
        if clips > 1:
            message = f"{clips} clips share a group name that looks like a missing value: they count as one group"
            expected = "no row for a clip whose group is not known"
            report.add("G602", message, path=path, got=repr(name), expected=expected)
