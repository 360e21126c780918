"""Simulated validation sets of sparse votes whose true mean r is known exactly, with clips that may share a subject.

Each clip has chances q over the six emotions and "none", drawn from a Dirichlet distribution whose means are those of
the paper's Table 2; three or four raters cast one vote each, and the label is the share of votes. A prediction is q
plus normal noise. A clip takes its subject's q instead of one of its own with probability ``same``, and the noise is
a subject's in a share ``same`` of its variance: neither changes the distribution of a single clip, so the true r
follows from the moments of the Dirichlet whatever the subjects.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from abawkit.evaluation.bootstrap import RESAMPLES, interval, resample_scores

Array = NDArray[np.float64]

MEANS = np.array([0.1785, 0.1253, 0.0967, 0.0214, 0.1420, 0.1157])
RATERS = (3, 4)
#: The Dirichlet's concentration is 1: most clips have one or two emotions, and 60 to 97 % of the labels are 0.
NOISE = 0.25

_VARIANCE = MEANS * (1 - MEANS) / 2  # of q, with the concentration 1
_LABEL_VARIANCE = _VARIANCE * (1 + np.mean([1 / n for n in RATERS]))
#: The true mean r: cov(label, prediction) is the variance of q.
TRUE_R = float(np.mean(_VARIANCE / np.sqrt(_LABEL_VARIANCE * (_VARIANCE + NOISE**2))))


def world(
    rng: np.random.Generator, clips: int, *, subjects: int = 0, same: float = 0.0, systems: int = 1
) -> tuple[Array, list[Array], list[str] | None]:
    """Returns labels ``[clips, 6]``, the predictions of equally good systems, and the subject of each clip."""
    alpha = np.append(MEANS, 1 - MEANS.sum())
    q = rng.dirichlet(alpha, clips)
    owner = rng.integers(0, subjects, clips) if subjects else None  # so that subjects differ in their clips
    if owner is not None:
        shared = rng.random(clips) < same
        q[shared] = rng.dirichlet(alpha, subjects)[owner[shared]]
    raters = rng.choice(RATERS, clips)
    labels = rng.multinomial(raters, q)[:, :6] / raters[:, None]

    def noise() -> Array:
        own = rng.normal(size=(clips, 6))
        if owner is None:
            return own
        return np.sqrt(1 - same) * own + np.sqrt(same) * rng.normal(size=(subjects, 6))[owner]

    common = noise()  # the systems err alike in half of the variance
    predictions = [q[:, :6] + NOISE * np.sqrt(0.5) * (common + noise()) for _ in range(systems)]
    return labels, predictions, None if owner is None else [str(one) for one in owner]


def coverage(
    times: int, clips: int, *, subjects: int = 0, same: float = 0.0, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, float]:
    """Returns how often each kind of interval holds the true mean r.

    Where there are subjects, that by clip is there to be seen to fail, and is drawn less often.
    """
    held: dict[str, list[bool]] = {}
    for rng in _streams(times, seed):
        labels, (prediction,), groups = world(rng, clips, subjects=subjects, same=same)
        for way, keys in {"clip": None, "group": groups}.items():
            if way == "clip" or keys is not None:
                drawn = min(resamples, 400) if way == "clip" and subjects else resamples
                found = interval(labels, prediction, groups=keys, resamples=drawn)
                held.setdefault(f"{way} BCa", []).append(found.low <= TRUE_R <= found.high)
                low, high = found.percentile
                held.setdefault(f"{way} percentile", []).append(low <= TRUE_R <= high)
    return {way: float(np.mean(hits)) for way, hits in held.items()}


def false_positives(
    pairs: int, clips: int, *, subjects: int = 0, same: float = 0.0, resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """Returns the share of pairs of equally good systems whose difference is called real at the 5 % level."""
    found = []
    for rng in _streams(pairs, seed):
        labels, predictions, groups = world(rng, clips, subjects=subjects, same=same, systems=2)
        one, other = resample_scores(labels, predictions, groups=groups, resamples=resamples)
        found.append((one - other).p_value(-1) < 0.05)
    return float(np.mean(found))


def _streams(times: int, seed: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(times))
