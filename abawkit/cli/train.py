"""``train`` and ``predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from abawkit.challenge import Side
from abawkit.cli.options import (
    DeviceOption,
    FeaturesOption,
    JsonOption,
    SeedOption,
    SetOption,
    WorkspaceOption,
    open_workspace,
    pairs,
)
from abawkit.cli.runs import RunArgument, show_run

if TYPE_CHECKING:
    from abawkit.runs.run import Run


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit train --system F4")(train)
    app.command(epilog="Example: abawkit predict F4 --on test")(predict)


def train(
    system: Annotated[
        str,
        typer.Option(
            "--system",
            "-s",
            help="A name, a TOML file, several with commas, or all (F1 to F5); see: abawkit systems list",
        ),
    ] = "F4",
    split: Annotated[
        str | None, typer.Option("--split", help="Name of the split, or of the fold set, to train on.")
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option("--fold", help="all, or the number of one: train on the splits of resplit --folds.", metavar="N"),
    ] = None,
    seed: SeedOption = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Train so many seeds, from --seed on, in parallel.")] = 1,
    refit: Annotated[
        str | None,
        typer.Option("--refit", metavar="RUN", help="Train this run again on all labelled clips.", show_default=False),
    ] = None,
    features: FeaturesOption = None,
    sets: SetOption = None,
    allow_lite: Annotated[
        bool, typer.Option("--allow-lite", help="Train on lite features although the data are the official ones.")
    ] = False,
    device: DeviceOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a system in stages.

    It continues where it was interrupted; a finished run is found again.
    """
    from abawkit.cli import console
    from abawkit.runs.run import find_run
    from abawkit.systems.loader import TABLE_5

    opened = open_workspace(workspace, sets, training__seed=seed, training__device=device)
    progress = console.progress_for(as_json)
    if refit is not None:
        from abawkit.training.train import refit as run_refit

        _require_alone({"--split": split, "--fold": fold, "--seed": seed, "--seeds": None if seeds == 1 else seeds})
        runs = [run_refit(opened, find_run(opened, refit), progress=progress)]
    else:
        from abawkit.training.train import train_many

        folds: list[str] | None = None
        if fold is not None:
            from abawkit.data.splits.folds import find_folds

            folds = [part.split for part in find_folds(opened, fold, split)]
        first = opened.settings.training.seed
        runs = train_many(
            opened,
            list(TABLE_5) if system == "all" else [name.strip() for name in system.split(",")],
            seeds=range(first, first + seeds),
            split=split if folds is None else folds,
            features=pairs(features, "--features"),
            allow_lite=allow_lite,
            progress=progress,
        )
    if len(runs) > 1:
        _show_many(runs, folds=fold == "all", as_json=as_json)
        return
    (run,) = runs
    if as_json:
        console.print_json(run.to_json())
        return
    show_run(run)
    steps = {f"abawkit evaluate {run.name}": "scores with an interval"} if run.is_scorable else {}
    name = "" if run.is_scorable else f" --run {run.name}"
    console.next_steps(steps | {f"abawkit submit{name} --out submissions/team.csv": "the leaderboard file"})


def _require_alone(options: dict[str, Any]) -> None:
    """Raises when an option was given along with ``--refit``, which repeats its parent's training."""
    from abawkit.errors import UsageError

    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError("a refit has its parent's system, split and seed", got=", ".join(given), todo="leave them out")


def _show_many(runs: list[Run], *, folds: bool, as_json: bool) -> None:
    from abawkit.cli import console
    from abawkit.evaluation.seeds import over_seeds

    summaries = over_seeds(runs)
    if as_json:
        console.print_json({"runs": [run.to_json() for run in runs], "systems": [s.to_json() for s in summaries]})
        return
    rows = [
        [s.system, s.split, str(s.clips), str(s.seeds), console.number(s.mean, 4), console.number(s.deviation, 4)]
        for s in summaries
    ]
    columns = ["system", "split", "n", "seeds", "validation r", "± sd"]
    console.show_table("Trained", columns, rows, left=2)
    console.say_no_ranking(s.split for s in summaries)
    console.say_subject_notes(runs)
    command, what = ("ensemble --oof", "score and combine the folds") if folds else ("ensemble", "combine them")
    console.next_steps({"abawkit runs list": "each of them", f"abawkit {command}": what})


def predict(
    run: RunArgument,
    on: Annotated[Side, typer.Option("--on", help="The clips.")] = "test",
    device: DeviceOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict clips with a trained run.

    Training does so by itself for the clips that are there; this is for test clips that arrive later.
    """
    from abawkit.cli import console
    from abawkit.runs.run import find_run

    opened = open_workspace(workspace, training__device=device)
    found = find_run(opened, run)
    from abawkit.training.predict import predict as run_prediction

    made = run_prediction(opened, found, on, progress=console.progress_for(as_json))
    path = found.path / "predictions" / f"{on}.csv"
    safety = {"subject_safe": found.subject_safe, "subject_note": found.subject_note}
    if as_json:
        console.print_json({"run": str(found.path), "on": on, "clips": len(made.ids), "path": str(path), **safety})
        return
    console.say(f"predicted {len(made.ids)} clips: {path}")
    console.say_subject_notes([found])
