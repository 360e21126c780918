"""One self-contained HTML page with everything that ``validate`` found; names and figures only, no network."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from abawkit import __version__
from abawkit.challenge import TASKS
from abawkit.fileio import write_text
from abawkit.findings import CODES, Report, Severity
from abawkit.layout.folder import KINDS, Kind

_SPLITS = {"train": "Training", "valid": "Validation", "test": "Test"}
_LEVELS = {
    "quick": "quick: names and label files",
    "default": "default: every file opened, headers read",
    "deep": "deep: everything decoded",
}
_KINDS: dict[Kind, str] = {
    "video": "Video",
    "audio": "Sound",
    "faces": "Face crops",
    "text": "Transcript",
    "openface": "OpenFace",
    "vit": "ViT features",
    "wav2vec2": "wav2vec2 features",
}


class _Cell(NamedTuple):
    """How many clips of a split have something.

    Attributes:
        clips: That have it; None: nothing was counted.
        share: Of the split's clips, 0 to 1; None: these are the split's clips.
        lacking: Clips that do not have it.
    """

    clips: int | None
    share: float | None
    lacking: int


def write_findings_page(path: Path, report: Report) -> None:
    """Writes a page about ``report`` to ``path``, atomically.

    The page is one file that loads nothing and runs nothing but its own script, whatever the names in the report are;
    the same report gives the same bytes. It shows what was checked, the clips per split and kind of file, the codes
    with how often each was found, and every finding, of which the browser draws only those that are in view.

    Args:
        path: The HTML file; an existing one is replaced.
        report: Of ``validate``; a report without ``about`` or ``counts`` gives a page without those parts.

    Raises:
        AbawkitError: The disk is full or the folder cannot be written to.
    """
    environment = Environment(
        loader=PackageLoader("abawkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "sort_keys": False}
    folder = files("abawkit.report") / "templates"
    style = (folder / "findings.css").read_text(encoding="utf-8")
    script = (folder / "findings.js").read_text(encoding="utf-8")
    severities = Counter(finding.severity for finding in report.findings)
    page = environment.get_template("findings.html.jinja").render(
        verdict=_verdict(report, severities),
        ok=report.ok,
        severities={name: severities[name] for name in get_args(Severity)},
        about=_about(report),
        table=_table(report.counts),
        splits=_SPLITS,
        codes=[(code, *CODES[code], count) for code, count in report.by_code()],
        data=_data(report),
        left_out=report.left_out,
        version=__version__,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    write_text(path, page)


def _hash(text: str) -> str:
    """Returns the hash by which the page's security policy admits ``text`` and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _verdict(report: Report, severities: Counter[Severity]) -> str:
    errors, warnings = severities["error"], severities["warning"]
    if errors:
        return "1 error has to be fixed" if errors == 1 else f"{errors:,} errors have to be fixed"
    if warnings:
        return "No errors, 1 warning" if warnings == 1 else f"No errors, {warnings:,} warnings"
    return "No errors" if report.left_out else "Nothing to fix"


def _about(report: Report) -> list[tuple[str, list[str]]]:
    """Returns what was checked: names of things and lines about each."""
    about = report.about
    lines: list[tuple[str, list[str]]] = []
    if "root" in about:
        lines.append(("Folder", [str(about["root"])]))
    if "task" in about:
        name = str(about["task"])
        lines.append(("Challenge", [TASKS[name].title if name in TASKS else name]))
    if "level" in about:
        level = str(about["level"])
        lines.append(("Level", [_LEVELS.get(level, level)]))
    layout = about.get("layout")
    if isinstance(layout, dict):
        lines.append(("Layout", [str(line) for line in layout["words"]]))
    return lines


def _table(counts: dict[str, int]) -> list[tuple[str, list[_Cell]]]:
    """Returns a row per kind of file, with a cell per split; empty when nothing was counted."""
    if not any(counts.get(split) for split in _SPLITS):
        return []
    rows = [("Clips", [_Cell(counts.get(split, 0), None, 0) for split in _SPLITS])]
    for kind in KINDS:
        cells = []
        for split in _SPLITS:
            count, clips = counts.get(f"{split}.{kind}"), counts.get(split, 0)
            share = (count or 0) / clips if clips else 0.0
            cells.append(_Cell(count if clips else None, share, clips - (count or 0)))
        if any(cell.clips for cell in cells):
            rows.append((_KINDS[kind], cells))
    return rows


def _data(report: Report) -> dict[str, object]:
    """Returns what the page's script draws: a table of codes, and a list per finding that points into it."""
    codes = {code: place for place, (code, _) in enumerate(report.by_code())}
    root = str(report.about.get("root", ""))
    rows = []
    for finding in report.sorted():
        known = finding.to_json()
        path = known["path"]
        if isinstance(path, str) and root:
            path = "the folder itself" if path == root else path.removeprefix(root.rstrip("/") + "/")
        rows.append([codes[finding.code], path, finding.line, finding.message, finding.got, finding.expected])
    return {"codes": [[code, CODES[code].severity] for code in codes], "rows": rows}
