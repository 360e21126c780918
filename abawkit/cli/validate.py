"""``validate``: everything that is wrong with the challenge folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.options import JsonOption, WorkersOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.findings import Depth


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit validate /data/emi --deep --html report.html")(validate)


def validate(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="Default: the workspace's.", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check names and label files only: seconds.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every file to its end: hours on the whole data.")
    ] = False,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select", metavar="CODES", help="Only these codes, or beginnings of codes: M3,T402.", show_default=False
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="CODES", help="All but these codes.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write all findings as a page.", show_default=False)
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Print the table of all codes, and stop.")] = False,
    workspace: WorkspaceOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """List everything that is wrong with the challenge folder.

    Every file is opened and its header read; --quick checks names only, --deep decodes everything.
    """
    from abawkit.challenge import EMI
    from abawkit.cli import console
    from abawkit.data.checks.validate import validate as examine
    from abawkit.errors import UsageError
    from abawkit.findings import CODES

    if codes:
        if as_json:
            console.print_json({"codes": [{"code": code, **about._asdict()} for code, about in CODES.items()]})
        else:
            console.show_codes()
        return
    if quick and deep:
        raise UsageError("--quick and --deep exclude each other", todo="leave one of them out")
    if html is not None:
        _check_place(html)
    if data is None:
        opened = open_workspace(workspace)
        root, task = opened.data, opened.task
    else:
        root, task = data, EMI
    level: Depth = "quick" if quick else "deep" if deep else "default"
    progress = console.progress_for(as_json)
    report = examine(
        root, task, level=level, select=select or (), ignore=ignore or (), workers=workers, progress=progress
    )
    if html is not None:
        from abawkit.report.findings import write_findings_page

        write_findings_page(html, report)
    if as_json:
        console.print_json(report.to_json())
    else:
        console.show_report(report)
        if html is not None:
            console.say(f"all of it in {html}")
        if report.ok and data is None:
            console.next_steps({"abawkit extract": "make the features"})
    if not report.ok:
        raise typer.Exit(3)


def _check_place(page: Path) -> None:
    """Raises when the page cannot be written, which nobody wants to hear after hours of decoding."""
    from abawkit.errors import UsageError
    from abawkit.fileio import storage_errors

    with storage_errors(page):
        page.parent.mkdir(parents=True, exist_ok=True)
    if page.is_dir() or not os.access(page.parent, os.W_OK):
        raise UsageError("the page cannot be written there", path=page, expected="the name of a file")
