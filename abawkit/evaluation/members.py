"""The members of an ensemble: runs that differ in their seed only, or the runs of a fold set, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawkit.data.splitfile import read_record
from abawkit.errors import UsageError
from abawkit.evaluation.compare import shared_held_out
from abawkit.training.runs import Run
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Member:
    """One member.

    Attributes:
        name: What it is called.
        runs: Its runs; their predictions are averaged.
        held: Clip → its prediction ``[E]``, by the runs that have not seen it.
        truth: Clip → its labels ``[E]``.
    """

    name: str
    runs: tuple[Run, ...]
    held: dict[str, NDArray[np.float64]]
    truth: dict[str, NDArray[np.float64]]

    def of(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Returns its predictions of these clips, ``[len(ids), E]``."""
        return np.array([self.held[clip] for clip in ids])

    def truth_of(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Returns the labels of these clips, ``[len(ids), E]``."""
        return np.array([self.truth[clip] for clip in ids])


def find_members(workspace: Workspace, runs: Sequence[Run], *, oof: bool = False) -> tuple[list[Member], list[str]]:
    """Returns the members and the clips, sorted, that all of them hold out.

    Args:
        workspace: The workspace.
        runs: The runs. Those of one system and split are one member; an ensemble or an import is one of its own.
        oof: The runs are trained on the splits of fold sets (``resplit --folds K``): those of one system and set are
            one member, in which a clip's prediction is of the runs that held it out.

    Raises:
        UsageError: With ``oof``, a run is not of a fold, or a fold has no run.
        AbawkitError: Of a run nobody knows on which clips it was trained.
    """
    found: dict[str, dict[int, list[Run]]] = {}
    for run in runs:
        base, index = (str(run.config["split"]), 1) if not oof else _fold_of(workspace, run)[:2]
        alone = run.config["kind"] != "run"
        found.setdefault(run.name if alone else f"{run.config['system']} {base}", {}).setdefault(index, []).append(run)
    members = []
    for name, parts in found.items():
        if oof:
            of = _fold_of(workspace, next(iter(parts.values()))[0])[2]
            missing = [str(index) for index in range(1, of + 1) if index not in parts]
            if missing:
                raise UsageError(
                    f"{name}: no run of fold {', '.join(missing)} of {of}",
                    todo="train the same system on each split of the set, then name all of these runs",
                )
        members.append(_member(workspace, name, list(parts.values())))
    shared = set(members[0].held).intersection(*(member.held for member in members[1:]))
    if not oof:
        shared.intersection_update(shared_held_out(runs))
    return members, sorted(shared)


def _member(workspace: Workspace, name: str, parts: Sequence[Sequence[Run]]) -> Member:
    held: dict[str, NDArray[np.float64]] = {}
    truth: dict[str, NDArray[np.float64]] = {}
    for same in parts:
        ids = shared_held_out(same)
        predictions = [run.predictions("valid", workspace.task) for run in same]
        values = np.mean([one.of(ids) for one in predictions], axis=0)
        held.update(zip(ids, values, strict=True))
        truth.update(zip(ids, predictions[0].truth_of(ids), strict=True))
    runs = tuple(run for same in parts for run in same)
    return Member(runs[0].name if len(runs) == 1 else name, runs, held, truth)


def _fold_of(workspace: Workspace, run: Run) -> tuple[str, int, int]:
    """Returns the set of the run's fold, the fold's number from 1, and how many there are."""
    folder = workspace.splits / str(run.config["split"])
    fold = read_record(folder).get("fold") if run.config["kind"] == "run" and folder.is_dir() else None
    if fold is None:
        raise UsageError(
            f"run {run.name} was not trained on a fold",
            got=f"split {run.config['split']}",
            expected="with --oof: runs on the splits that abawkit resplit --folds K makes",
        )
    return str(fold["set"]), int(fold["index"]), int(fold["of"])
