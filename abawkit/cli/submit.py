"""``submit`` and ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit submit --out submissions/team.csv")(submit)
    app.command(epilog="Example: abawkit check submissions/team.csv")(check)


def submit(
    out: Annotated[Path, typer.Option("--out", "-o", help="The CSV to write, relative to the workspace.")],
    run: Annotated[
        str | None, typer.Option("--run", help="Default: the newest ensemble, else the best run.", show_default=False)
    ] = None,
    int_ids: Annotated[bool, typer.Option("--int-ids", help="Ids as plain integers.")] = False,
    clip: Annotated[bool, typer.Option("--clip/--no-clip", help="Bring values into [0, 1].")] = True,
    decimals: Annotated[int | None, typer.Option("--decimals", min=1, max=15, help="Digits after the point.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite another submission.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the leaderboard CSV and check it.

    FILE.json beside it says what made it.
    """
    from abawkit.cli import console
    from abawkit.submission import submit as write
    from abawkit.training.runs import find_run

    opened = open_workspace(workspace)
    made = write(
        opened,
        out,
        run=find_run(opened, run) if run is not None else None,
        int_ids=int_ids,
        clip=clip,
        decimals=decimals,
        force=force,
        progress=console.progress_for(as_json),
    )
    if as_json:
        console.print_json(made.to_json())
        return
    record = made.record
    screen = console.out()
    screen.print(f"wrote {made.path}: {record['rows']} clips from {record['run']}; checked: no errors", soft_wrap=True)
    valid = record["valid"]
    if record["clipped_values"]:
        before, after = console.number(valid["score"], 4), console.number(valid["score_clipped"], 4)
        screen.print(f"{record['clipped_values']} values were clipped; on validation that turns {before} into {after}")
    if not record["subject_safe"]:
        screen.print(record["subject_note"], style="yellow", markup=False)
    console.next_steps({f"abawkit check {out}": "check it again, or any other file"})


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Challenge folder with the test clips; default: the workspace's.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say everything that a leaderboard could refuse a file for."""
    from abawkit.challenge import EMI
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.submission import check as examine
    from abawkit.submission import known_test_ids

    task = EMI
    if data is None:
        try:
            opened = open_workspace(workspace)
        except UsageError:
            if workspace is not None:
                raise
        else:
            task, data = opened.task, opened.data
    report = examine(file, task, None if data is None else known_test_ids(data, task))
    if as_json:
        console.print_json(report.to_json())
    else:
        console.show_report(report)
    if not report.ok:
        raise typer.Exit(3)
