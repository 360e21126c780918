"""Labels drawn as the organisers' came about: raters vote, and a label is the share of their votes.

Every clip imitates a seed video. A latent vector of six normal values says what an imitation is like; it is part
the seed's and part the person's. Each latent becomes the probability that a rater votes for the emotion, and
each rater casts one vote at most, so that a row sums to 1 at most. Means and shares of zeros follow Table 1 of
the paper (between its two splits), correlations its Fig. 2: small, only Excitement with Joy positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

#: Table 1 of the paper, between training and validation split, in the official order of the emotions.
MEANS = (0.172, 0.127, 0.086, 0.020, 0.137, 0.109)
ZERO_RATES = (0.570, 0.636, 0.700, 0.913, 0.630, 0.695)

#: A rater's vote has the probability GAIN · max(0, latent - THRESHOLD); fitted to the two lines above.
THRESHOLD = (-0.138, -0.030, 0.026, 0.866, 0.037, 0.229)
GAIN = (0.483, 0.399, 0.279, 0.238, 0.516, 0.553)

#: Standard deviations of the labels that come out: the unit in which a clip shows its emotions.
SPREAD = (0.249, 0.210, 0.160, 0.075, 0.220, 0.200)

#: Fewest and most raters of a clip.
RATERS = (5, 9)

#: Correlation of the latents: of any two emotions, and of Excitement with Joy.
ANY_TWO, EXCITEMENT_JOY = 0.1, 0.5

#: Correlation between an imitation's latent and its seed video's.
SEED_SHARE = 0.85


@dataclass(frozen=True)
class Ratings:
    """What the raters said.

    Attributes:
        labels: ``[n, 6]``, each k / raters.
        raters: How many rated each clip, ``[n]``.
    """

    labels: Array
    raters: NDArray[np.int64]


def draw_seed_videos(rng: np.random.Generator, count: int) -> Array:
    """Returns the latents of ``count`` seed videos, ``[count, 6]``.

    Each column holds the same ``count`` normal quantiles in another order, so that even a few seed videos have
    their share of the rare emotions.
    """
    latents = _correlated(rng, count)
    ranks = latents.argsort(axis=0).argsort(axis=0)
    return np.asarray(ndtri((ranks + 0.5) / count), np.float64)


def draw_ratings(rng: np.random.Generator, seed_latents: Array) -> Ratings:
    """Returns the ratings of one imitation of each row of ``seed_latents`` ``[n, 6]`` (a seed may recur)."""
    count = len(seed_latents)
    latents = SEED_SHARE * seed_latents + np.sqrt(1 - SEED_SHARE**2) * _correlated(rng, count)
    chances = vote_chances(latents)
    raters = rng.integers(RATERS[0], RATERS[1] + 1, size=count)
    no_vote = np.maximum(0, 1 - chances.sum(axis=1, keepdims=True))
    votes = rng.multinomial(raters, np.hstack([chances, no_vote]))[:, : len(MEANS)]
    return Ratings(votes / raters[:, None], raters)


def vote_chances(latents: Array) -> Array:
    """Returns the probability that a rater votes for each emotion, ``[n, 6]``; a row sums to 1 at most.

    >>> vote_chances(np.array([[0.0] * 6, [9.0] * 6])).sum(axis=1).round(2).tolist()
    [0.08, 1.0]
    """
    chances = np.array(GAIN) * np.maximum(0, latents - np.array(THRESHOLD))
    return np.asarray(chances / np.maximum(1, chances.sum(axis=1, keepdims=True)), np.float64)


def shown(rng: np.random.Generator, labels: Array, noise: float) -> Array:
    """Returns how strongly one modality shows each emotion: ``labels / SPREAD`` plus its own normal noise.

    Args:
        rng: The modality's own generator, so that its errors are not those of another modality.
        labels: Labels of one clip, ``[6]``.
        noise: Standard deviation of the noise, in the same unit.
    """
    return np.asarray(labels / np.array(SPREAD) + noise * rng.standard_normal(len(SPREAD)), np.float64)


def _correlated(rng: np.random.Generator, count: int) -> Array:
    """Returns ``[count, 6]`` standard normal values with the correlations above."""
    emotions = len(MEANS)
    matrix = np.full((emotions, emotions), ANY_TWO) + (1 - ANY_TWO) * np.eye(emotions)
    matrix[4, 5] = matrix[5, 4] = EXCITEMENT_JOY
    return rng.standard_normal((count, emotions)) @ np.linalg.cholesky(matrix).T
