"""The members of an ensemble: runs that differ in their seed only, or the runs of a fold set, as one.

A run that was refitted on all labelled clips can have its refit predict the test clips in its place. Everything that
is scored or fitted is the run's own: its refit knows every labelled clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawkit.data.splits.folds import Fold, fold_of
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.compare import shared_held_out, system_key
from abawkit.runs.run import Run, list_runs
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
        runs: The runs. Those that differ in the seed only are one member; an ensemble or an import is one of its own.
        oof: The runs are trained on the splits of fold sets (``resplit --folds K``): those of one system and set are
            one member, in which a clip's prediction is of the runs that held it out.

    Raises:
        UsageError: With ``oof``, a run is not of a fold, or a fold has no run.
        AbawkitError: Of a run nobody knows on which clips it was trained.
    """
    found: dict[tuple[str, str], dict[int, list[Run]]] = {}
    folds = {run.name: _require_fold(workspace, run) for run in runs} if oof else {}
    for run in runs:
        fold = folds.get(run.name)
        key = (system_key(run), "") if fold is None else (system_key(run, over_splits=True), fold.set)
        found.setdefault(key, {}).setdefault(1 if fold is None else fold.index, []).append(run)
    names = _names({key: [run for same in parts.values() for run in same] for key, parts in found.items()})
    members = []
    for key, parts in found.items():
        if oof:
            of = folds[next(iter(parts.values()))[0].name].of
            missing = [str(index) for index in range(1, of + 1) if index not in parts]
            if missing:
                system = next(iter(parts.values()))[0].config["system"]
                raise UsageError(
                    f"{names[key]}: no run of fold {', '.join(missing)} of {of}",
                    todo=f"abawkit train --system {system} --fold all --split {key[1]}, then name all of these runs",
                )
        members.append(_member(workspace, names[key], [parts[index] for index in sorted(parts)]))
    shared = set(members[0].held).intersection(*(member.held for member in members[1:]))
    if not oof:
        shared.intersection_update(shared_held_out(runs))
    return members, sorted(shared)


def common_truth(members: Sequence[Member], ids: Sequence[str]) -> NDArray[np.float64]:
    """Returns the labels of these clips, ``[len(ids), E]``, on which all members have to agree.

    Raises:
        AbawkitError: They do not.
    """
    truth = members[0].truth_of(ids)
    for member in members[1:]:
        if not np.allclose(member.truth_of(ids), truth, atol=1e-6):
            raise AbawkitError(
                f"{members[0].name} and {member.name} were validated on different labels of the same clips",
                todo=f"abawkit predict {member.runs[0].name} --on valid, with the labels as they are now",
            )
    return truth


def stand_ins(workspace: Workspace, runs: Sequence[Run], *, everywhere: bool) -> tuple[list[Run], dict[str, Run]]:
    """Returns the runs with refits replaced by their parents, and which refit predicts the test clips in whose place.

    Args:
        workspace: The workspace.
        runs: Runs; a refit among them takes its parent's place.
        everywhere: Also look for the refits of the runs that are named themselves, the newest of each.

    Raises:
        UsageError: ``everywhere``, and no run has a refit; or two refits of one run are named.
        AbawkitError: A parent is gone, or a refit has not predicted the test clips.
    """
    known = {run.name: run for run in list_runs(workspace)}
    kept: dict[str, Run] = {}
    found: dict[str, Run] = {}
    for run in runs:
        if run.parent is None:
            kept[run.name] = run
            continue
        if run.parent not in known:
            raise AbawkitError(
                f"refit {run.name} has no score of its own, and its parent is gone",
                got=run.parent,
                todo="leave it out, or train its parent again",
            )
        kept[run.parent] = known[run.parent]
        if found.setdefault(run.parent, run).name != run.name:
            both = f"{found[run.parent].name}, {run.name}"
            raise UsageError(f"two refits of {run.parent} cannot both take its place", got=both, todo="name one")
    if everywhere:
        newest = {run.parent: run for run in known.values() if run.parent is not None}
        found = {name: newest[name] for name in kept if name in newest} | found
        if not found:
            first = next(iter(kept), "RUN")
            raise UsageError("none of these runs was refitted", todo=f"abawkit train --refit {first}")
    for refit in found.values():
        refit.predictions("test", workspace.task)  # raises, and says how to make them
    return list(kept.values()), found


def _member(workspace: Workspace, name: str, parts: Sequence[Sequence[Run]]) -> Member:
    held: dict[str, NDArray[np.float64]] = {}
    truth: dict[str, NDArray[np.float64]] = {}
    for same in parts:
        ids = shared_held_out(same)
        predictions = [run.predictions("valid", workspace.task) for run in same]
        values = np.mean([one.of(ids) for one in predictions], axis=0)
        held.update(zip(ids, values, strict=True))
        truth.update(zip(ids, predictions[0].truth_of(ids), strict=True))
    return Member(name, tuple(run for same in parts for run in same), held, truth)


def _names(members: Mapping[tuple[str, str], Sequence[Run]]) -> dict[tuple[str, str], str]:
    """Returns what each member is called: a single run by its name, others by system and split or fold set."""
    names = {
        key: runs[0].name if len(runs) == 1 else f"{runs[0].config['system']} {key[1] or runs[0].config['split']}"
        for key, runs in members.items()
    }
    told = list(names.values())
    return {
        key: name if told.count(name) == 1 else f"{members[key][0].name} and {len(members[key]) - 1} more"
        for key, name in names.items()
    }


def _require_fold(workspace: Workspace, run: Run) -> Fold:
    fold = fold_of(workspace, str(run.config["split"])) if run.config["kind"] == "run" else None
    if fold is None:
        raise UsageError(
            f"run {run.name} was not trained on a fold",
            got=f"split {run.config['split']}",
            expected="with --oof: runs on the splits that abawkit resplit --folds K makes",
        )
    return fold
