"""Calibration: whether clips with a predicted intensity of .3 have labels of .3 on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.evaluation.bootstrap import Interval, resample
from abawkit.metrics import is_constant

Array = NDArray[np.float64]

#: Number of bins by prediction, each of about equally many clips.
BINS = 10


@dataclass(frozen=True)
class Bin:
    """Clips with about the same prediction of a target.

    Attributes:
        clips: How many.
        prediction: Their mean prediction.
        truth: Their mean label, with its interval.
    """

    clips: int
    prediction: float
    truth: Interval


@dataclass(frozen=True)
class Curve:
    """The calibration of one target.

    Attributes:
        target: Its name.
        bins: By rising prediction.
        slope: Of the regression of truth on prediction: 1 when calibrated, below 1 when predictions spread too far,
            nan for a constant prediction.
    """

    target: str
    bins: tuple[Bin, ...]
    slope: float

    def to_json(self) -> dict[str, Any]:
        """Returns ``slope`` and ``bins``, each with ``clips``, ``prediction`` and ``truth`` (keys of an interval)."""
        bins = [{"clips": b.clips, "prediction": b.prediction, "truth": b.truth.to_json()} for b in self.bins]
        return {"slope": self.slope, "bins": bins}


def quantile_bins(values: Array, count: int) -> NDArray[np.intp]:
    """Returns the bin of each of the values ``[N]``, from 0: up to ``count`` bins of about equally many values.

    Equal values are in one bin, so that some bins can be fuller than others, or empty.

    >>> quantile_bins(np.array([3.0, 1.0, 1.0, 1.0, 4.0, 5.0]), 2).tolist()
    [1, 0, 0, 0, 1, 1]
    """
    upper = np.unique(np.quantile(values, np.arange(1, count + 1) / count)) if len(values) else values
    return np.minimum(np.searchsorted(upper, values, side="left"), max(len(upper) - 1, 0))


def calibration(truth: Array, prediction: Array, task: Task, keys: Sequence[str] | None) -> tuple[Curve, ...]:
    """Returns the calibration of each target.

    Clips with equal predictions are in one bin, so there can be fewer than ten.

    Args:
        truth: ``[N, E]``.
        prediction: ``[N, E]``.
        task: The challenge track.
        keys: One group key per clip, for the intervals; None: by clip.
    """
    flat = is_constant(prediction)
    curves = []
    for index, target in enumerate(task.targets):
        t, p = truth[:, index], prediction[:, index]
        place = quantile_bins(p, BINS)
        used = np.unique(place)
        within = (place[:, None] == used).astype(np.float64)  # [N, B]: 1 where a clip is in a bin
        width = len(used)

        def means(sums: Array, width: int = width) -> tuple[Array, NDArray[np.bool_]]:
            # A resample may have no clip of a bin, which then has no mean.
            number = np.where(sums[:, :width] > 0.5, sums[:, :width], np.nan)
            return sums[:, width:] / number, np.zeros(len(sums), dtype=bool)

        found = resample(np.concatenate([within, within * t[:, None]], axis=1), means, groups=keys)
        bins = tuple(
            Bin(int(column.sum()), float(p[column > 0].mean()), found.interval(at))
            for at, column in enumerate(within.T)
        )
        spread = p - p.mean()
        slope = float("nan") if flat[index] else float((spread * t).sum() / (spread**2).sum())
        curves.append(Curve(target, bins, slope))
    return tuple(curves)
