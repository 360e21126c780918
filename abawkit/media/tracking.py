"""Following one face through a video: which of the faces found in each frame belong to the same person."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

#: Two boxes in neighbouring frames are the same face when they overlap by so much (intersection over union).
SAME_FACE = 0.3

#: A face that comes back is the same person when its box is at most so many times larger or smaller, and its centre at
#: most so many sides away: two people are farther apart.
SAME_SIZE, SAME_PLACE = 1.5, 0.7

#: Width of the triangular window that smooths the square, before and after each frame (s).
SMOOTHING_SECONDS = 0.5

#: A track is a false alarm when it lasts for less than so many seconds, or is seen in less than this share of its own
#: frames; unless the whole clip is as short, or has fewer than so many frames.
LEAST_SECONDS, LEAST_SHARE, FEW_FRAMES = 0.15, 0.5, 4

_Track = list[tuple[int, NDArray[np.float32]]]


def follow(
    times: NDArray[np.float32], found: Sequence[NDArray[np.float32]], size: tuple[int, int], *, gap: float
) -> NDArray[np.float32]:
    """Returns the square around one person's face in every frame: centre x, centre y, side; ``float32 [T, 3]``, pixels.

    Args:
        times: Seconds of each frame, ``float32 [T]``, never decreasing.
        found: The faces in each frame, ``float32 [F, 5]``: left, top, width, height, score.
        size: Height and width of the frames.
        gap: Where the face is not found for at most so many seconds, the square moves evenly between the two
            neighbours; before the first and after the last one, and in longer gaps, there is no face: NaN.

    Boxes that overlap from frame to frame form tracks; a track that begins or ends near another one, at about the same
    size and never at the same time, is the same person after a pause. The person is the one whose boxes are largest,
    most central, surest and most in number (sum of score · size · centrality). The square's centre and side are
    smoothed over :data:`SMOOTHING_SECONDS`. A face that is seen for a moment only, or now and then, is taken for a
    false alarm.

    >>> face = np.float32([[10, 10, 20, 24, 1]])
    >>> none = np.zeros((0, 5), np.float32)
    >>> follow(np.arange(4, dtype=np.float32), [face, none, face, none], (60, 80), gap=2.0).tolist()
    [[20.0, 22.0, 24.0], [20.0, 22.0, 24.0], [20.0, 22.0, 24.0], [nan, nan, nan]]
    """
    squares = np.full((len(found), 3), np.nan, np.float32)
    tracks = _linked(times, found, gap)
    if len(found) >= FEW_FRAMES and times[-1] - times[0] >= LEAST_SECONDS:
        tracks = [track for track in tracks if _is_steady(track, times)]
    if not tracks:
        return squares
    person = max(_people(tracks, size), key=lambda track: _weight(track, size))
    frames = np.array([frame for frame, _ in person])
    boxes = np.stack([box for _, box in person])
    smooth = _smoothed(times[frames], np.hstack([_centre(boxes), boxes[:, 2:4].max(axis=1, keepdims=True)]))
    there = np.zeros(len(found), bool)
    there[frames] = True
    for before, after in pairwise(frames):
        there[before:after] |= times[after] - times[before] <= gap
    for column in range(3):
        squares[there, column] = np.interp(np.flatnonzero(there), frames, smooth[:, column])
    return squares


def _linked(times: NDArray[np.float32], found: Sequence[NDArray[np.float32]], gap: float) -> list[_Track]:
    """Returns the boxes as tracks, each a list of (frame, box): the best overlaps first, each box in one track."""
    tracks: list[_Track] = []
    alive: list[_Track] = []
    for frame, faces in enumerate(found):
        alive = [t for t in alive if t[-1][0] == frame - 1 or times[frame] - times[t[-1][0]] <= gap]
        pairs = [(overlap(track[-1][1], face), t, f) for t, track in enumerate(alive) for f, face in enumerate(faces)]
        linked: dict[int, int] = {}
        for share, t, f in sorted(pairs, key=lambda pair: -pair[0]):
            if share >= SAME_FACE and f not in linked and t not in linked.values():
                linked[f] = t
        new: list[_Track] = [[(frame, face)] for f, face in enumerate(faces) if f not in linked]
        for f, t in linked.items():
            alive[t].append((frame, faces[f]))
        tracks += new
        alive += new
    return tracks


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Returns the area that two boxes (left, top, width, height) share over the area that they cover, in [0, 1].

    >>> overlap(np.float32([0, 0, 2, 2]), np.float32([1, 0, 2, 2]))
    0.3333333333333333
    """
    one, two = a.astype(np.float64), b.astype(np.float64)
    shared = np.minimum(one[:2] + one[2:4], two[:2] + two[2:4]) - np.maximum(one[:2], two[:2])
    both = float(np.prod(np.maximum(0, shared)))
    covered = float(np.prod(one[2:4]) + np.prod(two[2:4])) - both
    return min(1.0, both / covered) if covered > 0 else 0.0


def _is_steady(track: _Track, times: NDArray[np.float32]) -> bool:
    first, last = track[0][0], track[-1][0]
    return bool(times[last] - times[first] >= LEAST_SECONDS) and len(track) >= LEAST_SHARE * (last - first + 1)


def _weight(track: _Track, size: tuple[int, int]) -> float:
    boxes = np.stack([box for _, box in track]).astype(np.float64)
    middle = np.array(size[::-1]) / 2
    off = np.linalg.norm(_centre(boxes) - middle, axis=1) / np.linalg.norm(middle)
    return float((boxes[:, 4] * np.sqrt(boxes[:, 2] * boxes[:, 3]) * (1 - off / 2)).sum())


def _people(tracks: Sequence[_Track], size: tuple[int, int]) -> list[_Track]:
    """Returns the tracks with those joined that are one person: the weightiest first, and to it the next ones."""
    left = sorted(tracks, key=lambda track: _weight(track, size), reverse=True)
    people = []
    while left:
        parts, others = left[:1], left[:0]
        for track in left[1:]:
            (parts if _continues(track, parts) else others).append(track)
        people.append(sorted((one for part in parts for one in part), key=lambda one: one[0]))
        left = others
    return people


def _continues(track: _Track, parts: Sequence[_Track]) -> bool:
    """Whether a track is the same person before, after or between the parts of another."""
    start, end = track[0][0], track[-1][0]
    if any(start <= part[-1][0] and part[0][0] <= end for part in parts):
        return False
    before = max((part[-1] for part in parts if part[-1][0] < start), key=lambda one: one[0], default=None)
    after = min((part[0] for part in parts if part[0][0] > end), key=lambda one: one[0], default=None)
    return (before is not None and _near(before[1], track[0][1])) or (
        after is not None and _near(track[-1][1], after[1])
    )


def _near(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    sides = float(a[2:4].max()), float(b[2:4].max())
    apart = float(np.linalg.norm(_centre(a[None]) - _centre(b[None])))
    return max(sides) <= SAME_SIZE * min(sides) and apart <= SAME_PLACE * sum(sides) / 2


def _centre(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    return boxes[:, :2] + boxes[:, 2:4] / 2


def _smoothed(times: NDArray[np.float32], values: NDArray[np.floating]) -> NDArray[np.floating]:
    smooth = np.empty_like(values)
    starts = np.searchsorted(times, times - SMOOTHING_SECONDS)
    stops = np.searchsorted(times, times + SMOOTHING_SECONDS, side="right")
    for place, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        weights = np.maximum(1 - np.abs(times[start:stop] - times[place]) / SMOOTHING_SECONDS, 0)
        smooth[place] = weights @ values[start:stop] / weights.sum()
    return smooth
