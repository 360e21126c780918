"""Ways to combine members into one prediction: pure functions on arrays, from moments of the fitting clips.

:func:`fit` standardises the members, weighs them by one of :data:`METHODS` and puts the result on the label scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawkit.evaluation.joint import Joint, joint
from abawkit.evaluation.methods import Method
from abawkit.metrics import pearson
from abawkit.records import Record

Array = NDArray[np.float64]

#: Most additions of the greedy methods.
_ROUNDS = 50
#: Penalties that ``ridge`` chooses from.
_PENALTIES = np.logspace(-4, 2, 25)
#: The percentiles that ``rank`` keeps of each member.
_QUANTILES = np.linspace(0, 1, 101)


class WeightsRecord(Record):
    """``weights.json`` of an ensemble: the attributes of :class:`Fitted` as lists, and the names of the members."""

    method: Method
    mean: list[list[float]]
    std: list[list[float]]
    weights: list[list[float]]
    centre: list[float]
    spread: list[float]
    offset: list[float]
    slope: list[float]
    quantiles: list[list[list[float]]] | None
    members: list[str]


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

    def to_record(self, members: Sequence[str]) -> WeightsRecord:
        """Returns everything that :meth:`from_record` needs, with the names of the M members."""
        return WeightsRecord(
            method=self.method,
            mean=self.mean.tolist(),
            std=self.std.tolist(),
            weights=self.weights.tolist(),
            centre=self.centre.tolist(),
            spread=self.spread.tolist(),
            offset=self.offset.tolist(),
            slope=self.slope.tolist(),
            quantiles=None if self.quantiles is None else self.quantiles.tolist(),
            members=list(members),
        )

    @classmethod
    def from_record(cls, record: WeightsRecord) -> Fitted:
        """Returns the combination that :meth:`to_record` wrote.

        Raises:
            ValueError: The numbers of members or targets do not agree.
        """
        by_member = [np.array(values) for values in (record.mean, record.std, record.weights)]  # [M, E]
        by_target = [np.array(values) for values in (record.centre, record.spread, record.offset, record.slope)]  # [E]
        quantiles = None if record.quantiles is None else np.array(record.quantiles)
        shape = (len(record.members), len(record.centre))
        if any(values.shape != shape for values in by_member) or any(values.shape != shape[1:] for values in by_target):
            raise ValueError("the numbers of members or targets do not agree")
        if (record.method == "rank") != (quantiles is not None and quantiles.shape == (len(_QUANTILES), *shape)):
            raise ValueError("the percentiles do not fit the method")
        mean, std, weights = by_member
        centre, spread, offset, slope = by_target
        return cls(record.method, mean, std, weights, centre, spread, offset, slope, quantiles)


def fit(method: Method, members: Array, truth: Array, known: Joint | None = None) -> Fitted:
    """Returns the combination by ``method`` of ``members [M, N, E]``, fitted to ``truth [N, E]``.

    Pearson r ignores a member's scale and an average does not. So each member p is standardised per target with its
    mean and deviation on these clips, and combined with the weights w of the method, whose magnitudes sum to 1::

        z[m] = (p[m] - mean[m]) / std[m]        c = Σ w[m] z[m]

    The method needs no more than the covariances of the standardised members with one another, G, and with the
    standardised truth, g; the deviation of c is √(w'Gw). The least-squares line of the truth y on c then gives the
    scale of the labels::

        prediction = mean(y) + cov(c, y) / std(c) · (c - mean(c)) / std(c)

    A rising line leaves r as it is. Where the line falls, or the truth is constant, the members' own mean and mean
    deviation take its place.

    A target whose truth is constant gets equal weights, and so does one to which the method gives none. A member that
    is constant on these clips adds nothing.

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
    gram, agreement = moments[:, :-1, :-1], moments[:, :-1, -1]
    weights = METHODS[method](gram, agreement, std, known.count)
    bad = flat | ~np.isfinite(weights).all(axis=0) | (np.abs(weights).sum(axis=0) <= 0)
    weights = np.where(bad, 1.0, weights)
    weights = weights / np.abs(weights).sum(axis=0)
    agreement, quantiles, centre = agreement * scales[-1][:, None], None, np.zeros(len(flat))
    if method == "rank":
        quantiles = _percentiles(members)
        ranked = joint(_standardised(members, mean, std, quantiles), truth)
        gram, agreement = ranked.covariance[:, :-1, :-1], ranked.covariance[:, :-1, -1]
        centre = (weights * ranked.mean[:-1]).sum(axis=0)
    spread = np.sqrt(np.maximum(np.einsum("me,emk,ke->e", weights, gram, weights), 0))
    spread = np.where(spread > 0, spread, 1.0)
    slope = np.einsum("me,em->e", weights, agreement) / spread
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


def _best(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns 1 for the member with the highest r, mean over the targets, and 0 for the others."""
    chosen = np.zeros_like(std)
    chosen[np.argmax(agreement.mean(axis=0))] = 1
    return chosen


def _mean(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns the weights of the plain mean of the predictions: of standardised members, their deviations."""
    return std


def _equal(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns equal weights."""
    return np.ones_like(std)


def _rweighted(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns each member's r, at least 0."""
    return np.asarray(np.maximum(agreement.T, 0))


def _greedy(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns how often greedy selection adds each member, for each target separately."""
    return _chosen(gram[:, None], agreement[:, None]).T


def _greedy_shared(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns how often greedy selection adds each member, the same for all targets."""
    return np.repeat(_chosen(gram[None], agreement[None]), len(gram), axis=0).T


def _chosen(gram: Array, agreement: Array) -> Array:
    """Returns ``[P, M]``: how often each member was added, in the best of the rounds by mean r over the targets.

    Greedy selection with replacement (Caruana et al. 2004, ICML): each round adds the member with which the sum of the
    chosen members has the highest r, and at most 50 rounds are made. With counts k, that sum has the covariance g'k
    with the truth and the variance k'Gk; adding member m makes them ``g'k + g[m]`` and ``k'Gk + 2 (Gk)[m] + G[m, m]``.

    ``gram [P, E, M, M]`` and ``agreement [P, E, M]`` are those of P choices, each for E targets.
    """
    own = np.einsum("pemm->pem", gram)
    choices = np.arange(len(gram))
    counts, found, best = np.zeros_like(agreement[:, 0]), np.zeros_like(agreement[:, 0]), np.full(len(gram), -np.inf)
    # g'k, k'Gk [P, E, 1] and Gk [P, E, M] of what was chosen so far.
    dot, square, cross = (
        np.zeros_like(agreement[:, :, :1]),
        np.zeros_like(agreement[:, :, :1]),
        np.zeros_like(agreement),
    )
    for _ in range(_ROUNDS):
        dots, squares = dot + agreement, square + 2 * cross + own  # with each member added
        r = (dots / np.sqrt(np.maximum(squares, 1e-12))).mean(axis=1)
        added = np.argmax(r, axis=1)
        dot, square = dots[choices, :, added][:, :, None], squares[choices, :, added][:, :, None]
        cross = cross + gram[choices, :, :, added]
        counts[choices, added] += 1
        reached = r[choices, added]
        better = reached > best + 1e-9
        best, found = np.where(better, reached, best), np.where(better[:, None], counts, found)
    return found


def _nnls(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns the w ≥ 0 that minimise ``|Σ w[m] z[m] - y|²`` (Lawson and Hanson 1974)."""
    from scipy.optimize import nnls

    weights = np.empty_like(std)
    for e in range(len(gram)):
        # |A w - y|² is the same, up to a constant, with the root of A'A for A: no need of the clips.
        values, vectors = np.linalg.eigh(gram[e])
        root = np.sqrt(np.maximum(values, 1e-10))
        weights[:, e] = nnls(root[:, None] * vectors.T, (vectors.T @ agreement[e]) / root)[0]
    return weights


def _ridge(gram: Array, agreement: Array, std: Array, count: int) -> Array:
    """Returns ``w = (G + λ I)⁻¹ g``, with the penalty λ that generalised cross-validation chooses.

    That is the λ with the least ``mean((y - Zw)²) / (1 - tr(H) / n)²``, where H maps y to Zw and n is the number of
    clips (Golub, Heath and Wahba 1979). In the eigenbasis of G, with values v and turned t = V'g, ``w = t / (v + λ)``,
    ``mean((y - Zw)²) = 1 - 2 Σ t w + Σ v w²`` and ``tr(H) = Σ v / (v + λ)``, so no clips are needed.
    """
    values, vectors = np.linalg.eigh(gram)
    values, turned = np.maximum(values, 1e-10)[:, None], np.einsum("emk,em->ek", vectors, agreement)[:, None]
    kept = 1 / (values + _PENALTIES[:, None])  # [E, P, M]: a row for each penalty
    shrunk = turned * kept
    left = 1 - 2 * (shrunk * turned).sum(axis=2) + (shrunk**2 * values).sum(axis=2)
    used = (values * kept).sum(axis=2)
    least = np.argmin(left / (1 - np.minimum(used / count, 0.99)) ** 2, axis=1)
    return np.asarray(np.einsum("emk,ek->me", vectors, shrunk[np.arange(len(gram)), least]))


#: Method → function that returns the weights ``[M, E]``, from the simplest to the least simple. Its arguments are G
#: ``[E, M, M]`` and g ``[E, M]`` of :func:`fit`, the members' deviations ``[M, E]`` and the number of clips. ``rank``
#: averages the members' percentiles among the fitting clips instead of their standardised predictions.
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
