"""``resplit``: train/validation splits; ``resplit list`` and ``resplit show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from abawkit.cli.options import JsonOption, SeedOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.data.splits.files import Split

resplit_app = typer.Typer()

#: Those of :data:`abawkit.data.splits.pool.Strategy`, without what it imports.
Strategy = Literal["random", "stratified"]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    resplit_app.command("list", epilog="Example: abawkit resplit list")(list_)
    resplit_app.command("show", epilog="Example: abawkit resplit show 4to1-s42")(show)
    resplit_app.callback(invoke_without_command=True, epilog="Example: abawkit resplit --ratio 4:1")(resplit)
    app.add_typer(resplit_app, name="resplit")


def resplit(
    context: typer.Context,
    ratio: Annotated[str, typer.Option("--ratio", help="2:1 (the official split), 4:1, or any N:M.")] = "4:1",
    folds: Annotated[
        int | None, typer.Option("--folds", help="So many splits instead, each holding out other clips.")
    ] = None,
    strategy: Annotated[
        Strategy, typer.Option("--strategy", help="stratified: the sides' labels made alike.")
    ] = "random",
    groups: Annotated[
        Path | None, typer.Option("--groups", help="CSV of clips and their subjects: none is on both sides.")
    ] = None,
    free: Annotated[
        bool | None,
        typer.Option(
            "--free/--keep-train",
            help="Whether official training clips may be held out; default: with --folds only.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="2:1 by arithmetic instead of the official split.")] = False,
    seed: SeedOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the split.", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a train/validation split, or list and show those that there are.

    2:1 is the official split; other ratios move validation clips into training, never out of it (unless --free).
    """
    from abawkit.cli import console
    from abawkit.data.splits import resplit as splits
    from abawkit.errors import UsageError

    typed = [key for key in context.params if _is_typed(context, key)]
    if context.invoked_subcommand is not None:
        if typed:
            options = [option for option in context.command.params if option.name in typed]
            given = ", ".join(
                (option.secondary_opts if context.params[str(option.name)] is False else option.opts)[0]
                for option in options
            )
            after = f"write the options of {context.invoked_subcommand} behind it, and leave out the others"
            raise UsageError("these options make a split, they list or show none", got=given, todo=after)
        return
    opened = open_workspace(workspace)
    how: dict[str, Any] = {"seed": seed, "name": name, "strategy": strategy, "groups": groups}
    if folds is None:
        made = splits.resplit(opened, ratio, exact=exact, free=bool(free), **how)
        if as_json:
            console.print_json(made.to_json())
        else:
            _show_made(made, made.name in ("official", f"4to1-s{opened.settings.split.seed}"))
        return
    if {"ratio", "exact"} & set(typed):
        raise UsageError("folds have no ratio to choose", got="--folds with --ratio or --exact", todo="give only one")
    parts = splits.fold(opened, folds, free=free is not False, **how)
    if as_json:
        console.print_json({"splits": [part.to_json() for part in parts]})
    else:
        _show_folds(parts)


def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the splits of the workspace."""
    from abawkit.cli import console
    from abawkit.data.splits.resplit import list_splits

    splits = list_splits(open_workspace(workspace))
    if as_json:
        console.print_json({"splits": [split.to_json() for split in splits]})
        return
    if not splits:
        console.out().print("there are no splits yet")
        console.next_steps({"abawkit resplit --ratio 4:1": "the split of F3 and F4"})
        return
    columns = ["split", "ratio", "got", "train", "valid", "subject-safe"]
    console.show_table("Splits", columns, [_row(split) for split in splits])
    if not all(split.subject_safe for split in splits):
        console.out().print(
            "[yellow]not subject-safe:[/] one person's clips can be on both sides, which flatters scores"
        )


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A split's name, as `resplit list` shows it.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is on each side of a split and how the sides differ."""
    from abawkit.cli import console
    from abawkit.data.splits.resplit import find_split
    from abawkit.data.splits.sides import compare_sides

    opened = open_workspace(workspace)
    sides = compare_sides(find_split(opened, "2:1", name), opened.task)
    if as_json:
        console.print_json(sides.to_json())
        return
    split = sides.split
    counts = split.record["counts"]
    rows = [
        [side, str(counts[side]), str(official["train"]), str(official["valid"]), str(sides.groups.get(side, "–"))]
        for side, official in sides.official.items()
    ]
    rows.append(["test", str(counts["test"]), "–", "–", "–"])
    columns = ["side", "clips", "official train", "official valid", "groups"]
    console.show_table(f"{split.name}: {_how(split)}", columns, rows)
    rows = [
        [
            target,
            *(console.number(sides.mean[side][i], 4) for side in ("train", "valid")),
            *(console.number(sides.zero_percent[side][i], 1) for side in ("train", "valid")),
            console.number(sides.ks[i], 4),
            "<.001" if sides.ks_p[i] < 0.001 else console.number(sides.ks_p[i]),
        ]
        for i, target in enumerate(sides.targets)
    ]
    columns = ["label", "mean\ntrain", "\nvalid", "zero %\ntrain", "\nvalid", "KS", "p"]
    console.show_table("Labels of the two sides", columns, rows)
    if split.groups is not None:
        _show_groups(split)
        console.say(f"groups on both sides: {', '.join(sides.groups_on_both) or 'none'}")
    _show_note(split)


def _is_typed(context: typer.Context, key: str) -> bool:
    source = context.get_parameter_source(key)
    return source is not None and source.name == "COMMANDLINE"


def _row(split: Split) -> list[str]:
    got = split.record["ratio_got"].removesuffix(":1")
    part = split.record["fold"]
    origin = _drawn(split) if split.seed is None else f"{_drawn(split)}, seed {split.seed}"
    origin = f"fold {part['index']} of {part['of']}, {origin}" if part else origin
    if split.groups is not None:
        origin += f", {split.record['groups']['groups']} {split.groups.noun}"
    sizes = [str(len(split.train)), str(len(split.valid))]
    return [
        f"{split.name}\n  {origin}",
        "–" if part else split.ratio,
        f"{float(got):.2f}",
        *sizes,
        "yes" if split.subject_safe else "no",
    ]


def _drawn(split: Split) -> str:
    """Returns how a split was drawn, in a few words."""
    record = split.record
    if split.seed is None:
        return "official"
    usual = record["keep_train"] != bool(record["fold"])
    return f"{record['strategy']}{'' if usual else ', train kept' if record['keep_train'] else ', free'}"


def _how(split: Split) -> str:
    record = split.record
    if split.seed is None:
        return "the organisers' own split"
    part = record["fold"]
    what = f"fold {part['index']} of {part['of']}" if part else f"ratio {split.ratio}, got {record['ratio_got']}"
    return f"{what}, {_drawn(split)}, seed {split.seed}"


def _show_made(split: Split, found_by_ratio: bool) -> None:
    from abawkit.cli import console

    screen, wanted = console.out(), split.record["wanted"]
    sizes = f"{len(split.train)} training, {len(split.valid)} validation, {len(split.test_ids)} test clips"
    screen.print(f"split {split.name}: {sizes}")
    if wanted is not None and wanted["train"] != len(split.train):
        off = len(split.train) - wanted["train"]
        asked = f"{split.ratio} would be {wanted['train']} and {wanted['valid']}"
        screen.print(f"{asked}: this is as near as the groups allow, {off:+d} training clips")
    if split.groups is not None:
        _show_groups(split)
    _show_note(split)
    console.say(f"in {split.folder}")
    system, asks = ("F4", "4:1") if split.ratio == "4:1" else ("F1", "2:1")
    by_name = "" if found_by_ratio and split.ratio == asks else f" --split {split.name}"
    console.next_steps(
        {
            f"abawkit train --system {system}{by_name}": "train on it" if by_name else f"a system that asks for {asks}",
            f"abawkit resplit show {split.name}": "how its two sides differ",
        }
    )


def _show_folds(parts: list[Split]) -> None:
    from abawkit.cli import console

    rows = [[part.name, str(len(part.train)), str(len(part.valid))] for part in parts]
    console.show_table(
        f"{len(parts)} folds, {_drawn(parts[0])}, seed {parts[0].seed}", ["split", "train", "valid"], rows
    )
    if parts[0].groups is not None:
        _show_groups(parts[0])
    _show_note(parts[0])
    console.say(f"in {parts[0].folder.parent}")
    console.next_steps(
        {
            f"abawkit train --system F4 --fold all --split {parts[0].record['fold']['set']}": "train on each",
            f"abawkit resplit show {parts[0].name}": "how its two sides differ",
        }
    )


def _show_groups(split: Split) -> None:
    from abawkit.cli import console

    screen, facts = console.out(), split.record["groups"]
    assert split.groups is not None
    lines = [f"{facts['groups']} {split.groups.noun} in {facts['source']}", *facts["remarks"]]
    if facts["ungrouped"]:
        lines.append(f"{facts['ungrouped']} clip(s) have no group and count as one each")
    if facts["moved_with_group"]:
        moved = f"{facts['moved_with_group']} official validation clip(s) went to training"
        lines.append(f"{moved}: their groups have official training clips")
    if facts["test_clips"]:
        lines.append(f"{facts['test_clips']} test clip(s) share a group with a labelled clip")
    for line in lines:
        screen.print(line, markup=False)


def _show_note(split: Split) -> None:
    from abawkit.cli import console

    console.out().print(split.note, style=None if split.subject_safe else "yellow", markup=False)
