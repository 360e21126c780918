"""Ways to combine members into one prediction: pure functions on arrays, from moments of the fitting clips.

Every member is standardised per target with its mean and deviation on the fitting clips, for Pearson r ignores a
member's scale and an average does not. The weights are those of the standardised members; each method needs no more
than the members' correlations with one another and with the truth. What comes out is standardised again and then put
on the scale of the labels by the least-squares line of truth on prediction, fitted per target on the same clips. Its
slope is always positive, so it changes no r; where the line falls or the truth is constant, the members' own mean and
mean deviation take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.evaluation.joint import Joint, joint
from abawkit.evaluation.methods import Method
from abawkit.metrics import pearson

Array = NDArray[np.float64]

_ROUNDS = 50
_PENALTIES = np.logspace(-4, 2, 25)
_QUANTILES = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Fitted:
    """A fitted combination of M members for E targets.

    Attributes:
        method: Its name, one of :data:`METHODS`.
        mean: Mean of each member on the fitting clips, ``[M, E]``.
        std: Deviation of each member, ``[M, E]``.
        weights: Weights of the standardised members ``[M, E]``; their absolute values sum to 1 per target.
        centre: Mean of the combination, ``[E]``.
        spread: Deviation of the combination, ``[E]``.
        offset: Label scale: value at the mean, ``[E]``.
        slope: Label scale: change with one deviation, ``[E]``, positive.
        quantiles: With ``rank``: the members' percentiles, ``[101, M, E]``; else None.
    """

    method: Method
    mean: Array
    std: Array
    weights: Array
    centre: Array
    spread: Array
    offset: Array
    slope: Array
    quantiles: Array | None = None

    def standard(self, members: Array) -> Array:
        """Returns the combination ``[N, E]`` of ``members [M, N, E]``: mean 0, deviation 1 on the fitting clips."""
        return (_mixed(_standardised(members, self.mean, self.std, self.quantiles), self.weights) - self.centre) / (
            self.spread
        )

    def predict(self, members: Array) -> Array:
        """Returns the combination ``[N, E]`` of ``members [M, N, E]``, on the label scale, not clipped."""
        return self.offset + self.slope * self.standard(members)

    def to_json(self) -> dict[str, Any]:
        """Returns everything that :meth:`from_json` needs."""
        names = ("mean", "std", "weights", "centre", "spread", "offset", "slope", "quantiles")
        values = {name: getattr(self, name) for name in names}
        listed = {name: None if value is None else value.tolist() for name, value in values.items()}
        return {"method": self.method, **listed}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Fitted:
        """Returns the combination that :meth:`to_json` wrote."""
        arrays = {k: None if v is None else np.asarray(v, np.float64) for k, v in record.items() if k != "method"}
        return cls(record["method"], **arrays)  # type: ignore[arg-type]


def fit(method: Method, members: Array, truth: Array, known: Joint | None = None) -> Fitted:
    """Returns the combination by ``method`` of ``members [M, N, E]``, fitted to ``truth [N, E]``.

    A target whose truth is constant gets equal weights, and so does one of which no member knows anything. A member
    that is constant on these clips adds nothing.

    Args:
        method: One of :data:`METHODS`.
        members: ``[M, N, E]``.
        truth: ``[N, E]``.
        known: The moments of both, where they are known: of the clips, only ``rank`` needs more.

    Raises:
        ValueError: The shapes do not fit.
        KeyError: There is no such method.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(400, 1))
    >>> members = np.stack([truth + rng.normal(size=truth.shape), 9 * rng.normal(size=truth.shape)])
    >>> fit("nnls", members, truth).weights[:, 0].round(1)
    array([1., 0.])
    """
    members, truth = np.asarray(members, np.float64), np.asarray(truth, np.float64)
    if members.ndim != 3 or members.shape[1:] != truth.shape:
        raise ValueError(f"members {members.shape} and truth {truth.shape} must be [M, N, E] and [N, E]")
    known = joint(members, truth) if known is None else known
    scales = np.where(known.flat, 1.0, known.std)
    mean, std, flat = known.mean[:-1], scales[:-1], known.flat[-1]
    moments = known.covariance / (scales.T[:, :, None] * scales.T[:, None])  # of standardised members and truth
    gram, toward = moments[:, :-1, :-1], moments[:, :-1, -1]
    weights = METHODS[method](gram, toward, std, known.count)
    bad = flat | ~np.isfinite(weights).all(axis=0) | (np.abs(weights).sum(axis=0) <= 0)
    weights = np.where(bad, 1.0, weights)
    weights = weights / np.abs(weights).sum(axis=0)
    toward, quantiles, centre = toward * scales[-1][:, None], None, np.zeros(len(flat))
    if method == "rank":
        quantiles = _percentiles(members)
        ranked = joint(_standardised(members, mean, std, quantiles), truth)
        gram, toward = ranked.covariance[:, :-1, :-1], ranked.covariance[:, :-1, -1]
        centre = (weights * ranked.mean[:-1]).sum(axis=0)
    spread = np.sqrt(np.maximum(np.einsum("me,emk,ke->e", weights, gram, weights), 0))
    spread = np.where(spread > 0, spread, 1.0)
    slope = np.einsum("me,em->e", weights, toward) / spread
    own = flat | (slope <= 0)
    offset = np.where(own, mean.mean(axis=0), known.mean[-1])
    return Fitted(method, mean, std, weights, centre, spread, offset, np.where(own, std.mean(axis=0), slope), quantiles)


def _standardised(members: Array, mean: Array, std: Array, quantiles: Array | None) -> Array:
    if quantiles is None:
        return np.asarray((members - mean[:, None]) / std[:, None])
    rows = np.ascontiguousarray(members.transpose(0, 2, 1))
    order = np.argsort(rows, axis=2)
    ranked = np.empty_like(rows)
    for m, e in np.ndindex(mean.shape):  # in their order, as np.interp is then many times faster
        ranked[m, e, order[m, e]] = np.interp(rows[m, e, order[m, e]], quantiles[:, m, e], _QUANTILES)
    return np.asarray((ranked.transpose(0, 2, 1) - 0.5) * np.sqrt(12))  # a uniform distribution of deviation 1


def _percentiles(members: Array) -> Array:
    """Returns ``np.quantile(members, _QUANTILES, axis=1)``; to sort is faster than its many partial sorts."""
    rows = np.sort(members, axis=1)
    place = _QUANTILES * (rows.shape[1] - 1)
    below = np.floor(place).astype(np.intp)
    first, then = rows[:, below], rows[:, np.minimum(below + 1, rows.shape[1] - 1)]
    return np.asarray((first + (then - first) * (place - below)[:, None]).transpose(1, 0, 2))


def _mixed(standard: Array, weights: Array) -> Array:
    return np.asarray(np.einsum("mne,me->ne", standard, weights))


def _best(gram: Array, toward: Array, std: Array, count: int) -> Array:
    chosen = np.zeros_like(std)
    chosen[np.argmax(toward.mean(axis=0))] = 1
    return chosen


def _mean(gram: Array, toward: Array, std: Array, count: int) -> Array:
    return std


def _equal(gram: Array, toward: Array, std: Array, count: int) -> Array:
    return np.ones_like(std)


def _rweighted(gram: Array, toward: Array, std: Array, count: int) -> Array:
    return np.asarray(np.maximum(toward.T, 0))


def _greedy(gram: Array, toward: Array, std: Array, count: int) -> Array:
    return _chosen(gram[:, None], toward[:, None]).T


def _greedy_shared(gram: Array, toward: Array, std: Array, count: int) -> Array:
    return np.repeat(_chosen(gram[None], toward[None]), len(gram), axis=0).T


def _chosen(gram: Array, toward: Array) -> Array:
    """Returns ``[P, M]``: how often each member was added, in the best of the rounds by mean r over the targets.

    ``gram [P, E, M, M]`` and ``toward [P, E, M]`` are those of P choices, each for E targets.
    """
    own = np.einsum("pemm->pem", gram)
    choices = np.arange(len(gram))
    counts, found, best = np.zeros_like(toward[:, 0]), np.zeros_like(toward[:, 0]), np.full(len(gram), -np.inf)
    dot, square, cross = np.zeros_like(toward[:, :, :1]), np.zeros_like(toward[:, :, :1]), np.zeros_like(toward)
    for _ in range(_ROUNDS):
        dots, squares = dot + toward, square + 2 * cross + own  # with each member added
        r = (dots / np.sqrt(np.maximum(squares, 1e-12))).mean(axis=1)
        added = np.argmax(r, axis=1)
        dot, square = dots[choices, :, added][:, :, None], squares[choices, :, added][:, :, None]
        cross = cross + gram[choices, :, :, added]
        counts[choices, added] += 1
        reached = r[choices, added]
        better = reached > best + 1e-9
        best, found = np.where(better, reached, best), np.where(better[:, None], counts, found)
    return found


def _nnls(gram: Array, toward: Array, std: Array, count: int) -> Array:
    from scipy.optimize import nnls

    weights = np.empty_like(std)
    for e in range(len(gram)):
        # |A w - y|² is the same, up to a constant, with the root of A'A for A: no need of the clips.
        values, vectors = np.linalg.eigh(gram[e])
        root = np.sqrt(np.maximum(values, 1e-10))
        weights[:, e] = nnls(root[:, None] * vectors.T, (vectors.T @ toward[e]) / root)[0]
    return weights


def _ridge(gram: Array, toward: Array, std: Array, count: int) -> Array:
    values, vectors = np.linalg.eigh(gram)
    values, turned = np.maximum(values, 1e-10)[:, None], np.einsum("emk,em->ek", vectors, toward)[:, None]
    kept = 1 / (values + _PENALTIES[:, None])  # [E, P, M]: a row for each penalty
    shrunk = turned * kept
    left = 1 - 2 * (shrunk * turned).sum(axis=2) + (shrunk**2 * values).sum(axis=2)
    used = (values * kept).sum(axis=2)
    least = np.argmin(left / (1 - np.minimum(used / count, 0.99)) ** 2, axis=1)
    return np.asarray(np.einsum("emk,ek->me", vectors, shrunk[np.arange(len(gram)), least]))


#: Method → weights ``[M, E]`` from the members' Gram matrix ``[E, M, M]``, their covariance with the standardised truth
#: ``[E, M]``, their deviations ``[M, E]`` and the number of clips; from the simplest to the least simple. ``rweighted``
#: weighs by r (at least 0), ``greedy`` is Caruana et al. 2004 (ICML) with replacement and at most 50 additions, per
#: target or shared by all, ``ridge`` takes its penalty by generalised cross-validation (Golub et al. 1979). ``rank``
#: averages the members' percentiles among the fitting clips.
METHODS: dict[Method, Callable[[Array, Array, Array, int], Array]] = {
    "best": _best,
    "mean": _mean,
    "zmean": _equal,
    "rank": _equal,
    "rweighted": _rweighted,
    "greedy-shared": _greedy_shared,
    "nnls": _nnls,
    "greedy": _greedy,
    "ridge": _ridge,
}


def correlations(members: Array) -> Array:
    """Returns ``[M, M]``: the members' correlations with one another, averaged over the targets.

    >>> correlations(np.array([[[0.0], [1.0]], [[1.0], [0.0]]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    return np.array([[float(np.mean(pearson(a, b))) for b in members] for a in members])
