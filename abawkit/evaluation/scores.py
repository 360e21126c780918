"""``abawkit evaluate``: a run's scores on held-out clips, never on clips that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.data.labels import read_labels
from abawkit.errors import AbawkitError, UsageError
from abawkit.metrics import Scores, is_constant, score
from abawkit.training.runs import Run, Side
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Evaluation:
    """A run's scores on one side.

    Attributes:
        run: The run.
        on: ``valid`` or ``test``.
        scores: The scores.
        interval: 95 % bootstrap interval of the mean Pearson r, resampled by clip; nan where it is not defined.
    """

    run: Run
    on: Side
    scores: Scores
    interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        scores = self.scores.to_json() | {
            "interval95": list(self.interval),
            "interval_note": "resampled by clip: too narrow when clips share persons or seed videos",
        }
        return self.run.to_json() | {"scores": {self.on: scores}}


def evaluate(workspace: Workspace, run: Run, on: Side = "valid", *, labels: Path | None = None) -> Evaluation:
    """Returns the run's scores.

    Args:
        workspace: The workspace.
        run: A run or an ensemble.
        on: ``valid``: the clips it was validated on; ``test``: the clips of ``labels``.
        labels: A label CSV for the test clips, in the organisers' form.

    Raises:
        UsageError: ``test`` without labels.
        AbawkitError: The run was trained on some of the clips, or has no prediction for some, or its prediction of
            a target is constant.
    """
    task = workspace.task
    if on == "valid" and labels is None:
        predictions = run.predictions("valid", task)
        ids, truth = predictions.ids, predictions.truth_of(predictions.ids)
    elif labels is None:
        raise UsageError(
            "the labels of the test clips are not in the challenge folder", todo="give them: --on test --labels CSV"
        )
    else:
        table = read_labels(labels, task)
        predictions = run.predictions(on, task)
        ids, truth = table.ids, table.values
        absent = sorted(set(ids) - set(predictions.ids))
        if absent:
            raise AbawkitError(
                f"run {run.name} has no {on} prediction for {len(absent)} of the {len(ids)} labelled clips",
                path=labels,
                got=", ".join(absent[:5]) + (" …" if len(absent) > 5 else ""),
                todo=f"abawkit predict {run.name} --on {on}",
            )
    run.refuse_leak(ids)
    prediction = predictions.of(ids)
    scores = score(task, truth, prediction)
    scores.require_defined(f"run {run.name}")
    return Evaluation(run, on, scores, interval(truth, prediction))


def interval(
    truth: NDArray[np.float64],
    prediction: NDArray[np.float64],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the mean Pearson r, resampled by clip.

    Args:
        truth: ``[N, E]``.
        prediction: ``[N, E]``.
        resamples: How often the clips are drawn with replacement.
        seed: Seed of the draws.

    Targets with a constant truth are left out, as in the score. Resamples in which a target has no r count only
    their other targets; with fewer than two clips the interval is (nan, nan).
    """
    kept = ~is_constant(truth) & ~is_constant(prediction)
    n = len(truth)
    if n < 2 or not kept.any():
        return float("nan"), float("nan")
    t, p = truth[:, kept], prediction[:, kept]
    t, p = t - t.mean(axis=0), p - p.mean(axis=0)  # centred, so that the moments below do not cancel badly
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples) / n  # [R, N] weights
    mean_t, mean_p = draws @ t, draws @ p
    cov = draws @ (t * p) - mean_t * mean_p
    var = (draws @ (t * t) - mean_t**2) * (draws @ (p * p) - mean_p**2)
    r = np.where(var > 1e-20, cov / np.sqrt(np.maximum(var, 1e-20)), np.nan)
    defined = np.isfinite(r)
    means = np.where(defined, r, 0).sum(axis=1)[defined.any(axis=1)] / defined.sum(axis=1)[defined.any(axis=1)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
