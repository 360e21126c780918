"""Labels drawn as raters' votes, with exactly the paper's means and shares of zeros (Tables 1 and 2) in each split.

Every clip has six latent normal values, which are partly its seed video's and partly its person's. Each becomes the
quantile of a Beta distribution at the latent's rank; where the six sum to more than 1 they are divided by their sum.
These are the chances that a rater votes for each emotion. Every rater casts one vote at most; a label is the share of
the votes. The Beta parameters and the correlation of the latents of Excitement and Joy are fitted once
(:func:`abawkit.jobs.simulation.constants.fit_labels`) and kept in ``calibrated.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

Array = NDArray[np.float64]

EMOTIONS = 6

#: Every clip has so many raters, each number equally often.
RATERS = (5, 6, 7, 8, 9)

#: Shares of a latent's variance: its seed video's and its person's; the rest is the clip's own.
SEED_SHARE, PERSON_SHARE = 0.5, 0.1

#: Correlation of the latents of any two emotions; that of Excitement and Joy is fitted.
ANY_TWO = 0.25

_EXCITEMENT, _JOY = 4, 5
#: Ranks are kept off 0 and 1, where a Beta quantile would be exactly 0 or 1.
_EDGE = 1e-9


def mixing(excitement_joy: float) -> Array:
    """Returns the matrix ``[6, 6]`` that gives independent normal rows the correlations of the latents.

    >>> mix = mixing(0.5)
    >>> bool(np.isclose((mix @ mix.T)[4, 5], 0.5))
    True
    """
    matrix = np.full((EMOTIONS, EMOTIONS), ANY_TWO) + (1 - ANY_TWO) * np.eye(EMOTIONS)
    matrix[_EXCITEMENT, _JOY] = matrix[_JOY, _EXCITEMENT] = excitement_joy
    return np.asarray(np.linalg.cholesky(matrix), np.float64)


def draw_latents(rng: np.random.Generator, count: int, mix: Array, *, even: bool = False) -> Array:
    """Returns ``count`` latents, standard normal ``[count, 6]``, correlated as ``mix`` says.

    Args:
        rng: The generator.
        count: Number of rows.
        mix: From :func:`mixing`.
        even: Each column holds the normal quantiles in another order, so that even a few seed videos or persons have
            their share of the rare emotions and every simulation has the same means.
    """
    # Row by row and not as a matrix product, whose last bits depend on the threads of the machine.
    latents = np.einsum("nk,ek->ne", rng.standard_normal((count, EMOTIONS)), mix)
    if even:
        ranks = latents.argsort(axis=0).argsort(axis=0)
        latents = ndtri((ranks + 0.5) / count)
    return np.asarray(latents, np.float64)


def vote_chances(latents: Array, betas: Sequence[Sequence[float]]) -> Array:
    """Returns the probability that a rater votes for each emotion, ``[n, 6]``; a row sums to 1 at most.

    Args:
        latents: Standard normal, ``[n, 6]``.
        betas: Per emotion the two Beta parameters.

    >>> vote_chances(np.zeros((1, 6)), [(1, 1)] * 2 + [(1, 999)] * 4).round(3).tolist()
    [[0.499, 0.499, 0.001, 0.001, 0.001, 0.001]]
    """
    ranks = np.clip(ndtr(latents), _EDGE, 1 - _EDGE)
    chances = np.stack([betaincinv(a, b, ranks[:, emotion]) for emotion, (a, b) in enumerate(betas)], axis=1)
    return np.asarray(chances / np.maximum(1.0, chances.sum(axis=1, keepdims=True)), np.float64)


def draw_votes(rng: np.random.Generator, chances: Array) -> Array:
    """Returns labels ``[n, 6]``: shares of the votes of 5 to 9 raters, each of whom votes once at most."""
    raters = rng.choice(RATERS, len(chances))
    nobody = np.maximum(0.0, 1.0 - chances.sum(axis=1, keepdims=True))
    every = np.hstack([chances, nobody])
    votes = rng.multinomial(raters, every / every.sum(axis=1, keepdims=True))[:, :EMOTIONS]
    return np.asarray(votes / raters[:, None], np.float64)


def moments(chances: Array) -> tuple[Array, Array, Array]:
    """Returns what labels drawn with these chances have in expectation: means, shares of zeros, correlations.

    Args:
        chances: ``[n, 6]``, taken as the whole population.
    """
    none = np.mean([((1.0 - chances) ** raters).mean(axis=0) for raters in RATERS], axis=0)
    inverse = float(np.mean([1 / raters for raters in RATERS]))
    mean = chances.mean(axis=0)
    # E[k_i k_j] / N^2 of a multinomial: p_i p_j (1 - 1/N), and p_i / N more where i = j.
    second = (chances.T @ chances) / len(chances) * (1 - inverse) + np.diag(mean) * inverse
    covariance = second - np.outer(mean, mean)
    spread = np.sqrt(np.diag(covariance))
    return mean, none, covariance / np.outer(spread, spread)
