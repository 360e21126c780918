"""What the user sees: results on stdout, progress and errors on stderr, bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape as escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table

from abawkit.cli.options import PLAIN
from abawkit.errors import AbawkitError, PartlyDone
from abawkit.fileio import json_ready
from abawkit.findings import CODES, Finding, Report
from abawkit.progress import SILENT, Progress, Task

if TYPE_CHECKING:
    from abawkit.runs.run import Run

#: Seconds between two plain progress lines where there is no terminal.
_PLAIN_EVERY = 15.0

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def out() -> Console:
    """Returns the console for results."""
    return Console(highlight=False, soft_wrap=False, force_terminal=False if PLAIN.get() else None)


def err() -> Console:
    """Returns the console for progress, logs and errors."""
    return Console(stderr=True, highlight=False, force_terminal=False if PLAIN.get() else None)


def say(text: str, style: str | None = None) -> None:
    """Prints one line of a result as it is: not wrapped, so that a path can be copied, and no markup read in it."""
    out().print(text, style=style, soft_wrap=True, markup=False)


def print_json(record: Any) -> None:
    """Prints one JSON document on stdout."""
    sys.stdout.write(json.dumps(json_ready(record), indent=1, ensure_ascii=False) + "\n")


def show_error(error: AbawkitError, code: int, *, as_json: bool) -> None:
    """Prints an error on stderr, and as JSON on stdout when the command was asked for JSON."""
    if as_json:
        print_json({"ok": False, "exit_code": code, **error.to_json()})
    first, *rest = str(error).split("\n")
    console = err()
    console.print(f"[bold red]error:[/] {escape(first)}", soft_wrap=True)
    for line in rest:
        console.print(escape(line), soft_wrap=True)


def end(record: Mapping[str, Any], bad: PartlyDone | None, *, as_json: bool) -> None:
    """Ends a command of which some clips may have failed: the one JSON document, where it was asked for, then the code.

    Raises:
        typer.Exit: With the code of ``bad``, when there is something bad.
    """
    if as_json:
        print_json({"ok": bad is None, **record, **({} if bad is None else bad.to_json())})
    if bad is not None:
        show_error(bad, bad.exit_code, as_json=False)
        raise typer.Exit(bad.exit_code)


def progress_for(as_json: bool) -> Progress:
    """Returns what the library reports to; with ``--json`` it stays silent but for the errors."""
    return SILENT if as_json else _Terminal(err())


class _Bar:
    def __init__(self, progress: RichProgress, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=amount, note=escape(note))


class _Lines:
    def __init__(self, console: Console, what: str, total: int | None, unit: str, every: float) -> None:
        self._console, self._what, self._total, self._unit, self._every = console, what, total, unit, every
        self._done, self._before, self._began = 0, -1, time.monotonic()
        self._from = self._last = self._began

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if self._before < 0:  # what was done before it began takes no time
            self._before, self._from = self._done, now
            if not note:
                return
        if (amount or note) and now - self._last >= self._every:
            self._last = now
            count = f"{self._done}" + (f"/{self._total}" if self._total is not None else "")
            details = ", ".join(part for part in (note, self._left(now)) if part)
            self._console.print(
                f"{self._what} {count}" + (f": {details}" if details else ""), markup=False, soft_wrap=True
            )

    def _left(self, now: float) -> str:
        """How long it will probably still take, judged by what was done so far."""
        if self._total is None or self._done <= self._before:
            return ""
        seconds = (now - self._from) / (self._done - self._before) * max(0, self._total - self._done)
        if seconds < 90:
            return f"{seconds:.0f} s left"
        return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"

    def end(self) -> None:
        count = f"{self._done}" + (f" of {self._total}" if self._total is not None else "") + f" {self._unit}"
        seconds = time.monotonic() - self._began
        self._console.print(f"{self._what}: {count} in {seconds:.1f} s", markup=False, soft_wrap=True)


class _Terminal:
    """Bars on a terminal, a line at the end (and now and then) elsewhere; with ``--plain`` one per epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def task(self, what: str, total: int | None = None, unit: str = "clips") -> Iterator[Task]:
        if not self._console.is_terminal:
            every = 0.0 if PLAIN.get() and unit == "epochs" else _PLAIN_EVERY
            lines = _Lines(self._console, what, total, unit, every)
            yield lines
            lines.end()
            return
        # Eighty columns have to hold what the loop of a training says of an epoch.
        wide = self._console.width >= 110
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<18}" if wide else "{task.description:<14}"),
            BarColumn(bar_width=24 if wide else 8),
            MofNCompleteColumn(),
            *((TextColumn(unit), TimeElapsedColumn()) if wide else ()),
            TimeRemainingColumn(compact=True, elapsed_when_finished=False),
            TextColumn("[dim]{task.fields[note]}[/]"),
        )
        with RichProgress(*columns, console=self._console) as progress:
            task = progress.add_task(what, total=total, note="")
            yield _Bar(progress, task)
            # A stage that stops early is finished all the same.
            done = progress.tasks[0].completed
            progress.update(task, total=done, completed=done)

    def say(self, message: str) -> None:
        style = "bold" if message.startswith("▸") else "dim"
        self._console.print(f"[{style}]{escape(message)}[/]", soft_wrap=not self._console.is_terminal)


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, no_fold: bool = False
) -> None:
    """Prints a table; the first ``left`` columns are text, the others numbers to the right.

    With ``no_fold`` the first column, names that people type, is never folded.
    """
    console = out()
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if index < left else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=no_fold and index == 0)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def number(value: float | None, digits: int = 3) -> str:
    """Returns a number for a table; ``–`` where there is none.

    >>> number(0.12345), number(float("nan"))
    ('0.123', '–')
    """
    return "–" if value is None or value != value else f"{value:.{digits}f}"


_CHECKED = {
    "quick": "checked: names and label files only (--quick)",
    "default": "checked: names, label files, and the beginning of every file",
    "deep": "checked: every file, decoded to its end (--deep)",
}

#: So many findings of a code are shown, by its severity.
_SHOWN = {"error": 5, "warning": 3, "info": 1}


def show_report(report: Report) -> None:
    """Prints what was checked, what is there, a summary of the findings by code, and the first few of each."""
    console = out()
    _show_about(report)
    if report.findings:
        counted = report.by_code()
        rows = [[code, CODES[code].severity, CODES[code].meaning, f"{count:,}"] for code, count in counted]
        show_table("Findings", ["code", "severity", "what", "count"], rows, left=3)
        by_code: dict[str, list[Finding]] = {code: [] for code, _ in counted}
        for finding in report.findings:
            by_code[finding.code].append(finding)
        for code, findings in by_code.items():
            severity = CODES[code].severity
            for finding in findings[: _SHOWN[severity]]:
                _show_finding(console, finding, str(report.about.get("root", "")))
            if len(findings) > _SHOWN[severity]:
                more = len(findings) - _SHOWN[severity]
                console.print(f"     [dim]… and {more:,} more {code}; --json and --html list all[/]")
    if report.left_out:
        are = "finding is" if report.left_out == 1 else "findings are"
        console.print(f"[dim]{report.left_out:,} {are} left out by --select or --ignore[/]")
    console.print("[bold green]no errors[/]" if report.ok else "[bold red]errors: fix them first[/]")


def _show_about(report: Report) -> None:
    console = out()
    layout = report.about.get("layout")
    if isinstance(layout, dict):
        for line in (*layout["words"], _CHECKED[str(report.about["level"])]):
            console.print(escape(line))
        console.print()
    splits = [key for key in report.counts if "." not in key]
    kinds = list(dict.fromkeys(key.partition(".")[2] for key in report.counts if "." in key))
    shown = [kind for kind in kinds if any(report.counts.get(f"{split}.{kind}") for split in splits)]
    if kinds:
        rows = [
            [split, *(f"{report.counts.get(key, 0):,}" for key in (split, *(f"{split}.{kind}" for kind in shown)))]
            for split in splits
        ]
        show_table("Clips, and those that have …", ["split", "clips", *shown], rows)
    elif report.counts:
        console.print("  ".join(f"{key}: {value}" for key, value in report.counts.items()))


def _show_finding(console: Console, finding: Finding, root: str) -> None:
    got = "" if finding.got is None else f" (got {finding.got})"
    expected = "" if finding.expected is None else f", expected {finding.expected}"
    place = finding.place.removeprefix(root.rstrip("/") + "/") if root else finding.place
    text = escape(f"{place}: {finding.message}{got}{expected}")
    code = f"[{_COLOURS[finding.severity]}]{finding.code}[/]"
    if console.is_terminal:
        line = Table.grid(padding=(0, 1))
        line.add_row(code, text)
        console.print(line)
    else:
        console.print(f"{code} {text}", soft_wrap=True)  # one line each, for grep


def show_codes() -> None:
    """Prints the table of all codes."""
    rows = [[code, about.severity, about.level, about.meaning] for code, about in CODES.items()]
    show_table("Codes", ["code", "severity", "level", "what"], rows, left=4)


def say_no_ranking(splits: Iterable[str]) -> None:
    """Says that scores on the validation sets of different splits are not to be ranked, where there are several."""
    if len(set(splits)) > 1:
        out().print("Validation sets differ between splits: do not rank across them.", style="dim")


def say_subject_notes(runs: Iterable[Run]) -> None:
    """Says why scores of the runs are not subject-safe, each reason once."""
    for note in sorted({run.subject_note for run in runs if not run.subject_safe}):
        out().print(note, style="yellow", markup=False)


def next_steps(commands: Mapping[str, str]) -> None:
    """Prints the exact commands to type next, each with what it does."""
    console = out()
    console.print("\n[bold]Next[/]")
    width = max(len(command) for command in commands)
    one_line = width + 4 + max(len(what) for what in commands.values()) <= console.width
    for command, what in commands.items():
        if one_line:
            console.print(f"  [cyan]{escape(command.ljust(width))}[/]  {escape(what)}", soft_wrap=True)
        else:
            console.print(f"  [cyan]{escape(command)}[/]\n      {escape(what)}", soft_wrap=True)


__all__ = [
    "end",
    "err",
    "next_steps",
    "number",
    "out",
    "print_json",
    "progress_for",
    "say",
    "say_no_ranking",
    "say_subject_notes",
    "show_codes",
    "show_error",
    "show_report",
    "show_table",
]
