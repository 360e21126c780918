"""``abawkit ensemble``: combines runs into one that can be evaluated, compared and submitted like a run.

Its validation predictions are out-of-fold ones wherever the method fits weights to labels, so that whatever reads them
later (``evaluate``, ``runs compare``, another ensemble) sees the cross-fitted score and never the optimistic one. Its
test predictions come from the fit on all shared clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit.challenge import Side, Task
from abawkit.data.splits.folds import fold_of
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.combine import Fitted, correlations, fit
from abawkit.evaluation.compare import describe
from abawkit.evaluation.crossfit import FOLDS, assign_folds, compare_methods, out_of_fold, simplest
from abawkit.evaluation.members import Member, common_truth, find_members, replace_refits
from abawkit.evaluation.methods import LABEL_FREE, Method, MethodChoice
from abawkit.evaluation.resampling import Resampling, find_resampling
from abawkit.fileio import digest_json, locked, storage_errors
from abawkit.metrics import f1, is_constant, pearson, score
from abawkit.progress import SILENT, Progress
from abawkit.runs.predictions import write_predictions
from abawkit.runs.records import (
    METRICS,
    TOOL,
    WEIGHTS,
    ClipIds,
    EnsembleMetrics,
    EnsembleRecord,
    MethodScores,
    SideScores,
)
from abawkit.runs.run import Ensemble, Run, list_runs, open_ensemble
from abawkit.workspace import Workspace

Array = NDArray[np.float64]

_ANOTHER = "abawkit train --system F3  (or another system, or another --seed)"


def ensemble(
    workspace: Workspace,
    runs: Sequence[Run] | None = None,
    *,
    method: MethodChoice = "auto",
    oof: bool = False,
    refits: bool = False,
    folds: int = FOLDS,
    groups: Path | None = None,
    progress: Progress = SILENT,
) -> Ensemble:
    """Combines runs and returns the ensemble.

    Runs that differ in the seed only are averaged to one member first. All methods are compared on the clips that
    every member holds out (:mod:`abawkit.evaluation.crossfit`). ``metrics.json`` holds that comparison, the weights,
    the members' correlations and the score without each member; ``weights.json`` what combines new clips.

    Where a refit predicts the test clips in its parent's place, ``config.json`` says so in ``refits``, and
    ``averaged``, which names the runs that predict the test clips, names the refit. Statistics, weights and scores are
    from the parent's predictions of the clips that it held out.

    Args:
        workspace: The workspace.
        runs: Members; default: every finished run that is not an ensemble or refit, with ``oof`` those on folds, else
            the others where there are any. An ensemble can be named. A refit that is named predicts the test clips in
            its parent's place.
        method: One of :data:`~abawkit.evaluation.methods.Method`, or ``auto``: the simplest within one standard error
            of the best.
        oof: The runs are those of fold sets, each of which predicts its own fold; see
            :func:`~abawkit.evaluation.members.find_members`. A test clip's prediction is the mean over the folds.
        refits: Where a run was refitted on all labelled clips, its newest refit predicts the test clips in its place.
        folds: Folds of the cross-fitting, at least 2.
        groups: A groups file; default: that of the runs' splits. Clips of a group are in one fold.
        progress: What to report to.

    Raises:
        UsageError: Fewer than two runs, an unknown method, too few folds, or fewer shared held-out clips than
            ``submit.min_shared``.
        AbawkitError: A member's predictions are constant, members have predicted different test clips or were
            validated on different labels, or a refit has not predicted the test clips.
    """
    if method not in get_args(MethodChoice):
        raise UsageError("there is no such method", got=method, expected=", ".join(get_args(MethodChoice)))
    if folds < 2:
        raise UsageError("too few folds", got=str(folds), expected="at least 2")
    parts = _find_parts(workspace, runs, oof, refits, groups, progress)
    record = _record(workspace.task, parts, method, folds, oof)
    path = workspace.runs / f"ensemble-{digest_json(record.identity())[:8]}"
    if (path / METRICS).exists():
        progress.say(f"{path.name} is already there")
        return open_ensemble(path)
    combination = _combine(parts, method, folds, workspace.task)
    tests = _test_predictions(list(parts.testers.values()), workspace.task)
    if tests is None:
        progress.say("no member has test predictions yet: the ensemble has none either")
    with locked(path, "making this ensemble"), storage_errors(path):
        record.write(path)
        _clip_ids(parts).write(path)
        combination.fitted.to_record([member.name for member in parts.members]).write(path / WEIGHTS)
        _write(path, "valid", parts.shared, combination.valid, combination.truth, workspace.task)
        if tests is not None:
            _write(path, "test", tests[0], combination.fitted.predict(tests[1]), None, workspace.task)
        combination.metrics.write(path)
    return open_ensemble(path)


@dataclass(frozen=True)
class _Parts:
    """What is combined.

    Attributes:
        runs: The runs, by name.
        refits: Name of a run → the refit that predicts the test clips in its place.
        members: The members, whose runs differ in the seed only or are those of a fold set.
        shared: The held-out clips that all members share.
        resampling: The groups by which clips are held out, where they are known.
    """

    runs: tuple[Run, ...]
    refits: Mapping[str, Run]
    members: tuple[Member, ...]
    shared: tuple[str, ...]
    resampling: Resampling

    @property
    def testers(self) -> dict[str, list[Run]]:
        """Member → the runs that predict the test clips."""
        return {member.name: [self.refits.get(run.name, run) for run in member.runs] for member in self.members}


def _find_parts(
    workspace: Workspace, runs: Sequence[Run] | None, oof: bool, refits: bool, groups: Path | None, progress: Progress
) -> _Parts:
    if runs is None:
        runs = _default_runs(workspace, oof, progress)
    replaced: dict[str, Run] = {}
    if refits or any(run.parent is not None for run in runs):
        runs, replaced = replace_refits(workspace, runs, everywhere=refits)
    chosen = tuple(sorted({run.name: run for run in runs}.values(), key=lambda run: run.name))
    if len(chosen) < 2:
        raise UsageError(
            "an ensemble needs at least two runs" + (" on folds" if oof else ""),
            got=", ".join(run.name for run in chosen) or "none",
            todo="abawkit train --system F4 --fold all" if oof else _ANOTHER,
        )
    unrefitted = [run.name for run in chosen if run.name not in replaced]
    if refits and unrefitted:
        progress.say(f"without a refit, these predict the test clips themselves: {', '.join(unrefitted)}")
    members, shared = find_members(workspace, chosen, oof=oof)
    if len(shared) < max(2, workspace.settings.submit.min_shared):
        raise _too_few_shared(workspace, chosen, len(shared), oof)
    return _Parts(chosen, replaced, members, shared, find_resampling(workspace, chosen, shared, groups))


def _default_runs(workspace: Workspace, oof: bool, progress: Progress) -> list[Run]:
    """Returns all finished runs that have a score, with ``oof`` those on folds, else the others where there are any."""
    found = [run for run in list_runs(workspace) if run.is_scorable and not isinstance(run, Ensemble)]
    on_fold = [run for run in found if fold_of(workspace, run.record.split) is not None]
    if oof:
        return on_fold
    others = [run for run in found if run not in on_fold]
    if not others:
        return found
    if on_fold:
        progress.say(f"{len(on_fold)} runs on folds are left out: abawkit ensemble --oof combines them")
    return others


def _too_few_shared(workspace: Workspace, runs: Sequence[Run], shared: int, oof: bool) -> UsageError:
    least = workspace.settings.submit.min_shared
    todo = "combine runs of one split"
    if not oof and any(fold_of(workspace, run.record.split) is not None for run in runs):
        todo += ", or give --oof for the runs on folds"
    lines = "\n".join(f"  {line}" for line in describe(runs, workspace.task))
    return UsageError(
        f"these runs share only {shared} held-out clips\n{lines}",
        expected=f"at least {least} (setting submit.min_shared)",
        todo=todo,
    )


def _record(task: Task, parts: _Parts, method: str, folds: int, oof: bool) -> EnsembleRecord:
    unsafe = sorted({run.subject_note for run in parts.runs if not run.subject_safe})
    record = EnsembleRecord(
        kind="ensemble",
        format=3,
        task=task.name,
        system="ensemble",
        split="shared",
        seed=None,
        method=method,
        folds=folds,
        groups=parts.resampling.record,
        oof=oof,
        members={run.name: run.digest() for run in (*parts.runs, *parts.refits.values())},
        averaged={name: [run.name for run in runs] for name, runs in parts.testers.items()},
        tool=TOOL,
        subject_safe=all(run.subject_safe for run in parts.runs),
        subject_note="; ".join(unsafe) or "subject-safe: the split of every member is",
        simulated=any(run.record.simulated for run in parts.runs),
    )
    if not parts.refits:
        return record
    return record.model_copy(update={"refits": {name: refit.name for name, refit in sorted(parts.refits.items())}})


def _clip_ids(parts: _Parts) -> ClipIds:
    """Returns the clips that the ensemble has seen.

    Out of fold, each clip is predicted by a run that held it out, though others were trained on it.
    """
    trained = set().union(*(run.train_ids for run in parts.runs)).difference(parts.shared)
    behind_test = trained.union(*(run.known_ids("test") for runs in parts.testers.values() for run in runs))
    return ClipIds(train=tuple(sorted(trained)), valid=parts.shared, test_train=tuple(sorted(behind_test)))


@dataclass(frozen=True)
class _Combination:
    """The fitted combination.

    Attributes:
        fitted: What combines new clips, fitted on all shared clips.
        truth: Labels of the shared clips, ``[N, E]``.
        valid: Its predictions of them, out of fold where the method is fitted to labels, ``[N, E]``.
        metrics: What ``metrics.json`` says.
    """

    fitted: Fitted
    truth: Array
    valid: Array
    metrics: EnsembleMetrics


def _combine(parts: _Parts, method: MethodChoice, folds: int, task: Task) -> _Combination:
    per_target: Callable[..., Array] = f1 if task.score == "macro_f1" else pearson
    values = np.stack([member.of(parts.shared) for member in parts.members])  # [M, N, E]
    for member, block in zip(parts.members, values, strict=True):
        _require_varied(member.name, block, task)
    truth = common_truth(parts.members, parts.shared)
    keys = parts.resampling.keys
    if keys is not None and len(set(keys)) < 2:
        raise UsageError("all clips are in one group, so nothing can be held out", todo="give other --groups")
    fold = assign_folds(len(truth), folds, groups=keys)
    results = compare_methods(values, truth, fold, score=per_target, groups=keys)
    used = simplest(results) if method == "auto" else method
    fitted = fit(used, values, truth)
    valid = _held_out_predictions(fitted, used, values, truth, fold, labels=per_target is f1)
    scores = score(task, truth, valid)
    scores.require_defined("the ensemble")
    names = [member.name for member in parts.members]
    metrics = EnsembleMetrics(
        scores={"valid": SideScores.of(scores)},
        members={name: score(task, truth, block).primary for name, block in zip(names, values, strict=True)},
        method=used,
        methods=[MethodScores(**result.to_json(task.targets)) for result in results],
        folds=int(fold.max()) + 1,
        by_group=keys is not None,
        weights={
            name: dict(zip(task.targets, row.tolist(), strict=True))
            for name, row in zip(names, fitted.weights, strict=True)
        },
        correlations=correlations(values).tolist(),
        without=_scores_without(names, values, truth, fold, used, per_target),
    )
    return _Combination(fitted, truth, valid, metrics)


def _held_out_predictions(
    fitted: Fitted, method: Method, values: Array, truth: Array, fold: NDArray[np.intp], *, labels: bool
) -> Array:
    """Returns the predictions of the shared clips, ``[N, E]``, whose score does not flatter.

    A label-free method may predict the clips that its statistics are from. Of any other, each clip's prediction is
    from a fit without its fold: on the label scale where F1 needs it, else standardised and brought to the scale of the
    whole fit, which leaves r as it is.
    """
    if method in LABEL_FREE:
        return fitted.predict(values)
    if labels:
        return out_of_fold(method, values, truth, fold, labels=True)
    return fitted.offset + fitted.slope * out_of_fold(method, values, truth, fold)


def _scores_without(
    names: Sequence[str],
    values: Array,
    truth: Array,
    fold: NDArray[np.intp],
    method: Method,
    per_target: Callable[..., Array],
) -> dict[str, float | None]:
    """Returns member → cross-fitted score of the ensemble without it; nothing of a single member."""
    found: dict[str, float | None] = {}
    for index, name in enumerate(names if len(names) > 1 else ()):
        others = np.delete(values, index, axis=0)
        (result,) = compare_methods(others, truth, fold, methods=[method], score=per_target)
        found[name] = result.score
    return found


def _require_varied(name: str, values: Array, task: Task) -> None:
    flat = is_constant(values)
    if flat.any():
        targets = ", ".join(target for target, is_flat in zip(task.targets, flat, strict=True) if is_flat)
        raise AbawkitError(f"run {name} cannot be a member: its prediction of {targets} is constant")


def _test_predictions(testers: Sequence[Sequence[Run]], task: Task) -> tuple[Sequence[str], Array] | None:
    """Returns ids and each member's test predictions ``[M, N, E]``, the mean over its runs; None when none has any.

    Raises:
        AbawkitError: Runs have predicted different clips.
    """
    runs = [run for each in testers for run in each]
    if not any(run.has_predicted("test") for run in runs):
        return None
    tests = {run.name: run.predictions("test", task) for run in runs}  # raises for a run without
    ids = tests[runs[0].name].ids
    for name, predictions in tests.items():
        if set(predictions.ids) != set(ids):
            raise AbawkitError(
                "the members have predicted different test clips",
                got=f"{runs[0].name}: {len(ids)}, {name}: {len(predictions.ids)}",
                todo=f"abawkit predict {name} --on test  (and the same for the others)",
            )
    return ids, np.stack([np.mean([tests[run.name].of(ids) for run in each], axis=0) for each in testers])


def _write(
    path: Path,
    side: Side,
    ids: Sequence[str],
    values: Array,
    truth: Array | None,
    task: Task,
) -> None:
    blocks: Mapping[str, Array] = ({} if truth is None else {"truth.": truth}) | {"": values}
    columns = {prefix + t: block[:, i] for prefix, block in blocks.items() for i, t in enumerate(task.targets)}
    table = pd.DataFrame(columns, index=pd.Index(ids, name=task.id_column))
    write_predictions(path / "predictions" / f"{side}.csv", table)
