"""``reproduce``: the paper's systems, and its tables beside the results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.options import (
    DeviceOption,
    FeaturesOption,
    JsonOption,
    SeedOption,
    SetOption,
    WorkspaceOption,
    open_workspace,
    pairs,
)

if TYPE_CHECKING:
    from abawkit.jobs.reproduce import Cell, Reproduction


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command(epilog="Example: abawkit reproduce --seeds 5")(reproduce)


def reproduce(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds, from --seed on.")] = 1,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Labels of the test clips, where they are known.")
    ] = None,
    features: FeaturesOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    sets: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train F1 to F5 and show the paper's Tables 5 and 4 beside the results.

    It continues where it was interrupted.
    """
    from abawkit.cli import console
    from abawkit.jobs.reproduce import reproduce as run

    opened = open_workspace(workspace, sets, training__seed=seed, training__device=device)
    found = run(
        opened,
        seeds=seeds,
        labels=labels,
        features=pairs(features, "--features"),
        progress=console.progress_for(as_json),
    )
    if as_json:
        console.print_json(found.to_json())
        return
    _show(found)


def _show(found: Reproduction) -> None:
    from abawkit.cli import console

    screen = console.out()
    if found.simulated:
        screen.print("The features are simulated: this has no meaning for the real challenge.", style="yellow")
    rows = []
    for row in found.systems:
        for side, cell in (("valid", row.valid), ("test", row.test)):
            if cell is not None:
                rows.append([row.system, side, *_cells(cell), _interval(cell)])
    columns = ["system", "on", "mean r", "± sd", "paper", "difference", "95 % interval"]
    console.show_table("Table 5", columns, rows, left=2)
    splits = ", ".join(f"{row.system} {row.split}" for row in found.systems)
    screen.print(f"splits: {splits}", style="dim", markup=False)
    rows = [[row.modality, what, *_cells(cell)] for row in found.modalities for what, cell in row.scores.items()]
    console.show_table(
        "Table 4, official split", ["modality", "target", "r", "± sd", "paper", "difference"], rows, left=2
    )
    for claim, confirmed in found.claims().items():
        screen.print(f"{'yes' if confirmed else 'no '}  {claim}", markup=False)
    screen.print(f"the intervals are the first seed's, resampled {found.resampled}", style="dim", markup=False)


def _cells(cell: Cell) -> list[str]:
    from abawkit.cli import console

    return [console.number(value) for value in (cell.mean, cell.deviation, cell.paper, cell.difference)]


def _interval(cell: Cell) -> str:
    from abawkit.cli import console

    return f"[{console.number(cell.low)}, {console.number(cell.high)}]"
