"""``abawkit ensemble``: combines runs into one that can be evaluated, compared and submitted like a run.

Its validation predictions are out-of-fold ones wherever the method fits weights to labels, so that whatever reads them
later (``evaluate``, ``runs compare``, another ensemble) sees the cross-fitted score and never the optimistic one. Its
test predictions come from the fit on all shared clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit import __version__
from abawkit.challenge import Task
from abawkit.data.splits.folds import fold_of
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.combine import METHODS, correlations, fit
from abawkit.evaluation.compare import describe
from abawkit.evaluation.crossfit import FOLDS, compare_methods, deal_folds, out_of_fold, simplest
from abawkit.evaluation.drawn import find_drawn
from abawkit.evaluation.members import Member, common_truth, find_members, stand_ins
from abawkit.fileio import digest_json, locked, storage_errors, write_json
from abawkit.metrics import f1, is_constant, pearson, score
from abawkit.progress import SILENT, Progress
from abawkit.runs.run import Run, Side, list_runs, write_predictions
from abawkit.workspace import Workspace

AUTO = "auto"

_ANOTHER = "abawkit train --system F3  (or another system, or another --seed)"

#: Nothing of these is fitted to labels, so their own predictions of the shared clips do not flatter.
_LABEL_FREE = ("mean", "zmean", "rank")


def ensemble(
    workspace: Workspace,
    runs: Sequence[Run] | None = None,
    *,
    method: str = "zmean",
    oof: bool = False,
    refits: bool = False,
    folds: int = FOLDS,
    groups: Path | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Combines runs and returns the ensemble, which is a run of the kind ``ensemble``.

    Runs that differ in the seed only are averaged to one member first. All methods are compared on the clips that
    every member holds out (:mod:`abawkit.evaluation.crossfit`). ``metrics.json`` holds that comparison, the weights,
    the members' correlations and the score without each member; ``weights.json`` what combines new clips.

    Where a refit stands for its parent, ``config.json`` says so in ``refits``, and ``averaged``, which names the runs
    that predict the test clips, names the refit. Statistics, weights and scores are from the parent's predictions of
    the clips that it held out.

    Args:
        workspace: The workspace.
        runs: Members; default: every finished run that is no ensemble or refit, with ``oof`` those on folds, else the
            others where there are any. An ensemble can be named. A refit that is named predicts the test clips in its
            parent's place.
        method: One of :data:`~abawkit.evaluation.combine.METHODS`, or ``auto``: the simplest within one standard
            error of the best.
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
    task = workspace.task
    if method not in (AUTO, *METHODS):
        raise UsageError("there is no such method", got=method, expected=", ".join((AUTO, *METHODS)))
    if folds < 2:
        raise UsageError("too few folds", got=str(folds), expected="at least 2")
    chosen, standing = _chosen(workspace, runs, oof, refits, progress)
    members, shared = find_members(workspace, chosen, oof=oof)
    if len(shared) < max(2, workspace.settings.submit.min_shared):
        on_folds = any(fold_of(workspace, str(run.config["split"])) is not None for run in chosen)
        raise UsageError(
            f"these runs share only {len(shared)} held-out clips\n"
            + "\n".join(f"  {line}" for line in describe(chosen, task)),
            expected=f"at least {workspace.settings.submit.min_shared} (setting submit.min_shared)",
            todo="combine runs of one split"
            + (", or give --oof for the runs on folds" if on_folds and not oof else ""),
        )
    drawn = find_drawn(workspace, chosen, shared, groups)
    testers = {member.name: [standing.get(run.name, run) for run in member.runs] for member in members}
    config: dict[str, Any] = {
        "kind": "ensemble",
        "format": 3,
        "task": task.name,
        "system": "ensemble",
        "split": "shared",
        "seed": None,
        "method": method,
        "folds": folds,
        "groups": drawn.to_json(),
        "oof": oof,
        "members": {run.name: run.digest() for run in (*chosen, *standing.values())},
        "averaged": {member.name: [run.name for run in testers[member.name]] for member in members},
        "tool": f"abawkit {__version__}",
        "subject_safe": all(run.subject_safe for run in chosen),
        "simulated": any(run.simulated for run in chosen),
    }
    if standing:
        config["refits"] = {name: refit.name for name, refit in sorted(standing.items())}
    path = workspace.runs / f"ensemble-{digest_json(config)[:8]}"
    if (path / "metrics.json").exists():
        progress.say(f"{path.name} is already there")
        return Run.open(path)
    values = np.stack([member.of(shared) for member in members])
    for member, block in zip(members, values, strict=True):
        _require_varied(member.name, block, task)
    truth = common_truth(members, shared)
    tests = _test_predictions(list(testers.values()), task)
    metrics, fitted, combined = _fitted(values, truth, method, folds, drawn.keys, members, task)
    with locked(path, "making this ensemble"), storage_errors(path):
        unsafe = sorted({run.subject_note for run in chosen if not run.subject_safe})
        note = "; ".join(unsafe) or "subject-safe: the split of every member is"
        write_json(path / "config.json", config | {"subject_note": note})
        # Out of fold, each clip is predicted by a run that held it out, though others were trained on it.
        trained = set().union(*(run.train_ids for run in chosen)).difference(shared)
        behind = trained.union(*(run.known_ids("test") for runs in testers.values() for run in runs))
        clips = {"train": sorted(trained), "valid": list(shared), "test_train": sorted(behind)}
        write_json(path / "clips.json", clips)
        write_json(path / "weights.json", fitted.to_json() | {"members": [member.name for member in members]})
        _write(path, "valid", shared, combined, truth, task)
        if tests is None:
            progress.say("no member has test predictions yet: the ensemble has none either")
        else:
            _write(path, "test", tests[0], fitted.predict(tests[1]), None, task)
        scores = score(task, truth, combined)
        scores.require_defined("the ensemble")
        write_json(path / "metrics.json", {"scores": {"valid": scores.to_json()}} | metrics)
    return Run.open(path)


def _chosen(
    workspace: Workspace, runs: Sequence[Run] | None, oof: bool, refits: bool, progress: Progress
) -> tuple[list[Run], dict[str, Run]]:
    """Returns the runs that are combined, by name, and which refit stands in whose place (see :func:`ensemble`)."""
    if runs is None:
        found = [run for run in list_runs(workspace) if run.is_scorable and not run.is_ensemble]
        on_fold = {run.name: fold_of(workspace, str(run.config["split"])) is not None for run in found}
        runs = [run for run in found if on_fold[run.name] == oof] or ([] if oof else found)
        if not oof and len(runs) < len(found):
            progress.say(f"{len(found) - len(runs)} runs on folds are left out: abawkit ensemble --oof combines them")
    standing: dict[str, Run] = {}
    if refits or any(run.parent is not None for run in runs):
        runs, standing = stand_ins(workspace, runs, everywhere=refits)
    chosen = sorted({run.name: run for run in runs}.values(), key=lambda run: run.name)
    if len(chosen) < 2:
        raise UsageError(
            "an ensemble needs at least two runs" + (" on folds" if oof else ""),
            got=", ".join(run.name for run in chosen) or "none",
            todo="abawkit train --system F4 --fold all" if oof else _ANOTHER,
        )
    alone = [run.name for run in chosen if run.name not in standing]
    if refits and alone:
        progress.say(f"without a refit, these predict the test clips themselves: {', '.join(alone)}")
    return chosen, standing


def _fitted(
    values: NDArray[np.float64],
    truth: NDArray[np.float64],
    method: str,
    folds: int,
    keys: Sequence[str] | None,
    members: Sequence[Member],
    task: Task,
) -> tuple[dict[str, Any], Any, NDArray[np.float64]]:
    """Returns what ``metrics.json`` holds, the fit, and the validation predictions."""
    per_target: Callable[..., NDArray[np.float64]] = f1 if task.score == "macro_f1" else pearson
    if keys is not None and len(set(keys)) < 2:
        raise UsageError("all clips are in one group, so nothing can be held out", todo="give other --groups")
    dealt = deal_folds(len(truth), folds, groups=keys)
    results = compare_methods(values, truth, dealt, score=per_target, groups=keys)
    used = simplest(results) if method == AUTO else method
    fitted = fit(used, values, truth)
    if used in _LABEL_FREE:
        combined = fitted.predict(values)
    elif per_target is f1:
        combined = out_of_fold(used, values, truth, dealt, labels=True)
    else:
        combined = fitted.offset + fitted.slope * out_of_fold(used, values, truth, dealt)
    without: dict[str, float] = {}
    for index, member in enumerate(members if len(members) > 1 else ()):
        (left,) = compare_methods(np.delete(values, index, axis=0), truth, dealt, methods=[used], score=per_target)
        without[member.name] = left.score
    weights = {
        member.name: dict(zip(task.targets, row.tolist(), strict=True))
        for member, row in zip(members, fitted.weights, strict=True)
    }
    metrics = {
        "members": {
            member.name: score(task, truth, block).primary for member, block in zip(members, values, strict=True)
        },
        "method": used,
        "methods": [result.to_json(task.targets) for result in results],
        "folds": int(dealt.max()) + 1,
        "by_group": keys is not None,
        "weights": weights,
        "correlations": correlations(values).tolist(),
        "without": without,
    }
    return metrics, fitted, combined


def _require_varied(name: str, values: NDArray[np.float64], task: Task) -> None:
    flat = is_constant(values)
    if flat.any():
        targets = ", ".join(target for target, is_flat in zip(task.targets, flat, strict=True) if is_flat)
        raise AbawkitError(f"run {name} cannot be a member: its prediction of {targets} is constant")


def _test_predictions(testers: Sequence[Sequence[Run]], task: Task) -> tuple[Sequence[str], NDArray[np.float64]] | None:
    """Returns ids and each member's test predictions ``[M, N, E]``, the mean over its runs; None when none has any.

    Raises:
        AbawkitError: Runs have predicted different clips.
    """
    runs = [run for each in testers for run in each]
    if not any((run.path / "predictions" / "test.csv").exists() for run in runs):
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
    values: NDArray[np.float64],
    truth: NDArray[np.float64] | None,
    task: Task,
) -> None:
    blocks: Mapping[str, NDArray[np.float64]] = ({} if truth is None else {"truth.": truth}) | {"": values}
    columns = {prefix + t: block[:, i] for prefix, block in blocks.items() for i, t in enumerate(task.targets)}
    table = pd.DataFrame(columns, index=pd.Index(ids, name=task.id_column))
    write_predictions(path / "predictions" / f"{side}.csv", table)
