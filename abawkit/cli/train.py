"""``train``, ``predict`` and ``runs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.options import (
    DeviceOption,
    JsonOption,
    SeedOption,
    SetOption,
    WorkspaceOption,
    open_workspace,
    pairs,
)

if TYPE_CHECKING:
    from abawkit.training.runs import Run

runs_app = typer.Typer(help="What has been trained.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or the beginning of it.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit train --system F4")(train)
    app.command(epilog="Example: abawkit predict F4 --on test")(predict)
    runs_app.command("list", epilog="Example: abawkit runs list")(list_)
    runs_app.command("show", epilog="Example: abawkit runs show F4")(show)
    app.add_typer(runs_app, name="runs")


def train(
    system: Annotated[str, typer.Option("--system", "-s", help="F1 to F5; see: abawkit systems list")] = "F4",
    split: Annotated[str | None, typer.Option("--split", help="Name of the split to train on.")] = None,
    seed: SeedOption = None,
    features: Annotated[
        list[str] | None, typer.Option("--features", help="MODALITY=STORE, where there are several stores.")
    ] = None,
    sets: SetOption = None,
    allow_lite: Annotated[
        bool, typer.Option("--allow-lite", help="Train on lite features although the data are the official ones.")
    ] = False,
    device: DeviceOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a system in stages.

    It goes on where it was interrupted; a finished run is found again.
    """
    from abawkit.cli import console

    opened = open_workspace(workspace, sets, training__seed=seed, training__device=device)
    from abawkit.training.stages import train as run_training

    run = run_training(
        opened,
        system,
        split=split,
        features=pairs(features, "--features"),
        allow_lite=allow_lite,
        progress=console.progress_for(as_json),
    )
    if as_json:
        console.print_json(run.to_json())
        return
    show_run(run)
    console.next_steps(
        {
            f"abawkit evaluate {run.name}": "scores with an interval",
            "abawkit submit --out submissions/team.csv": "the leaderboard file",
        }
    )


def show_run(run: Run) -> None:
    """Prints a run's scores."""
    from abawkit.cli import console

    valid = run.metrics["scores"]["valid"]
    rows = [
        [target, console.number(r, 4), console.number(valid["ccc"][target], 4)]
        for target, r in valid["pearson"].items()
    ]
    rows.append(["mean", console.number(valid["mean_pearson"], 4), console.number(valid["mean_ccc"], 4)])
    title = f"{run.name}: {valid['n']} validation clips"
    console.show_table(title, ["target", "Pearson r", "CCC"], rows)
    if valid["remark"]:
        console.out().print(f"[yellow]{valid['remark']}[/]")
    show_subject_note(run)


def show_subject_note(run: Run) -> None:
    """Says that a run's scores are not subject-safe, when they are not."""
    from abawkit.cli import console

    if not run.subject_safe:
        console.out().print(run.subject_note, style="yellow", markup=False)


def predict(
    run: RunArgument,
    on: Annotated[str, typer.Option("--on", help="valid or test.")] = "test",
    device: DeviceOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict clips with a trained run.

    Training does so by itself for the clips that are there; this is for test clips that arrive later.
    """
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.training.runs import SIDES, find_run

    opened = open_workspace(workspace, training__device=device)
    if on not in SIDES:
        raise UsageError("unknown side", got=on, expected=" or ".join(SIDES))
    found = find_run(opened, run)
    from abawkit.training.predict import predict as run_prediction

    made = run_prediction(opened, found, on, progress=console.progress_for(as_json))
    path = found.path / "predictions" / f"{on}.csv"
    safety = {"subject_safe": found.subject_safe, "subject_note": found.subject_note}
    if as_json:
        console.print_json({"run": str(found.path), "on": on, "clips": len(made.ids), "path": str(path), **safety})
        return
    console.out().print(f"predicted {len(made.ids)} clips: {path}", soft_wrap=True)
    show_subject_note(found)


def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the finished runs and ensembles."""
    from abawkit.cli import console
    from abawkit.training.runs import list_runs

    runs = list_runs(open_workspace(workspace))
    if as_json:
        console.print_json({"runs": [run.to_json() for run in runs]})
        return
    rows = []
    for run in runs:
        valid = run.metrics["scores"]["valid"]
        safe = "yes" if run.subject_safe else "no"
        rows.append([run.name, run.config["split"], str(valid["n"]), console.number(valid["mean_pearson"], 4), safe])
    console.show_table("Runs", ["run", "split", "n", "validation r", "subject-safe"], rows, left=2)
    if len({row[1] for row in rows}) > 1:
        console.out().print("[dim]Validation sets differ between splits: do not rank across them.[/]")
    for note in sorted({run.subject_note for run in runs if not run.subject_safe}):
        console.out().print(note, style="yellow", markup=False)


def show(run: RunArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show a run's scores."""
    from abawkit.cli import console
    from abawkit.training.runs import find_run

    found = find_run(open_workspace(workspace), run)
    if as_json:
        console.print_json(found.to_json())
        return
    show_run(found)
