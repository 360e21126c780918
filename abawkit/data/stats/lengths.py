"""How long the clips are, in seconds, in frames as the paper counts them, and in face crops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.data.checks.clip_files import presence
from abawkit.errors import AbawkitError
from abawkit.layout.folder import Clip, Kind, is_face_name, is_file, scan, split_name
from abawkit.media.timestamps import duration

Array = NDArray[np.float64]

#: The paper counts about so many frames per second (12,500 frames for its longest clip of 1,249.9 s).
FRAMES_PER_SECOND = 10.0

#: The paper's long clips: more frames than this (Sec. 3.3).
LONG_FRAMES = 120


@dataclass(frozen=True)
class Measured:
    """What one clip has and how long it is.

    Attributes:
        present: Which files it has (see :func:`abawkit.data.checks.clip_files.presence`).
        seconds: Duration of its video (s); None where that is not known.
        reason: Why the duration is not known, or not by the timestamps; None: it is by the timestamps.
        crops: Number of its face crops; None: it has none.
    """

    present: frozenset[Kind]
    seconds: float | None
    reason: str | None
    crops: int | None


def measure(clip: Clip, root: Path, *, media: bool = True) -> Measured:
    """Returns what the clip has and how long it is: names are listed, the packets of its video are read.

    Args:
        clip: The clip. Its files that are links out of the challenge folder count as not there.
        root: The challenge folder.
        media: Open the video. False: its duration is not known.

    No picture is decoded and no face crop opened. A video that cannot be read has no duration, and a reason.
    """
    present = presence(clip, root)
    crops = None
    if "faces" in present and clip.faces is not None:
        crops = sum(is_face_name(*split_name(entry.name)) and is_file(entry) for entry in scan(clip.faces))
    if "video" not in present or clip.video is None:
        return Measured(present, None, "the video is missing or empty", crops)
    if not media:
        return Measured(present, None, "videos were not opened", crops)
    try:
        found = duration(clip.video)
    except AbawkitError as error:
        return Measured(present, None, f"the video {error.message}", crops)
    return Measured(present, found.seconds, found.reason, crops)


def paper_frames(seconds: Array) -> Array:
    """Returns the number of frames as the paper counts them: one at 0, .1, .2 … s up to the end, at least 1.

    Inferred from Table 1: 12,500 frames for the clip of 1,249.9 s, 1 for the one of .064 s.

    >>> paper_frames(np.array([0.064, 6.5, 1249.95])).tolist()
    [1.0, 65.0, 12500.0]
    """
    return np.maximum(np.ceil(np.round(seconds * FRAMES_PER_SECOND, 6)), 1.0)


@dataclass(frozen=True)
class Summary:
    """Mean, population standard deviation, least, median, 95th percentile and greatest of some numbers."""

    mean: float
    std: float
    min: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Array) -> Summary:
        """Returns the summary of ``values [N]``, N at least 1.

        >>> Summary.of(np.array([1.0, 2.0, 6.0])).median
        2.0
        """
        low, median, p95, high = np.quantile(values, (0.0, 0.5, 0.95, 1.0)).tolist()
        return cls(float(values.mean()), float(values.std()), low, median, p95, high)


@dataclass(frozen=True, eq=False)
class Lengths:
    """How long the clips of a split are, by the timestamps of their videos.

    Attributes:
        values: The known durations (s), float64 [K], K at least 1, in the order of the clips.
        unknown: Number of clips without a known duration.
    """

    values: Array
    unknown: int

    @cached_property
    def seconds(self) -> Summary:
        """Durations (s)."""
        return Summary.of(self.values)

    @cached_property
    def frames(self) -> Summary:
        """Frames as the paper counts them (see :func:`paper_frames`)."""
        return Summary.of(paper_frames(self.values))

    @property
    def hours(self) -> float:
        """Sum of all known durations (hours)."""
        return float(self.values.sum()) / 3600

    @property
    def long_percent(self) -> float:
        """Share of the known clips with more than 120 frames as the paper counts them, in percent."""
        return 100 * float((paper_frames(self.values) > LONG_FRAMES).mean())

    def to_json(self) -> dict[str, Any]:
        """Returns the figures without the single durations."""
        return {
            "known": len(self.values),
            "unknown": self.unknown,
            "total_seconds": float(self.values.sum()),
            "total_hours": self.hours,
            "seconds": vars(self.seconds),
            "frames": vars(self.frames),
            "long_percent": self.long_percent,
        }


@dataclass(frozen=True)
class Crops:
    """How many face crops the clips have that have any.

    Attributes:
        clips: Number of such clips.
        count: Crops per clip.
        per_second: Crops per second of video, over the clips whose duration is known; None: there are none.
    """

    clips: int
    count: Summary
    per_second: Summary | None

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as a JSON object."""
        rate = None if self.per_second is None else vars(self.per_second)
        return {"clips": self.clips, "count": vars(self.count), "per_second": rate}


def lengths(clips: Sequence[Measured]) -> Lengths | None:
    """Returns how long the clips are; None where no duration is known."""
    values = np.array([clip.seconds for clip in clips if clip.seconds is not None], dtype=np.float64)
    if not len(values):
        return None
    return Lengths(values, len(clips) - len(values))


def reasons(clips: Sequence[Measured]) -> dict[str, int]:
    """Returns why durations are not known, or not by the timestamps → number of clips, the most frequent first."""
    return dict(Counter(clip.reason for clip in clips if clip.reason is not None).most_common())


def crops(clips: Sequence[Measured]) -> Crops | None:
    """Returns how many face crops the clips have; None where no clip has any."""
    counts = np.array([clip.crops for clip in clips if clip.crops], dtype=np.float64)
    if not len(counts):
        return None
    rates = np.array([clip.crops / clip.seconds for clip in clips if clip.crops and clip.seconds], dtype=np.float64)
    return Crops(len(counts), Summary.of(counts), Summary.of(rates) if len(rates) else None)
