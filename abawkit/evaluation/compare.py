"""Which run is best: only ever judged on clips that all candidates have held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Side, Task
from abawkit.data.labels import read_labels
from abawkit.data.splits.folds import fold_of
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.bootstrap import interval
from abawkit.fileio import digest_json
from abawkit.metrics import score
from abawkit.runs.predictions import Predictions
from abawkit.runs.records import METRICS
from abawkit.runs.run import Run, find_folders, several_runs
from abawkit.workspace import Workspace

#: What runs of one system may differ in, and in what the runs of a fold set may besides.
_SEED_KEYS = {"seed", "stages", "tool", "subject_note"}
_SPLIT_KEYS = {"split", "missing", "subject_safe"}


def system_key(run: Run, *, over_splits: bool = False) -> str:
    """Returns a key that runs share which differ in their seed only; an ensemble or an import has its own.

    Args:
        run: The run.
        over_splits: The key of runs that may differ in their split, too, as those of a fold set do.
    """
    if run.record.kind != "run":
        return run.name
    free = _SEED_KEYS | (_SPLIT_KEYS if over_splits else set())
    return digest_json({key: value for key, value in run.record.to_json().items() if key not in free})


def find_systems(workspace: Workspace, names: Sequence[str], *, folds: bool = False) -> list[Run]:
    """Returns the runs that the names mean, each once: a run, or all seeds of one system.

    Args:
        workspace: The workspace.
        names: Names of runs, or their beginnings. Where several runs begin so, unfinished ones do not count, nor do
            those on folds.
        folds: Those on folds count then, and no others; the runs of one system on all folds are meant.

    Raises:
        UsageError: No run has such a name, or several that differ in more than the seed have it.
    """
    meant: dict[str, Run] = {}
    for name in names:
        paths = find_folders(workspace, name)
        found = [Run.open(path) for path in paths if len(paths) == 1 or (path / METRICS).exists()]
        if len(found) > 1:
            found = [run for run in found if _on_fold(workspace, run) == folds] or found
        if len({system_key(run, over_splits=folds) for run in found}) != 1:
            raise several_runs(workspace, name, paths)
        meant |= {run.name: run for run in found}
    return list(meant.values())


def _on_fold(workspace: Workspace, run: Run) -> bool:
    return fold_of(workspace, run.record.split) is not None


def shared_held_out(runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns the clips, sorted, that every run has a validation prediction for and none was trained on.

    Raises:
        AbawkitError: It is not known on which clips one of them was trained.
    """
    if not runs:
        return ()
    for run in runs:
        run.require_scorable()
    shared = set(runs[0].valid_ids).intersection(*(run.valid_ids for run in runs[1:]))
    return tuple(sorted(shared.difference(*(run.train_ids for run in runs))))


def labelled_predictions(
    runs: Sequence[Run], labels: Path, on: Side, task: Task
) -> tuple[tuple[str, ...], NDArray[np.float64], list[Predictions]]:
    """Returns the clips of a label file, their labels ``[N, E]``, and the runs' predictions of one side.

    Args:
        runs: The runs.
        labels: A label CSV in the organisers' form.
        on: The side whose predictions are to be scored.
        task: The challenge track.

    Raises:
        FindingsError: The file has errors.
        AbawkitError: A run has no prediction for some of the clips, or was trained on some.
    """
    table = read_labels(labels, task)
    found = []
    for run in runs:
        run.require_scorable(on)
        predictions = run.predictions(on, task)
        absent = sorted(set(table.ids) - set(predictions.ids))
        if absent:
            raise AbawkitError(
                f"run {run.name} has no {on} prediction for {len(absent)} of the {len(table)} labelled clips",
                path=labels,
                got=", ".join(absent[:5]) + (" …" if len(absent) > 5 else ""),
                todo=f"abawkit predict {run.name} --on {on}",
            )
        run.refuse_leak(table.ids, on)
        found.append(predictions)
    return tuple(table.ids), table.values, found


def rank(runs: Sequence[Run], task: Task, *, min_shared: int) -> tuple[list[tuple[Run, float]], tuple[str, ...]]:
    """Returns the runs with their scores on the shared held-out clips, best first, and those clips.

    Args:
        runs: Candidates.
        task: The challenge track.
        min_shared: Fewest shared clips on which they are ranked.

    Raises:
        UsageError: Too few clips are shared; the candidates are listed with n, split and interval.
    """
    shared = shared_held_out(runs)
    if len(runs) > 1 and len(shared) < min_shared:
        raise UsageError(
            f"the candidates share only {len(shared)} held-out clips, too few to say which is best\n"
            + "\n".join(f"  {line}" for line in describe(runs, task)),
            expected=f"at least {min_shared} (setting submit.min_shared)",
            todo="name the one you want: --run NAME",
        )
    scored = []
    for run in runs:
        predictions = run.predictions("valid", task)
        scores = score(task, predictions.truth_of(shared), predictions.of(shared))
        scored.append((run, scores.primary))
    # A run whose prediction is constant has no score; it comes last.
    return sorted(scored, key=lambda item: item[1] if item[1] == item[1] else -2.0, reverse=True), shared


def describe(runs: Sequence[Run], task: Task) -> list[str]:
    """Returns one line per run: name, split, n, score and interval on its own validation clips (not comparable)."""
    lines = []
    for run in runs:
        predictions = run.predictions("valid", task)
        truth = predictions.truth_of(predictions.ids)
        found = interval(truth, predictions.values, score=task.score)
        value = score(task, truth, predictions.values).primary
        shown = f"{value:.4f} [{found.low:.3f}, {found.high:.3f}]"
        lines.append(f"{run.name}: split {run.record.split}, n = {len(truth)}, {shown}")
    return lines
