"""``abawkit evaluate``: a run's scores on held-out clips, never on clips that it was trained on, and how sure they are.

Every figure comes with a 95 % bootstrap interval (:mod:`abawkit.evaluation.bootstrap`) of the same kind, by group where
the groups are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit.challenge import Side, Task
from abawkit.data.groups import Groups
from abawkit.errors import UsageError
from abawkit.evaluation.bootstrap import Interval, resample, resample_scores
from abawkit.evaluation.calibration import Curve, calibration
from abawkit.evaluation.compare import labelled_predictions
from abawkit.evaluation.moments import Moments
from abawkit.evaluation.parts import ModalityEffect, Part, by_length, by_missing, modality_effects
from abawkit.evaluation.resampling import Resampling, find_resampling
from abawkit.metrics import Scores, score
from abawkit.runs.run import Run
from abawkit.workspace import Workspace

Array = NDArray[np.float64]

#: Name of the mean among the intervals of the targets.
MEAN = "mean"


@dataclass(frozen=True)
class Shares:
    """Where the values of a target lie.

    Attributes:
        zero: Share of the clips whose label is exactly 0.
        low: Share of the clips whose prediction is at the lower bound or below.
        high: Share of the clips whose prediction is at the upper bound or above.
        truth: Mean label.
        prediction: Mean prediction.
    """

    zero: float
    low: float
    high: float
    truth: float
    prediction: float

    @property
    def saturation(self) -> float:
        """Share of the clips whose prediction is at or over a bound."""
        return self.low + self.high

    def to_json(self) -> dict[str, float]:
        """Returns ``zero_share``, ``saturation``, ``at_low``, ``at_high``, ``mean_truth`` and ``mean_prediction``."""
        return {
            "zero_share": self.zero,
            "saturation": self.saturation,
            "at_low": self.low,
            "at_high": self.high,
            "mean_truth": self.truth,
            "mean_prediction": self.prediction,
        }


@dataclass(frozen=True)
class Evaluation:
    """A run's scores on one side.

    Attributes:
        run: The run.
        on: ``valid`` or ``test``.
        scores: The scores.
        resampling: What the intervals resample.
        intervals: Metric (``pearson``, ``ccc``, ``mse``, and ``f1`` of a binary task) → target, or ``mean`` → its
            interval.
        table: The prediction table of the scored clips.
        truth: ``float64 [N, E]``.
        prediction: ``float64 [N, E]``.
        task: The challenge track.
    """

    run: Run
    on: Side
    scores: Scores
    resampling: Resampling
    intervals: Mapping[str, Mapping[str, Interval]]
    table: pd.DataFrame
    truth: Array
    prediction: Array
    task: Task

    @property
    def interval(self) -> Interval:
        """95 % interval of ``scores.primary``."""
        return self.intervals["pearson" if self.scores.f1 is None else "f1"][MEAN]

    @property
    def groups(self) -> Groups | None:
        """What was resampled; None: clips."""
        return self.resampling.groups

    @property
    def ungrouped(self) -> int:
        """Clips without a group, each of which counted as a group of its own."""
        return self.resampling.ungrouped

    @property
    def resampled_by(self) -> str:
        """What was resampled, in words."""
        return self.resampling.words

    @property
    def notes(self) -> list[str]:
        """What was found in the groups file, one line per code."""
        return self.resampling.notes

    @cached_property
    def shares(self) -> dict[str, Shares]:
        """Target → where its labels and predictions lie."""
        low, high = self.task.value_range
        t, p = self.truth, self.prediction
        columns = zip((t == 0).mean(0), (p <= low).mean(0), (p >= high).mean(0), t.mean(0), p.mean(0), strict=True)
        return {
            target: Shares(*(float(value) for value in each))
            for target, each in zip(self.task.targets, columns, strict=True)
        }

    @cached_property
    def lengths(self) -> tuple[str, tuple[Part, ...]]:
        """The modality whose frames are counted, and the scores by their number."""
        return by_length(self.table, self.truth, self.prediction, self.task, self.resampling.keys)

    @cached_property
    def missing(self) -> tuple[Part, ...]:
        """The scores by what was missing."""
        return by_missing(self.table, self.truth, self.prediction, self.task, self.resampling.keys)

    @cached_property
    def modalities(self) -> tuple[ModalityEffect, ...]:
        """What each modality adds."""
        return modality_effects(self.table, self.truth, self.prediction, self.task, self.resampling.keys)

    @cached_property
    def calibration(self) -> tuple[Curve, ...]:
        """The calibration of each target."""
        return calibration(self.truth, self.prediction, self.task, self.resampling.keys)

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises: those of the run, ``scores`` and ``findings``.

        ``scores`` has the side (``valid`` or ``test``) and in it the keys of :meth:`abawkit.metrics.Scores.to_json` and
        ``interval95`` (BCa, of what ``interval_of`` names), ``interval_note``, ``interval_groups`` (path, kind, proxy,
        digest; null by clip), ``interval_units``, ``interval_ungrouped`` and ``interval_resamples`` (drawn, partial,
        undefined); ``intervals``: metric → target or ``mean`` → ``value``, ``bca`` and ``percentile`` (two ends each),
        ``partial`` and ``undefined``; ``shares``: target → ``zero_share``, ``saturation``, ``at_low``, ``at_high``,
        ``mean_truth``, ``mean_prediction``; ``by_length``: ``frames_of`` and ``parts`` (``what``, ``clips`` and the
        keys of an interval); ``by_missing``: such parts; ``modalities``: ``modality``, ``alone``, ``without`` and
        ``change`` (the keys of an interval); ``calibration``: target → ``slope`` and ``bins``.
        """
        interval = self.interval
        frames_of, lengths = self.lengths
        scores = self.scores.to_json() | {
            "interval95": [interval.low, interval.high],
            "interval_of": "mean_pearson" if self.scores.f1 is None else "macro_f1",
            "interval_note": f"resampled {self.resampled_by}",
            "interval_groups": self.resampling.to_json(),
            "interval_units": interval.units,
            "interval_ungrouped": self.ungrouped,
            "interval_resamples": {
                "drawn": interval.resamples,
                "partial": interval.partial,
                "undefined": interval.undefined,
            },
            "intervals": {
                metric: {target: found.to_json() for target, found in each.items()}
                for metric, each in self.intervals.items()
            },
            "shares": {target: shares.to_json() for target, shares in self.shares.items()},
            "by_length": {"frames_of": frames_of or None, "parts": [part.to_json() for part in lengths]},
            "by_missing": [part.to_json() for part in self.missing],
            "modalities": [effect.to_json() for effect in self.modalities],
            "calibration": {curve.target: curve.to_json() for curve in self.calibration},
        }
        findings = [finding.to_json() for finding in self.resampling.report.sorted()]
        return self.run.to_json() | {"scores": {self.on: scores}, "findings": findings}


def evaluate(
    workspace: Workspace, run: Run, on: Side = "valid", *, labels: Path | None = None, groups: Path | None = None
) -> Evaluation:
    """Returns the run's scores.

    Args:
        workspace: The workspace.
        run: A run or an ensemble.
        on: ``valid``: the clips it was validated on; ``test``: the clips of ``labels``.
        labels: A label CSV for the test clips, in the organisers' form.
        groups: A groups file, whose groups the interval resamples; default: the one that the run's split was made
            with, else resample by clip.

    Raises:
        UsageError: ``test`` without labels, or no clip is in the groups file.
        FindingsError: The groups file has errors.
        AbawkitError: The run was trained on some of the clips, or has no prediction for some, or its prediction of
            a target is constant.
    """
    task = workspace.task
    run.require_scorable(on)
    if on == "valid" and labels is None:
        predictions = run.predictions("valid", task)
        ids, truth = predictions.ids, predictions.truth_of(predictions.ids)
        run.refuse_leak(ids)
    elif labels is None:
        raise UsageError(
            "the labels of the test clips are not in the challenge folder", todo="give them: --on test --labels CSV"
        )
    else:
        ids, truth, (predictions,) = labelled_predictions([run], labels, on, task)
    prediction = predictions.of(ids)
    scores = score(task, truth, prediction)
    scores.require_defined(f"run {run.name}")
    resampling = find_resampling(workspace, [run], ids, groups)
    intervals = _intervals(truth, prediction, task, resampling.keys)
    return Evaluation(run, on, scores, resampling, intervals, predictions.table.loc[list(ids)], truth, prediction, task)


def _intervals(
    truth: Array, prediction: Array, task: Task, keys: Sequence[str] | None
) -> dict[str, dict[str, Interval]]:
    """Returns the interval of each metric, of each target and of their mean, all from the same resamples."""
    moments, names = Moments(truth, [prediction]), [*task.targets, MEAN]

    def scores(sums: Array) -> tuple[Array, NDArray[np.bool_]]:
        found = moments.scores(sums)
        each = [
            found.pearson[:, 0],
            found.mean_pearson,
            found.ccc[:, 0],
            found.mean_ccc,
            found.mse[:, 0],
            found.mean_mse,
        ]
        return np.concatenate(each, axis=1), found.partial

    resampled = resample(moments.columns, scores, groups=keys)
    made = {
        metric: {
            name: resampled.interval(len(names) * place + index, mean=name == MEAN and metric != "mse")
            for index, name in enumerate(names)
        }
        for place, metric in enumerate(("pearson", "ccc", "mse"))
    }
    if task.score == "macro_f1":
        (f1,) = resample_scores(truth, [prediction], score=task.score, groups=keys)
        made["f1"] = {name: f1.interval(index) for index, name in enumerate(names)}
    return made
