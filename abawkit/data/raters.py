"""How many raters the labels imply: a label is the share k/N of N raters who voted for the emotion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Raters:
    """The smallest number of raters that explains each clip's labels.

    Attributes:
        fewest: Smallest N → number of clips, by N. The true number can be a multiple of it: 2 of 6 looks like 1 of 3.
        all_zero: Clips whose labels are all 0: any number of raters explains them.
        none_fits: Clips that no N up to ``most`` explains.
        most: More raters than this were not looked for.
    """

    fewest: dict[int, int]
    all_zero: int
    none_fits: int
    most: int

    def to_json(self) -> dict[str, Any]:
        """Returns the counts as a JSON object."""
        fewest = {str(raters): clips for raters, clips in self.fewest.items()}
        return {"fewest": fewest, "all_zero": self.all_zero, "none_fits": self.none_fits, "most": self.most}


def fewest_raters(labels: Array, tolerance: float | Array, most: int) -> NDArray[np.int64]:
    """Returns, per row of ``labels [N, E]``, the smallest number of raters with which each label is k/N, int64 [N].

    Args:
        labels: In [0, 1].
        tolerance: By how much a label may differ from k/N; one number, or one per label.
        most: More raters than this are not looked for.

    Rows of zeros have 1; rows that no number up to ``most`` explains have 0.

    >>> fewest_raters(np.array([[1 / 3, 0.0], [0.25, 0.5], [0.0, 0.0], [0.123, 0.5]]), 1e-6, 20).tolist()
    [3, 4, 1, 0]
    """
    fewest = np.zeros(len(labels), dtype=np.int64)
    for raters in range(most, 0, -1):
        votes = labels * raters
        fits = (np.abs(votes - np.rint(votes)) <= tolerance * raters + 1e-12).all(axis=1)
        fewest[fits] = raters
    return fewest


def implied_raters(labels: Array, tolerance: float | Array, most: int) -> Raters:
    """Returns the numbers of raters that ``labels [N, E]`` imply; arguments as of :func:`fewest_raters`.

    >>> implied_raters(np.array([[1 / 3, 2 / 3], [0.5, 0.0], [0.0, 0.0]]), 1e-6, 20).fewest
    {2: 1, 3: 1}
    """
    rated = (labels != 0).any(axis=1)
    counted = Counter(fewest_raters(labels, tolerance, most)[rated].tolist())
    none_fits = counted.pop(0, 0)
    return Raters(dict(sorted(counted.items())), len(labels) - int(rated.sum()), none_fits, most)
