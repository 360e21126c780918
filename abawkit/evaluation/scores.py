"""``abawkit evaluate``: a run's scores on held-out clips, never on clips that it was trained on, and how sure they are.

The interval is a percentile bootstrap of the leaderboard's own score. Clips of one person, or of one seed video, err
together, so whole groups are drawn where the groups are known (Davison and Hinkley 1997, Sec. 3.8: drawing whole
clusters, without drawing again within them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Score
from abawkit.data.groups import Groups, read_groups
from abawkit.data.labels import read_labels
from abawkit.data.splitfile import GROUPS, load_split
from abawkit.errors import AbawkitError, UsageError
from abawkit.findings import Report
from abawkit.metrics import Scores, is_constant, score
from abawkit.training.runs import Run, Side
from abawkit.workspace import Workspace

#: Fewer groups than this give a rough interval: the bootstrap's theory is one of many groups.
FEW_GROUPS = 30

_Total = Callable[[NDArray[Any]], NDArray[np.float64]]

#: A resampled column counts as constant below this share of its largest magnitude, as in :mod:`abawkit.metrics`.
_FLAT = 1e-6


@dataclass(frozen=True)
class Interval:
    """A 95 % bootstrap interval of the leaderboard's score.

    Attributes:
        low: Its lower end; nan where it is not defined (fewer than two groups, or no resample with a score).
        high: Its upper end.
        units: Number of groups that were drawn from; without groups, of clips.
        resamples: How often they were drawn.
        partial: Resamples in which a target had a constant truth, so that the mean is one of the other targets.
        undefined: Resamples without a score (a constant prediction, or no target left): they are left out.
    """

    low: float
    high: float
    units: int
    resamples: int
    partial: int = 0
    undefined: int = 0

    @property
    def remark(self) -> str:
        """What is odd about the resamples, in words; empty when nothing is."""
        said = []
        if self.partial:
            told = f"in {self.partial} of {self.resamples} resamples a target had a constant truth"
            said.append(f"{told} and was left out of the mean")
        if self.undefined:
            said.append(f"{self.undefined} of {self.resamples} resamples had no score and are left out")
        return "; ".join(said)


@dataclass(frozen=True)
class Evaluation:
    """A run's scores on one side.

    Attributes:
        run: The run.
        on: ``valid`` or ``test``.
        scores: The scores.
        interval: 95 % bootstrap interval of ``scores.primary``.
        groups: What it was resampled by; None: by clip.
        ungrouped: Clips without a group, each of which counted as a group of its own.
        report: What was found in the groups file.
    """

    run: Run
    on: Side
    scores: Scores
    interval: Interval
    groups: Groups | None
    ungrouped: int
    report: Report

    @property
    def resampled_by(self) -> str:
        """What was resampled, in words."""
        if self.groups is None:
            return "by clip: too narrow when clips share persons or seed videos"
        grouped = self.interval.units - self.ungrouped
        alone = f" and {self.ungrouped} clip(s) without a group" if self.ungrouped else ""
        few = f": few, so the interval is rough (fewer than {FEW_GROUPS})" if self.interval.units < FEW_GROUPS else ""
        return f"by {grouped} {self.groups.noun}{alone}{few}"

    @property
    def notes(self) -> list[str]:
        """What was found in the groups file, one line per code."""
        first = {finding.code: finding for finding in reversed(self.report.findings)}
        counts = dict(self.report.by_code())
        return [
            f"{found.place}: {found.message}" + (f" (and {counts[code] - 1} more such)" if counts[code] > 1 else "")
            for code, found in first.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        drawn, groups = self.interval, self.groups
        scores = self.scores.to_json() | {
            "interval95": [drawn.low, drawn.high],
            "interval_of": "mean_pearson" if self.scores.f1 is None else "macro_f1",
            "interval_note": f"resampled {self.resampled_by}",
            "interval_groups": None
            if groups is None
            else {"path": str(groups.path), "kind": groups.kind, "proxy": groups.proxy, "digest": groups.digest},
            "interval_units": drawn.units,
            "interval_ungrouped": self.ungrouped,
            "interval_resamples": {
                "drawn": drawn.resamples,
                "partial": drawn.partial,
                "undefined": drawn.undefined,
            },
        }
        findings = [finding.to_json() for finding in self.report.sorted()]
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
    report = Report()
    used = _groups_of_split(workspace, run) if groups is None else read_groups(groups, task, report)
    report.raise_if_bad("the groups file", "correct the file, or leave --groups out to resample by clip")
    ungrouped = 0 if used is None else sum(clip not in used.of for clip in ids)
    if used is not None and ungrouped == len(ids):
        if groups is not None:
            raise UsageError(
                "none of the scored clips is in the groups file",
                path=groups,
                got=", ".join(list(used.of)[:5]),
                expected=", ".join(ids[:5]),
            )
        used, ungrouped = None, 0
    drawn = interval(truth, prediction, score=task.score, groups=None if used is None else used.keys(ids))
    return Evaluation(run, on, scores, drawn, used, ungrouped, report)


def _groups_of_split(workspace: Workspace, run: Run) -> Groups | None:
    """Returns the groups of the split that the run, or every member of it, was trained on; None: it has none."""
    runs = [run]
    if run.is_ensemble:
        folders = [path for path in workspace.runs.iterdir() if path.name in run.config["members"]]
        runs = [Run.open(path) for path in folders]
        if len(runs) < len(run.config["members"]):
            return None
    splits = {str(member.config["split"]) for member in runs}
    paths = [path for path in workspace.splits.glob(f"*/{GROUPS}") if path.parent.name in splits]
    found = [split.groups for path in paths if (split := load_split(path.parent, workspace.task)).groups is not None]
    same = len(found) == len(splits) and len({groups.digest for groups in found}) == 1
    return found[0] if same else None


def interval(
    truth: NDArray[np.float64],
    prediction: NDArray[np.float64],
    *,
    score: Score = "mean_pearson",
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns the 95 % percentile bootstrap interval of a score.

    Args:
        truth: ``[N, E]``.
        prediction: ``[N, E]``.
        score: Which score: mean Pearson r, or macro F1 of binary targets.
        groups: One key per clip, the same for clips of one group: whole groups are drawn with replacement, as many
            as there are, so that the number of clips in a resample varies. None: every clip is its own group, which
            draws the same resamples as N different keys.
        resamples: How often they are drawn.
        seed: Seed of the draws.

    A resample is scored as any clips are: a target with a constant truth is left out of its mean, and a constant
    prediction leaves it without a score. With fewer than two groups the interval is (nan, nan).
    """
    n, number = len(truth), dict[str, int]()
    index = np.array([number.setdefault(key, len(number)) for key in groups]) if groups is not None else np.arange(n)
    units = len(number) if groups is not None else n
    if units < 2:
        return Interval(float("nan"), float("nan"), units, resamples, 0, resamples)
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        """Sums over the clips of each resample, ``[N, E]`` → ``[R, E]``, by way of the sums of each group."""
        sums = np.zeros((units, values.shape[1]))
        np.add.at(sums, index, values)
        return draws @ sums

    means, partial = (_f1 if score == "macro_f1" else _pearson)(total, truth, prediction)
    defined = np.isfinite(means)
    undefined = int(resamples - defined.sum())
    low, high = np.percentile(means[defined], [2.5, 97.5]) if defined.any() else (np.nan, np.nan)
    return Interval(float(low), float(high), units, resamples, int((partial & defined).sum()), undefined)


def _pearson(total: _Total, truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Returns each resample's mean Pearson r, ``[R]``, and whether a target was left out that the score has."""
    kept = ~is_constant(truth)
    t, p = truth[:, kept], prediction[:, kept]
    bounds = [_FLAT * np.abs(values).max(axis=0, initial=0.0) for values in (t, p)]
    t, p = t - t.mean(axis=0), p - p.mean(axis=0)  # centred, so that the moments below do not cancel badly
    n = total(np.ones((len(t), 1)))
    mean_t, mean_p = total(t) / n, total(p) / n
    std_t = np.sqrt(np.maximum(total(t * t) / n - mean_t**2, 0))
    std_p = np.sqrt(np.maximum(total(p * p) / n - mean_p**2, 0))
    counted, flat = std_t > bounds[0], std_p <= bounds[1]
    r = (total(t * p) / n - mean_t * mean_p) / np.where(counted & ~flat, std_t * std_p, 1)
    number = counted.sum(axis=1)
    means = np.where(counted, r, 0).sum(axis=1) / np.maximum(number, 1)
    means[(counted & flat).any(axis=1) | (number == 0)] = np.nan
    return means, number < kept.sum()


def _f1(total: _Total, truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Returns each resample's macro F1, ``[R]``, and False: a class that is in no clip does not count in any case."""
    scores = []
    for positive in (False, True):
        t, p = (truth >= 0.5) == positive, (prediction >= 0.5) == positive
        hit, both = total(t & p), total(t) + total(p)
        scores.append(np.where(both > 0, 2 * hit / np.maximum(both, 1), np.nan))
    return np.nanmean(np.nanmean(scores, axis=0), axis=1), np.zeros(len(scores[0]), dtype=bool)
