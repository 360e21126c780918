"""What several seeds of one system come to: a mean and its deviation, instead of a lucky run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from abawkit.runs.run import Run


@dataclass(frozen=True)
class OverSeeds:
    """The validation score of one system on one split, over its seeds.

    Attributes:
        system: The system.
        split: Name of the split.
        clips: Validation clips.
        seeds: Number of runs.
        mean: Mean of the score over the runs; nan where there is none.
        deviation: Standard deviation over the runs (n − 1); nan for a single run.
        stages: Stage → the mean of its best validation score.
    """

    system: str
    split: str
    clips: int
    seeds: int
    mean: float
    deviation: float
    stages: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return asdict(self)


def over_seeds(runs: Sequence[Run]) -> list[OverSeeds]:
    """Returns one entry per system and split, in the order of the runs; runs without a score are left out."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if "valid" in run.metrics.scores and run.record.split is not None:
            groups.setdefault((run.record.system, run.record.split), []).append(run)
    found = []
    for (system, split), members in groups.items():
        scores = [run.metrics.scores["valid"] for run in members]
        values = np.array([score.primary for score in scores])
        deviation = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        names = members[0].metrics.stages
        stages = {name: _mean([run.metrics.stages[name].best_score for run in members]) for name in names}
        found.append(OverSeeds(system, split, scores[0].n, len(members), float(values.mean()), deviation, stages))
    return found


def _mean(scores: Sequence[float | None]) -> float:
    return float(np.mean([float("nan") if score is None else score for score in scores]))
