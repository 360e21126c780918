"""Simulated challenges in which an ensemble's score on a large test set is known, and a small sample of the proof.

A clip has chances q over six emotions and "none" (Dirichlet, the means of the paper's Table 2), and its label is the
share of three or four votes. Fifteen members of three kinds see q with a strength of their own per emotion, with an
error that all share, one that their kind shares, and one of their own. ``epochs`` makes of each member the best of so
many noisy epochs on the scored clips, which is what early stopping on them does.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from abawkit.evaluation.combine import METHODS, fit
from abawkit.evaluation.crossfit import assign_folds, compare_methods, simplest
from abawkit.metrics import pearson

Array = NDArray[np.float64]

MEANS = np.array([0.1785, 0.1253, 0.0967, 0.0214, 0.1420, 0.1157])
MEMBERS, KINDS, TEST = 15, 3, 10_000


class World:
    """Members and truth on any number of clips; the members' strengths and scales are drawn once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.strength = rng.uniform(0.2, 1.0, (MEMBERS, 1, 6))
        self.scale = rng.uniform(0.3, 3.0, (MEMBERS, 1, 6))
        self.kind = np.arange(MEMBERS) % KINDS

    def draw(self, clips: int, *, epochs: int = 1) -> tuple[Array, Array]:
        """Returns members ``[15, clips, 6]`` and labels ``[clips, 6]``."""
        rng = self.rng
        q = rng.dirichlet(np.append(MEANS, 1 - MEANS.sum()), clips)
        raters = rng.choice((3, 4), clips)
        labels = rng.multinomial(raters, q)[:, :6] / raters[:, None]
        seen = (q[:, :6] - MEANS) / q[:, :6].std(axis=0)
        error = 0.7 * rng.normal(size=(1, clips, 6)) + 0.7 * rng.normal(size=(KINDS, clips, 6))[self.kind]
        base = self.strength * seen + error + rng.normal(size=(MEMBERS, clips, 6))
        jitter = 0.5
        found = base + jitter * rng.normal(size=base.shape)
        best = np.array([pearson(labels, one).mean() for one in found])
        for _ in range(epochs - 1):
            again = base + jitter * rng.normal(size=base.shape)
            scores = np.array([pearson(labels, one).mean() for one in again])
            found[scores > best] = again[scores > best]
            best = np.maximum(best, scores)
        return self.scale * found, labels


def measure(
    worlds: int, clips: int, *, epochs: int = 1, methods: Sequence[str] = tuple(METHODS), seed: int = 0
) -> dict[str, Array]:
    """Returns method → ``[worlds, 3]``: cross-fitted score, in-sample score, true test score; ``auto`` as well."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for one in np.random.SeedSequence(seed).spawn(worlds):
        world = World(np.random.default_rng(one))
        members, truth = world.draw(clips, epochs=epochs)
        test_members, test_truth = world.draw(TEST)
        results = compare_methods(members, truth, assign_folds(clips), methods=methods)
        row = {
            result.method: (
                result.score,
                result.optimistic,
                float(pearson(test_truth, fit(result.method, members, truth).predict(test_members)).mean()),
            )
            for result in results
        }
        for method, values in (row | {"auto": row[simplest(results)]}).items():
            rows.setdefault(method, []).append(values)
    return {method: np.array(values) for method, values in rows.items()}


def told(found: dict[str, Array]) -> str:
    """Returns one line per method: the mean scores, and the bias of the cross-fitted one with its standard error."""
    lines = ["method         cross-fitted  in-sample  test    bias (se)         optimism"]
    for method, values in found.items():
        bias = values[:, 0] - values[:, 2]
        error = bias.std(ddof=1) / np.sqrt(len(bias))
        cross, inside, test = values.mean(axis=0)
        lines.append(
            f"{method:14} {cross:.4f}        {inside:.4f}     {test:.4f}  {bias.mean():+.4f} ({error:.4f})  "
            f"{inside - test:+.4f}"
        )
    return "\n".join(lines)


def gain(found: dict[str, Array], method: str, over: str) -> tuple[float, float, float]:
    """Returns by how much a method is better than another on the test side, and the 95 % interval of the mean."""
    difference = found[method][:, 2] - found[over][:, 2]
    half = 1.96 * float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return float(difference.mean()), float(difference.mean() - half), float(difference.mean() + half)


def test_in_a_few_worlds_the_cross_fitted_score_is_the_true_one() -> None:
    found = measure(6, 1500, methods=("best", "mean", "zmean", "ridge"))
    print(told(found))
    for values in found.values():
        assert abs((values[:, 0] - values[:, 2]).mean()) < 0.025
    assert (found["ridge"][:, 1] > found["ridge"][:, 0]).all()  # the in-sample score flatters
    assert gain(found, "ridge", "best")[1] > 0 and gain(found, "ridge", "mean")[1] > 0
