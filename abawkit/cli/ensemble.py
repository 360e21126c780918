"""``ensemble``: combines runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.compare import GroupsOption
from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace
from abawkit.cli.runs import show_run
from abawkit.evaluation.methods import MethodChoice

if TYPE_CHECKING:
    from abawkit.runs.run import Ensemble

#: With more members, the table of their correlations is wider than a terminal.
_MOST_CORRELATED = 12


def register(app: typer.Typer) -> None:
    """Adds the command of this file to the program."""
    app.command(epilog="Example: abawkit ensemble F1 F4 --plot weights.png")(ensemble)


def ensemble(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Members; default: every finished run.")
    ] = None,
    method: Annotated[
        MethodChoice,
        typer.Option(
            "--method",
            help="The simplest first; auto: the first of the others that is within one standard error of the best.",
        ),
    ] = "auto",
    oof: Annotated[bool, typer.Option("--oof", help="The runs are those of resplit --folds: all its folds.")] = False,
    refits: Annotated[
        bool, typer.Option("--with-refits", help="Where a run was refitted, its refit predicts the test clips.")
    ] = False,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Folds of the cross-fitted scores.")] = 10,
    groups: GroupsOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write the weights to this PNG file.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Combine runs, with a score that is not fitted to the clips it is taken on.

    A refit that is named takes its parent's place for the test clips; scores and weights stay the parent's.
    """
    from abawkit.cli import console
    from abawkit.evaluation.compare import find_systems
    from abawkit.evaluation.ensemble import ensemble as combine

    opened = open_workspace(workspace)
    named = find_systems(opened, runs, folds=oof) if runs else None
    progress = console.progress_for(as_json)
    made = combine(opened, named, method=method, oof=oof, refits=refits, folds=folds, groups=groups, progress=progress)
    if plot is not None:
        from abawkit.report.weights import write_weights

        write_weights(made, plot)
    if as_json:
        rest = {"refits": made.record.refits, "plot": None if plot is None else str(plot)}
        console.print_json(made.to_json() | made.metrics.to_json() | rest)
        return
    _show_members(made)
    _show_methods(made)
    _show_refits(made)
    show_run(made)
    if plot is not None:
        console.say(f"weights: {plot}")
    console.next_steps({"abawkit submit --out submissions/team.csv": "takes this ensemble"})


def _show_members(made: Ensemble) -> None:
    """Prints the members' scores, what the ensemble loses without each, and how they correlate."""
    from abawkit.cli import console
    from abawkit.evaluation.paired import short

    found, n = made.metrics, made.metrics.scores["valid"].n
    names = list(found.members)
    rows = [
        [f"{place} {name}", console.number(found.members[name], 4), console.number(found.without.get(name), 4)]
        for place, name in enumerate(names, 1)
    ]
    console.show_table(f"On the {n} held-out clips that all share", ["member", "score", "ensemble without it"], rows)
    if len(names) < 2:
        return
    if len(names) > _MOST_CORRELATED:
        console.say(f"how the {len(names)} members correlate is in --json, and in {made.path / 'metrics.json'}", "dim")
        return
    rows = [
        [str(row + 1), *(short(r, 2) if column < row else "" for column, r in enumerate(line[:-1]))]
        for row, line in enumerate(found.correlations)
    ][1:]
    title = "How the members correlate with one another, on average over the targets"
    console.show_table(title, ["", *map(str, range(1, len(names)))], rows)


def _show_methods(made: Ensemble) -> None:
    from abawkit.cli import console

    found = made.metrics
    rows = [
        [
            one.method + (" ←" if one.method == found.method else ""),
            *(
                console.number(value, 4)
                for value in (one.cross_fitted, one.behind_best, one.standard_error, one.optimistic)
            ),
        ]
        for one in found.methods
    ]
    by = "by group" if found.by_group else "by clip"
    title = f"Methods, the simplest first; cross-fitted with {found.folds} folds {by}"
    console.show_table(title, ["method", "cross-fitted", "behind", "its error", "optimistic"], rows)


def _show_refits(made: Ensemble) -> None:
    from abawkit.cli import console

    for parent, refit in made.record.refits.items():
        line = f"{refit} predicts the test clips in the place of {parent}; score and weights are those of {parent}"
        console.out().print(line, markup=False)
