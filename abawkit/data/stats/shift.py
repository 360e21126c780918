"""Whether the labels of the validation split are distributed as those of training, and what that means for scores.

Paper Sec. 3.5 and Table 2: a two-sample Kolmogorov-Smirnov test per emotion. Here the p-values are corrected for the
number of emotions (Holm), and every difference has a size, since with thousands of clips tiny ones are significant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, kstwobign

from abawkit.challenge import Score

Array = NDArray[np.float64]

#: A difference counts as shown when its corrected p-value is below this.
ALPHA = 0.05

#: KS statistics of two normal distributions whose means lie .2, .5 and .8 standard deviations apart, which Cohen calls
#: small, medium and large.
_SIZES = ((0.080, "tiny"), (0.197, "small"), (0.311, "medium"))


@dataclass(frozen=True)
class Shift:
    """How one target's labels differ between training and validation.

    Attributes:
        target: Its name.
        ks: Two-sample Kolmogorov-Smirnov statistic, in [0, 1]: the largest difference between the two splits in the
            share of clips with a label of at most some value.
        p: Its p-value. Ties (most labels are 0) make it too large, clips that are alike (one person, one seed video)
            too small.
        p_holm: The p-value after Holm's correction for the number of targets.
        value: The label at which that difference is found.
        at_most: Share of the clips with a label of at most ``value``, in percent: training, validation.
        means: Label mean: training, validation.
        standardised: Difference of the means (validation - training) in standard deviations of both splits combined;
            0 where the target is constant.
    """

    target: str
    ks: float
    p: float
    p_holm: float
    value: float
    at_most: tuple[float, float]
    means: tuple[float, float]
    standardised: float

    @property
    def shown(self) -> bool:
        """Whether the test shows a difference."""
        return self.p_holm < ALPHA

    @property
    def size(self) -> str:
        """``tiny``, ``small``, ``medium`` or ``large``, by the KS statistic."""
        return next((name for limit, name in _SIZES if self.ks < limit), "large")

    @property
    def verdict(self) -> str:
        """What was found, in words."""
        if not self.shown:
            return "no difference shown"
        higher = self.means[1] > self.means[0]
        return f"{self.size} difference, validation is {'higher' if higher else 'lower'} on average"

    def to_json(self) -> dict[str, Any]:
        """Returns the figures and the words as a JSON object."""
        return vars(self) | {"shown": self.shown, "size": self.size, "verdict": self.verdict}


def shifts(targets: Sequence[str], train: Array, valid: Array) -> tuple[Shift, ...]:
    """Returns how the labels ``train [N, E]`` and ``valid [M, E]`` differ, per target; N and M at least 1."""
    tests = [ks_2samp(a, b) for a, b in zip(train.T, valid.T, strict=True)]
    corrected = holm([float(test.pvalue) for test in tests])
    found = []
    for target, a, b, test, p_holm in zip(targets, train.T, valid.T, tests, corrected, strict=True):
        value = float(test.statistic_location)
        spread = float(np.concatenate([a, b]).std())
        found.append(
            Shift(
                target=target,
                ks=float(test.statistic),
                p=float(test.pvalue),
                p_holm=p_holm,
                value=value,
                at_most=(100 * float((a <= value).mean()), 100 * float((b <= value).mean())),
                means=(float(a.mean()), float(b.mean())),
                standardised=float(b.mean() - a.mean()) / spread if spread > 0 else 0.0,
            )
        )
    return tuple(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values after Holm's step-down correction, in their order, at most 1.

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values).tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def verdict(found: Sequence[Shift], sizes: tuple[int, int], score: Score) -> list[str]:
    """Returns, in whole sentences, what the shifts mean for the validation score.

    Args:
        found: The shift of each target.
        sizes: Number of training and validation clips.
        score: How the task is scored.
    """
    shown = sorted((shift for shift in found if shift.shown), key=lambda shift: -shift.ks)
    least = float(kstwobign.isf(ALPHA)) * ((sizes[0] + sizes[1]) / (sizes[0] * sizes[1])) ** 0.5
    reach = (
        f"With {sizes[0]:,} and {sizes[1]:,} clips a KS statistic below about {least:.3f} could not have been shown."
    )
    if not shown:
        first = "No target's labels are shown to differ between training and validation"
        return [f"{first} (Kolmogorov-Smirnov test, Holm-corrected, 5 %). {reach} So this does not prove them alike."]
    worst = shown[0]
    names = ", ".join(f"{shift.target} ({shift.size}, KS {shift.ks:.3f})" for shift in shown)
    return [
        f"The labels of {len(shown)} of {len(found)} targets differ between training and validation "
        f"(Kolmogorov-Smirnov test, Holm-corrected, 5 %): {names}. {reach}",
        f"The widest gap: {worst.at_most[0]:.1f} % of the training clips and {worst.at_most[1]:.1f} % of the "
        f"validation clips have {worst.target} {_at_most(worst.value)}.",
        *(_f1_meaning() if score == "macro_f1" else _pearson_meaning(shown)),
        "Clips of one person or one seed video are alike, so the true p-values are larger than those shown.",
    ]


def _at_most(value: float) -> str:
    return "at 0" if value == 0 else f"at {value:.3g} or below"


def _pearson_meaning(shown: Sequence[Shift]) -> list[str]:
    most = max(shown, key=lambda shift: abs(shift.standardised))
    gap = most.means[1] - most.means[0]
    too = "low" if gap > 0 else "high"
    return [
        "For the validation score: Pearson r takes no notice of a shifted mean or a wider spread, so such a difference "
        "alone neither raises nor lowers it. It does depend on how rare an emotion is, so scores on the official split "
        "and on a resplit of the same clips are not comparable: compare runs on one and the same split.",
        f"CCC and squared error do see the shift: a model that has only learned the training mean of {most.target} is "
        f"{abs(gap):.3f} ({abs(most.standardised):.2f} standard deviations) too {too} on the validation clips.",
        "Which of the two splits the test clips are like cannot be known from here: they have no labels.",
    ]


def _f1_meaning() -> list[str]:
    return [
        "For the validation score: F1 depends on how frequent a class is, so scores on the official split and on a "
        "resplit of the same clips are not comparable, and a threshold chosen on one split need not suit the other. "
        "Compare runs on one and the same split.",
    ]
