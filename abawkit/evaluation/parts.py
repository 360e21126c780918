"""Where a run is good and where not: by clip length, by missing modality, and what each modality adds.

Everything is read from the prediction file: the number of frames, what was missing, and the predictions of each
head alone and of the fusion with one modality left out, which training wrote (:mod:`abawkit.runs.predictions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.evaluation.bootstrap import Interval, interval, resample_scores
from abawkit.evaluation.calibration import quantile_bins

Array = NDArray[np.float64]

#: Number of bins by length, each of about equally many clips.
BINS = 4

_FRAMES, _WITHOUT = "frames.", "without-"


@dataclass(frozen=True)
class Part:
    """The score of some of the clips.

    Attributes:
        what: Which clips, in words.
        clips: How many.
        score: Their mean score and its interval, resampled as that of all clips is.
    """

    what: str
    clips: int
    score: Interval

    def to_json(self) -> dict[str, Any]:
        """Returns ``what``, ``clips`` and the keys of an interval."""
        return {"what": self.what, "clips": self.clips} | self.score.to_json()


@dataclass(frozen=True)
class ModalityEffect:
    """What one modality adds.

    Attributes:
        modality: Its name.
        alone: Mean score of its own head; nan where there is none.
        without: Mean score of the fusion with it left out.
        change: ``without`` less the score of all modalities, on identical resamples: below 0 where it helps.
    """

    modality: str
    alone: float
    without: float
    change: Interval

    def to_json(self) -> dict[str, Any]:
        """Returns ``modality``, ``alone``, ``without`` and ``change`` (the keys of an interval)."""
        return {
            "modality": self.modality,
            "alone": self.alone,
            "without": self.without,
            "change": self.change.to_json(),
        }


def by_length(
    table: pd.DataFrame, truth: Array, prediction: Array, task: Task, keys: Sequence[str] | None
) -> tuple[str, tuple[Part, ...]]:
    """Returns the modality whose frames are counted, and the scores of clips in bins of their number.

    The modality is the one with the most different lengths. Clips without a frame of it are in no bin. Nothing
    (``""``) where all clips are equally long.

    Args:
        table: The prediction table of the scored clips, in their order.
        truth: ``[N, E]``.
        prediction: ``[N, E]``.
        task: The challenge track.
        keys: One group key per clip; None: by clip.
    """
    columns = [str(column) for column in table.columns if str(column).startswith(_FRAMES)]
    if not columns:
        return "", ()
    column = max(columns, key=lambda name: table[name].nunique())
    frames = table[column].to_numpy(np.float64)
    timed = np.flatnonzero(frames > 0)
    number = quantile_bins(frames[timed], BINS)
    if len(np.unique(number)) < 2:
        return "", ()
    parts = []
    for place in range(BINS):
        rows = timed[number == place]
        if len(rows):
            low, high = int(frames[rows].min()), int(frames[rows].max())
            words = f"{low:,} to {high:,} frames" if low < high else f"{low:,} frames"
            parts.append(_part(words, rows, truth, prediction, task, keys))
    return column.removeprefix(_FRAMES), tuple(parts)


def by_missing(
    table: pd.DataFrame, truth: Array, prediction: Array, task: Task, keys: Sequence[str] | None
) -> tuple[Part, ...]:
    """Returns the scores of the clips in which nothing is missing, and of those without each modality.

    A clip that lacks two modalities counts for both. Empty where the run has not written what was missing. The
    arguments are those of :func:`by_length`.
    """
    if "missing" not in table.columns:
        return ()
    missing = [set(str(cell).split()) for cell in table["missing"]]
    names = [str(column).removeprefix(_FRAMES) for column in table.columns if str(column).startswith(_FRAMES)]
    names += sorted(set().union(*missing) - set(names))
    whole = _part("nothing missing", _rows([not each for each in missing]), truth, prediction, task, keys)
    parts = [
        _part(f"no {name}", _rows([name in each for each in missing]), truth, prediction, task, keys) for name in names
    ]
    return (whole, *parts)


def modality_effects(
    table: pd.DataFrame, truth: Array, prediction: Array, task: Task, keys: Sequence[str] | None
) -> tuple[ModalityEffect, ...]:
    """Returns what each modality adds to the fusion; empty where the run has not written it.

    The arguments are those of :func:`by_length`.
    """
    first = task.targets[0]
    columns = [str(column) for column in table.columns]
    first_columns = [name for name in columns if name.startswith(_WITHOUT) and name.endswith(f":{first}")]
    names = [name.removeprefix(_WITHOUT).removesuffix(f":{first}") for name in first_columns]
    names = [name for name in names if np.isfinite(_block(table, f"{_WITHOUT}{name}", task)).all()]
    if not names:
        return ()
    heads = [name for name in names if f"{name}:{first}" in columns]
    blocks = [_block(table, f"{_WITHOUT}{name}", task) for name in names]
    alone = [_block(table, name, task) for name in heads]
    whole, *found = resample_scores(truth, [prediction, *blocks, *alone], score=task.score, groups=keys)
    own = {name: float(one.whole[-1]) for name, one in zip(heads, found[len(names) :], strict=True)}
    return tuple(
        ModalityEffect(name, own.get(name, float("nan")), float(one.whole[-1]), (one - whole).interval(-1, mean=True))
        for name, one in zip(names, found, strict=False)
    )


def _block(table: pd.DataFrame, prefix: str, task: Task) -> Array:
    return np.asarray(table[[f"{prefix}:{target}" for target in task.targets]].to_numpy(np.float64))


def _rows(wanted: Sequence[bool]) -> NDArray[np.intp]:
    return np.flatnonzero(np.array(wanted, dtype=bool))


def _part(
    what: str, rows: NDArray[np.intp], truth: Array, prediction: Array, task: Task, keys: Sequence[str] | None
) -> Part:
    if not len(rows):
        return Part(what, 0, Interval(float("nan"), float("nan"), 0, 0))
    own = None if keys is None else [keys[row] for row in rows]
    return Part(what, len(rows), interval(truth[rows], prediction[rows], score=task.score, groups=own))
