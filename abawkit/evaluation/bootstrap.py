"""How sure a score is: percentile and BCa bootstrap intervals, by clip or by group, of any score made from sums.

:func:`resample` draws; :meth:`Resampled.interval` and :meth:`Resampled.p_value` conclude, and have the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from abawkit.challenge import Score
from abawkit.evaluation.moments import Moments

Array = NDArray[np.float64]

#: Resamples of an interval of a score; of the difference of two, whose p-values are corrected for their number.
RESAMPLES, PAIRED_RESAMPLES = 2000, 10_000

#: So many counts of a clip in a resample are held at once.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % bootstrap interval.

    Attributes:
        low: Lower end of the BCa interval; nan where it is not defined (fewer than two units, or no resample with a
            score).
        high: Its upper end.
        units: Number of groups that were drawn from; without groups, of clips.
        resamples: How often they were drawn.
        partial: Resamples in which a target had a constant truth, so that the mean is one of the other targets.
        undefined: Resamples without a score (a constant prediction, or no target left): they are left out.
        value: The score of the clips themselves.
        percentile: The two ends of the percentile interval.
    """

    low: float
    high: float
    units: int
    resamples: int
    partial: int = 0
    undefined: int = 0
    value: float = float("nan")
    percentile: tuple[float, float] = (float("nan"), float("nan"))

    @property
    def remark(self) -> str:
        """What is odd about the resamples, in words; empty when nothing is."""
        remarks = []
        if self.partial:
            constant = f"in {self.partial} of {self.resamples} resamples a target had a constant truth"
            remarks.append(f"{constant} and was left out of the mean")
        if self.undefined:
            remarks.append(f"{self.undefined} of {self.resamples} resamples had no score and are left out")
        return "; ".join(remarks)

    def to_json(self) -> dict[str, Any]:
        """Returns ``value``, ``bca`` and ``percentile`` (each its two ends), ``partial`` and ``undefined``."""
        return {
            "value": self.value,
            "bca": [self.low, self.high],
            "percentile": list(self.percentile),
            "partial": self.partial,
            "undefined": self.undefined,
        }


@dataclass(frozen=True)
class Resampled:
    """Scores of resamples, and of everything without each unit, from which intervals and p-values follow.

    Attributes:
        whole: Scores of all clips, ``[O]``.
        drawn: Of each resample, ``[R, O]``.
        without: Of all clips without those of one unit, ``[U, O]``.
        partial: ``bool [R]``, see :class:`Interval`.
    """

    whole: Array
    drawn: Array
    without: Array
    partial: NDArray[np.bool_]

    def interval(self, index: int, *, mean: bool = False) -> Interval:
        """Returns the 95 % interval of one score; ``mean``: resamples with a target left out are counted.

        The percentile interval ends at the quantiles Φ(± t·e) of the resamples, and the BCa interval, which corrects
        it for bias z0 and for skewness a, at Φ(z0 + (z0 ± t·e) / (1 - a (z0 ± t·e))) (Efron 1987; Efron and Tibshirani
        1993, Sec. 14.3, Eq. 14.9-14.15). There t is the .975 quantile of Student's t with n - 1 degrees of freedom for
        n units instead of 1.96, and e is :meth:`_expansion`: with few units the resamples vary too little, and how
        much they vary is itself uncertain (Hesterberg 2015, The American Statistician 69(4), "expanded percentile
        interval").
        """
        value, drawn = float(self.whole[index]), self.drawn[:, index]
        defined = np.isfinite(drawn)
        undefined = int(len(drawn) - defined.sum())
        units, resamples = len(self.without), len(drawn)
        if units < 2 or not defined.any() or not np.isfinite(value):
            return Interval(float("nan"), float("nan"), units, resamples, 0, resamples, value)
        kept = drawn[defined]
        bias, acceleration = self._correction(index)
        deviates = float(stdtrit(units - 1, 0.975)) * self._expansion(index) * np.array([-1, 1])
        corrected = [bias + _tilted(bias + deviate, -acceleration) for deviate in deviates]
        ends = np.quantile(kept, ndtr(np.concatenate([corrected, deviates]))).tolist()
        partial = int((self.partial & defined).sum()) if mean else 0
        low, high, first, last = (float(end) for end in ends)
        return Interval(low, high, units, resamples, partial, undefined, value, (first, last))

    def part(self, columns: slice) -> Resampled:
        """Returns some of the scores."""
        return Resampled(self.whole[columns], self.drawn[:, columns], self.without[:, columns], self.partial)

    def __sub__(self, other: Resampled) -> Resampled:
        """Returns the differences; both have to be of the same draws."""
        return Resampled(
            self.whole - other.whole,
            self.drawn - other.drawn,
            self.without - other.without,
            self.partial | other.partial,
        )

    def p_value(self, index: int) -> float:
        """Returns the two-sided p-value of the score being 0: the level at which the BCa interval ends there.

        Nan where the interval is not defined. At least two in the number of resamples plus one.
        """
        drawn = self.drawn[np.isfinite(self.drawn[:, index]), index]
        if len(self.without) < 2 or not len(drawn) or not np.isfinite(self.whole[index]):
            return float("nan")
        if not drawn.any():
            return 1.0  # the same predictions
        bias, acceleration = self._correction(index)
        v = _normal((drawn < 0).sum() + (drawn == 0).sum() / 2, len(drawn)) - bias
        units = len(self.without)
        share = float(stdtr(units - 1, (_tilted(v, acceleration) - bias) / self._expansion(index)))
        return float(np.clip(2 * min(share, 1 - share), 2 / (len(drawn) + 1), 1.0))

    def _expansion(self, index: int) -> float:
        """Returns by what the resamples' deviation is multiplied: the jackknife's over it, at least √(n / (n - 1)).

        For a mean the resamples' deviation is too small by the factor √((n - 1) / n); for r it is smaller still where
        units are few and alike within. The jackknife's deviation is not: on average its square is at least the true
        variance (Efron and Stein 1981, Annals of Statistics 9(3)). For a mean the ratio of both is √(n / (n - 1)).
        """
        drawn, without = self.drawn[np.isfinite(self.drawn[:, index]), index], self.without[:, index]
        units, spread = len(without), float(drawn.std())
        least = float(np.sqrt(units / (units - 1)))
        if spread == 0 or not np.isfinite(without).all():
            return least
        return max(least, float(without.std()) * float(np.sqrt(units - 1)) / spread)

    def _correction(self, index: int) -> tuple[float, float]:
        """Returns BCa's bias correction z0 and acceleration a (Efron and Tibshirani 1993, Eq. 14.14 and 14.15).

        z0 is the normal deviate of the share of resamples below the score; a is Σ d³ / (6 (Σ d²)^1.5) over the
        jackknife's differences d, of the mean of the scores without one unit and each of them.
        """
        value, drawn = self.whole[index], self.drawn[np.isfinite(self.drawn[:, index]), index]
        bias = _normal((drawn < value).sum() + (drawn == value).sum() / 2, len(drawn))
        without = self.without[np.isfinite(self.without[:, index]), index]
        d = without.mean() - without if len(without) else np.zeros(1)
        spread = float((d**2).sum())
        return bias, float((d**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def _tilted(z: float, acceleration: float) -> float:
    """Returns z / (1 + a z), and beyond its pole the infinity that it comes to there: the outermost resample.

    >>> _tilted(2.0, -0.25), _tilted(5.0, -0.25), _tilted(-5.0, 0.25)
    (4.0, inf, -inf)
    """
    slope = 1 + acceleration * z
    return float(z / slope) if slope > 0 else float(np.copysign(np.inf, z))


def _normal(count: float, total: int) -> float:
    """Returns the normal deviate of a share, which is kept off 0 and 1."""
    return float(ndtri(np.clip(count / total, 1 / (total + 1), total / (total + 1))))


def resample(
    columns: Array,
    scores: Callable[[Array], tuple[Array, NDArray[np.bool_]]],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Returns the scores of all clips, of resamples of them, and of all but one unit.

    Clips of one person, or of one seed video, err alike, so whole groups are drawn where the groups are known, without
    drawing again within them (Davison and Hinkley 1997, Sec. 3.8). A resample's sums are the units' sums times how
    often each was drawn; the sums without one unit are the whole's less that unit's.

    Args:
        columns: What is summed over clips, ``[N, K]``.
        scores: Sums ``[M, K]`` → scores ``[M, O]`` and which of the M sets lack a target, ``bool [M]``.
        groups: One key per clip, the same for clips of one group: whole groups are drawn with replacement, as many
            as there are, so that the number of clips in a resample varies. None: every clip is its own group, which
            draws the same resamples as N different keys.
        resamples: How often they are drawn.
        seed: Seed of the draws. With as many units, the same draws are made for any scores.
    """
    sums = _unit_sums(columns, groups)
    units = len(sums)
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // max(units, 1))
    parts = []
    for start in range(0, resamples if units > 1 else 0, rows):
        count = min(rows, resamples - start)
        # Draws of different resamples are numbered apart, so that one count over all of them serves every resample.
        drawn = (
            rng.integers(0, units, (count, units), dtype=np.int32)
            + np.int32(units) * np.arange(count, dtype=np.int32)[:, None]
        )
        counts = np.bincount(drawn.ravel(), minlength=count * units)
        parts.append(counts.reshape(count, units).astype(np.float64) @ sums)
    whole = sums.sum(axis=0, keepdims=True)
    values, _ = scores(whole)
    if not parts:
        empty = np.full((resamples, values.shape[1]), np.nan)
        return Resampled(values[0], empty, np.full((units, values.shape[1]), np.nan), np.zeros(resamples, dtype=bool))
    drawn_scores, partial = scores(np.concatenate(parts))
    return Resampled(values[0], drawn_scores, scores(whole - sums)[0], partial)


def _unit_sums(columns: Array, groups: Sequence[str] | None) -> Array:
    """Returns the sums of each unit's clips ``[U, K]``, units in the order of their first clips."""
    if groups is None:
        return columns
    number: dict[str, int] = {}
    index = np.array([number.setdefault(key, len(number)) for key in groups], dtype=np.intp)
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(len(number)))
    return np.asarray(np.add.reduceat(columns[order], starts, axis=0)) if len(number) else columns


def resample_scores(
    truth: NDArray[np.float64],
    predictions: Sequence[NDArray[np.float64]],
    *,
    score: Score = "mean_pearson",
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Resampled]:
    """Returns, for each prediction of the same clips, resamples of each target's score and, last, of their mean.

    Args:
        truth: ``[N, E]``.
        predictions: Each ``[N, E]``; all are scored on identical resamples.
        score: Which score: Pearson r, or macro F1 of binary targets.
        groups: One key per clip, see :func:`resample`.
        resamples: How often they are drawn.
        seed: Seed of the draws.
    """
    if score == "macro_f1":
        return [_resample_f1(truth, values, groups, resamples, seed) for values in predictions]
    moments, width = Moments(truth, predictions), truth.shape[1] + 1

    def scores(sums: Array) -> tuple[Array, NDArray[np.bool_]]:
        scored = moments.scores(sums)
        each = np.concatenate([scored.pearson, scored.mean_pearson[:, :, None]], axis=2)
        return each.reshape(len(sums), -1), scored.partial

    found = resample(moments.columns, scores, groups=groups, resamples=resamples, seed=seed)
    return [found.part(slice(width * place, width * (place + 1))) for place in range(len(predictions))]


def interval(
    truth: NDArray[np.float64],
    prediction: NDArray[np.float64],
    *,
    score: Score = "mean_pearson",
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Returns the 95 % bootstrap interval of the mean score; the arguments are those of :func:`resample_scores`.

    A resample is scored as any clips are: a target with a constant truth is left out of its mean, and a constant
    prediction leaves it without a score. With fewer than two groups the interval is (nan, nan).
    """
    (found,) = resample_scores(truth, [prediction], score=score, groups=groups, resamples=resamples, seed=seed)
    return found.interval(-1, mean=True)


def _resample_f1(truth: Array, prediction: Array, groups: Sequence[str] | None, resamples: int, seed: int) -> Resampled:
    """As :func:`resample_scores`. A class that is in neither side does not count (:func:`abawkit.metrics.f1`)."""
    t, p = truth >= 0.5, prediction >= 0.5
    both = [(t == c, p == c) for c in (False, True)]
    columns = np.concatenate([block for t, p in both for block in (t & p, 1.0 * t + p)], axis=1).astype(np.float64)

    def scores(sums: Array) -> tuple[Array, NDArray[np.bool_]]:
        hits, totals = np.split(sums, 4, axis=1)[::2], np.split(sums, 4, axis=1)[1::2]
        present = [total > 0.5 for total in totals]
        each = sum(np.where(ok, 2 * h / np.where(ok, n, 1), 0) for h, n, ok in zip(hits, totals, present, strict=True))
        number = sum(ok.astype(np.float64) for ok in present)
        f1 = np.where(number > 0, each / np.maximum(number, 1), np.nan)
        return np.column_stack([f1, f1.mean(axis=1)]), np.zeros(len(sums), dtype=bool)

    return resample(columns, scores, groups=groups, resamples=resamples, seed=seed)


def average(found: Sequence[Resampled]) -> Resampled:
    """Returns the mean of scores of the same draws, as of the seeds of one system."""
    return Resampled(
        np.mean([one.whole for one in found], axis=0),
        np.mean([one.drawn for one in found], axis=0),
        np.mean([one.without for one in found], axis=0),
        np.any([one.partial for one in found], axis=0),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values corrected for their number (Holm 1979), in their order; nan stays nan and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    counted = sorted((p, index) for index, p in enumerate(p_values) if p == p)
    corrected, least = list(p_values), 0.0
    for place, (p, index) in enumerate(counted):
        least = max(least, min(1.0, p * (len(counted) - place)))
        corrected[index] = least
    return corrected
