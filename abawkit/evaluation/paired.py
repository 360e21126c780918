"""Whether two systems really differ: a paired bootstrap of the difference of their scores, on identical resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Side, Task
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.bootstrap import (
    PAIRED_RESAMPLES,
    Interval,
    Resampled,
    average,
    holm,
    resample_scores,
)
from abawkit.evaluation.compare import describe, labelled_predictions, shared_held_out, system_key
from abawkit.evaluation.resampling import Resampling, find_resampling
from abawkit.metrics import score
from abawkit.runs.run import Run
from abawkit.workspace import Workspace

#: A corrected p-value below this makes a difference one.
_LEVEL = 0.05


@dataclass(frozen=True)
class System:
    """Runs that differ in their seed only; an ensemble or an import is a system of its own.

    Attributes:
        label: Its name among the others.
        runs: The runs.
        score: The mean score of the compared clips, averaged over the seeds.
        each: The score of each run.
    """

    label: str
    runs: tuple[Run, ...]
    score: Interval
    each: tuple[float, ...]

    @property
    def seed_deviation(self) -> float:
        """Standard deviation of the score over the seeds (n - 1); nan with one seed."""
        return float(np.std(self.each, ddof=1)) if len(self.each) > 1 else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Returns ``label``, ``runs`` (name → score), ``seed_deviation`` and the keys of an interval."""
        runs = {run.name: value for run, value in zip(self.runs, self.each, strict=True)}
        return {"label": self.label, "runs": runs, "seed_deviation": self.seed_deviation} | self.score.to_json()


@dataclass(frozen=True)
class Contrast:
    """A difference of two scores on identical resamples.

    Attributes:
        interval: The difference and its interval, which is not corrected for the number of comparisons.
        p: Two-sided p-value of no difference: the level at which the BCa interval ends at 0.
        corrected: After Holm.
    """

    interval: Interval
    p: float
    corrected: float

    @property
    def real(self) -> bool:
        """Whether the corrected p-value is below 5 %."""
        return self.corrected < _LEVEL

    def to_json(self) -> dict[str, Any]:
        """Returns the keys of an interval, ``p``, ``p_holm`` and ``distinguishable``."""
        return self.interval.to_json() | {"p": self.p, "p_holm": self.corrected, "distinguishable": self.real}


@dataclass(frozen=True)
class Difference:
    """How two systems differ on the same clips.

    Attributes:
        one: Label of the first.
        other: Label of the second.
        mean: First less second, of the mean score; Holm over the pairs.
        targets: The same for each target; Holm over the targets of all pairs.
        pairs: How many pairs were compared.
    """

    one: str
    other: str
    mean: Contrast
    targets: dict[str, Contrast]
    pairs: int

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        found = self.mean.interval
        difference = (
            f"{self.one} − {self.other} = {short(found.value, signed=True)} [{short(found.low)}, {short(found.high)}]"
        )
        if not np.isfinite(found.low):
            return f"{difference}: not defined"
        corrected = f" after correction for {self.pairs} comparisons" if self.pairs > 1 else ""
        if self.mean.real:
            return f"{difference}: {self.one if found.value > 0 else self.other} is better{corrected}"
        return f"{difference}: not distinguishable{corrected if self.mean.p < _LEVEL else ''}"

    def to_json(self) -> dict[str, Any]:
        """Returns ``one``, ``other``, ``verdict``, ``mean`` and ``targets`` (name → what :class:`Contrast` gives)."""
        targets = {target: tested.to_json() for target, tested in self.targets.items()}
        names = {"one": self.one, "other": self.other, "verdict": self.verdict}
        return names | {"mean": self.mean.to_json(), "targets": targets}


@dataclass(frozen=True)
class Comparison:
    """Systems on the clips that all of their runs have held out.

    Attributes:
        systems: In the order given.
        differences: Of every pair, in that order.
        ids: The compared clips.
        on: ``valid`` or ``test``.
        validated: Run → how many clips it was validated on.
        resampling: What was resampled.
        remark: A remark on the clips; empty when all runs were validated on the same.
    """

    systems: tuple[System, ...]
    differences: tuple[Difference, ...]
    ids: tuple[str, ...]
    on: Side
    validated: dict[str, int]
    resampling: Resampling
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises.

        ``n`` (compared clips), ``on`` (their side), ``validated`` (run → n), ``remark``, ``resampled`` and ``groups``
        (what was drawn), ``resamples``, ``systems`` (see :class:`System`) and ``differences`` (see
        :class:`Difference`).
        """
        return {
            "n": len(self.ids),
            "on": self.on,
            "validated": self.validated,
            "remark": self.remark,
            "resampled": self.resampling.words,
            "groups": self.resampling.to_json(),
            "resamples": self.systems[0].score.resamples,
            "systems": [system.to_json() for system in self.systems],
            "differences": [difference.to_json() for difference in self.differences],
        }


def compare(
    workspace: Workspace,
    runs: Sequence[Run],
    *,
    on: Side = "valid",
    labels: Path | None = None,
    groups: Path | None = None,
) -> Comparison:
    """Compares systems by the paired bootstrap of their differences, on identical resamples of the same clips.

    Runs that differ in the seed only are one system, whose score is the mean over its seeds: the intervals are about
    the clips, for these seeds. Runs with different validation clips are compared on those that all have held out,
    which is remarked.

    Args:
        workspace: The workspace.
        runs: Two systems at least.
        on: ``valid``, or ``test``: the clips of ``labels``.
        labels: A label CSV for the test clips, in the organisers' form.
        groups: A groups file, whose groups are resampled; default: those of the runs' splits, else by clip.

    Raises:
        UsageError: Fewer than two systems, too few clips are shared (``submit.min_shared``), or ``test`` without
            labels.
        AbawkitError: The runs do not agree on the truth, a prediction is missing or constant, a run was trained on
            some of the clips, or it is not known on which.
        FindingsError: The label file or the groups file has errors.
    """
    task = workspace.task
    runs = list({run.name: run for run in runs}.values())
    for run in runs:
        run.require_scorable(on)
    pooled = _pooled(runs)
    if len(pooled) < 2:
        raise UsageError(
            "there is nothing to compare: runs that differ only in the seed are one system",
            got=", ".join(run.name for run in runs) or "no run",
            expected="two systems, or runs on two splits",
            todo="abawkit runs list",
        )
    if (on == "test") != (labels is not None):
        absent = "the labels of the test clips are not in the challenge folder"
        why = absent if labels is None else "labels are for the test clips only"
        raise UsageError(why, got=f"--on {on}", todo="give both: --on test --labels CSV")
    ids: tuple[str, ...]
    if labels is not None:
        ids, truth, found_of = labelled_predictions(runs, labels, on, task)
        predictions = [_defined(run, truth, one.of(ids), task) for run, one in zip(runs, found_of, strict=True)]
        remark = ""
    else:
        ids, remark = _held_out(workspace, runs)
        truth, predictions = _common(runs, ids, task)
    resampling = find_resampling(workspace, runs, ids, groups)
    found = resample_scores(truth, predictions, score=task.score, groups=resampling.keys, resamples=PAIRED_RESAMPLES)
    of = {run.name: one for run, one in zip(runs, found, strict=True)}
    whole = {label: average([of[run.name] for run in members]) for label, members in pooled.items()}
    systems = tuple(
        System(
            label, members, whole[label].interval(-1, mean=True), tuple(float(of[m.name].whole[-1]) for m in members)
        )
        for label, members in pooled.items()
    )
    validated = {run.name: len(run.valid_ids) for run in runs}
    return Comparison(systems, _differences(whole, task), ids, on, validated, resampling, remark)


def short(value: float, digits: int = 4, *, signed: bool = False) -> str:
    """Returns a number as the paper writes them: without the zero before the point, with a true minus sign.

    >>> short(0.00051, signed=True), short(-0.004), short(1.0), short(float("nan"))
    ('+.0005', '−.0040', '1.0000', '–')
    """
    if value != value:
        return "–"
    text = f"{abs(value):.{digits}f}"
    mark = "−" if value < 0 and float(text) else "+" if signed else ""
    return mark + (text[1:] if text.startswith("0") else text)


def _differences(whole: dict[str, Resampled], task: Task) -> tuple[Difference, ...]:
    pairs = [(one, other, whole[one] - whole[other]) for one, other in combinations(whole, 2)]
    count = len(task.targets)
    mean_p = [found.p_value(-1) for *_, found in pairs]
    target_p = [found.p_value(index) for *_, found in pairs for index in range(count)]
    mean_holm, target_holm = holm(mean_p), holm(target_p)
    made = []
    for place, (one, other, found) in enumerate(pairs):
        mean = Contrast(found.interval(-1, mean=True), mean_p[place], mean_holm[place])
        first = place * count
        targets = {
            target: Contrast(found.interval(index), target_p[first + index], target_holm[first + index])
            for index, target in enumerate(task.targets)
        }
        made.append(Difference(one, other, mean, targets, len(pairs)))
    return tuple(made)


def _pooled(runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
    """Returns label → the runs of that system; the label is as short as possible."""
    systems: dict[str, list[Run]] = {}
    for run in runs:
        systems.setdefault(system_key(run), []).append(run)
    members = [tuple(each) for each in systems.values()]
    labels = [each[0].record.system for each in members]
    for longer in (lambda run: f"{run.record.system}-{run.record.split}", lambda run: run.name):
        labels = [
            label if labels.count(label) == 1 else longer(each[0]) for label, each in zip(labels, members, strict=True)
        ]
    return dict(zip(labels, members, strict=True))


def _held_out(workspace: Workspace, runs: Sequence[Run]) -> tuple[tuple[str, ...], str]:
    """Returns the clips that all runs hold out, and a remark on them, which may be empty."""
    ids = shared_held_out(runs)
    least = workspace.settings.submit.min_shared
    same = all(set(run.valid_ids) == set(ids) for run in runs)
    if not ids or (not same and len(ids) < least):
        raise UsageError(
            f"the runs share only {len(ids)} held-out clips; scores on different clips are not compared\n"
            + "\n".join(f"  {line}" for line in describe(runs, workspace.task)),
            expected=f"at least {least} (setting submit.min_shared)",
            todo="compare runs of one split",
        )
    remark = f"compared on the {len(ids)} clips that all runs have held out: their validation sets differ"
    return ids, "" if same else remark


def _defined(run: Run, truth: NDArray[np.float64], values: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """Returns the run's predictions, which have to have a score."""
    score(task, truth, values).require_defined(f"run {run.name}")
    return values


def _common(
    runs: Sequence[Run], ids: Sequence[str], task: Task
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Returns the truth of the clips, on which all runs have to agree, and each run's prediction of them."""
    truth: NDArray[np.float64] | None = None
    values = []
    for run in runs:
        predictions = run.predictions("valid", task)
        absent = sorted(set(ids) - set(predictions.ids))
        if absent:
            raise AbawkitError(
                f"run {run.name} has no validation prediction for {len(absent)} of its own clips",
                path=run.path / "predictions" / "valid.csv",
                got=", ".join(absent[:5]) + (" …" if len(absent) > 5 else ""),
                todo=f"abawkit predict {run.name} --on valid",
            )
        own = predictions.truth_of(ids)
        if truth is not None and not np.allclose(own, truth, atol=1e-6):
            raise AbawkitError(
                f"runs {runs[0].name} and {run.name} were validated on different labels of the same clips",
                todo=f"abawkit predict {run.name} --on valid, with the labels as they are now",
            )
        truth = own if truth is None else truth
        values.append(_defined(run, truth, predictions.of(ids), task))
    assert truth is not None
    return truth, values
