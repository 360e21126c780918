"""``stats``: the paper's data tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, WorkersOption, WorkspaceOption, open_workspace

PlotsOption = Annotated[
    Path | None,
    typer.Option("--plots", metavar="DIR", help="Write the figures there, as PNG and SVG.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit stats --plots figures")(stats)


def stats(
    workspace: WorkspaceOption = None,
    plots: PlotsOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the paper's data tables for these data: lengths, labels, shift, missing modalities."""
    from abawkit.cli import console
    from abawkit.data.stats.tables import stats as compute

    opened = open_workspace(workspace)
    if plots is not None:
        _refuse_data_folder(plots, opened.data)
    found = compute(opened, workers=workers, progress=console.progress_for(as_json))
    written: list[Path] = []
    if plots is not None:
        from abawkit.report.plots import write_plots

        written = write_plots(found, plots)
    if as_json:
        console.print_json(found.to_json() | {"plots": written})
        return
    from abawkit.cli import stats_tables

    stats_tables.show(found)
    for path in written:
        console.say(f"wrote {path}")


def _refuse_data_folder(plots: Path, data: Path) -> None:
    from abawkit.errors import UsageError

    if plots.resolve().is_relative_to(data.resolve()):
        todo = "name a folder outside of it, such as --plots figures"
        raise UsageError("nothing is written into the challenge folder", path=plots, todo=todo)
    if plots.exists() and not plots.is_dir():
        raise UsageError("this is not a folder", path=plots, todo="name a folder; it is made when it is not there")
