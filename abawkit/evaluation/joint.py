"""Means and covariances of members and truth over any folds of the clips, from those of each fold.

A fit without one fold needs the clips' moments only, and :func:`merge` makes those of several folds from each one's.
Nothing is subtracted, so that a member that is constant on the clips is recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A column counts as constant below this share of its largest magnitude, as in :mod:`abawkit.metrics`.
_FLAT = 1e-6


@dataclass(frozen=True)
class Joint:
    """Moments of M members and, as the last of K = M + 1 rows, the truth, for E targets.

    Attributes:
        count: Number of clips.
        mean: ``[K, E]``.
        scatter: Sums of products about the means, ``[E, K, K]``.
        largest: Largest magnitude, ``[K, E]``.
    """

    count: int
    mean: Array
    scatter: Array
    largest: Array

    @property
    def covariance(self) -> Array:
        """Population covariances, ``[E, K, K]``."""
        return self.scatter / self.count

    @property
    def std(self) -> Array:
        """Population deviations, ``[K, E]``."""
        return np.asarray(np.sqrt(np.einsum("ekk->ke", self.covariance)))

    @property
    def flat(self) -> NDArray[np.bool_]:
        """``bool [K, E]``: what is constant, as :func:`abawkit.metrics.is_constant` has it."""
        return np.asarray(self.std <= _FLAT * self.largest)


def joint(members: Array, truth: Array) -> Joint:
    """Returns the moments of ``members [M, N, E]`` and ``truth [N, E]``, of at least one clip.

    >>> found = joint(np.array([[[0.0], [2.0]]]), np.array([[1.0], [2.0]]))
    >>> found.covariance[0].tolist()
    [[1.0, 0.5], [0.5, 0.25]]
    """
    rows = np.concatenate([members.transpose(2, 0, 1), truth.T[:, None]], axis=1)  # [E, K, N]
    largest = np.maximum(rows.max(axis=2), -rows.min(axis=2))
    mean = rows.mean(axis=2, keepdims=True)
    rows -= mean
    return Joint(rows.shape[2], mean[:, :, 0].T, rows @ rows.transpose(0, 2, 1), largest.T)


def merge(parts: Sequence[Joint]) -> Joint:
    """Returns the moments of all clips of some disjoint sets of them.

    Their sums of products about the common mean are those about each set's own mean, plus ``n (mean - common mean)²``
    of each set (Chan, Golub and LeVeque 1983).

    >>> rows = np.arange(8.0).reshape(1, 8, 1) ** 2
    >>> halves = [joint(rows[:, half], rows[0, half]) for half in (slice(3), slice(3, 8))]
    >>> bool(np.allclose(merge(halves).scatter, joint(rows, rows[0]).scatter))
    True
    """
    counts = np.array([part.count for part in parts], dtype=np.float64)
    means = np.stack([part.mean for part in parts])  # [P, K, E]
    mean = np.tensordot(counts, means, axes=1) / counts.sum()
    shift = (means - mean).transpose(2, 1, 0)  # [E, K, P]
    scatter = np.sum([part.scatter for part in parts], axis=0) + (shift * counts) @ shift.transpose(0, 2, 1)
    return Joint(int(counts.sum()), mean, scatter, np.max([part.largest for part in parts], axis=0))
