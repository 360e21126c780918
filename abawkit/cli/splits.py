"""``resplit``: train/validation splits."""

from __future__ import annotations

from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, SeedOption, WorkspaceOption, open_workspace


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit resplit --ratio 4:1")(resplit)


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
