"""Clips that belong together: by nearly the same words, and by the same person in front of the camera.

Both are hierarchical clusterings that hold a cluster together by all its members and not by a chain of single pairs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Array = NDArray[np.float64]

#: Fewer words than this say nothing about which seed video they are from.
MIN_WORDS = 3

#: Mean cosine at which texts count as the same words. Lower: other sentences join; higher: imitations with slips leave.
SIMILARITY = 0.5

#: A word in less than this share of the texts weighs no more than one in so many: most rare words are misheard ones.
RARE = 0.01

#: Dimensions in which persons are distinguished.
DIMS = 32

#: Most frames of a clip that are used, spread evenly.
FRAMES = 64

#: How much of the mean variance is added to the frames' covariance, which is else not invertible.
SHRINKAGE = 0.01

#: Fewest clips among which persons can be distinguished.
MIN_CLIPS = 8

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_BLOCK = 512


def normalise(text: str) -> str:
    """Returns the words of ``text`` in lower case with single spaces, without punctuation.

    >>> normalise("Oh my GOD -- I’m so happy!")
    "oh my god i'm so happy"
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(_WORD.findall(plain))


def cluster_texts(texts: Sequence[str], *, similarity: float = SIMILARITY) -> Labels:
    """Returns a cluster number per text, ``int64 [N]``; -1 for texts of fewer than :data:`MIN_WORDS` words.

    Args:
        texts: In the form of :func:`normalise`.
        similarity: Texts are one cluster while their mean cosine is at least this, in (0, 1).

    A text is the vector of its words, weighted by how rare they are (TF-IDF, the rarest words alike).

    >>> cluster_texts(["i am so happy", "um i am so happy", "what a lovely dog", "oh"]).tolist()
    [0, 0, 1, -1]
    """
    from scipy.sparse import diags
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    labels = np.full(len(texts), -1, dtype=np.int64)
    kept = [row for row, text in enumerate(texts) if text.count(" ") >= MIN_WORDS - 1]
    if not kept:
        return labels
    unique, inverse = np.unique([texts[row] for row in kept], return_inverse=True)
    counts = CountVectorizer(token_pattern=r"\S+", lowercase=False, dtype=np.float32).fit_transform(unique)
    having = np.asarray((counts > 0).sum(axis=0)).ravel()
    weight = np.log((1 + len(unique)) / (1 + np.maximum(having, RARE * len(unique)))) + 1
    vectors = normalize(counts @ diags(weight.astype(np.float32))).tocsr()
    # Texts whose mean cosine reaches the bound include a pair that does: no cluster leaves its connected component.
    part = connected_components(_near(vectors, similarity), directed=False)[1]
    order = np.argsort(part, kind="stable")
    of_unique, used = np.empty(len(unique), dtype=np.int64), 0
    for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        found = _cut(_distances(vectors[members]), 1 - similarity) if len(members) > 1 else np.zeros(1, np.int64)
        of_unique[members] = used + found
        used += int(found.max()) + 1
    labels[kept] = of_unique[inverse]
    return labels


def spread(frames: NDArray[Any]) -> NDArray[np.float32]:
    """Returns at most :data:`FRAMES` frames of a clip, ``float32 [≤ FRAMES, D]``, spread evenly.

    >>> len(spread(np.zeros((1000, 2)))), len(spread(np.zeros((7, 2))))
    (64, 7)
    """
    rows = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).round().astype(int)
    return np.asarray(frames[rows], dtype=np.float32)


def person_points(clips: Iterable[NDArray[Any]]) -> tuple[Array, str]:
    """Returns a point per clip in a space that tells persons apart, ``float64 [N, ≤ 32]``, and how it was made.

    A person's expression changes within a clip, and who it is does not. So the directions are those in which the
    clips' means vary most against the frames within the clips (Fisher's discriminant with each clip as a class). Where
    clips have too few frames for that, they are the first principal components, scaled to the same variance.

    Args:
        clips: Each clip's frames, ``[T, D]``, T > 0, finite. At most :data:`FRAMES` of each are used.
    """
    from scipy.linalg import eigh

    means: list[Array] = []
    within: Array | None = None
    pending: list[NDArray[np.float32]] = []
    frames = 0

    def gather() -> None:
        nonlocal within
        block = np.concatenate(pending)
        product = (block.T @ block).astype(np.float64)
        within = product if within is None else within + product
        pending.clear()

    for clip in clips:
        values = spread(clip)
        mean = values.mean(axis=0, dtype=np.float64)
        means.append(mean)
        pending.append(values - mean.astype(np.float32))
        frames += len(values)
        if len(pending) >= 64:
            gather()
    if pending:
        gather()
    points = np.array(means)
    assert within is not None
    free, dim = frames - len(points), points.shape[1]
    count = min(DIMS, dim, len(points) - 1)
    if free >= dim:
        within /= free
        scale = np.sqrt(np.diag(within) + points.var(axis=0))
    else:
        scale = points.std(axis=0)
    scale[scale <= 1e-6 * np.abs(points).max(axis=0)] = np.inf  # a constant value tells nothing
    points = (points - points.mean(axis=0)) / scale
    between = points.T @ points / len(points)
    last = (dim - count, dim - 1)
    if free >= dim:
        within = within / np.outer(scale, scale)
        mixed = (1 - SHRINKAGE) * within + np.eye(dim) * max(SHRINKAGE * np.trace(within) / dim, 1e-9)
        _, directions = eigh(between, mixed, subset_by_index=last)
        return points @ directions, f"discriminant of {len(points)} clips against their frames, {count} directions"
    variance, directions = eigh(between, subset_by_index=last)
    projected = points @ directions / np.sqrt(np.maximum(variance, 1e-9))
    return projected, f"{count} principal components of the clips' means, scaled (too few frames per clip for more)"


@dataclass(frozen=True)
class PointClusters:
    """A clustering of points.

    Attributes:
        labels: Cluster number per point, ``int64 [N]``.
        cut: Height of Ward's tree up to which clusters were joined.
        right: Estimated share (0 to 1) of the pairs within clusters that belong together; nan without any pair, or
            where the sides cannot tell.
    """

    labels: Labels
    cut: float
    right: float


def cluster_points(points: Array, sides: Labels, *, clusters: int | None = None) -> PointClusters:
    """Returns clusters of points by Ward's linkage.

    Args:
        points: ``[N, D]``; their N² / 2 distances are held in memory, twice (2.3 GiB for 17,246 clips).
        sides: ``[N]``: points of different sides are known not to belong together, which is all that is known. A cut
            of the tree is judged by its pairs: were all of them wrong, a known share would join two sides; so the
            share that does tells how many are wrong. Taken is the cut with the highest F1, as far as half the pairs
            are right; where no cut gets there, no points are joined.
        clusters: How many clusters, instead of that.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(points, "ward")
    pairs, right = _judge(tree, sides)
    good = right >= 0.5 * pairs
    if clusters is not None:
        joins = len(points) - clusters
    elif good.any():
        f1 = np.where(good, 2 * right / (pairs + right[good].max()), -1.0)
        joins = int(f1.argmax()) + 1
    else:
        joins = 0
    cut = float(tree[joins - 1, 2]) if joins else 0.0
    labels = fcluster(tree, len(points) - joins, "maxclust") - 1 if joins else np.arange(len(points))
    share = float(np.clip(right[joins - 1] / pairs[joins - 1], 0, 1)) if joins else float("nan")
    return PointClusters(np.asarray(labels, dtype=np.int64), cut, share)


def _judge(tree: Array, sides: Labels) -> tuple[Array, Array]:
    """Returns after each join of the tree the number of pairs in clusters, and how many of them are right, estimated.

    The estimate is nan when all points are of one side.
    """
    n = len(sides)
    members = np.zeros((2 * n - 1, int(sides.max()) + 1))
    members[np.arange(n), sides] = 1
    added, crossing = np.empty(n - 1), np.empty(n - 1)
    for join, (one, other) in enumerate(tree[:, :2].astype(int)):
        members[n + join] = members[one] + members[other]
        added[join] = members[one].sum() * members[other].sum()
        crossing[join] = added[join] - members[one] @ members[other]
    pairs, wrong = added.cumsum(), crossing.cumsum()
    expected = 1 - float(((members[-1] / n) ** 2).sum())  # share of pairs of two sides among pairs drawn at random
    # One more than was seen: a few pairs that happen to be of one side prove nothing.
    return pairs, pairs - (wrong + 1) / expected if expected else np.full(n - 1, np.nan)


def _near(vectors: Any, similarity: float) -> Any:
    """Returns the graph of rows whose cosine is at least ``similarity``, sparse ``[N, N]``."""
    from scipy.sparse import vstack

    found = []
    for start in range(0, vectors.shape[0], _BLOCK):
        block = (vectors[start : start + _BLOCK] @ vectors.T).tocsr()
        block.data[block.data < similarity] = 0
        block.eliminate_zeros()
        found.append(block)
    return vstack(found)


def _distances(vectors: Any) -> Array:
    """Returns the cosine distances of all pairs of rows, in the order of ``scipy.spatial.distance.pdist``."""
    n = vectors.shape[0]
    distances = np.empty(n * (n - 1) // 2)
    at = 0
    for start in range(0, n, _BLOCK):
        block = (vectors[start : start + _BLOCK] @ vectors.T).toarray()
        for row, cosines in enumerate(block, start):
            rest = cosines[row + 1 :]
            distances[at : at + len(rest)] = 1 - rest
            at += len(rest)
    return np.maximum(distances, 0, out=distances)


def _cut(distances: Array, height: float) -> Labels:
    from scipy.cluster.hierarchy import fcluster, linkage

    return np.asarray(fcluster(linkage(distances, "average"), height, "distance") - 1, dtype=np.int64)
