"""``runs``: what has been trained or imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from abawkit.cli.cleanup import gc, rm
from abawkit.cli.compare import compare
from abawkit.cli.options import DeviceOption, FeaturesOption, JsonOption, WorkspaceOption, open_workspace, pairs

if TYPE_CHECKING:
    from abawkit.features.spec import Modality
    from abawkit.runs.run import Run

runs_app = typer.Typer(help="What has been trained.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or the beginning of it.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    runs_app.command("list", epilog="Example: abawkit runs list")(list_)
    runs_app.command("show", epilog="Example: abawkit runs show F4")(show)
    runs_app.command("import", epilog="Example: abawkit runs import fusion_best.pt --split official")(import_)
    runs_app.command("compare", epilog="Example: abawkit runs compare F4 F3")(compare)
    runs_app.command("rm", epilog="Example: abawkit runs rm F4-official-s42-1a2b3c4d")(rm)
    runs_app.command("gc", epilog="Example: abawkit runs gc")(gc)
    app.add_typer(runs_app, name="runs")


def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the finished runs and ensembles."""
    from abawkit.cli import console
    from abawkit.runs.run import list_runs

    opened = open_workspace(workspace)
    runs = list_runs(opened)
    if as_json:
        console.print_json({"runs": [run.to_json() for run in runs]})
        return
    rows = []
    for run in runs:
        valid = run.metrics.scores.get("valid")
        shown = ["–", console.number(None)] if valid is None else [str(valid.n), console.number(valid.primary, 4)]
        rows.append([run.name, run.record.split or "not known", *shown, "yes" if run.subject_safe else "no"])
    score = "validation r" if opened.task.score == "mean_pearson" else "validation F1"
    console.show_table("Runs", ["run", "split", "n", score, "subject-safe"], rows, left=2)
    console.say_no_ranking(row[1] for row in rows)
    console.say_subject_notes(runs)


def show(run: RunArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show a run's scores."""
    from abawkit.cli import console
    from abawkit.runs.run import find_run

    found = find_run(open_workspace(workspace), run)
    if as_json:
        console.print_json(found.to_json())
        return
    show_run(found)


def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="Fusion file, stage files; MODALITY=FILE where a stage file could be of several."
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option("--split", help="The split that it was trained on, if you know it; else it cannot be scored."),
    ] = None,
    features: FeaturesOption = None,
    device: DeviceOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a run of a checkpoint of the authors' released script.

    Nothing in the file is run. It predicts the validation clips, and the test clips that are there.
    """
    from abawkit.cli import console
    from abawkit.features.spec import MODALITIES

    opened = open_workspace(workspace, training__device=device)
    modalities: dict[Path, Modality] = {}
    paths = []
    for text in files:
        modality, mark, path = text.partition("=")
        named = bool(mark) and modality in MODALITIES
        paths.append(Path(path if named else text))
        if named:
            modalities[paths[-1]] = cast("Modality", modality)
    from abawkit.training.authors import import_run

    run = import_run(
        opened,
        paths,
        split=split,
        features=pairs(features, "--features"),
        modalities=modalities,
        progress=console.progress_for(as_json),
    )
    if as_json:
        console.print_json(run.to_json() | _claims(run))
        return
    show_run(run)
    console.next_steps(
        {f"abawkit evaluate {run.name}": "scores with an interval"}
        if run.is_scorable
        else {f"abawkit submit --run {run.name} --out submissions/team.csv": "the leaderboard file"}
    )


def _claims(run: Run) -> dict[str, object]:
    return {"origin": run.record.origin, "files": {name: each.to_json() for name, each in run.metrics.files.items()}}


def show_run(run: Run) -> None:
    """Prints a run's scores."""
    from abawkit.cli import console

    if run.record.origin:
        console.out().print(f"{run.name}: {run.record.origin}", markup=False)
    for file, claims in run.metrics.files.items():
        if claims.best_pearson is not None:
            console.out().print(f"{file} itself records: validation r {claims.best_pearson:.4f}", markup=False)
    valid = run.metrics.scores.get("valid")
    if run.record.simulated:
        console.out().print("trained on simulated features", style="yellow")
    if valid is None:
        console.out().print(f"{run.name}: score: {run.no_score}", style="yellow", markup=False)
        return
    scores = {"Pearson r": (valid.pearson, valid.mean_pearson), "CCC": (valid.ccc, valid.mean_ccc)}
    if valid.f1 is not None:
        scores = {"macro F1": (valid.f1, valid.macro_f1), **scores}
    rows = [[target, *(console.number(each.get(target), 4) for each, _ in scores.values())] for target in valid.pearson]
    rows.append(["mean", *(console.number(mean, 4) for _, mean in scores.values())])
    console.show_table(f"{run.name}: {valid.n} validation clips", ["target", *scores], rows)
    if valid.remark:
        console.out().print(valid.remark, style="yellow", markup=False)
    console.say_subject_notes([run])
