"""What could be submitted: systems with their seeds averaged, ensembles and refits, scored on the same held-out clips.

Scores are only ever compared on clips that all candidates hold out. So those take part that share at least
``submit.min_shared`` of them (or whose held-out clips are the same ones): from each candidate in turn, the others are
added, those with the largest overlap first, as long as that holds; the largest such set counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from abawkit.data.labels import load_official
from abawkit.errors import UsageError
from abawkit.evaluation.bootstrap import Interval, resample_scores
from abawkit.evaluation.drawn import Drawn, find_drawn
from abawkit.evaluation.members import Member, common_truth, find_members
from abawkit.layout.folder import ChallengeFolder
from abawkit.metrics import is_constant, pearson
from abawkit.runs.run import Run, list_runs
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
        drawn: What was resampled for the errors of the scores.
        test_ids: The test clips.
        left_out: Run or system → why it is no candidate.
    """

    found: tuple[Candidate, ...]
    ids: tuple[str, ...]
    drawn: Drawn
    test_ids: tuple[str, ...]
    left_out: dict[str, str]


def find_candidates(workspace: Workspace) -> Candidates:
    """Returns what could be submitted of the finished runs, ensembles and refits of the workspace.

    Raises:
        UsageError: There are no test clips, or there is no candidate; each run is named with the reason.
        AbawkitError: Runs do not agree on the labels of the same clips, or a file is damaged.
    """
    test_ids = load_official(ChallengeFolder.open(workspace.data, workspace.task)).test_ids
    if not test_ids:
        raise UsageError("there are no test clips yet", path=workspace.data, todo="add them, then: abawkit extract")
    left_out: dict[str, str] = {}
    tests = _test_predictions(workspace, test_ids, left_out)
    runs = [run for run in list_runs(workspace) if run.name in tests]
    whole = [run for run in runs if run.is_scorable and _has_scores(run, left_out)]
    refits: dict[str, Run] = {}
    for run in runs:
        if run.parent is not None:
            if run.parent in refits:
                left_out[refits[run.parent].name] = f"{run.name} is a newer refit of the same run"
            refits[run.parent] = run
    for run in runs:
        if not run.is_scorable and run.parent is None:
            left_out[run.name] = "it is not known on which clips it was trained"
    members = find_members(workspace, whole)[0] if whole else []
    kept, ids = _sharing(members, workspace.settings.submit.min_shared, left_out)
    if not kept:
        raise _nothing(left_out)
    drawn = find_drawn(workspace, [run for member in kept for run in member.runs], ids)
    truth = common_truth(kept, ids)
    plans = [_Plan(member.name, member.runs, member.of(ids)) for member in kept]
    for member in kept:
        parents = tuple(run for run in member.runs if run.name in refits)
        if parents:
            values = np.mean([run.predictions("valid", workspace.task).of(ids) for run in parents], axis=0)
            again = tuple(refits.pop(run.name) for run in parents)
            name = again[0].name if len(again) == 1 else f"{len(again)} refits of {member.name}"
            plans.append(_Plan(name, again, values, parents))
    alone = "a refit stands with the score of its parent, which is no candidate"
    left_out |= {run.name: alone for run in refits.values()}
    scored = resample_scores(truth, [plan.valid for plan in plans], score=workspace.task.score, groups=drawn.keys)
    found = []
    for plan, one in zip(plans, scored, strict=True):
        interval = one.interval(-1, mean=True)
        if not np.isfinite(interval.value):
            left_out[plan.name] = f"it has no score on the {len(ids)} clips that all share: a prediction is constant"
            continue
        test = np.mean([tests[run.name] for run in plan.runs], axis=0)
        made = Candidate(plan.name, plan.runs, test, interval, one.drawn[:, -1])
        if plan.parents:
            theirs = np.mean([tests[run.name] for run in plan.parents], axis=0)
            agrees = float(np.mean(pearson(test, theirs)))
            made = replace(made, parents=tuple(run.name for run in plan.parents), agrees=agrees)
        found.append(made)
    if not found:
        raise _nothing(left_out)
    return Candidates(tuple(found), ids, drawn, tuple(test_ids), left_out)


@dataclass(frozen=True)
class _Plan:
    """A candidate before it is scored: what it is called, its runs, and the prediction that scores it."""

    name: str
    runs: tuple[Run, ...]
    valid: Array
    parents: tuple[Run, ...] = ()


def _nothing(left_out: dict[str, str]) -> UsageError:
    told = "\n".join(f"  {name}: {why}" for name, why in left_out.items()) or "  there is no finished run"
    return UsageError(f"there is nothing to propose\n{told}", todo="abawkit train --system F4")


def _test_predictions(workspace: Workspace, ids: Sequence[str], left_out: dict[str, str]) -> dict[str, Array]:
    """Returns run → its prediction of the test clips; of the runs without, why is noted."""
    found = {}
    for run in list_runs(workspace):
        again = "make the ensemble anew" if run.is_ensemble else f"abawkit predict {run.name} --on test"
        if not (run.path / "predictions" / "test.csv").exists():
            left_out[run.name] = f"it has not predicted the test clips: {again}"
            continue
        predictions = run.predictions("test", workspace.task)
        absent = len(set(ids) - set(predictions.ids))
        if absent:
            left_out[run.name] = f"it has not predicted {absent} of {len(ids)} test clips: {again}"
            continue
        values = predictions.of(ids)
        if is_constant(values).any() or not np.isfinite(values).all():
            left_out[run.name] = "its prediction of the test clips is constant, or not finite, for a target"
            continue
        found[run.name] = values
    return found


def _has_scores(run: Run, left_out: dict[str, str]) -> bool:
    if (run.path / "predictions" / "valid.csv").exists():
        return True
    left_out[run.name] = f"it has not predicted its validation clips: abawkit predict {run.name} --on valid"
    return False


def _sharing(members: Sequence[Member], least: int, left_out: dict[str, str]) -> tuple[list[Member], tuple[str, ...]]:
    """Returns the members that are scored together, and the clips that they share; why the others are not is noted."""
    best: list[Member] = []
    best_ids: set[str] = set()
    for anchor in reversed(members):
        ids, together = set(anchor.held), [anchor]
        others = (member for member in members if member is not anchor)
        for other in sorted(others, key=lambda member: len(ids & member.held.keys()), reverse=True):
            both = ids & other.held.keys()
            if both and (len(both) >= least or len(both) == len(ids) == len(other.held)):
                ids, together = both, [*together, other]
        if ids and (len(together), len(ids)) > (len(best), len(best_ids)):
            best, best_ids = together, ids
    kept = {member.name for member in best}
    for member in members:
        if member.name not in kept:
            shared = len(best_ids & member.held.keys())
            left_out[member.name] = (
                f"it shares {shared} held-out clips with the others; {least} are the fewest to compare it on"
            )
    return [member for member in members if member.name in kept], tuple(sorted(best_ids))
