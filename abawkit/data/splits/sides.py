"""How the two sides of a split differ: labels, shift, and whether a group is on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from abawkit.challenge import Task
from abawkit.data.splits.files import Split
from abawkit.fileio import json_ready

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """The figures of a split's training and validation side.

    Attributes:
        split: The split.
        targets: Target names.
        official: Side → how many official ``train`` and ``valid`` clips are in it.
        mean: Side → label means, float64 [E].
        zero_percent: Side → share of clips whose label is exactly 0, in percent, float64 [E].
        ks: Two-sample Kolmogorov-Smirnov statistic between the sides per target, float64 [E].
        ks_p: Its p-value (asymptotic: labels have many equal values), float64 [E].
        groups: Side → number of groups that have clips in it; empty for a split without groups.
        groups_on_both: Names of the groups with clips on both sides.
    """

    split: Split
    targets: tuple[str, ...]
    official: dict[str, dict[str, int]]
    mean: dict[str, Array]
    zero_percent: dict[str, Array]
    ks: Array
    ks_p: Array
    groups: dict[str, int]
    groups_on_both: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the split's record and the figures with target names as keys."""
        record = self.split.to_json() | {
            "sides": {
                side: {
                    "official": self.official[side],
                    "mean": self._named(self.mean[side]),
                    "zero_percent": self._named(self.zero_percent[side]),
                    "groups": self.groups.get(side),
                }
                for side in self.mean
            },
            "ks": self._named(self.ks),
            "ks_p": self._named(self.ks_p),
            "groups_on_both": None if self.split.groups is None else list(self.groups_on_both),
        }
        ready: dict[str, Any] = json_ready(record)
        return ready

    def _named(self, values: Array) -> dict[str, float]:
        return dict(zip(self.targets, values.tolist(), strict=True))


def compare_sides(split: Split, task: Task) -> Sides:
    """Returns how the two sides of the split differ."""
    tables = {"train": split.train, "valid": split.valid}
    of = {} if split.groups is None else split.groups.of
    groups = {side: {of[clip] for clip in table.ids if clip in of} for side, table in tables.items()}
    counts, moved, held_out = (split.record[key] for key in ("counts", "moved", "held_out"))
    shifts = [ks_2samp(a, b, method="asymp") for a, b in zip(split.train.values.T, split.valid.values.T, strict=True)]
    return Sides(
        split,
        task.targets,
        {
            "train": {"train": counts["train"] - moved, "valid": moved},
            "valid": {"train": held_out, "valid": counts["valid"] - held_out},
        },
        {side: table.values.mean(axis=0) for side, table in tables.items()},
        {side: 100 * (table.values == 0).mean(axis=0) for side, table in tables.items()},
        np.array([shift.statistic for shift in shifts]),
        np.array([shift.pvalue for shift in shifts]),
        {} if split.groups is None else {side: len(names) for side, names in groups.items()},
        tuple(sorted(groups["train"] & groups["valid"])),
    )
