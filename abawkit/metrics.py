"""Scores: Pearson r and CCC per target over a whole split, their means, and macro F1; in float64.

Definitions are pinned here. Pearson and CCC use population moments. A column counts as constant when its standard
deviation is at most 1e-6 of its largest magnitude, which is rounding noise of float32. A constant truth leaves
that target out of the mean, which the scores say (``mean of 5``); a constant prediction makes the score nan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.errors import AbawkitError

Array = NDArray[np.float64]

_FLAT = 1e-6


def is_constant(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns ``bool [E]``: which columns of ``values [N, E]`` are constant up to rounding.

    >>> is_constant(np.array([[0.0, 0.1], [0.0, 0.2]]))
    array([ True, False])
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return np.ones(values.shape[1], dtype=bool)
    return np.asarray(values.std(axis=0) <= _FLAT * np.abs(values).max(axis=0))


def pearson(truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
    """Returns Pearson's r per column, ``float64 [E]``, in [-1, 1] (paper Sec. 4.7, Eq. 2).

    Args:
        truth: ``[N, E]``.
        prediction: ``[N, E]``.

    A column that is constant in ``truth`` or in ``prediction`` has no r: nan.

    >>> pearson(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [2.0], [2.5]])).round(3)
    array([0.982])
    """
    truth, prediction = _pair(truth, prediction)
    if len(truth) == 0:
        return np.full(truth.shape[1], np.nan)
    x = truth - truth.mean(axis=0)
    y = prediction - prediction.mean(axis=0)
    undefined = is_constant(truth) | is_constant(prediction)
    scale = np.sqrt((x * x).sum(axis=0)) * np.sqrt((y * y).sum(axis=0))
    r = (x * y).sum(axis=0) / np.where(undefined, 1.0, scale)
    return np.where(undefined, np.nan, np.clip(r, -1.0, 1.0))


def ccc(truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
    """Returns the concordance correlation coefficient per column, ``float64 [E]``, in [-1, 1] (Lin 1989).

    ``2·cov(t, p) / (var t + var p + (mean t − mean p)²)`` with population moments. It is nan where truth and
    prediction are the same constant, and 0 where only one of them is constant.

    >>> ccc(np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [2.0]]))
    array([1.])
    """
    truth, prediction = _pair(truth, prediction)
    if len(truth) == 0:
        return np.full(truth.shape[1], np.nan)
    x = truth - truth.mean(axis=0)
    y = prediction - prediction.mean(axis=0)
    shift = truth.mean(axis=0) - prediction.mean(axis=0)
    below = (x * x).mean(axis=0) + (y * y).mean(axis=0) + shift * shift
    flat = is_constant(truth) & is_constant(prediction)
    # Not ``below > 0``: the mean of equal values is off by a rounding error, which would make the quotient 1.
    same = flat & (np.abs(shift) <= _FLAT * np.abs(truth).max(axis=0))
    return np.where(same, np.nan, 2 * (x * y).mean(axis=0) / np.where(same, 1.0, below))


def f1(truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
    """Returns macro F1 per column, ``float64 [E]``, in [0, 1]: the mean of the F1 of class 0 and of class 1.

    Args:
        truth: ``[N, E]`` of 0 and 1.
        prediction: ``[N, E]``; at least .5 counts as 1.

    A class that neither truth nor prediction has does not count; with no class at all the score is nan.

    >>> f1(np.array([[0.0], [1.0], [1.0]]), np.array([[0.1], [0.9], [0.2]])).round(3)
    array([0.667])
    """
    truth, prediction = _pair(truth, prediction)
    scores = []
    for positive in (False, True):
        t, p = (truth >= 0.5) == positive, (prediction >= 0.5) == positive
        hit, total = (t & p).sum(axis=0), t.sum(axis=0) + p.sum(axis=0)
        scores.append(np.where(total > 0, 2 * hit / np.maximum(total, 1), np.nan))
    stacked = np.stack(scores)
    counted = np.isfinite(stacked)
    return np.where(
        counted.any(axis=0), np.where(counted, stacked, 0).sum(axis=0) / np.maximum(counted.sum(axis=0), 1), np.nan
    )


def _pair(truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[Array, Array]:
    truth = np.asarray(truth, dtype=np.float64)
    prediction = np.asarray(prediction, dtype=np.float64)
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} must be the same [N, E]")
    return truth, prediction


@dataclass(frozen=True)
class Scores:
    """How well predictions agree with the truth over a whole split.

    Attributes:
        n: Number of clips.
        targets: Target names.
        pearson: r per target; nan where truth or prediction is constant.
        ccc: CCC per target.
        f1: Macro F1 per target, for binary tasks.
        left_out: Targets whose truth is constant: not in any mean.
        constant: Targets with a constant prediction and a truth that is not: they make ``mean_pearson`` nan.
        mse: Mean squared error per target.
    """

    n: int
    targets: tuple[str, ...]
    pearson: Array
    ccc: Array
    mse: Array
    f1: Array | None
    left_out: tuple[str, ...]
    constant: tuple[str, ...]

    @property
    def primary(self) -> float:
        """The leaderboard's score: mean Pearson r, or for binary tasks mean macro F1."""
        if self.f1 is not None:
            return float(np.nanmean(self.f1)) if np.isfinite(self.f1).any() else float("nan")
        return self.mean_pearson

    @property
    def mean_pearson(self) -> float:
        """Mean of r over the targets whose truth varies; nan with a constant prediction among them."""
        return self._mean(self.pearson)

    @property
    def mean_ccc(self) -> float:
        """Mean of the CCC over the targets whose truth varies."""
        return self._mean(self.ccc)

    def _mean(self, values: Array) -> float:
        kept = [value for name, value in zip(self.targets, values, strict=True) if name not in self.left_out]
        return float(np.mean(kept)) if kept else float("nan")

    @property
    def remark(self) -> str:
        """Remarks about the score; empty when there are none."""
        remarks = []
        if self.left_out:
            kept = len(self.targets) - len(self.left_out)
            remarks.append(f"mean of {kept}: the truth of {', '.join(self.left_out)} is constant here")
        if self.constant:
            remarks.append(f"constant prediction of {', '.join(self.constant)}")
        return "; ".join(remarks)

    def require_defined(self, what: str) -> None:
        """Raises when a prediction is constant: such a score or submission has no Pearson r.

        Raises:
            AbawkitError: A target's prediction is constant.
        """
        if self.constant and self.f1 is None:
            raise AbawkitError(
                f"{what}: the prediction of {', '.join(self.constant)} is constant, so it has no Pearson r",
                todo="train longer or with other settings, or choose another run",
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises: ``n``, ``mean_pearson``, ``pearson``, ``mean_ccc`` and more."""
        record: dict[str, Any] = {
            "n": self.n,
            "mean_pearson": self.mean_pearson,
            "pearson": dict(zip(self.targets, self.pearson.tolist(), strict=True)),
            "mean_ccc": self.mean_ccc,
            "ccc": dict(zip(self.targets, self.ccc.tolist(), strict=True)),
            "mse": dict(zip(self.targets, self.mse.tolist(), strict=True)),
            "left_out": list(self.left_out),
            "remark": self.remark,
        }
        if self.f1 is not None:
            record["macro_f1"] = self.primary
            record["f1"] = dict(zip(self.targets, self.f1.tolist(), strict=True))
        return record


def score(task: Task, truth: NDArray[Any], prediction: NDArray[Any]) -> Scores:
    """Returns the scores of ``prediction [N, E]`` against ``truth [N, E]``.

    Raises:
        ValueError: The shapes differ.
    """
    truth, prediction = _pair(truth, prediction)
    names: Sequence[str] = task.targets
    flat_truth, flat_prediction = is_constant(truth), is_constant(prediction)
    return Scores(
        n=len(truth),
        targets=task.targets,
        pearson=pearson(truth, prediction),
        ccc=ccc(truth, prediction),
        mse=((truth - prediction) ** 2).mean(axis=0) if len(truth) else np.full(len(names), np.nan),
        f1=f1(truth, prediction) if task.score == "macro_f1" else None,
        left_out=tuple(name for name, flat in zip(names, flat_truth, strict=True) if flat),
        constant=tuple(name for name, p, t in zip(names, flat_prediction, flat_truth, strict=True) if p and not t),
    )
