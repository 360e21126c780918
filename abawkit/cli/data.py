"""``validate``, ``stats`` and ``resplit``: the challenge folder and its splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, SeedOption, WorkersOption, WorkspaceOption, open_workspace


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit validate /data/emi")(validate)
    app.command(epilog="Example: abawkit stats")(stats)
    app.command(epilog="Example: abawkit resplit --ratio 4:1")(resplit)


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


def stats(workspace: WorkspaceOption = None, workers: WorkersOption = None, as_json: JsonOption = False) -> None:
    """Show the paper's data tables for these data."""
    from abawkit.cli import console
    from abawkit.data.stats import stats as compute

    found = compute(open_workspace(workspace), workers=workers, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(found.to_json())
        return
    screen = console.out()
    rows = []
    for name, split in found.splits.items():
        lengths = split.lengths
        frames = [None] * 5 if lengths is None else list(vars(lengths.frames).values())
        missing = (
            ", ".join(f"{kind} {count}" for kind, count in split.missing.items() if 0 < count < split.clips) or "–"
        )
        rows.append([name, missing, str(split.clips), *(console.number(value, 1) for value in frames)])
    columns = ["split", "without", "clips", "frames", "± std", "min", "median", "max"]
    console.show_table("Clips (frames as the paper counts: 10 per second)", columns, rows, left=2)
    train, valid = found.splits["train"], found.splits["valid"]
    rows = []
    for index, target in enumerate(found.targets):
        cells = [[side.mean, side.zero_percent] for side in (train, valid)]
        means = [console.number(None if m is None else float(m[index])) for m, _ in cells]
        zeros = [console.number(None if z is None else float(z[index]), 1) for _, z in cells]
        shift = [console.number(float(found.ks[index])), console.number(float(found.ks_p[index]))]
        rows.append([target, *means, *zeros, *shift])
    columns = ["target", "mean train", "valid", "zero % train", "valid", "KS", "p"]
    console.show_table("Labels", columns, rows)
    if found.paper is None:
        screen.print("[dim]These are not the official counts, so the paper's figures are not beside them.[/]")
    else:
        ks = found.paper["ks"]
        screen.print("[dim]The paper's KS: " + ", ".join(f"{k} {v}" for k, v in ks.items()) + " (Table 2)[/]")


def resplit(
    ratio: Annotated[str, typer.Option("--ratio", help="2:1 (the official split), 4:1, or any N:M.")] = "4:1",
    seed: SeedOption = None,
    exact: Annotated[bool, typer.Option("--exact", help="2:1 by arithmetic instead of the official split.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name of the split.", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a train/validation split.

    2:1 is the official split; other ratios move validation clips into training, never out of it.
    """
    from abawkit.cli import console
    from abawkit.data.splits import resplit as split_again

    made = split_again(open_workspace(workspace), ratio, seed=seed, name=name, exact=exact)
    if as_json:
        console.print_json({"split": made.name, "path": str(made.folder), **made.record})
        return
    screen = console.out()
    screen.print(
        f"split {made.name}: {len(made.train)} training, {len(made.valid)} validation, {len(made.test_ids)} test clips"
    )
    if not made.record.get("subject_safe"):
        screen.print("[yellow]not subject-safe:[/] one person can be on both sides; no subject ids are published")
    screen.print(f"in {made.folder}", soft_wrap=True)
    system = "F4" if made.ratio == "4:1" else "F1"
    console.next_steps({f"abawkit train --system {system}": f"a system that asks for {made.ratio}"})
