"""The score of an ensemble that does not flatter: fitted on all folds but one, scored on that one.

The out-of-fold combinations, standardised with statistics of their own fitting clips, are pooled and scored as one,
as the challenge scores a whole split. The score of weights on the clips that they were fitted to is kept as well, as
``optimistic``. What this cannot undo: members that were stopped early on the very clips (``soak/test_ensemble.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.evaluation.combine import METHODS, Array, fit
from abawkit.evaluation.joint import Joint, joint, merge
from abawkit.evaluation.methods import Method
from abawkit.metrics import pearson

FOLDS = 10


@dataclass(frozen=True)
class Result:
    """How well one method combines the members.

    Attributes:
        method: Its name.
        score: Cross-fitted score: the one to report.
        per_target: The same per target, ``[E]``.
        optimistic: In-sample score, which flatters.
        behind: By how much the best method's cross-fitted score is better.
        error: Standard error of that difference; nan where it is not known.
    """

    method: Method
    score: float
    per_target: Array
    optimistic: float
    behind: float = 0.0
    error: float = 0.0

    def to_json(self, targets: Sequence[str]) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {
            "method": self.method,
            "cross_fitted": self.score,
            "per_target": dict(zip(targets, self.per_target.tolist(), strict=True)),
            "optimistic": self.optimistic,
            "behind_best": self.behind,
            "standard_error": None if np.isnan(self.error) else self.error,
        }


def assign_folds(
    count: int, folds: int = FOLDS, *, groups: Sequence[str] | None = None, seed: int = 0
) -> NDArray[np.intp]:
    """Returns the fold of each clip, ``int [count]``; clips of one group are in one fold.

    Groups are assigned from the largest to the smallest, each to the fold with the fewest clips, in an order drawn from
    the seed among equals.

    Raises:
        ValueError: There are fewer clips or groups than two, or not as many keys as clips.

    >>> np.bincount(assign_folds(10, 5)).tolist()
    [2, 2, 2, 2, 2]
    """
    keys = np.arange(count) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(keys)
    if len(sizes) < 2 or len(keys) != count:
        raise ValueError(f"{len(sizes)} groups of {len(keys)} clips for {count} clips")
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    full, of_group = np.zeros(min(folds, len(sizes)), dtype=np.intp), np.zeros(len(sizes), dtype=np.intp)
    for group in order:
        of_group[group] = np.argmin(full)
        full[of_group[group]] += sizes[group]
    return np.asarray(of_group[keys])


def out_of_fold(
    method: Method, members: Array, truth: Array, folds: NDArray[np.intp], *, labels: bool = False
) -> Array:
    """Returns the combination ``[N, E]`` in which each clip's comes from a fit without its fold.

    Args:
        method: One of :data:`~abawkit.evaluation.combine.METHODS`.
        members: ``[M, N, E]``.
        truth: ``[N, E]``.
        folds: The fold of each clip.
        labels: On the label scale instead of standardised. The mean label of the other folds, which is lower where
            this fold's is high, then biases a pooled r downwards.
    """
    return _out_of_fold([method], members, truth, folds, _by_fold(members, truth, folds), labels)[method]


def _by_fold(members: Array, truth: Array, folds: NDArray[np.intp]) -> list[Joint]:
    return [joint(members[:, folds == fold], truth[folds == fold]) for fold in np.unique(folds)]


def _out_of_fold(
    methods: Sequence[Method],
    members: Array,
    truth: Array,
    folds: NDArray[np.intp],
    parts: Sequence[Joint],
    labels: bool,
) -> dict[Method, Array]:
    """Returns what :func:`out_of_fold` does, for each method; ``parts`` are the moments of each fold."""
    made = {method: np.empty_like(truth, dtype=np.float64) for method in methods}
    for index, fold in enumerate(np.unique(folds)):
        held = folds == fold
        known = merge([*parts[:index], *parts[index + 1 :]])
        rest, rest_truth, left_out = members[:, ~held], truth[~held], members[:, held]
        for method in methods:
            fitted = fit(method, rest, rest_truth, known)
            made[method][held] = fitted.predict(left_out) if labels else fitted.standard(left_out)
    return made


def compare_methods(
    members: Array,
    truth: Array,
    folds: NDArray[np.intp],
    *,
    methods: Sequence[Method] = tuple(METHODS),
    score: Callable[[Array, Array], Array] = pearson,
    groups: Sequence[str] | None = None,
) -> list[Result]:
    """Returns the result of each method, from the simplest to the least simple.

    Args:
        members: ``[M, N, E]``.
        truth: ``[N, E]``.
        folds: The fold of each clip.
        methods: Which.
        score: Score per target, ``[E]``; nan is left out of the mean.
        groups: A key per clip: the standard error is then one over groups.
    """
    labels = score is not pearson
    parts = _by_fold(members, truth, folds)
    whole = merge(parts)
    pooled = _out_of_fold(methods, members, truth, folds, parts, labels)
    per_target = {method: score(truth, made) for method, made in pooled.items()}
    means = {method: float(np.nanmean(found)) for method, found in per_target.items()}
    best = max(means, key=lambda method: means[method])
    found = []
    for method in methods:
        inside = score(truth, fit(method, members, truth, whole).predict(members))
        error = float("nan") if labels else _error(truth, pooled[best], pooled[method], groups)
        behind = means[best] - means[method]
        found.append(Result(method, means[method], per_target[method], float(np.nanmean(inside)), behind, error))
    return found


def simplest(results: Sequence[Result]) -> Method:
    """Returns the first method that is behind the best by at most one standard error of that difference."""
    return next(one.method for one in results if one.behind <= (0.0 if np.isnan(one.error) else one.error))


def _error(truth: Array, first: Array, second: Array, groups: Sequence[str] | None) -> float:
    """Returns the standard error of the difference of two mean r, from the influence of each clip or group.

    ``√(Σ (i1 - i2)²) / N`` over clips, or over the sums of groups, whose clips are not independent.
    """
    difference = _influence(truth, first) - _influence(truth, second)
    if groups is not None:
        of = np.unique(np.asarray(groups), return_inverse=True)[1]
        difference = np.bincount(of, weights=difference).astype(np.float64)
    return float(np.sqrt((difference**2).sum()) / len(truth))


def _influence(truth: Array, prediction: Array) -> Array:
    """Returns each clip's influence on the mean r, ``[N]``: ``zx·zy − r·(zx² + zy²)/2`` (Devlin et al. 1975).

    zx and zy are the standardised truth and prediction; targets without an r do not count.
    """
    r = pearson(truth, prediction)
    kept = np.isfinite(r)
    x, y = truth[:, kept], prediction[:, kept]
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean(axis=0)) / y.std(axis=0)
    return np.asarray((x * y - r[kept] * (x * x + y * y) / 2).mean(axis=1))
