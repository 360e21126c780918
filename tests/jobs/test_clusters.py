"""Which clips belong together: words and points, against brute force and against truth that was drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from abawkit.jobs.grouping.clusters import cluster_points, cluster_texts, normalise, person_points

SENTENCES = (
    "i never thought that we would win the big game tonight",
    "please put the little dog back into the garden",
    "my heart breaks for your family today",
    "this song makes me smile every single morning",
)


def slips(rng: np.random.Generator, sentence: str) -> str:
    words = [word for word in sentence.split() if rng.random() > 0.1]
    words.insert(int(rng.integers(len(words))), str(rng.choice(["um", "uh", "like"])))
    return " ".join(words)


def test_imitations_of_one_sentence_are_found() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, len(SENTENCES), 80)
    labels = cluster_texts([normalise(slips(rng, SENTENCES[sentence])) for sentence in true])
    assert adjusted_rand_score(true, labels) > 0.95


def test_what_says_nothing_is_in_no_group() -> None:
    assert cluster_texts(["", "oh", "oh no", "oh no you", "oh no you"]).tolist() == [-1, -1, -1, 0, 0]
    assert cluster_texts(["", "wow"]).tolist() == [-1, -1] and cluster_texts([]).tolist() == []
    assert normalise(" ...!? ") == "" and normalise("Ｗell, DON’T\n\tgo") == "well don't go"


def test_a_chain_of_texts_is_not_one_group() -> None:
    words = [f"word{number}" for number in range(60)]
    chain = [" ".join(words[start : start + 8]) for start in range(0, 52, 2)]  # each shares 6 of 8 with the next
    labels = cluster_texts(chain)
    assert labels[0] == labels[1] and len(set(labels.tolist())) >= 6
    assert max(np.bincount(labels)) <= 6
    more = cluster_texts([*SENTENCES, *chain, *SENTENCES])  # numbers continue from one part to the next
    assert len(set(more.tolist())) == len(set(labels.tolist())) + len(SENTENCES)
    assert (more[: len(SENTENCES)] == more[-len(SENTENCES) :]).all()


WORDS = st.lists(st.sampled_from(list("abcdefg")), min_size=3, max_size=6).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=14), st.floats(0.2, 0.9))
def test_the_order_of_texts_does_not_matter(texts: list[str], similarity: float) -> None:
    order = np.random.default_rng(len(texts)).permutation(len(texts))
    labels = cluster_texts(texts, similarity=similarity)
    again = cluster_texts([texts[row] for row in order], similarity=similarity)
    assert ((labels[order][:, None] == labels[order]) == (again[:, None] == again)).all()
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))


@settings(max_examples=40, deadline=None)
@given(st.sets(WORDS, min_size=2, max_size=20), st.floats(0.2, 0.9))
def test_cutting_parts_of_the_graph_is_cutting_the_whole_tree(texts: set[str], similarity: float) -> None:
    """The clusters are those of average linkage over all pairs, written out."""
    unique = sorted(texts)
    vocabulary = sorted({word for text in unique for word in text.split()})
    counts = np.array([[text.split().count(word) for word in vocabulary] for text in unique], dtype=float)
    having = (counts > 0).sum(axis=0)
    vectors = counts * (np.log((1 + len(unique)) / (1 + having)) + 1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    distances = np.maximum(1 - cosines[np.triu_indices(len(unique), 1)], 0)
    tree = linkage(distances, "average")
    if (np.abs(tree[:, 2] - (1 - similarity)) < 1e-4).any() or (np.diff(np.sort(distances)) < 1e-5).any():
        return  # a tie: float32 may decide it otherwise
    expected = fcluster(tree, 1 - similarity, "distance")
    labels = cluster_texts(unique, similarity=similarity)
    assert ((labels[:, None] == labels) == (expected[:, None] == expected)).all()


def clips_of(
    rng: np.random.Generator, persons: int, clips_each: int, frames: int = 12, dim: int = 20, identity: float = 1.0
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Frames of persons whose expressions move them further than who they are, in a few directions."""
    expressions = rng.normal(size=(4, dim)) * 6
    faces = rng.normal(size=(persons, dim)) * identity
    true = np.repeat(np.arange(persons), clips_each)
    clips = []
    for person in true:
        moods = rng.normal(size=4) + rng.normal(size=(frames, 4))  # of the clip, and of the frame
        clips.append(faces[person] + moods @ expressions + rng.normal(size=(frames, dim)) * 0.5)
    return clips, true


def test_persons_are_told_apart_by_what_does_not_move_within_a_clip() -> None:
    rng = np.random.default_rng(1)
    clips, true = clips_of(rng, 30, 5)
    sides = (true % 3).astype(np.int64)
    points, how = person_points(clips)
    assert points.shape == (150, 20) and "discriminant" in how
    found = cluster_points(points, sides)
    assert adjusted_rand_score(true, found.labels) > 0.95
    means = np.array([clip.mean(axis=0) for clip in clips])
    assert adjusted_rand_score(true, cluster_points(means, sides).labels) < 0.5  # expressions hide who it is


def test_clips_of_one_frame_fall_back_to_principal_components() -> None:
    rng = np.random.default_rng(2)
    faces = rng.normal(size=(40, 40)) * 5
    true = np.repeat(np.arange(40), 6)
    points, how = person_points([faces[person][None] + rng.normal(size=(1, 40)) for person in true])
    assert "principal components" in how and points.shape == (240, 32)
    np.testing.assert_allclose(points.var(axis=0), 1, rtol=1e-6)
    assert adjusted_rand_score(true, cluster_points(points, (true % 3).astype(np.int64)).labels) > 0.9


def test_constant_values_and_scales_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    clips, _ = clips_of(rng, 10, 4)
    points, _ = person_points(clips)
    scale = 10.0 ** rng.integers(-3, 4, 20)
    other, _ = person_points([np.column_stack([clip * scale, np.full((len(clip), 2), 0.1)]) for clip in clips])

    def distances(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.linalg.norm(of[:, None] - of, axis=2)

    np.testing.assert_allclose(distances(other[:, -20:]), distances(points), rtol=0.1)


@pytest.mark.parametrize("identity", [3.0, 1.8])
def test_the_share_of_right_pairs_is_estimated_from_the_sides_alone(identity: float) -> None:
    rng = np.random.default_rng(4)
    true = np.repeat(np.arange(150), 8)
    points = rng.normal(size=(150, 12))[true] * identity + rng.normal(size=(1200, 12))
    found = cluster_points(points, rng.integers(0, 3, 150)[true])
    together = found.labels[:, None] == found.labels
    np.fill_diagonal(together, False)
    right = (together & (true[:, None] == true)).sum() / together.sum()
    assert found.right == pytest.approx(right, abs=0.1)
    assert found.right >= 0.5


def test_noise_joins_nothing_much() -> None:
    rng = np.random.default_rng(5)
    found = cluster_points(rng.normal(size=(400, 12)), rng.integers(0, 3, 400))
    assert len(set(found.labels.tolist())) > 350


def test_every_cut_is_judged_by_its_pairs() -> None:
    rng = np.random.default_rng(6)
    points, sides = rng.normal(size=(25, 3)), rng.integers(0, 3, 25)
    random = 1 - sum(((sides == side).mean()) ** 2 for side in range(3))
    tree = linkage(points, "ward")
    for clusters in range(2, 25):
        found = cluster_points(points, sides, clusters=clusters)
        assert len(set(found.labels.tolist())) == clusters
        expected = fcluster(tree, clusters, "maxclust")
        assert adjusted_rand_score(expected, found.labels) == 1
        together = (expected[:, None] == expected)[np.triu_indices(25, 1)]
        across = (sides[:, None] != sides)[np.triu_indices(25, 1)]
        estimate = 1 - ((together & across).sum() + 1) / random / together.sum()
        assert found.right == pytest.approx(np.clip(estimate, 0, 1), abs=1e-9)


def test_sides_that_tell_nothing() -> None:
    points = np.random.default_rng(7).normal(size=(12, 2))
    found = cluster_points(points, np.zeros(12, dtype=np.int64))
    assert len(set(found.labels.tolist())) == 12 and np.isnan(found.right)
    assert len(set(cluster_points(points, np.zeros(12, dtype=np.int64), clusters=3).labels.tolist())) == 3
