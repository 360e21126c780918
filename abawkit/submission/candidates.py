"""What could be submitted: systems with their seeds averaged, ensembles and refits, scored on the same held-out clips.

Scores are only ever compared on clips that all candidates hold out. So only those are candidates that share at least
``submit.min_shared`` of them, or whose held-out clips are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.labels import load_official
from abawkit.errors import UsageError
from abawkit.evaluation.bootstrap import Interval, Resampled, resample_scores
from abawkit.evaluation.members import Member, common_truth, find_members
from abawkit.evaluation.resampling import Resampling, find_resampling
from abawkit.layout.folder import ChallengeFolder
from abawkit.metrics import is_constant, pearson
from abawkit.runs.run import Ensemble, Run, list_runs
from abawkit.workspace import Workspace

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """One thing that could be submitted.

    Attributes:
        name: What it is called: system and split, or the name of the run where it is a single one.
        runs: Its runs, which differ in the seed only, and whose test predictions are averaged.
        test: Its prediction of the test clips, ``[N, E]``.
        score: Its score on the shared clips; of refits that of their parents.
        resampled: The score of each resample of these clips, ``[R]``; of refits that of their parents.
        parents: Of refits, the runs that they were made from; else none.
        agrees: Of refits, the correlation of their predictions of the test clips with their parents'; else 1.
    """

    name: str
    runs: tuple[Run, ...]
    test: Array
    score: Interval
    resampled: Array
    parents: tuple[str, ...] = ()
    agrees: float = 1.0


@dataclass(frozen=True)
class Candidates:
    """Everything that could be submitted, and what could not.

    Attributes:
        found: The candidates.
        ids: The held-out clips that all of them, or their parents, share.
        resampling: What was resampled for the errors of the scores.
        test_ids: The test clips.
        left_out: Run or system → why it is not a candidate.
    """

    found: tuple[Candidate, ...]
    ids: tuple[str, ...]
    resampling: Resampling
    test_ids: tuple[str, ...]
    left_out: dict[str, str]


#: Name of a run, system or member → why it is not a candidate.
LeftOut = dict[str, str]


def find_candidates(workspace: Workspace) -> Candidates:
    """Returns what could be submitted of the finished runs, ensembles and refits of the workspace.

    Raises:
        UsageError: There are no test clips, or there is no candidate; each run is named with the reason.
        AbawkitError: Runs do not agree on the labels of the same clips, or a file is damaged.
    """
    test_ids = load_official(ChallengeFolder.open(workspace.data, workspace.task)).test_ids
    if not test_ids:
        raise UsageError("there are no test clips yet", path=workspace.data, todo="add them, then: abawkit extract")
    runs = list_runs(workspace)
    tests, untested = _test_predictions(runs, test_ids, workspace.task)
    usable = _usable(run for run in runs if run.name in tests)
    members = find_members(workspace, usable.scored)[0] if usable.scored else ()
    kept, ids, unshared = _sharing(members, workspace.settings.submit.min_shared)
    left_out = untested | usable.left_out | unshared
    if not kept:
        raise _nothing(left_out)
    plans, orphans = _plans(kept, ids, usable.refits, workspace.task)
    resampling = find_resampling(workspace, [run for member in kept for run in member.runs], ids)
    truth = common_truth(kept, ids)
    scored = resample_scores(truth, [plan.valid for plan in plans], score=workspace.task.score, groups=resampling.keys)
    found, undefined = _candidates(plans, scored, tests, len(ids))
    left_out |= orphans | undefined
    if not found:
        raise _nothing(left_out)
    return Candidates(found, ids, resampling, tuple(test_ids), left_out)


def _nothing(left_out: LeftOut) -> UsageError:
    reasons = "\n".join(f"  {name}: {why}" for name, why in left_out.items()) or "  there is no finished run"
    return UsageError(f"there is nothing to propose\n{reasons}", todo="abawkit train --system F4")


def _test_predictions(runs: Sequence[Run], ids: Sequence[str], task: Task) -> tuple[dict[str, Array], LeftOut]:
    """Returns run → its prediction of the test clips ``[N, E]``, and why the others have none that can be used."""
    found: dict[str, Array] = {}
    left_out: LeftOut = {}
    for run in runs:
        ensemble = isinstance(run, Ensemble)
        todo = "make the ensemble again" if ensemble else f"abawkit predict {run.name} --on test"
        if not run.has_predicted("test"):
            left_out[run.name] = f"it has not predicted the test clips: {todo}"
            continue
        predictions = run.predictions("test", task)
        absent = len(set(ids) - set(predictions.ids))
        if absent:
            left_out[run.name] = f"it has not predicted {absent} of {len(ids)} test clips: {todo}"
            continue
        values = predictions.of(ids)
        if is_constant(values).any() or not np.isfinite(values).all():
            left_out[run.name] = "its prediction of the test clips is constant, or not finite, for a target"
            continue
        found[run.name] = values
    return found, left_out


@dataclass(frozen=True)
class _Usable:
    """The runs that have predicted the test clips.

    Attributes:
        scored: Those with validation predictions that score them.
        refits: Name of a run → its newest refit.
        left_out: The others.
    """

    scored: tuple[Run, ...]
    refits: dict[str, Run]
    left_out: LeftOut


def _usable(runs: Iterable[Run]) -> _Usable:
    """Sorts the runs, which come oldest first."""
    scored: list[Run] = []
    refits: dict[str, Run] = {}
    left_out: LeftOut = {}
    for run in runs:
        if run.parent is not None:
            if run.parent in refits:
                left_out[refits[run.parent].name] = f"{run.name} is a newer refit of the same run"
            refits[run.parent] = run
        elif not run.is_scorable:
            left_out[run.name] = "it is not known on which clips it was trained"
        elif not run.has_predicted("valid"):
            left_out[run.name] = f"it has not predicted its validation clips: abawkit predict {run.name} --on valid"
        else:
            scored.append(run)
    return _Usable(tuple(scored), refits, left_out)


def _sharing(members: Sequence[Member], least: int) -> tuple[tuple[Member, ...], tuple[str, ...], LeftOut]:
    """Returns the members that are scored on the same clips, these clips, and why the others are left out.

    From each member in turn, the others are added, those with the largest overlap first, as long as at least ``least``
    clips are left that all hold out, or all hold out the same clips. The largest such set counts.
    """
    best: list[Member] = []
    best_ids: set[str] = set()
    for anchor in reversed(members):
        ids, chosen = set(anchor.held), [anchor]
        others = (member for member in members if member is not anchor)
        for other in sorted(others, key=lambda member: len(ids & member.held.keys()), reverse=True):
            both = ids & other.held.keys()
            if both and (len(both) >= least or len(both) == len(ids) == len(other.held)):
                ids, chosen = both, [*chosen, other]
        if ids and (len(chosen), len(ids)) > (len(best), len(best_ids)):
            best, best_ids = chosen, ids
    kept = {member.name for member in best}
    left_out = {
        member.name: f"it shares {len(best_ids & member.held.keys())} held-out clips with the others; {least} are the "
        "fewest to compare it on"
        for member in members
        if member.name not in kept
    }
    return tuple(member for member in members if member.name in kept), tuple(sorted(best_ids)), left_out


@dataclass(frozen=True)
class _Plan:
    """A candidate before it is scored: what it is called, its runs, and the prediction that scores it."""

    name: str
    runs: tuple[Run, ...]
    valid: Array
    parents: tuple[Run, ...] = ()


def _plans(
    members: Sequence[Member], ids: Sequence[str], refits: Mapping[str, Run], task: Task
) -> tuple[list[_Plan], LeftOut]:
    """Returns the members and their refits as candidates, and the refits whose parent is not a candidate."""
    plans = [_Plan(member.name, member.runs, member.of(ids)) for member in members]
    for member in members:
        parents = tuple(run for run in member.runs if run.name in refits)
        if parents:
            values = np.mean([run.predictions("valid", task).of(ids) for run in parents], axis=0)
            refitted = tuple(refits[run.name] for run in parents)
            name = refitted[0].name if len(refitted) == 1 else f"{len(refitted)} refits of {member.name}"
            plans.append(_Plan(name, refitted, values, parents))
    placed = {parent.name for plan in plans for parent in plan.parents}
    why = "a refit takes the score of its parent, which is not a candidate"
    return plans, {refit.name: why for parent, refit in refits.items() if parent not in placed}


def _candidates(
    plans: Sequence[_Plan], scored: Sequence[Resampled], tests: Mapping[str, Array], clips: int
) -> tuple[tuple[Candidate, ...], LeftOut]:
    """Returns the plans with their scores on the ``clips`` shared clips, and those that have no score there."""
    found: list[Candidate] = []
    left_out: LeftOut = {}
    for plan, resampled in zip(plans, scored, strict=True):
        interval = resampled.interval(-1, mean=True)
        if not np.isfinite(interval.value):
            left_out[plan.name] = f"it has no score on the {clips} clips that all share: a prediction is constant"
            continue
        test = np.mean([tests[run.name] for run in plan.runs], axis=0)
        candidate = Candidate(plan.name, plan.runs, test, interval, resampled.drawn[:, -1])
        if plan.parents:
            parents = np.mean([tests[run.name] for run in plan.parents], axis=0)
            agrees = float(np.mean(pearson(test, parents)))
            candidate = replace(candidate, parents=tuple(run.name for run in plan.parents), agrees=agrees)
        found.append(candidate)
    return tuple(found), left_out
