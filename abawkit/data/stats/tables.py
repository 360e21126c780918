"""The paper's data tables: lengths, labels and their sparsity, shift between the splits, missing modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import EMI, Task
from abawkit.data.labels import load_official
from abawkit.data.raters import Raters, implied_raters
from abawkit.data.stats.lengths import Crops, Lengths, Measured, crops, lengths, measure, reasons
from abawkit.data.stats.published import NOTES, PAPER, beside
from abawkit.data.stats.shift import Shift, shifts, verdict
from abawkit.data.votes import tolerance
from abawkit.fileio import json_ready
from abawkit.layout.folder import KINDS, ChallengeFolder, Kind
from abawkit.metrics import pearson
from abawkit.progress import SILENT, Progress
from abawkit.workers import in_processes
from abawkit.workspace import Workspace

Array = NDArray[np.float64]

#: The name of both labelled splits combined.
BOTH = "train+valid"


@dataclass(frozen=True, eq=False)
class LabelStats:
    """The labels of a split.

    Attributes:
        values: float64 [N, E], N at least 1.
        mean: Mean per target, float64 [E].
        std: Population standard deviation per target, float64 [E].
        zero_percent: Share of clips whose label is exactly 0, in percent, float64 [E].
        cooccurrence_percent: Share of clips in which both targets are above 0, in percent, float64 [E, E]; on the
            diagonal the share in which that one is.
        correlation: Pearson r between targets, float64 [E, E]; nan where a target is constant.
        row_sum_mean: Mean over the clips of the sum of a clip's labels.
        row_sum_max: The largest sum.
        row_sum_above_one_percent: Share of clips whose labels sum to more than 1 (beyond rounding), in percent.
        raters: How many raters the labels imply; None for a task whose labels are not votes.
    """

    values: Array
    mean: Array
    std: Array
    zero_percent: Array
    cooccurrence_percent: Array
    correlation: Array
    row_sum_mean: float
    row_sum_max: float
    row_sum_above_one_percent: float
    raters: Raters | None


@dataclass(frozen=True, eq=False)
class SplitStats:
    """The figures of one split.

    Attributes:
        clips: Number of clips.
        labels: None for the test split.
        missing: Kind of file → number of clips without it (or with an empty one).
        lengths: None where no duration is known.
        reasons: Why durations are not known, or not by the timestamps → number of clips.
        crops: None where no clip has face crops.
    """

    clips: int
    labels: LabelStats | None
    missing: dict[Kind, int]
    lengths: Lengths | None
    reasons: dict[str, int]
    crops: Crops | None

    def missing_words(self, kind: Kind) -> str:
        """Returns how many clips are without it, in words for a table: a count, ``0`` or ``none there``."""
        count = self.missing[kind]
        if count == self.clips:
            return "none there"
        return f"{count:,} ({100 * count / self.clips:.1f} %)" if count else "0"


@dataclass(frozen=True, eq=False)
class Stats:
    """The figures of the official data.

    Attributes:
        task: What the challenge is.
        splits: ``train``, ``valid``, both combined (``train+valid``) and, where there are test clips, ``test``.
        shift: How each target's labels differ between train and valid.
        verdict: What that means, in whole sentences.
        official: Whether the data have the official counts, so that the paper's figures stand beside them.
    """

    task: Task
    splits: dict[str, SplitStats]
    shift: tuple[Shift, ...]
    verdict: tuple[str, ...]
    official: bool

    @property
    def targets(self) -> tuple[str, ...]:
        """Target names in the official order."""
        return self.task.targets

    def labels(self, split: str) -> LabelStats:
        """Returns the labels of ``train``, ``valid`` or ``train+valid``."""
        found = self.splits[split].labels
        assert found is not None, split
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns the figures with target names as keys; what is undefined is None.

        ``paper`` has the published figures under the same keys, ``difference`` those of these data minus those of the
        paper; both are None where the data have not the official counts.
        """
        record: dict[str, Any] = {
            "splits": {name: self._split(split) for name, split in self.splits.items()},
            "ks": {shift.target: shift.ks for shift in self.shift},
            "ks_p": {shift.target: shift.p for shift in self.shift},
            "correlation": self._matrix(self.labels(BOTH).correlation),
            "shift": {shift.target: shift.to_json() for shift in self.shift},
            "verdict": list(self.verdict),
        }
        ready: dict[str, Any] = json_ready(record)
        ready["paper"] = json_ready({**PAPER, "notes": NOTES}) if self.official else None
        ready["difference"] = beside(ready, PAPER) if self.official else None
        return ready

    def _split(self, split: SplitStats) -> dict[str, Any]:
        labels = split.labels
        return {
            "clips": split.clips,
            **(dict.fromkeys(_LABEL_KEYS) if labels is None else self._labels(labels)),
            "missing": {
                kind: {
                    "clips": count,
                    "percent": 100 * count / split.clips,
                    "state": "none there" if count == split.clips else "some missing" if count else "complete",
                }
                for kind, count in split.missing.items()
            },
            "lengths": None if split.lengths is None else split.lengths.to_json(),
            "length_reasons": split.reasons,
            "crops": None if split.crops is None else split.crops.to_json(),
        }

    def _labels(self, labels: LabelStats) -> dict[str, Any]:
        row_sum = {
            "mean": labels.row_sum_mean,
            "max": labels.row_sum_max,
            "above_one_percent": labels.row_sum_above_one_percent,
        }
        raters = None if labels.raters is None else labels.raters.to_json()
        figures = (
            *(self._named(values) for values in (labels.mean, labels.std, labels.zero_percent)),
            *(self._matrix(values) for values in (labels.cooccurrence_percent, labels.correlation)),
        )
        return dict(zip(_LABEL_KEYS, (*figures, row_sum, raters), strict=True))

    def _named(self, values: Array) -> dict[str, float]:
        return dict(zip(self.targets, values.tolist(), strict=True))

    def _matrix(self, values: Array) -> dict[str, dict[str, float]]:
        return {target: self._named(row) for target, row in zip(self.targets, values, strict=True)}


_LABEL_KEYS = ("mean", "std", "zero_percent", "cooccurrence_percent", "correlation", "row_sum", "raters")


def stats(
    workspace: Workspace, *, media: bool = True, workers: int | None = None, progress: Progress = SILENT
) -> Stats:
    """Returns the paper's data tables (Tables 1 and 2, Secs. 3.1 to 3.5) for the workspace's challenge folder.

    Args:
        workspace: The workspace.
        media: Read the timestamps of every video (nothing is decoded). False: ``lengths`` is None.
        workers: Processes; default: one per core, at most 8.
        progress: Shows how far it is.

    Raises:
        FindingsError: The label files have errors.
        UsageError: There is no challenge folder.
    """
    task = workspace.task
    folder = ChallengeFolder.open(workspace.data, task)
    official = load_official(folder)
    train, valid = official.train, official.valid
    members = {"train": train.ids, "valid": valid.ids, BOTH: (*train.ids, *valid.ids), "test": official.test_ids}
    labels: Mapping[str, Array] = {
        "train": train.values,
        "valid": valid.values,
        BOTH: np.concatenate([train.values, valid.values]),
    }
    ids = [*members[BOTH], *members["test"]]
    with progress.task("reading timestamps" if media else "listing files", total=len(ids)) as bar:
        look = partial(measure, root=folder.root, media=media)
        found = in_processes(look, [folder.clip(clip) for clip in ids], workers=workers, bar=bar)
        measured = dict(zip(ids, found, strict=True))
    shift = shifts(task.targets, train.values, valid.values)
    return Stats(
        task=task,
        splits={
            name: _split(task, labels.get(name), [measured[clip] for clip in clips])
            for name, clips in members.items()
            if clips
        },
        shift=shift,
        verdict=tuple(verdict(shift, (len(train), len(valid)), task.score)),
        official=task.name == EMI.name and task.official_size(len(train), len(valid)),
    )


def _split(task: Task, labels: Array | None, clips: Sequence[Measured]) -> SplitStats:
    return SplitStats(
        clips=len(clips),
        labels=None if labels is None else label_stats(labels, task.most_raters),
        missing={kind: sum(kind not in clip.present for clip in clips) for kind in KINDS},
        lengths=lengths(clips),
        reasons=reasons(clips),
        crops=crops(clips),
    )


def label_stats(values: Array, most_raters: int | None) -> LabelStats:
    """Returns the figures of the labels ``values [N, E]``, N at least 1.

    Args:
        values: The labels.
        most_raters: They are shares of the votes of at most so many raters. None: they are not votes.
    """
    above = (values > 0).astype(np.float64)
    distinct, places = np.unique(values, return_inverse=True)
    rounding = np.array([tolerance(repr(value)) for value in distinct.tolist()])[places].reshape(values.shape)
    sums = values.sum(axis=1)
    return LabelStats(
        values=values,
        mean=values.mean(axis=0),
        std=values.std(axis=0),
        zero_percent=100 * (values == 0).mean(axis=0),
        cooccurrence_percent=100 * (above.T @ above) / len(values),
        correlation=correlation(values),
        row_sum_mean=float(sums.mean()),
        row_sum_max=float(sums.max()),
        row_sum_above_one_percent=100 * float((sums > 1 + rounding.sum(axis=1)).mean()),
        raters=None if most_raters is None else implied_raters(values, rounding, most_raters),
    )


def correlation(values: Array) -> Array:
    """Returns Pearson r between the columns of ``values [N, E]``, float64 [E, E]; nan where one is constant.

    >>> correlation(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])).round(6).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    return np.stack([pearson(values, np.repeat(column[:, None], values.shape[1], axis=1)) for column in values.T])
