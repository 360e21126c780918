"""``reproduce``: the paper's systems, and its tables next to the results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    from abawkit.jobs.reproduce import Cell, Reproduction, Variants


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command(epilog="Example: abawkit reproduce --seeds 5")(reproduce)


def reproduce(
    table: Annotated[
        Literal["3", "4", "5"], typer.Option("--table", help="5 and 4: F1 to F5; 3: the unimodal variants.")
    ] = "5",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="So many seeds, from --seed on.")] = 1,
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
    """Train the paper's systems and show its Tables 5 and 4, or 3, next to the results.

    It continues where it was interrupted.
    """
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.jobs.reproduce import reproduce as run
    from abawkit.jobs.reproduce import reproduce_variants

    opened = open_workspace(workspace, sets, training__seed=seed, training__device=device)
    if table == "3":
        if labels is not None or features:
            raise UsageError("Table 3 is of validation, on the features that each row names", todo="leave them out")
        variants = reproduce_variants(opened, seeds=seeds, progress=console.progress_for(as_json))
        if as_json:
            console.print_json(variants.to_json())
        else:
            _show_variants(variants)
        return
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
        screen.print("The features are simulated: this says nothing about the real challenge.", style="yellow")
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
    for claim, came_out in found.claims().items():
        screen.print(f"{'yes' if came_out else 'no '}  {claim}", markup=False)
    screen.print(f"the intervals are the first seed's, resampled {found.resampled}", style="dim", markup=False)


def _show_variants(found: Variants) -> None:
    from abawkit.cli import console

    screen = console.out()
    if found.simulated:
        screen.print(
            "The features are simulated: one store per modality stands for wav2vec2, DINOv2 and the others. "
            "This says nothing about the real challenge.",
            style="yellow",
        )
    rows = [
        [row.system.removeprefix("table3/"), *(_cells(row.valid) if row.valid is not None else ["–"] * 4)]
        for row in found.rows
    ]
    columns = ["system (table3/…)", "r", "± sd", "paper", "difference"]
    console.show_table("Table 3, official split, validation", columns, rows)
    for row in found.rows:
        if row.note and not found.simulated:
            screen.print(f"{row.system}: {row.note}", markup=False, highlight=False)


def _cells(cell: Cell) -> list[str]:
    from abawkit.cli import console

    return [console.number(value) for value in (cell.mean, cell.deviation, cell.paper, cell.difference)]


def _interval(cell: Cell) -> str:
    from abawkit.cli import console

    return f"[{console.number(cell.low)}, {console.number(cell.high)}]"
