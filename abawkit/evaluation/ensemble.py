"""``abawkit ensemble``: combines runs into one that can be evaluated and submitted like a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit import __version__
from abawkit.challenge import Task
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.compare import describe, shared_held_out
from abawkit.fileio import digest_json, locked, storage_errors, write_json
from abawkit.metrics import is_constant, score
from abawkit.progress import SILENT, Progress
from abawkit.training.runs import Predictions, Run, Side, list_runs, write_predictions
from abawkit.workspace import Workspace


def ensemble(workspace: Workspace, runs: Sequence[Run] | None = None, *, progress: Progress = SILENT) -> Run:
    """Combines runs with equal weights after standardising each per target, and returns the ensemble.

    Pearson r ignores a member's scale, but an average does not: every member is standardised with the mean and the
    deviation of its own predictions on the shared held-out clips. The average is put back on the members' mean
    scale, so that it is an intensity again. Nothing is fitted to the labels, so the score does not flatter.

    Args:
        workspace: The workspace.
        runs: Members; default: every finished run that is no ensemble.
        progress: What to report to.

    Raises:
        UsageError: Fewer than two members, or they share fewer held-out clips than ``submit.min_shared``.
        AbawkitError: A member's predictions are constant, or members have predicted different test clips.
    """
    task = workspace.task
    members = list(runs) if runs is not None else [run for run in list_runs(workspace) if not run.is_ensemble]
    members = sorted({run.name: run for run in members}.values(), key=lambda run: run.name)
    if len(members) < 2:
        raise UsageError(
            "an ensemble needs at least two runs",
            got=", ".join(run.name for run in members) or "none",
            todo="abawkit train --system F3  (or another system, or another --seed)",
        )
    shared = shared_held_out(members)
    if len(shared) < workspace.settings.submit.min_shared:
        raise UsageError(
            f"these runs share only {len(shared)} held-out clips\n"
            + "\n".join(f"  {line}" for line in describe(members, task)),
            expected=f"at least {workspace.settings.submit.min_shared} (setting submit.min_shared)",
            todo="combine runs of one split",
        )
    valid = {run.name: run.predictions("valid", task) for run in members}
    config = {
        "kind": "ensemble",
        "format": 1,
        "task": task.name,
        "system": "ensemble",
        "split": "shared",
        "seed": None,
        "method": "zmean",
        "members": {run.name: run.digest() for run in members},
        "weights": {run.name: 1 / len(members) for run in members},
        "tool": f"abawkit {__version__}",
        "subject_safe": all(run.subject_safe for run in members),
    }
    path = workspace.runs / f"ensemble-{digest_json(config)[:8]}"
    if (path / "metrics.json").exists():
        progress.say(f"{path.name} is already there")
        return Run.open(path)
    moments = {name: _moments(name, predictions.of(shared), task) for name, predictions in valid.items()}
    truth = valid[members[0].name].truth_of(shared)
    combined = _combine([predictions.of(shared) for predictions in valid.values()], list(moments.values()))
    with locked(path, "making this ensemble"), storage_errors(path):
        unsafe = sorted({run.subject_note for run in members if not run.subject_safe})
        note = "; ".join(unsafe) or "subject-safe: the split of every member is"
        write_json(path / "config.json", config | {"subject_note": note})
        trained = sorted(set().union(*(run.train_ids for run in members)))
        write_json(path / "clips.json", {"train": trained, "valid": shared})
        _write(path, "valid", shared, combined, truth, task)
        tests = _test_predictions(members, task)
        if tests:
            ids = tests[0].ids
            values = _combine([predictions.of(ids) for predictions in tests], list(moments.values()))
            _write(path, "test", ids, values, None, task)
        else:
            progress.say("no member has test predictions yet: the ensemble has none either")
        single = {run.name: score(task, truth, valid[run.name].of(shared)).primary for run in members}
        scores = score(task, truth, combined)
        scores.require_defined("the ensemble")
        write_json(path / "metrics.json", {"scores": {"valid": scores.to_json()}, "members": single})
    return Run.open(path)


def _moments(name: str, values: NDArray[np.float64], task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    flat = is_constant(values)
    if flat.any():
        targets = ", ".join(target for target, is_flat in zip(task.targets, flat, strict=True) if is_flat)
        raise AbawkitError(f"run {name} cannot be a member: its prediction of {targets} is constant")
    return values.mean(axis=0), values.std(axis=0)


def _combine(
    values: Sequence[NDArray[np.float64]],
    moments: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    """Returns the mean of the standardised members ``[N, E]``, on their mean scale."""
    standard = np.mean([(block - mean) / std for block, (mean, std) in zip(values, moments, strict=True)], axis=0)
    mean, std = np.mean([m for m, _ in moments], axis=0), np.mean([s for _, s in moments], axis=0)
    return np.asarray(mean + standard * std)


def _test_predictions(members: Sequence[Run], task: Task) -> list[Predictions]:
    """Returns the members' test predictions, or nothing when no member has any.

    Raises:
        AbawkitError: Members have predicted different clips.
    """
    having = [run for run in members if (run.path / "predictions" / "test.csv").exists()]
    if not having:
        return []
    tests = [run.predictions("test", task) for run in members]  # raises for a member without
    for run, predictions in zip(members, tests, strict=True):
        if set(predictions.ids) != set(tests[0].ids):
            raise AbawkitError(
                "the members have predicted different test clips",
                got=f"{members[0].name}: {len(tests[0].ids)}, {run.name}: {len(predictions.ids)}",
                todo=f"abawkit predict {run.name} --on test  (and the same for the others)",
            )
    return tests


def _write(
    path: Path,
    side: Side,
    ids: Sequence[str],
    values: NDArray[np.float64],
    truth: NDArray[np.float64] | None,
    task: Task,
) -> None:
    blocks = ([] if truth is None else [("truth.", truth)]) + [("", values)]
    columns = {f"{prefix}{t}": block[:, i] for prefix, block in blocks for i, t in enumerate(task.targets)}
    table = pd.DataFrame(columns, index=pd.Index(ids, name=task.id_column))
    write_predictions(path / "predictions" / f"{side}.csv", table)
