"""Pearson r, CCC and MSE from sums over clips, so that thousands of resamples are one matrix product.

Each score of a set of clips follows from the sums of 1, t, t², p, p² and t·p over them. A resample's sums are its
draws' counts times the sums of each clip or group; those without one group are the whole's less that group's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.metrics import is_constant

Array = NDArray[np.float64]

#: A column counts as constant below this share of its largest magnitude, as in :mod:`abawkit.metrics`.
_FLAT = 1e-6


@dataclass(frozen=True)
class Scored:
    """Scores of M sets of clips for S predictions of E targets.

    Attributes:
        pearson: ``float64 [M, S, E]``; nan where truth or prediction is constant in that set.
        ccc: As pearson.
        mse: As pearson.
        mean_pearson: ``[M, S]``: over the targets whose truth varies in that set; nan when one of their predictions
            does not, or no truth does.
        mean_ccc: ``[M, S]``: over the targets whose truth varies in that set.
        mean_mse: ``[M, S]``: over all targets.
        partial: ``bool [M]``: a target whose truth varies over all clips has a constant truth in that set.
    """

    pearson: Array
    ccc: Array
    mse: Array
    mean_pearson: Array
    mean_ccc: Array
    mean_mse: Array
    partial: NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """What has to be summed to score several predictions of the same clips.

    Attributes:
        truth: ``float64 [N, E]``.
        predictions: S of the same shape.
    """

    truth: NDArray[Any]
    predictions: Sequence[NDArray[Any]]

    @cached_property
    def _centres(self) -> tuple[Array, list[Array]]:
        return self.truth.mean(axis=0), [values.mean(axis=0) for values in self.predictions]

    @cached_property
    def columns(self) -> Array:
        """What is summed, ``float64 [N, 1 + 2E + 3SE]``; centred, so that the moments do not cancel badly."""
        mean, means = self._centres
        t = self.truth - mean
        parts = [np.ones((len(t), 1)), t, t * t]
        for values, centre in zip(self.predictions, means, strict=True):
            p = values - centre
            parts += [p, p * p, t * p]
        return np.concatenate(parts, axis=1)

    def scores(self, sums: Array) -> Scored:
        """Returns the scores of sets of clips from the sums of their columns, ``[M, K]``."""
        n, blocks = sums[:, :1], np.split(sums[:, 1:], 2 + 3 * len(self.predictions), axis=1)
        n = np.where(n > 0, n, np.nan)
        mean, means = self._centres
        mean_t = blocks[0] / n
        std_t = np.sqrt(np.maximum(blocks[1] / n - mean_t**2, 0))
        kept = ~is_constant(self.truth)
        counted = (std_t > _FLAT * np.abs(self.truth).max(axis=0, initial=0.0)) & kept
        number = counted.sum(axis=1)
        all_r, all_ccc, all_mse = [], [], []
        for index, values in enumerate(self.predictions):
            sum_p, sum_pp, sum_tp = blocks[2 + 3 * index : 5 + 3 * index]
            mean_p = sum_p / n
            std_p = np.sqrt(np.maximum(sum_pp / n - mean_p**2, 0))
            flat = ~(std_p > _FLAT * np.abs(values).max(axis=0, initial=0.0)) | is_constant(values)
            covariance = sum_tp / n - mean_t * mean_p
            defined = counted & ~flat
            r = np.where(defined, covariance / np.where(defined, std_t * std_p, 1), np.nan)
            shift = (mean_t + mean) - (mean_p + means[index])
            below = std_t**2 + std_p**2 + shift**2
            all_r.append(np.clip(r, -1, 1))
            all_ccc.append(np.where(below > 0, 2 * covariance / np.where(below > 0, below, 1), np.nan))
            shift = mean - means[index]
            all_mse.append((blocks[1] - 2 * sum_tp + sum_pp + 2 * shift * (blocks[0] - sum_p)) / n + shift**2)
        pearson, ccc, mse = (np.stack(each, axis=1) for each in (all_r, all_ccc, all_mse))

        def mean_counted(values: Array) -> Array:
            total = np.where(counted[:, None], values, 0).sum(axis=2)
            return np.where(number[:, None] > 0, total / np.maximum(number, 1)[:, None], np.nan)

        partial = number < kept.sum()
        return Scored(pearson, ccc, mse, mean_counted(pearson), mean_counted(ccc), mse.mean(axis=2), partial)
