"""Coded findings: everything that is wrong with an input, collected in one pass, never only the first thing.

:data:`CODES` is the table of all codes; a code keeps its meaning for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from abawkit.errors import FindingsError

Severity = Literal["error", "warning", "info"]

#: code → (severity, what it means)
CODES: Mapping[str, tuple[Severity, str]] = {
    # F: the challenge folder
    "F101": ("error", "not a challenge folder: neither label CSVs nor clip folders"),
    "F102": ("error", "a label CSV is missing"),
    "F103": ("info", "no test clips yet"),
    "F104": ("warning", "a file or folder whose name is no clip id"),
    "F105": ("info", "a stray file of the operating system"),
    "F106": ("info", "clips that are in no split"),
    "F107": ("info", "number of clips differs from the official one"),
    "F108": ("error", "a link that leaves the challenge folder"),
    "F109": ("error", "a file or folder that cannot be read"),
    "F110": ("warning", "the list of test clips and the test folder differ"),
    "F111": ("warning", "a file or folder of a kind that does not belong there"),
    "F112": ("warning", "two files for one clip"),
    "F113": ("info", "a whole folder of clips is a link to another place"),
    # L: label CSVs
    "L201": ("error", "wrong header"),
    "L202": ("warning", "byte-order mark at the start"),
    "L203": ("error", "not comma-separated"),
    "L204": ("error", "not a clip id"),
    "L205": ("warning", "damaged clip id that was understood"),
    "L206": ("error", "duplicate clip id"),
    "L207": ("error", "clip in two splits"),
    "L208": ("error", "label is not a number"),
    "L209": ("error", "label out of range"),
    "L210": ("error", "wrong number of columns in a row"),
    "L211": ("error", "no rows"),
    "L212": ("error", "not UTF-8 text"),
    "L213": ("warning", "a target is zero for every clip"),
    # M: media
    "M301": ("warning", "file missing"),
    "M302": ("error", "file of zero bytes"),
    "M303": ("error", "cannot be read as video, sound or image"),
    "M304": ("warning", "video without an audio track"),
    "M305": ("error", "no video track"),
    "M306": ("warning", "clip of a single frame"),
    "M307": ("warning", "clip far longer than the others"),
    "M308": ("warning", "empty face folder"),
    "M309": ("warning", "not an image in a face folder"),
    "M311": ("warning", "sample rate of the sound is not 16 kHz"),
    # T: transcripts
    "T401": ("warning", "transcript missing"),
    "T402": ("warning", "transcript empty"),
    "T403": ("warning", "transcript is not UTF-8 text"),
    # S: submissions
    "S501": ("error", "wrong header or order of columns"),
    "S502": ("error", "byte-order mark at the start"),
    "S503": ("error", "not comma-separated"),
    "S504": ("error", "not a clip id, or not in a form that the leaderboard accepts"),
    "S505": ("error", "duplicate clip id"),
    "S506": ("error", "test clip missing"),
    "S507": ("error", "clip that is not in the test set"),
    "S508": ("error", "value is not a finite number"),
    "S509": ("error", "value out of range"),
    "S510": ("error", "constant column: it has no Pearson r"),
    "S511": ("error", "wrong number of columns in a row"),
    "S512": ("error", "empty file"),
    "S513": ("error", "not UTF-8 text"),
    "S514": ("warning", "the test ids are not known here: only the form was checked"),
    "S515": ("error", "wrong number of rows"),
    "S516": ("warning", "not the number of rows of the official test set"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        code: A key of :data:`CODES`.
        message: What is wrong here, in one sentence.
        path: The file or folder, None when it is about the whole input.
        line: The line in the file, from 1.
        got: What was found there.
        expected: What should have been there.
    """

    code: str
    message: str
    path: Path | None = None
    line: int | None = None
    got: str | None = None
    expected: str | None = None

    @property
    def severity(self) -> Severity:
        """``error``, ``warning`` or ``info``, by the code."""
        return CODES[self.code][0]

    @property
    def place(self) -> str:
        """``path:line``, as far as it is known."""
        if self.path is None:
            return ""
        return _shown(self.path) + (f":{self.line}" if self.line else "")

    def to_json(self) -> dict[str, object]:
        """Returns the finding with the keys that ``--json`` promises."""
        return {
            "code": self.code,
            "severity": self.severity,
            "path": None if self.path is None else _shown(self.path),
            "line": self.line,
            "message": self.message,
            "got": self.got,
            "expected": self.expected,
        }


def _shown(path: Path) -> str:
    # A hostile file name can hold line ends, terminal codes and bytes that no encoding can write.
    text = str(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass
class Report:
    """What a check found and counted.

    >>> report = Report()
    >>> report.add("L209", "Joy is out of range", path=Path("train.csv"), line=7, got="1.5", expected="[0, 1]")
    >>> report.ok, report.findings[0].place
    (False, 'train.csv:7')
    """

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        code: str,
        message: str,
        *,
        path: Path | None = None,
        line: int | None = None,
        got: str | None = None,
        expected: str | None = None,
    ) -> None:
        """Adds a finding."""
        if code not in CODES:
            raise KeyError(code)
        self.findings.append(Finding(code, message, path, line, got, expected))

    def extend(self, findings: Iterable[Finding]) -> None:
        """Adds findings that were made elsewhere."""
        self.findings.extend(findings)

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def sorted(self) -> list[Finding]:
        """Returns the findings, errors first, in the order in which they were made."""
        return sorted(self.findings, key=lambda finding: _ORDER[finding.severity])

    def by_code(self) -> list[tuple[str, int]]:
        """Returns how often each code was found, worst severity first."""
        counted = Counter(finding.code for finding in self.findings)
        return sorted(counted.items(), key=lambda item: (_ORDER[CODES[item[0]][0]], item[0]))

    def to_json(self) -> dict[str, object]:
        """Returns ``{"ok", "findings", "counts"}``, as ``--json`` promises."""
        return {
            "ok": self.ok,
            "findings": [finding.to_json() for finding in self.sorted()],
            "counts": self.counts,
        }

    def raise_if_bad(self, what: str, todo: str) -> None:
        """Raises when there is an error among the findings; the first few are in the message.

        Raises:
            FindingsError: ``what`` has errors.
        """
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if not errors:
            return
        shown = []
        for finding in errors[:5]:
            got = "" if finding.got is None else f" (got {finding.got})"
            shown.append(f"  {finding.code} {finding.place}: {finding.message}{got}")
        if len(errors) > len(shown):
            shown.append(f"  … and {len(errors) - len(shown)} more")
        raise FindingsError(f"{what}: {len(errors)} error(s)\n" + "\n".join(shown), todo=todo)
