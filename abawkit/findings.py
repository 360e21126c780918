"""Coded findings: everything that is wrong with an input, collected in one pass, never only the first thing.

:data:`CODES` is the table of all codes; a code keeps its meaning for ever.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from abawkit.errors import FindingsError, UsageError

Severity = Literal["error", "warning", "info"]
Depth = Literal["quick", "default", "deep"]
Level = Depth | Literal["check"]

#: How thoroughly ``validate`` can check, the quickest first.
DEPTHS: tuple[Depth, ...] = get_args(Depth)


class Code(NamedTuple):
    """What a code stands for.

    Attributes:
        severity: ``error``, ``warning`` or ``info``.
        level: The quickest level of ``validate`` that finds it (``deep`` finds everything that ``default`` finds, and
            that everything that ``quick`` finds); ``check``: of submissions, groups files, feature
            stores and the workspace's transcripts only.
        meaning: In a few words.
    """

    severity: Severity
    level: Level
    meaning: str


#: What every code stands for.
CODES: Mapping[str, Code] = {
    # F: the challenge folder
    "F101": Code("error", "quick", "not a challenge folder: neither label CSVs nor clip folders"),
    "F102": Code("error", "quick", "a label CSV is missing"),
    "F103": Code("info", "quick", "no test clips yet"),
    "F104": Code("warning", "quick", "a file or folder whose name is not a clip id"),
    "F105": Code("info", "quick", "a stray file of the operating system"),
    "F106": Code("info", "quick", "clips that are in no split"),
    "F107": Code("info", "quick", "number of clips differs from the official one"),
    "F108": Code("error", "quick", "a link that leaves the challenge folder"),
    "F109": Code("error", "quick", "a file or folder that cannot be read"),
    "F110": Code("warning", "quick", "the list of test clips and the test folder differ"),
    "F111": Code("warning", "quick", "a file or folder of a kind that does not belong there"),
    "F112": Code("warning", "quick", "two files for one clip"),
    "F113": Code("info", "quick", "a whole folder of clips is a link to another place"),
    "F114": Code("warning", "quick", "a name that is dangerous in a shell or on another system"),
    "F115": Code("warning", "quick", "two label files of one split, or two folders of test clips"),
    # L: label CSVs
    "L201": Code("error", "quick", "wrong header"),
    "L202": Code("warning", "quick", "byte-order mark at the start"),
    "L203": Code("error", "quick", "not comma-separated"),
    "L204": Code("error", "quick", "not a clip id"),
    "L205": Code("warning", "quick", "damaged clip id that was understood"),
    "L206": Code("error", "quick", "duplicate clip id"),
    "L207": Code("error", "quick", "clip in two splits"),
    "L208": Code("error", "quick", "label is not a number"),
    "L209": Code("error", "quick", "label out of range"),
    "L210": Code("error", "quick", "wrong number of columns in a row"),
    "L211": Code("error", "quick", "no rows"),
    "L212": Code("error", "quick", "not UTF-8 text"),
    "L213": Code("warning", "quick", "a target is zero for every clip"),
    "L214": Code("warning", "quick", "labels that are not shares of a few raters' votes"),
    "L215": Code("info", "quick", "labels of a clip that sum to more than 1"),
    # G: groups files
    "G601": Code("error", "check", "no group name"),
    "G602": Code("warning", "check", "a group name that looks like a missing value"),
    "G603": Code("info", "check", "more columns than the clip and its group"),
    "G604": Code("warning", "check", "clips that are not in the challenge"),
    # M: media
    "M301": Code("warning", "quick", "file missing"),
    "M302": Code("error", "default", "file of zero bytes"),
    "M303": Code("error", "default", "cannot be read as video, sound or image"),
    "M304": Code("warning", "default", "video without an audio track"),
    "M305": Code("error", "default", "no video track"),
    "M306": Code("warning", "default", "clip of a single frame"),
    "M307": Code("warning", "default", "clip far longer than the others"),
    "M308": Code("warning", "quick", "empty face folder"),
    "M309": Code("warning", "quick", "not an image in a face folder"),
    "M310": Code("info", "deep", "variable frame rate"),
    "M311": Code("warning", "default", "sample rate of the sound is not 16 kHz"),
    "M312": Code("info", "deep", "the header's frame rate is not that of the timestamps"),
    "M313": Code("warning", "default", "no duration in the header, or a duration of zero"),
    "M314": Code("warning", "deep", "only a part can be decoded"),
    "M315": Code("warning", "deep", "silent sound"),
    "M316": Code("info", "default", "video that is turned for display"),
    "M317": Code("info", "default", "several video or audio tracks"),
    "M318": Code("warning", "quick", "numbers missing among the face crops, or one number twice"),
    "M319": Code("warning", "quick", "face crop whose name is not a number"),
    "M320": Code("warning", "default", "byte-identical files of two clips"),
    "M321": Code("warning", "default", "clip shorter than a tenth of a second"),
    # T: transcripts
    "T401": Code("warning", "quick", "transcript missing"),
    "T402": Code("warning", "default", "transcript empty"),
    "T403": Code("warning", "default", "transcript is not UTF-8 text"),
    "T404": Code("warning", "default", "transcript of punctuation only"),
    "T405": Code("warning", "check", "transcripts of different provenance in the splits"),
    # S: submissions
    "S501": Code("error", "check", "wrong header or order of columns"),
    "S502": Code("error", "check", "byte-order mark at the start"),
    "S503": Code("error", "check", "not comma-separated"),
    "S504": Code("error", "check", "not a clip id, or not in a form that the leaderboard accepts"),
    "S505": Code("error", "check", "duplicate clip id"),
    "S506": Code("error", "check", "test clip missing"),
    "S507": Code("error", "check", "clip that is not in the test set"),
    "S508": Code("error", "check", "value is not a finite number"),
    "S509": Code("error", "check", "value out of range"),
    "S510": Code("error", "check", "constant column: it has no Pearson r"),
    "S511": Code("error", "check", "wrong number of columns in a row"),
    "S512": Code("error", "check", "empty file"),
    "S513": Code("error", "check", "not UTF-8 text"),
    "S514": Code("warning", "check", "the test ids are not known here: only the form was checked"),
    "S515": Code("error", "check", "wrong number of rows"),
    "S516": Code("warning", "check", "not the number of rows of the official test set"),
    "S517": Code("warning", "check", "spaces around a number"),
    "S518": Code("warning", "check", "rows that are not sorted by id"),
    "S519": Code("warning", "check", "values unlike those on the validation clips"),
    "S520": Code("warning", "check", "nearly the same as an earlier submission"),
    # X: feature stores
    "X601": Code("error", "check", "a store or a segment is missing, damaged or of another feature"),
    "X602": Code("error", "check", "values that are not those that were written"),
    "X603": Code("error", "check", "values that are not finite"),
    "X604": Code("error", "check", "frame times that decrease or are missing"),
    "X605": Code("warning", "check", "a clip whose values are all zero"),
    "X606": Code("warning", "check", "a clip whose frames are all the same"),
    "X607": Code("warning", "check", "frames of one value throughout"),
    "X608": Code("warning", "check", "values out of any plausible range"),
    "X609": Code("warning", "check", "clips of a split that are not in the store"),
    "X610": Code("info", "check", "clips of a split that lack the modality"),
    "X611": Code("warning", "check", "clips of a split that failed"),
    "X612": Code("warning", "check", "a split that has features for a far smaller share of its clips than another"),
    "X613": Code("info", "check", "clips in the store that are in no split"),
    "X614": Code("info", "check", "files in the store's folder that belong to no segment"),
}


def matching_codes(texts: Iterable[str]) -> frozenset[str]:
    """Returns the codes of ``validate`` that some codes or beginnings of codes stand for.

    Args:
        texts: Each one or several of them, separated by commas; small letters will do.

    Raises:
        UsageError: No code begins like that.

    >>> sorted(matching_codes(["m32,T401"]))
    ['M320', 'M321', 'T401']
    """
    codes = [code for code, about in CODES.items() if about.level in DEPTHS]
    found: set[str] = set()
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        matching = [code for code in codes if text and code.startswith(text.upper())]
        if text and not matching:
            near = difflib.get_close_matches(text.upper(), codes, n=3, cutoff=0.5)
            kinds = sorted({code[0] for code in codes})
            raise UsageError(
                "validation has no such code",
                got=repr(text),
                expected=", ".join(near) or f"a code or its beginning: {', '.join(kinds)}",
                todo="see all codes with `abawkit validate --codes`",
            )
        found.update(matching)
    return frozenset(found)


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
        return CODES[self.code].severity

    @property
    def place(self) -> str:
        """``path:line``, as far as it is known."""
        if self.path is None:
            return ""
        return shown_path(self.path) + (f":{self.line}" if self.line else "")

    def to_json(self) -> dict[str, object]:
        """Returns the finding with the keys that ``--json`` promises."""
        return {
            "code": self.code,
            "severity": self.severity,
            "path": None if self.path is None else shown_path(self.path),
            "line": self.line,
            "message": self.message,
            "got": self.got,
            "expected": self.expected,
        }


def shown_path(path: Path) -> str:
    r"""Returns the path as text that can be printed.

    >>> shown_path(Path("a\n.mp4"))
    'a\\n.mp4'
    """
    # A hostile file name can hold line ends, terminal codes and bytes that no encoding can write.
    text = str(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass
class Report:
    """What a check found and counted.

    Attributes:
        findings: In the order in which they were made.
        counts: What was counted.
        about: What was checked, and how; ready for JSON.
        left_out: Findings that were made and are not in ``findings``, because they were not asked for.

    >>> report = Report()
    >>> report.add("L209", "Joy is out of range", path=Path("train.csv"), line=7, got="1.5", expected="[0, 1]")
    >>> report.ok, report.findings[0].place
    (False, 'train.csv:7')
    """

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    about: dict[str, object] = field(default_factory=dict)
    left_out: int = 0

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

    def leave_out(self, select: Iterable[str], ignore: Iterable[str]) -> None:
        """Takes out the findings that are not selected or that are ignored, and counts them in ``left_out``.

        Args:
            select: Codes or their beginnings (see :func:`matching_codes`); none: all codes.
            ignore: The same; it wins over ``select``.

        Raises:
            UsageError: There is no such code.
        """
        kept = (matching_codes(select) or frozenset(CODES)) - matching_codes(ignore)
        before = len(self.findings)
        self.findings = [finding for finding in self.findings if finding.code in kept]
        self.left_out += before - len(self.findings)

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
        return sorted(counted.items(), key=lambda item: (_ORDER[CODES[item[0]].severity], item[0]))

    def to_json(self) -> dict[str, object]:
        """Returns ``{"ok", "about", "findings", "counts", "left_out"}``, as ``--json`` promises."""
        return {
            "ok": self.ok,
            "about": self.about,
            "findings": [finding.to_json() for finding in self.sorted()],
            "counts": self.counts,
            "left_out": self.left_out,
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
