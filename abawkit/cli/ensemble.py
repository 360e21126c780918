"""``ensemble``: combines runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.compare import GroupsOption
from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace
from abawkit.cli.runs import show_run

if TYPE_CHECKING:
    from abawkit.training.runs import Run


def register(app: typer.Typer) -> None:
    """Adds the command of this file to the program."""
    app.command(epilog="Example: abawkit ensemble F1 F4 --plot weights.png")(ensemble)


def ensemble(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Members; default: every finished run.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="best, mean, zmean, rank, rweighted, greedy-shared, nnls, greedy, ridge; auto: the first of these "
            "within one standard error of the best.",
        ),
    ] = "auto",
    oof: Annotated[bool, typer.Option("--oof", help="The runs are those of resplit --folds: all its folds.")] = False,
    groups: GroupsOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write the weights to this PNG file.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Combine runs, with a score that is not fitted to the clips it is taken on."""
    from abawkit.cli import console
    from abawkit.evaluation.ensemble import ensemble as combine
    from abawkit.training.runs import find_run

    opened = open_workspace(workspace)
    named = [find_run(opened, name) for name in runs] if runs else None
    made = combine(opened, named, method=method, oof=oof, groups=groups, progress=console.progress_for(as_json))
    if plot is not None:
        from abawkit.report.weights import write_weights

        write_weights(made, plot)
    if as_json:
        console.print_json(made.to_json() | made.metrics | {"plot": None if plot is None else str(plot)})
        return
    _show_methods(made)
    show_run(made)
    if plot is not None:
        console.out().print(f"weights: {plot}", markup=False, soft_wrap=True)
    console.next_steps({"abawkit submit --out submissions/team.csv": "takes this ensemble"})


def _show_methods(made: Run) -> None:
    from abawkit.cli import console

    found, n = made.metrics, made.metrics["scores"]["valid"]["n"]
    without = found["without"]
    rows = [[name, console.number(value, 4), console.number(without.get(name), 4)] for name, value in
            found["members"].items()]  # fmt: skip
    console.show_table(f"On the {n} held-out clips that all share", ["member", "score", "ensemble without it"], rows)
    rows = [
        [
            one["method"] + (" ←" if one["method"] == found["method"] else ""),
            *(console.number(one[key], 4) for key in ("cross_fitted", "behind_best", "standard_error", "optimistic")),
        ]
        for one in found["methods"]
    ]
    by = "by group" if found["by_group"] else "by clip"
    title = f"Methods, the simplest first; cross-fitted with {found['folds']} folds {by}"
    console.show_table(title, ["method", "cross-fitted", "behind", "its error", "optimistic"], rows)
