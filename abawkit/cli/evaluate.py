"""``evaluate`` and ``ensemble``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace
from abawkit.cli.train import RunArgument, show_run, show_subject_note


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit evaluate F4")(evaluate)
    app.command(epilog="Example: abawkit ensemble F1 F4")(ensemble)


def evaluate(
    run: RunArgument,
    on: Annotated[str, typer.Option("--on", help="valid, or test with --labels.")] = "valid",
    labels: Annotated[Path | None, typer.Option("--labels", help="Labels of the test clips.")] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            help="CSV of clips and their groups, for the interval; default: those of the run's split.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run on clips that it has not been trained on."""
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.evaluation.scores import evaluate as compute
    from abawkit.training.runs import SIDES, find_run

    opened = open_workspace(workspace)
    if on not in SIDES:
        raise UsageError("unknown side", got=on, expected=" or ".join(SIDES))
    found = compute(opened, find_run(opened, run), on, labels=labels, groups=groups)
    if as_json:
        console.print_json(found.to_json())
        return
    scores = found.scores
    columns = {"Pearson r": (scores.pearson, scores.mean_pearson), "CCC": (scores.ccc, scores.mean_ccc)}
    if scores.f1 is not None:
        columns = {"macro F1": (scores.f1, scores.primary)} | columns
    rows = [
        [target, *(console.number(float(values[i]), 4) for values, _ in columns.values())]
        for i, target in enumerate(scores.targets)
    ]
    rows.append(["mean", *(console.number(mean, 4) for _, mean in columns.values())])
    screen = console.out()
    console.show_table(f"{found.run.name}: {scores.n} {on} clips", ["target", *columns], rows)
    drawn, what = found.interval, "r" if scores.f1 is None else "macro F1"
    ends = f"[{console.number(drawn.low)}, {console.number(drawn.high)}]"
    screen.print(f"95 % interval of the mean {what}: {ends}, resampled {found.resampled_by}", markup=False)
    if drawn.remark:
        screen.print(drawn.remark, style="yellow", markup=False)
    for note in found.notes:
        screen.print(note, style="yellow", markup=False)
    if scores.remark:
        screen.print(f"[yellow]{scores.remark}[/]")
    show_subject_note(found.run)


def ensemble(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Members; default: every finished run.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Combine runs: standardised per target, equal weights."""
    from abawkit.cli import console
    from abawkit.evaluation.ensemble import ensemble as combine
    from abawkit.training.runs import find_run

    opened = open_workspace(workspace)
    members = [find_run(opened, name) for name in runs] if runs else None
    made = combine(opened, members, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(made.to_json() | {"members": made.metrics["members"]})
        return
    rows = [[name, console.number(value, 4)] for name, value in made.metrics["members"].items()]
    rows.append(["ensemble", console.number(made.metrics["scores"]["valid"]["mean_pearson"], 4)])
    n = made.metrics["scores"]["valid"]["n"]
    console.show_table(f"On the {n} held-out clips that all share", ["member", "mean r"], rows)
    show_run(made)
    console.next_steps({"abawkit submit --out submissions/team.csv": "takes this ensemble"})
