"""Labels drawn as raters' votes with exactly the paper's means and shares of zeros (Tables 1 and 2), per split.

Each clip has its own chances that a rater votes for an emotion, at most one per rater. The chances are broken off a
stick: the first emotion gets a share of 1, the next a share of what is left, and so on, so that they sum to 1 at most.
The shares are Beta-distributed. Per emotion two equations are solved for its two parameters: the mean of the chance is
the paper's mean, and the mean of (1 - chance)^N over the number of raters N is the paper's share of zeros.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln

#: Table 1 and Table 2, in the order of the emotions.
MEANS = {
    "train": (0.1785, 0.1253, 0.0967, 0.0214, 0.1420, 0.1157),
    "valid": (0.1594, 0.1303, 0.0668, 0.0134, 0.1294, 0.0994),
}
ZEROS = {"train": (0.553, 0.636, 0.675, 0.899, 0.618, 0.675), "valid": (0.600, 0.636, 0.749, 0.922, 0.648, 0.723)}
KS = (0.047, 0.016, 0.075, 0.022, 0.029, 0.048)

#: Every clip has so many raters, each number equally often.
RATERS = (5, 6, 7, 8, 9)


def _moment(a: float, b: float, up: int, down: int) -> float:
    """Returns E[v^up (1 - v)^down] of a Beta(a, b)."""
    return float(np.exp(betaln(a + up, b + down) - betaln(a, b)))


@dataclass(frozen=True)
class Voters:
    """The Beta parameters of each emotion's share of the rest of the stick."""

    parameters: tuple[tuple[float, float], ...]

    def chances(self, rng: np.random.Generator, count: int) -> np.ndarray:
        rest = np.ones(count)
        columns = []
        for a, b in self.parameters:
            taken = rest * rng.beta(a, b, count)
            rest = rest - taken
            columns.append(taken)
        return np.stack(columns, axis=1)

    def labels(self, rng: np.random.Generator, count: int) -> np.ndarray:
        chances = self.chances(rng, count)
        raters = rng.choice(RATERS, count)
        none = np.maximum(0.0, 1.0 - chances.sum(axis=1, keepdims=True))
        votes = rng.multinomial(raters, np.hstack([chances, none]))[:, :-1]
        return votes / raters[:, None]

    def share_at_most(self, emotion: int, value: float) -> float:
        """Returns the probability that the emotion's label is at most ``value``."""
        total = 0.0
        for raters in RATERS:
            for votes in range(int(np.floor(value * raters + 1e-9)) + 1):
                # C(N, k) E[p^k (1 - p)^(N - k)], the power of 1 - p written out.
                total += comb(raters, votes) * sum(
                    (-1) ** j * comb(raters - votes, j) * self._power(emotion, votes + j)
                    for j in range(raters - votes + 1)
                )
        return total / len(RATERS)

    def _power(self, emotion: int, power: int) -> float:
        """Returns E[p^power] of the emotion's chance p."""
        value = _moment(*self.parameters[emotion], power, 0)
        for a, b in self.parameters[:emotion]:
            value *= _moment(a, b, 0, power)
        return value


def voters(split: str) -> Voters:
    """Returns voters whose labels have the paper's mean and share of zeros of every emotion in the split."""
    found: list[tuple[float, float]] = []
    for emotion, (mean, zeros) in enumerate(zip(MEANS[split], ZEROS[split], strict=True)):
        left = float(np.prod([b / (a + b) for a, b in found]))
        share = mean / left

        def parameters(log_concentration: float, share: float = share) -> tuple[float, float]:
            return share * np.exp(log_concentration), (1 - share) * np.exp(log_concentration)

        def missing(log_concentration: float, emotion: int = emotion, zeros: float = zeros) -> float:
            tried = Voters((*found, parameters(log_concentration)))
            return tried.share_at_most(emotion, 0.0) - zeros

        found.append(parameters(brentq(missing, -5.0, 8.0, xtol=1e-12)))
    return Voters(tuple(found))
