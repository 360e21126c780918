"""``runs compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.challenge import Side
from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.evaluation.bootstrap import Interval

OnOption = Annotated[Side, typer.Option("--on", help="The clips; test needs --labels.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="Labels of the test clips.", show_default=False)]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        help="CSV of clips and their groups, for the intervals; default: those of the run's split.",
        show_default=False,
    ),
]


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Names, or beginnings of names.")],
    on: OnOption = "valid",
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test whether runs differ: paired bootstrap.

    All are scored on identical resamples of the same clips. Runs that differ only in the seed are one system, and a
    beginning that they share names them all (abawkit runs compare F3 F4). Runs
    with different validation clips are compared on the clips that all have held out.
    """
    from abawkit.cli import console
    from abawkit.evaluation.compare import find_systems
    from abawkit.evaluation.paired import compare as compute

    opened = open_workspace(workspace)
    found = compute(opened, find_systems(opened, runs), on=on, labels=labels, groups=groups)
    if as_json:
        console.print_json(found.to_json())
        return
    screen = console.out()
    score = "mean r" if opened.task.score == "mean_pearson" else "macro F1"
    rows = [
        [system.label, str(len(system.runs)), interval_text(system.score), console.number(system.seed_deviation, 4)]
        for system in found.systems
    ]
    title = f"On the same {len(found.ids)} {found.on} clips, with 95 % intervals"
    console.show_table(title, ["system", "seeds", score, "sd over seeds"], rows)
    for difference in found.differences:
        rows = [
            [target, interval_text(tested.interval, signed=True), _p(tested.p), _p(tested.corrected)]
            for target, tested in difference.targets.items()
        ]
        mean = difference.mean
        rows.append(["mean", interval_text(mean.interval, signed=True), _p(mean.p), _p(mean.corrected)])
        title = f"{difference.one} − {difference.other}"
        console.show_table(title, ["target", "difference", "p", "p (Holm)"], rows)
    for difference in found.differences:
        screen.print(difference.verdict, style="bold", markup=False)
    resamples = found.systems[0].score.resamples
    screen.print(f"{resamples:,} paired resamples {found.resampling.words}", style="dim", markup=False)
    if any(len(system.runs) < 2 for system in found.systems):
        note = "the intervals are about the clips; how much a system varies with its seed, more seeds would show"
        screen.print(note, style="dim", markup=False)
    for note in (found.remark, *found.resampling.notes):
        if note:
            screen.print(note, style="yellow", markup=False)
    console.say_subject_notes(run for system in found.systems for run in system.runs)


def interval_text(found: Interval, *, signed: bool = False) -> str:
    """Returns a score with its interval for a table: ``.4373 [.412, .462]``."""
    from abawkit.evaluation.paired import short

    if found.value != found.value:
        return "–"
    digits = 4 if signed or abs(found.value) < 0.1 else 3
    ends = f" [{short(found.low, digits)}, {short(found.high, digits)}]" if found.low == found.low else ""
    return short(found.value, signed=signed) + ends


def _p(value: float) -> str:
    """Returns a p-value for a table."""
    from abawkit.evaluation.paired import short

    return "< .001" if value < 0.001 else short(value, 3)
