"""``evaluate``: the scores of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.compare import GroupsOption, LabelsOption, OnOption, interval_text
from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace
from abawkit.cli.runs import RunArgument

if TYPE_CHECKING:
    from abawkit.evaluation.scores import Evaluation


def register(app: typer.Typer) -> None:
    """Adds the command of this file to the program."""
    app.command(epilog="Example: abawkit evaluate F4 --plot calibration.png")(evaluate)


def evaluate(
    run: RunArgument,
    on: OnOption = "valid",
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Write the calibration plot to this PNG file.", show_default=False),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run on clips that it has not been trained on.

    With 95 % bootstrap intervals (BCa; --json has the percentile ones, too), by clip length, by what is missing, and
    what each modality adds.
    """
    from abawkit.cli import console
    from abawkit.evaluation.scores import evaluate as compute
    from abawkit.runs.run import find_run

    opened = open_workspace(workspace)
    found = compute(opened, find_run(opened, run), on, labels=labels, groups=groups)
    if plot is not None:
        from abawkit.report.calibration_plot import write_calibration

        write_calibration(found, plot)
    if as_json:
        console.print_json(found.to_json() | {"plot": None if plot is None else str(plot)})
        return
    _show_scores(found)
    _show_parts(found)
    screen = console.out()
    for note in (found.interval.remark, *found.notes, found.scores.remark):
        if note:
            screen.print(note, style="yellow", markup=False)
    console.say_subject_notes([found.run])
    if plot is not None:
        console.say(f"calibration plot: {plot}")


def _show_scores(found: Evaluation) -> None:
    from abawkit.cli import console

    names = {"f1": "macro F1", "pearson": "Pearson r", "ccc": "CCC", "mse": "MSE"}
    metrics = [metric for metric in names if metric in found.intervals]
    if len(metrics) == len(names):
        metrics.remove("ccc")  # the least informative for a label that is 0 or 1
    rows = [
        [target, *(interval_text(found.intervals[metric][target]) for metric in metrics)]
        for target in (*found.scores.targets, "mean")
    ]
    title = f"{found.run.name}: {found.scores.n} {found.on} clips, with 95 % intervals"
    console.show_table(title, ["target", *(names[metric] for metric in metrics)], rows)
    interval, what = found.interval, "r" if found.scores.f1 is None else "macro F1"
    ends = [
        f"[{console.number(low)}, {console.number(high)}]"
        for low, high in ((interval.low, interval.high), interval.percentile)
    ]
    console.out().print(
        f"95 % interval of the mean {what}: BCa {ends[0]}, percentile {ends[1]}; "
        f"{interval.resamples:,} resamples {found.resampled_by}",
        markup=False,
    )
    rows = [
        [
            target,
            f"{100 * share.zero:.1f}",
            f"{100 * share.saturation:.1f}",
            console.number(share.truth),
            console.number(share.prediction),
            console.number(curve.slope, 2),
        ]
        for (target, share), curve in zip(found.shares.items(), found.calibration, strict=True)
    ]
    console.out().print()
    columns = ["target", "zeros %", "saturated %", "mean label", "mean prediction", "slope"]
    console.show_table("Labels that are 0, predictions at or over the bounds, calibration", columns, rows)


def _show_parts(found: Evaluation) -> None:
    from abawkit.cli import console

    score = "mean r" if found.scores.f1 is None else "macro F1"
    frames_of, lengths = found.lengths
    missing = [part for part in found.missing if part.clips]
    for title, parts in ((f"By length ({frames_of})", lengths), ("By what is missing", missing)):
        if len(parts) > 1:
            rows = [[part.what, f"{part.clips:,}", interval_text(part.score)] for part in parts]
            console.show_table(title, ["clips that have", "n", score], rows)
    if found.modalities:
        rows = [
            [
                one.modality,
                console.number(one.alone),
                console.number(one.without),
                interval_text(one.change, signed=True),
            ]
            for one in found.modalities
        ]
        columns = ["modality", "its head only", "all without it", "change without it"]
        console.show_table(f"What each modality adds ({score})", columns, rows)
