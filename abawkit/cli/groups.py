"""``groups suggest``: guessed groups of clips, for data without subject ids."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.jobs.grouping.suggest import Guess

groups_app = typer.Typer(help="Guess which clips belong together.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    groups_app.command("suggest", epilog="Example: abawkit groups suggest")(suggest)
    app.add_typer(groups_app, name="groups")


def suggest(
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="text (transcripts), a modality or a feature store; default: text and vision."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Check this split's sides, too.", show_default=False)
    ] = None,
    clusters: Annotated[
        int | None, typer.Option("--clusters", help="How many persons there are, if you know.", show_default=False)
    ] = None,
    similarity: Annotated[
        float, typer.Option("--similarity", help="How alike transcripts of one seed video are, 0 to 1.")
    ] = 0.5,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default: groups in the workspace.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Guess groups of clips: seed videos by the transcripts, persons by a feature store.

    They are proxies, not subject ids. Give them to resplit --groups and evaluate --groups.
    """
    from abawkit.cli import console
    from abawkit.jobs.grouping.overlap import SIDES, percent
    from abawkit.jobs.grouping.suggest import PROXY
    from abawkit.jobs.grouping.suggest import suggest as guess

    opened = open_workspace(workspace)
    made = guess(
        opened,
        by or (),
        split=split,
        out=out,
        clusters=clusters,
        similarity=similarity,
        progress=console.progress_for(as_json),
    )
    if as_json:
        console.print_json(made.to_json())
        return
    screen = console.out()
    rows = []
    for found in made.guesses:
        record = found.to_json()
        sizes = [f"{record['median_size']:g}", str(record["largest_size"]), str(record["groups_of_one"])]
        rows.append([found.groups.path.stem, str(record["groups"]), *sizes, str(sum(found.found.ungrouped.values()))])
    columns = ["groups", "number", "median size", "largest", "of one clip", "clips in none"]
    console.show_table(f"Guessed groups ({PROXY})", columns, rows)
    rows = []
    for found in made.guesses:
        for across in found.overlaps:
            for shared in across.shared:
                shares = [f"{shared.siblings} of {shared.clips}", percent(shared.share), percent(shared.chance)]
                side = f"{across.split}, {SIDES[shared.side]}"
                rows.append([found.groups.path.stem, side, str(shared.groups), *shares])
    columns = ["groups", "side", "in both", "with sibling", "share", "at random"]
    console.show_table("Groups that are in training too, and clips with a sibling there", columns, rows, left=2)
    for found in made.guesses:
        _show(found)
    if made.crossing is not None:
        screen.print(f"\n{made.crossing.words}", markup=False)
    for remark in made.remarks:
        screen.print(remark, style="yellow", markup=False)
    chosen = made.chosen
    path = shlex.quote(_short(chosen.groups.path))
    free = " --free" if chosen.groups.kind == "proxy_seed" else ""
    console.next_steps({f"abawkit resplit --ratio 4:1 --groups {path}{free}": f"a split by {chosen.groups.noun}"})


def _show(found: Guess) -> None:
    from abawkit.cli import console

    screen = console.out()
    screen.print(f"\n[bold]{console.escape(found.groups.noun)}[/], by {console.escape(found.found.by)}")
    console.say(f"in {_short(found.groups.path)}")
    for why, count in found.found.ungrouped.items():
        screen.print(f"{count} clip(s) {why}: in no group, each counts as its own", markup=False)
    if found.estimate:
        screen.print(found.estimate, markup=False)
    for warning in found.warnings:
        screen.print(warning, style="yellow", markup=False)
    for across in found.overlaps:
        screen.print(f"{across.split}: {across.meaning}", markup=False)


def _short(path: Path) -> str:
    """Returns the path from the working folder, where it is below that."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
