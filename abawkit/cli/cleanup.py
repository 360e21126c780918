"""``runs rm`` and ``runs gc``."""

from __future__ import annotations

from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace

_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")]


def rm(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names, or beginnings of names.")],
    yes: _YesOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also runs that a refit, an ensemble or a submission is made from.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove runs with their predictions. Asks first."""
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.fileio import human_bytes
    from abawkit.runs.removal import find_removable, remove

    found = find_removable(open_workspace(workspace), runs)
    if not yes:
        if as_json:
            raise UsageError("--json cannot ask", todo="give --yes")
        for one in found:
            named = f", named by {len(one.named_by)} record(s)" if one.named_by else ""
            console.say(f"{one.path.name} ({human_bytes(one.size)}{named})")
        if not typer.confirm(f"Remove {len(found)} run(s) for good?"):
            console.out().print("nothing was removed")
            raise typer.Exit(1)
    remove(found, force=force)
    if as_json:
        console.print_json({"removed": [one.to_json() for one in found]})
        return
    console.out().print(f"removed {len(found)} run(s), {human_bytes(sum(one.size for one in found))}")
    console.next_steps({"abawkit runs gc": "lists stage checkpoints that no run uses any more"})


def gc(yes: _YesOption = False, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List stage checkpoints that no run uses.

    With --yes they are removed; they are trained again when a system needs them.
    """
    from abawkit.cli import console
    from abawkit.fileio import human_bytes
    from abawkit.runs.removal import remove_stages, unused_stages

    opened = open_workspace(workspace)
    found = remove_stages(opened) if yes else unused_stages(opened)
    if as_json:
        console.print_json({"removed" if yes else "unused": [one.to_json() for one in found]})
        return
    if not found:
        console.out().print("every stage checkpoint is used by a run")
        return
    rows = [[one.path.name, human_bytes(one.size)] for one in found]
    total = human_bytes(sum(one.size for one in found))
    console.show_table("Removed" if yes else "Stage checkpoints that no run uses", ["stage", "size"], rows)
    console.out().print(f"{len(found)} stage(s), {total}")
    if not yes:
        console.next_steps({"abawkit runs gc --yes": "removes them; they are trained again when needed"})
