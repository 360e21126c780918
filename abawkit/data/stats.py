"""The paper's data tables: label means and sparsity, shift between the splits, missing modalities, clip lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from abawkit.challenge import EMI
from abawkit.data.clips import ClipCheck, check_clip, in_threads
from abawkit.data.labels import LabelTable, load_official
from abawkit.data.layout import KINDS, ChallengeFolder, Kind
from abawkit.fileio import json_ready
from abawkit.metrics import pearson
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace

Array = NDArray[np.float64]

#: The paper counts about so many frames per second (12,500 frames for its longest clip of 1,249.9 s).
FRAMES_PER_SECOND = 10.0

#: The paper's long clips: more frames than this (Sec. 3.3).
LONG_FRAMES = 120


def _by_target(*values: float | str) -> dict[str, float | str]:
    return dict(zip(EMI.targets, values, strict=True))


#: What the paper reports for the official EMI data.
PAPER: Mapping[str, Any] = {
    "source": "Tables 1 and 2, Secs. 3.1 and 3.3",
    "train": {
        "clips": 8072,
        "mean": _by_target(0.1785, 0.1253, 0.0967, 0.0214, 0.1420, 0.1157),
        "zero_percent": _by_target(55.3, 63.6, 67.5, 89.9, 61.8, 67.5),
        "frames": {"median": 65, "min": 1, "max": 2255},
        "missing_percent": {"text": 5.67, "audio": 0.0, "faces": 0.0},
    },
    "valid": {
        "clips": 4588,
        "mean": _by_target(0.1594, 0.1303, 0.0668, 0.0134, 0.1294, 0.0994),
        "zero_percent": _by_target(60.0, 63.6, 74.9, 92.2, 64.8, 72.3),
        "frames": {"median": 66, "min": 1, "max": 12500},
        "missing_percent": {"text": 6.34, "audio": 0.0, "faces": 0.0},
    },
    "over_120_frames_percent": "6.2 to 6.5",
    "ks": _by_target(0.047, 0.016, 0.075, 0.022, 0.029, 0.048),
    "ks_p": _by_target("<.001", ".457", "<.001", ".108", ".013", "<.001"),
}


@dataclass(frozen=True)
class Summary:
    """Mean, population standard deviation, least, median and greatest of some numbers."""

    mean: float
    std: float
    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Array) -> Summary:
        """Returns the summary of ``values [N]``, N at least 1."""
        return cls(
            float(values.mean()),
            float(values.std()),
            float(values.min()),
            float(np.median(values)),
            float(values.max()),
        )


@dataclass(frozen=True)
class Lengths:
    """How long the clips of a split are, by the headers of their videos.

    Attributes:
        known: Clips whose header has a duration.
        unknown: The others: no video, unreadable, or no duration in the header.
        total_seconds: Sum of the known durations (s).
        seconds: Durations (s).
        frames: Frames as the paper counts them (see :func:`paper_frames`).
        long_percent: Share of the known clips with more than 120 such frames, in percent.
    """

    known: int
    unknown: int
    total_seconds: float
    seconds: Summary
    frames: Summary
    long_percent: float


@dataclass(frozen=True)
class SplitStats:
    """The figures of one split; those of the labels are None for the test split.

    Attributes:
        clips: Number of clips.
        mean: Label mean per target, float64 [E].
        std: Population standard deviation per target, float64 [E].
        zero_percent: Share of clips whose label is exactly 0, in percent, float64 [E].
        correlation: Pearson r between targets, float64 [E, E]; nan where a target is constant.
        missing: Kind of file → number of clips without it (or with an empty one).
        lengths: None where no duration is known.
    """

    clips: int
    mean: Array | None
    std: Array | None
    zero_percent: Array | None
    correlation: Array | None
    missing: dict[Kind, int]
    lengths: Lengths | None


@dataclass(frozen=True)
class Stats:
    """The figures of the official data.

    Attributes:
        targets: Target names.
        splits: ``train``, ``valid`` and, where there are test clips, ``test``.
        ks: Two-sample Kolmogorov-Smirnov statistic between train and valid per target, float64 [E].
        ks_p: Its p-value, float64 [E].
        correlation: Pearson r between targets over train and valid together, float64 [E, E].
        paper: The paper's figures (:data:`PAPER`) when these are the official data, else None.
    """

    targets: tuple[str, ...]
    splits: dict[str, SplitStats]
    ks: Array
    ks_p: Array
    correlation: Array
    paper: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Returns the figures with target names as keys; what is undefined is None."""
        record: dict[str, Any] = {
            "splits": {name: self._split_json(split) for name, split in self.splits.items()},
            "ks": self._named(self.ks),
            "ks_p": self._named(self.ks_p),
            "correlation": self._matrix(self.correlation),
            "paper": None if self.paper is None else dict(self.paper),
        }
        ready: dict[str, Any] = json_ready(record)
        return ready

    def _split_json(self, split: SplitStats) -> dict[str, Any]:
        record: dict[str, Any] = {"clips": split.clips}
        for key in ("mean", "std", "zero_percent"):
            values = getattr(split, key)
            record[key] = None if values is None else self._named(values)
        record["correlation"] = None if split.correlation is None else self._matrix(split.correlation)
        record["missing"] = {
            kind: {"clips": count, "percent": 100 * count / split.clips if split.clips else math.nan}
            for kind, count in split.missing.items()
        }
        lengths = split.lengths
        record["lengths"] = (
            None
            if lengths is None
            else vars(lengths)
            | {
                "seconds": vars(lengths.seconds),
                "frames": vars(lengths.frames),
            }
        )
        return record

    def _named(self, values: Array) -> dict[str, float]:
        return dict(zip(self.targets, values.tolist(), strict=True))

    def _matrix(self, values: Array) -> dict[str, dict[str, float]]:
        return {target: self._named(row) for target, row in zip(self.targets, values, strict=True)}


def stats(
    workspace: Workspace, *, media: bool = True, workers: int | None = None, progress: Progress = SILENT
) -> Stats:
    """Returns the paper's data tables (Tables 1 and 2, Secs. 3.1 to 3.3) for the workspace's challenge folder.

    Args:
        workspace: The workspace.
        media: Look at the length of every clip (headers only). False: ``lengths`` is None.
        workers: Files looked at at the same time; default: one per core, at most 8.
        progress: Shows how far it is.

    Raises:
        FindingsError: The label files have errors.
        UsageError: There is no challenge folder.
    """
    task = workspace.task
    folder = ChallengeFolder.open(workspace.data, task)
    official = load_official(folder)
    train, valid = official.train, official.valid
    splits: dict[str, tuple[Sequence[str], LabelTable | None]] = {
        "train": (train.ids, train),
        "valid": (valid.ids, valid),
    }
    if official.test_ids:
        splits["test"] = (official.test_ids, None)
    ids = [clip for members, _ in splits.values() for clip in members]
    with progress.task("reading headers", total=len(ids)) as bar:
        found = in_threads(lambda clip: check_clip(folder.clip(clip), folder.root, media=media), ids, workers, bar)
        checks = dict(zip(ids, found, strict=True))
    shifts = [ks_2samp(a, b) for a, b in zip(train.values.T, valid.values.T, strict=True)]
    known = task.name == EMI.name and task.official_size(len(train), len(valid))
    return Stats(
        targets=task.targets,
        splits={name: _split(table, [checks[clip] for clip in members]) for name, (members, table) in splits.items()},
        ks=np.array([shift.statistic for shift in shifts]),
        ks_p=np.array([shift.pvalue for shift in shifts]),
        correlation=correlation(np.concatenate([train.values, valid.values])),
        paper=PAPER if known else None,
    )


def correlation(values: Array) -> Array:
    """Returns Pearson r between the columns of ``values [N, E]``, float64 [E, E]; nan where one is constant.

    >>> correlation(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])).round(6).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    return np.stack([pearson(values, np.repeat(column[:, None], values.shape[1], axis=1)) for column in values.T])


def paper_frames(seconds: Array) -> Array:
    """Returns the number of frames as the paper counts them: one at 0, .1, .2 … s up to the end, at least 1.

    Inferred from Table 1: 12,500 frames for the clip of 1,249.9 s, 1 for the one of .064 s.

    >>> paper_frames(np.array([0.064, 6.5, 1249.95])).tolist()
    [1.0, 65.0, 12500.0]
    """
    return np.maximum(np.ceil(np.round(seconds * FRAMES_PER_SECOND, 6)), 1.0)


def _split(table: LabelTable | None, checks: list[ClipCheck]) -> SplitStats:
    labels = None if table is None else table.values
    return SplitStats(
        clips=len(checks),
        mean=None if labels is None else labels.mean(axis=0),
        std=None if labels is None else labels.std(axis=0),
        zero_percent=None if labels is None else 100 * (labels == 0).mean(axis=0),
        correlation=None if labels is None else correlation(labels),
        missing={kind: sum(kind not in check.present for check in checks) for kind in KINDS},
        lengths=_lengths(checks),
    )


def _lengths(checks: list[ClipCheck]) -> Lengths | None:
    seconds = np.array([check.seconds for check in checks if check.seconds is not None], dtype=np.float64)
    if not len(seconds):
        return None
    frames = paper_frames(seconds)
    return Lengths(
        known=len(seconds),
        unknown=len(checks) - len(seconds),
        total_seconds=float(seconds.sum()),
        seconds=Summary.of(seconds),
        frames=Summary.of(frames),
        long_percent=100 * float((frames > LONG_FRAMES).mean()),
    )
