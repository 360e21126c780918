"""Fits the simulation's constants, once: its labels to Tables 1 and 2, its features to Table 4.

The result is ``calibrated.json`` beside this file, made by ``python bench/calibrate.py`` and not changed since. Each
modality is fitted alone, by ridge regression on the mean of its frames. What modalities are worth together, what more
training clips are worth, and what attention is worth over the mean are outcomes: nothing is fitted to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq, root
from scipy.special import ndtri

from abawkit.challenge import EMI
from abawkit.data.stats.published import PAPER
from abawkit.errors import AbawkitError
from abawkit.features.spec import MODALITIES, Modality
from abawkit.fileio import digest_json, read_json
from abawkit.jobs.simulation.label_model import EMOTIONS, Array, mixing, moments, vote_chances
from abawkit.jobs.simulation.signal import Signal
from abawkit.jobs.simulation.world import World, draw_world, split_sizes
from abawkit.metrics import pearson
from abawkit.progress import SILENT, Progress

CALIBRATED = Path(__file__).with_name("calibrated.json")

#: Table 4 of the paper: validation r of each modality alone, per emotion in the official order.
TABLE_4: Mapping[Modality, Sequence[float]] = {
    "text": (0.484, 0.390, 0.376, 0.426, 0.363, 0.333),
    "audio": (0.405, 0.347, 0.320, 0.351, 0.350, 0.328),
    "vision": (0.049, 0.214, 0.136, 0.082, 0.203, 0.237),
    "motion": (-0.007, 0.210, 0.099, 0.046, 0.195, 0.240),
}

#: Seeds of the worlds that the strengths are fitted on; no other seed is looked at.
_WORLDS = (9001, 9002, 9003, 9004)
_ROUNDS = 6
_MOST = 0.98
_POINTS = 13  # two to this power
#: Log-odds of the means, then logarithms of the weights, of the Beta distributions.
_FIRST_GUESS = (-1.2, -1.5, -1.8, -3.4, -1.4, -1.6, *[0.0] * 6)
_EXCITEMENT, _JOY = 4, 5


@cache
def constants() -> Mapping[str, Any]:
    """Returns ``calibrated.json``: ``excitement_joy``, ``betas`` per split, ``strengths`` per modality, their r."""
    return read_json(CALIBRATED, "the constants of the simulation")


def constants_digest() -> str:
    """Returns a digest of the constants that values depend on."""
    return digest_json({key: constants()[key] for key in ("excitement_joy", "betas", "strengths")})


def fit_labels() -> dict[str, Any]:
    """Returns ``excitement_joy`` and ``betas`` per split with which labels have the paper's statistics.

    Per split the twelve Beta parameters are solved for the paper's six means and six shares of zeros (the mean of the
    chance; the mean of (1 - chance)^N over the number of raters N); around them, the correlation of the latents of
    Excitement and Joy for the labels' correlation over both splits. The expectations are taken over a fixed set of
    evenly spread points.
    """
    from scipy.stats.qmc import Sobol

    points = ndtri(Sobol(EMOTIONS, scramble=True, rng=np.random.default_rng(1)).random_base2(_POINTS))
    guess = {split: np.array(_FIRST_GUESS) for split in ("train", "valid")}

    def missing(excitement_joy: float) -> float:
        latents = points @ mixing(excitement_joy).T
        pooled = []
        for split in guess:
            guess[split] = _fit_split(split, latents, guess[split])
            # Both splits' clips are one population, in the proportion of their sizes.
            pooled.append(vote_chances(latents, _betas(guess[split]))[: EMI.counts[split]])
        return float(moments(np.vstack(pooled))[2][_EXCITEMENT, _JOY] - PAPER["correlation"]["Excitement"]["Joy"])

    found = float(brentq(missing, 0.2, 0.95, xtol=1e-4))
    missing(found)
    return {"excitement_joy": found, "betas": {split: _betas(value) for split, value in guess.items()}}


def _betas(guess: Array) -> list[list[float]]:
    """Returns Beta parameters from the log-odds of the means and the logarithms of the weights, ``[12]``."""
    share, weight = 1 / (1 + np.exp(-guess[:EMOTIONS])), np.exp(guess[EMOTIONS:])
    return np.stack([share * weight, (1 - share) * weight], axis=1).tolist()  # type: ignore[no-any-return]


def _fit_split(split: str, latents: Array, guess: Array) -> Array:
    published = PAPER["splits"][split]
    means = np.array([published["mean"][name] for name in EMI.targets])
    zeros = np.array([published["zero_percent"][name] for name in EMI.targets]) / 100

    def missing(guess: Array) -> Array:
        found = moments(vote_chances(latents, _betas(guess)))
        return np.concatenate([np.log(found[0] / means), found[1] - zeros])

    solved = root(missing, guess, tol=1e-8)
    if np.abs(missing(solved.x)).max() > 1e-4:
        raise AbawkitError("the labels' statistics cannot be reached", got=solved.message)
    return np.asarray(solved.x, np.float64)


def ridge_r(features: Any, world: World) -> Array:
    """Returns the validation r per emotion of a ridge regression on the training clips, ``[6]``.

    Args:
        features: One vector per clip of the world, ``[N, D]``.
        world: The clips.

    Features are standardised over the training clips; the penalty is the one of 13 with the least generalised
    cross-validation error on the training clips, one for all emotions.
    """
    train, valid = world.rows("train"), world.rows("valid")
    x = np.asarray(features[: valid.stop], np.float64)
    centre, spread = x[train].mean(axis=0), x[train].std(axis=0)
    x = (x - centre) / np.where(spread > 0, spread, 1.0)
    y = world.labels[train] - world.labels[train].mean(axis=0)
    values, vectors = np.linalg.eigh(x[train].T @ x[train])
    values = np.maximum(values, 0.0)
    turned = vectors.T @ (x[train].T @ y)
    best, weights = np.inf, turned
    for penalty in len(y) * np.logspace(-4, 2, 13):
        shrunk = turned / (values + penalty)[:, None]
        # |y - Xw|^2 with everything in the eigenvectors of X'X.
        residual = (y**2).sum(0) - 2 * (shrunk * turned).sum(0) + (shrunk**2 * values[:, None]).sum(0)
        free = 1 - (values / (values + penalty)).sum() / len(y)
        error = float((residual / (y**2).sum(0)).mean() / free**2)
        if error < best:
            best, weights = error, vectors @ shrunk
    return np.asarray(pearson(world.labels[valid], x[valid] @ weights), np.float64)


def fit_strengths(
    fitted: Mapping[str, Any], modalities: Sequence[Modality] = MODALITIES, progress: Progress = SILENT
) -> dict[str, dict[str, list[float]]]:
    """Returns the ``strengths`` with which ridge has Table 4's validation r, and the ``reached`` r.

    Args:
        fitted: From :func:`fit_labels`.
        modalities: Those that are fitted.
        progress: Where progress goes.

    The r is the mean over four worlds of the official size. A strength is the r asked for over what a strength of 1
    would give, guessed and corrected six times.
    """
    worlds = [draw_world(seed, split_sizes(), fitted) for seed in _WORLDS]
    strengths: dict[str, list[float]] = {}
    reached: dict[str, list[float]] = {}
    with progress.task("calibrate", len(modalities) * _ROUNDS, "rounds") as task:
        for modality in modalities:
            asked = np.maximum(TABLE_4[modality], 0.0)
            strength = np.minimum(1.4 * asked, _MOST)
            for last in (*[False] * (_ROUNDS - 1), True):
                signals = [Signal(world, modality, strength.tolist()) for world in worlds]
                r = np.mean([ridge_r(signal.pooled(), signal.world) for signal in signals], axis=0)
                if not last:
                    # A factor is bounded: small r are mostly chance.
                    factor = np.clip(asked / np.maximum(r, 1e-3), 0.5, 1.5)
                    strength = np.minimum(strength * factor, _MOST)
                task.advance(note=f"{modality} {np.abs(r - asked).max():.3f}")
            strengths[modality] = [round(float(value), 4) for value in strength]
            reached[modality] = [round(float(value), 4) for value in r]
    return {"strengths": strengths, "reached": reached}


def calibrate(progress: Progress = SILENT) -> dict[str, Any]:
    """Returns what belongs in ``calibrated.json``."""
    fitted = fit_labels()
    return {"command": "python bench/calibrate.py", **fitted, **fit_strengths(fitted, progress=progress)}


def to_text(record: Mapping[str, Any]) -> str:
    """Returns the text of ``calibrated.json``."""
    return json.dumps(record, indent=1) + "\n"
