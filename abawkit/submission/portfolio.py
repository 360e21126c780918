"""``abawkit submit --portfolio``: which few entries have the highest expected best score.

Only the best of a team's entries counts, so an entry is worth what it may add to the others: much when it is good and
makes other errors than they do, little when it predicts the same. :func:`draw_scores` draws what the candidates may
score on the test clips, and :func:`propose` chooses by these draws.

To choose among many by their scores flatters what is chosen: the expected best shows which entries complement one
another, not what the leaderboard score will be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.evaluation.bootstrap import Interval
from abawkit.evaluation.combine import correlations
from abawkit.evaluation.paired import short
from abawkit.fileio import digest_file
from abawkit.metrics import pearson
from abawkit.runs.run import Ensemble, Run, list_runs
from abawkit.submission.candidates import Candidate, Candidates, LeftOut, find_candidates
from abawkit.submission.coverage import predicting
from abawkit.submission.ledger import count_sent, read_ledger
from abawkit.submission.unusual import NEARLY_THE_SAME, earlier_files, read_values
from abawkit.workspace import Workspace

Array = NDArray[np.float64]

_PAIRS = 10_000


@dataclass(frozen=True)
class Proposal:
    """One proposed entry.

    Attributes:
        name: The run, or system and split where seeds are averaged.
        runs: Names of its runs.
        score: Its score on the shared held-out clips and the interval; of refits their parents'.
        parents: Of refits, whose score that is; else none.
        gain: By how much it raises the expected best score of the entries before it; of the first, the score itself.
        correlations: With each entry before it: mean Pearson r of the predictions of the test clips.
        reason: Why it is proposed.
        commands: What writes it.
    """

    name: str
    runs: tuple[str, ...]
    score: Interval
    parents: tuple[str, ...]
    gain: float
    correlations: tuple[float, ...]
    reason: str
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes; the score is ``value``, ``bca``, ``percentile``, ``partial`` and ``undefined``."""
        return {
            "name": self.name,
            "runs": list(self.runs),
            "score": self.score.to_json(),
            "parents": list(self.parents),
            "gain": self.gain,
            "correlations": list(self.correlations),
            "reason": self.reason,
            "commands": list(self.commands),
        }


@dataclass(frozen=True)
class Portfolio:
    """The proposed entries.

    Attributes:
        proposals: In the order in which they were chosen.
        wanted: How many were asked for.
        clips: Number of held-out clips that the scores are of.
        resampling: What the errors were resampled by, in words.
        expected: Expected best score of all proposals.
        left_out: What was not proposed, and why.
        more: What would add candidates, one sentence each; empty where there are enough.
        sent: How many entries were sent already, and how many may be.
    """

    proposals: tuple[Proposal, ...]
    wanted: int
    clips: int
    resampling: str
    expected: float
    left_out: dict[str, str]
    more: tuple[str, ...]
    sent: tuple[int, int | None]

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {
            "wanted": self.wanted,
            "proposals": [proposal.to_json() for proposal in self.proposals],
            "n": self.clips,
            "resampled": self.resampling,
            "expected_best": self.expected,
            "left_out": self.left_out,
            "more": list(self.more),
            "entries": {"sent": self.sent[0], "allowed": self.sent[1]},
        }


def propose(workspace: Workspace, count: int = 5) -> Portfolio:
    """Returns ``count`` different entries, or as many as there are; nothing is written.

    The candidate with the highest score comes first. Then, one by one, the candidate that raises the expected maximum
    of those chosen so far most, over the draws of :func:`draw_scores`; on equal terms a refit comes before others,
    because it was trained on more clips. A candidate whose test predictions correlate with those of an entry chosen
    before, or of a submission that was sent, by :data:`NEARLY_THE_SAME` or more is left out.

    Args:
        workspace: The workspace.
        count: How many; at least 1.

    Raises:
        UsageError: There are no test clips, or nothing that could be submitted.
        AbawkitError: A file is damaged, or runs do not agree on the labels.
    """
    candidates = find_candidates(workspace)
    found = candidates.found
    similar = correlations(np.stack([one.test for one in found]))
    unsent, sent_already = _not_sent(workspace, candidates)
    scores = np.array([one.score.value for one in found])
    resampled, agrees = np.stack([one.resampled for one in found], axis=1), np.array([one.agrees for one in found])
    draws = draw_scores(scores, resampled, agrees, len(candidates.ids) / len(candidates.test_ids))
    chosen, passed_over = _choose(found, unsent, draws, similar, count)
    picks = [one.index for one in chosen]
    return Portfolio(
        tuple(
            _proposal(workspace, found[one.index], picks[:place], one.gain, similar[one.index])
            for place, one in enumerate(chosen)
        ),
        count,
        len(candidates.ids),
        candidates.resampling.words,
        float(draws[:, picks].max(axis=1).mean()) if picks else float("nan"),
        candidates.left_out | sent_already | passed_over,
        _more(found) if len(chosen) < count else (),
        count_sent(workspace),
    )


@dataclass(frozen=True)
class _Choice:
    """A chosen candidate, and by how much it raises the expected best score; of the first, its own score."""

    index: int
    gain: float


def _choose(
    found: Sequence[Candidate], unsent: Sequence[int], draws: Array, similar: Array, count: int
) -> tuple[list[_Choice], LeftOut]:
    """Returns the chosen candidates in their order, and why each other one of ``unsent`` is not among them.

    Args:
        found: The C candidates.
        unsent: Those that may be chosen.
        draws: Drawn test scores, ``[R, C]``.
        similar: Correlations of their test predictions, ``[C, C]``.
        count: How many are wanted.
    """
    left_out: LeftOut = {}
    chosen: list[_Choice] = []
    left = list(unsent)
    best = np.full(len(draws), -np.inf)  # of the chosen ones in each draw, [R]
    while left and len(chosen) < count:
        if chosen:
            gains = {index: float((np.maximum(best, draws[:, index]) - best).mean()) for index in left}
        else:
            gains = {index: found[index].score.value for index in left}
        pick = min(left, key=lambda index: (-gains[index], not found[index].parents, found[index].name))
        chosen.append(_Choice(pick, gains[pick]))
        best = np.maximum(best, draws[:, pick])
        same = [index for index in left if index != pick and similar[index, pick] >= NEARLY_THE_SAME]
        for index in same:
            r = short(similar[index, pick], 3)
            left_out[found[index].name] = f"it is nearly the same as {found[pick].name} (r {r} on the test clips)"
        left = [index for index in left if index != pick and index not in same]
    return chosen, left_out | {
        found[index].name: f"{count} others raise the expected best score more" for index in left
    }


def draw_scores(scores: Array, resampled: Array, agrees: Array, share: float, *, seed: int = 0) -> Array:
    """Returns drawn test scores ``[2 · 10,000, C]``: normal about the scores, every draw with its opposite.

    The scores s are of n held-out clips, and V is the covariance of their errors over the bootstrap resamples of these
    clips. On N test clips a score is taken to be normal with mean s and covariance V (1 + n / N): V for what is not
    known of the true score, and V n / N for what chance does on the test clips.

    A refit has no score of its own. It takes its parent's, and its error is r times its parent's error plus √(1 - r²)
    times an independent one of the same size, where r is the correlation of both predictions of the test clips. That it
    was trained on more clips is not counted.

    Args:
        scores: ``[C]``.
        resampled: Scores of the same bootstrap resamples ``[R, C]``, whose covariance is that of the errors; resamples
            in which one is not defined are left out.
        agrees: ``[C]``: how far the error is the resampled one, in [-1, 1]; the rest is independent, of the same size.
        share: Clips that the scores come from, per test clip.
        seed: Seed of the draws.

    >>> resampled = np.random.default_rng(1).normal(0, 0.01, (2000, 2))
    >>> draws = draw_scores(np.array([0.5, 0.5]), resampled, np.array([1.0, 1.0]), share=1.0)
    >>> draws.shape, draws.mean(axis=0).round(6).tolist()
    ((20000, 2), [0.5, 0.5])
    >>> round(float(draws.max(axis=1).mean()), 3)  # .5 + .01 · √2 / √π
    0.508
    """
    kept, count = resampled[np.isfinite(resampled).all(axis=1)], len(scores)
    spread = np.cov(kept, rowvar=False).reshape(count, count) if len(kept) > 1 else np.zeros((count, count))
    values, vectors = np.linalg.eigh(spread * (1 + share))
    root = vectors * np.sqrt(np.maximum(values, 0))
    # ``root`` turns independent normal values into errors with the covariance V (1 + n / N); the norm of its row is one
    # candidate's standard error.
    common, independent = np.random.default_rng(seed).standard_normal((2, _PAIRS, count))
    r = np.clip(agrees, -1, 1)
    errors = r * (common @ root.T) + np.sqrt(1 - r * r) * np.linalg.norm(root, axis=1) * independent
    return np.asarray(scores + np.concatenate([errors, -errors]))


def _not_sent(workspace: Workspace, candidates: Candidates) -> tuple[list[int], LeftOut]:
    """Returns which candidates differ from every submission that was sent, and what the others are like."""
    sent = {entry.sha256 for entry in read_ledger(workspace) if entry.sent}
    kept = dict(enumerate(candidates.found))
    left_out: LeftOut = {}
    for path in earlier_files(workspace) if sent else ():
        if digest_file(path) not in sent:
            continue
        ids, values = read_values(path, workspace.task)
        place = {clip: index for index, clip in enumerate(ids)}
        rows = [row for row, clip in enumerate(candidates.test_ids) if clip in place]
        other = values[[place[candidates.test_ids[row]] for row in rows]]
        for index, one in list(kept.items()):
            r = float(np.mean(pearson(one.test[rows], other))) if len(rows) > 1 else 0.0
            if r >= NEARLY_THE_SAME:
                left_out[one.name] = f"it is nearly the same as {path.name}, which was sent (r {short(r, 3)})"
                del kept[index]
    return list(kept), left_out


def _proposal(workspace: Workspace, one: Candidate, before: Sequence[int], gain: float, similar: Array) -> Proposal:
    run, seeds = one.runs[0], len(one.runs)
    if one.parents:
        takes = "it takes that of" if seeds == 1 else "their mean takes that of"
        many = "a refit" if seeds == 1 else f"{seeds} refits"
        what = f"{many} on all labelled clips, without a score of its own: {takes} {', '.join(one.parents)}"
    elif isinstance(run, Ensemble):
        what = f"an ensemble of {len(run.record.members)} runs by {run.metrics.method}, its score cross-fitted"
    elif run.record.kind == "import":
        what = "an imported run"
    else:
        what = f"the mean of {seeds} seeds" if seeds > 1 else "a single run"
    if not before:
        why = "the highest score"
    else:
        nearest = max(before, key=lambda index: similar[index])
        place = list(before).index(nearest) + 1
        adds = f"adds {short(gain)}" if gain >= 0.00005 else "adds hardly anything"
        why = f"{adds} to the expected best; r {short(similar[nearest], 3)} with entry {place}, the nearest"
    with_others = tuple(float(similar[index]) for index in before)
    names = tuple(each.name for each in one.runs)
    return Proposal(
        one.name, names, one.score, one.parents, gain, with_others, f"{what}; {why}", _commands(workspace, one)
    )


def _commands(workspace: Workspace, one: Candidate) -> tuple[str, ...]:
    if len(one.runs) == 1:
        return (_submit(one.runs[0]),)
    names = sorted(run.name for run in one.runs)
    for run in list_runs(workspace):
        if isinstance(run, Ensemble) and sorted(predicting(run)) == names and len(run.record.averaged) == 1:
            return (_submit(run),)
    file = f"submissions/{one.name.replace(' ', '-')}{'' if one.parents else f'-{len(names)}seeds'}.csv"
    return f"abawkit ensemble {' '.join(names)} --method mean", f"abawkit submit --out {file}"


def _submit(run: Run) -> str:
    option = "--ensemble" if isinstance(run, Ensemble) else "--run"
    return f"abawkit submit {option} {run.name} --out submissions/{run.name}.csv"


def _more(found: Sequence[Candidate]) -> tuple[str, ...]:
    hints = ["another system differs more than another seed does: abawkit systems list"]
    trained = [one for one in found if one.runs[0].record.kind == "run"]
    own = [one for one in trained if not one.parents]
    if own and len(own) == len(trained):
        best = max(own, key=lambda one: one.score.value).runs[0].name
        hints.append(f"a refit on all labelled clips: abawkit train --refit {best}")
    if len(own) > 1 and not any(isinstance(one.runs[0], Ensemble) for one in found):
        hints.append("an ensemble: abawkit ensemble")
    return tuple(hints)
