"""Which run is best: only ever judged on clips that all candidates have held out."""

from __future__ import annotations

from collections.abc import Sequence

from abawkit.challenge import Task
from abawkit.errors import UsageError
from abawkit.evaluation.bootstrap import interval
from abawkit.metrics import score
from abawkit.training.runs import Run


def shared_held_out(runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns the clips, sorted, that every run has a validation prediction for and none was trained on.

    Raises:
        AbawkitError: Of one of them nobody knows on which clips it was trained.
    """
    if not runs:
        return ()
    for run in runs:
        run.require_scorable()
    shared = set(runs[0].valid_ids).intersection(*(run.valid_ids for run in runs[1:]))
    return tuple(sorted(shared.difference(*(run.train_ids for run in runs))))


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
        drawn = interval(truth, predictions.values, score=task.score)
        value = score(task, truth, predictions.values).primary
        told = f"{value:.4f} [{drawn.low:.3f}, {drawn.high:.3f}]"
        lines.append(f"{run.name}: split {run.config['split']}, n = {len(truth)}, {told}")
    return lines
