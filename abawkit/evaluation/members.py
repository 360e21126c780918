"""The members of an ensemble: runs that differ in their seed only, or the runs of a fold set, as one.

A run that was refitted on all labelled clips can have its refit predict the test clips in its place. Everything that
is scored or fitted is the run's own: its refit knows every labelled clip.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def find_members(
    workspace: Workspace, runs: Sequence[Run], *, oof: bool = False
) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """Returns the members and the clips, sorted, that all of them hold out.

    Args:
        workspace: The workspace.
        runs: The runs. Those that differ in the seed only are one member; an ensemble or an import is one of its own.
        oof: The runs are trained on the splits of fold sets (``resplit --folds K``): those of one system and set are
            one member, in which a clip's prediction is of the runs that held it out.

    Raises:
        UsageError: With ``oof``, a run is not of a fold, or a fold has no run.
        AbawkitError: Of a run it is not known on which clips it was trained.
    """
    groups = _by_fold_set(workspace, runs) if oof else _by_system(runs)
    names = _names(groups)
    members = tuple(_member(workspace, name, group) for name, group in zip(names, groups, strict=True))
    shared = set(members[0].held).intersection(*(member.held for member in members[1:]))
    if not oof:  # a clip that a run of a fold set was trained on is predicted by the runs of another fold
        shared.intersection_update(shared_held_out(runs))
    return members, tuple(sorted(shared))


@dataclass(frozen=True)
class _Group:
    """The runs of one member.

    Attributes:
        parts: Runs that differ in the seed only; of a fold set one such part per fold, in their order.
        fold_set: Name of the fold set; empty without folds.
    """

    parts: tuple[tuple[Run, ...], ...]
    fold_set: str = ""

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for part in self.parts for run in part)


def _by_system(runs: Sequence[Run]) -> list[_Group]:
    """Returns one group per system and split, in the order of the runs."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(system_key(run), []).append(run)
    return [_Group((tuple(seeds),)) for seeds in found.values()]


def _by_fold_set(workspace: Workspace, runs: Sequence[Run]) -> list[_Group]:
    """Returns one group per system and fold set, in the order of the runs.

    Raises:
        UsageError: A run is not of a fold, or a fold of a set has no run.
    """
    found: dict[tuple[str, str], list[tuple[Fold, Run]]] = {}
    for run in runs:
        fold = _require_fold(workspace, run)
        found.setdefault((system_key(run, over_splits=True), fold.set), []).append((fold, run))
    groups = []
    for (_, name), placed in found.items():
        of, system = placed[0][0].of, placed[0][1].record.system
        parts = [tuple(run for fold, run in placed if fold.index == index) for index in range(1, of + 1)]
        missing = [str(index) for index, part in enumerate(parts, 1) if not part]
        if missing:
            raise UsageError(
                f"{system} {name}: no run of fold {', '.join(missing)} of {of}",
                todo=f"abawkit train --system {system} --fold all --split {name}, then name all of these runs",
            )
        groups.append(_Group(tuple(parts), name))
    return groups


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


def replace_refits(workspace: Workspace, runs: Sequence[Run], *, everywhere: bool) -> tuple[list[Run], dict[str, Run]]:
    """Returns the runs with refits replaced by their parents, and which refit predicts the test clips in whose place.

    Args:
        workspace: The workspace.
        runs: Runs; a refit among them takes its parent's place.
        everywhere: Also replace by its newest refit each run that is named itself.

    Raises:
        UsageError: ``everywhere``, and no run has a refit; or two refits of one run are named.
        AbawkitError: A parent is gone, or a refit has not predicted the test clips.
    """
    finished = {run.name: run for run in list_runs(workspace)}
    kept: dict[str, Run] = {}
    found: dict[str, Run] = {}
    for run in runs:
        if run.parent is None:
            kept[run.name] = run
            continue
        if run.parent not in finished:
            raise AbawkitError(
                f"refit {run.name} has no score of its own, and its parent is gone",
                got=run.parent,
                todo="leave it out, or train its parent again",
            )
        kept[run.parent] = finished[run.parent]
        if found.setdefault(run.parent, run).name != run.name:
            both = f"{found[run.parent].name}, {run.name}"
            raise UsageError(f"two refits of {run.parent} cannot both take its place", got=both, todo="name one")
    if everywhere:
        newest = {run.parent: run for run in finished.values() if run.parent is not None}
        found = {name: newest[name] for name in kept if name in newest} | found
        if not found:
            first = next(iter(kept), "RUN")
            raise UsageError("none of these runs was refitted", todo=f"abawkit train --refit {first}")
    for refit in found.values():
        refit.predictions("test", workspace.task)  # raises, and says how to make them
    return list(kept.values()), found


def _member(workspace: Workspace, name: str, group: _Group) -> Member:
    held: dict[str, NDArray[np.float64]] = {}
    truth: dict[str, NDArray[np.float64]] = {}
    for part in group.parts:
        ids = shared_held_out(part)
        predictions = [run.predictions("valid", workspace.task) for run in part]
        values = np.mean([one.of(ids) for one in predictions], axis=0)
        held.update(zip(ids, values, strict=True))
        truth.update(zip(ids, predictions[0].truth_of(ids), strict=True))
    return Member(name, group.runs, held, truth)


def _names(groups: Sequence[_Group]) -> list[str]:
    """Returns what each member is called: a single run by its name, others by system and split or fold set."""
    names = []
    for group in groups:
        first = group.runs[0]
        one = len(group.runs) == 1
        names.append(first.name if one else f"{first.record.system} {group.fold_set or first.record.split}")
    return [
        name if names.count(name) == 1 else f"{group.runs[0].name} and {len(group.runs) - 1} more"
        for name, group in zip(names, groups, strict=True)
    ]


def _require_fold(workspace: Workspace, run: Run) -> Fold:
    fold = fold_of(workspace, run.record.split) if run.record.kind == "run" else None
    if fold is None:
        raise UsageError(
            f"run {run.name} was not trained on a fold",
            got=f"split {run.record.split}",
            expected="with --oof: runs on the splits that abawkit resplit --folds K makes",
        )
    return fold
