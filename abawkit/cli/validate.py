"""``validate``: everything that is wrong with the challenge folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, WorkersOption, WorkspaceOption, open_workspace


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit validate /data/emi")(validate)


def validate(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="Default: the workspace's.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """List everything that is wrong with the challenge folder."""
    from abawkit.challenge import EMI
    from abawkit.cli import console
    from abawkit.data.validate import validate as examine

    if data is None:
        opened = open_workspace(workspace)
        root, task = opened.data, opened.task
    else:
        root, task = data, EMI
    report = examine(root, task, workers=workers, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(report.to_json())
    else:
        console.show_report(report)
        if report.ok and data is None:
            console.next_steps({"abawkit extract": "make the features"})
    if not report.ok:
        raise typer.Exit(3)
