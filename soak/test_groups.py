"""How well persons and seed videos are guessed, on synthetic challenges in which they are known.

Prints the figures of what was chosen and of what was not: the adjusted Rand index, the share of true pairs that are
found, and the share of found pairs that are true. All candidates get the same points.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import kneighbors_graph

from abawkit.data.groups import read_groups
from abawkit.extraction.pipeline import extract
from abawkit.features.summary import find_store
from abawkit.jobs.grouping.clusters import person_points
from abawkit.jobs.grouping.suggest import suggest
from abawkit.jobs.synthetic.challenge import write_challenge
from abawkit.workspace import Workspace, init_workspace

pytestmark = pytest.mark.soak


def quality(true: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[float, float, float]:
    alone = labels < 0
    labels = np.where(alone, labels.max() + 1 + np.arange(len(labels)), labels)
    upper = np.triu_indices(len(true), 1)
    together, same = (labels[:, None] == labels)[upper], (true[:, None] == true)[upper]
    both = (together & same).sum()
    return adjusted_rand_score(true, labels), both / same.sum(), both / max(1, together.sum())


def show(name: str, true: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[float, float, float]:
    rand, found, right = quality(true, labels)
    print(f"{name:44s} Rand {rand:.3f}, pairs found {found:.3f}, right {right:.3f}, {len(set(labels.tolist()))} groups")
    return rand, found, right


def mutual_neighbours(points: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    graph = kneighbors_graph(points, k)
    return np.asarray(connected_components(graph.multiply(graph.T), directed=False)[1])


@pytest.mark.parametrize("seed", [0, 1])
def test_persons_and_seed_videos(tmp_path: Path, seed: int) -> None:
    truth = write_challenge(tmp_path / "challenge", seed=seed, train=400, valid=200, test=100)
    init_workspace(tmp_path, tmp_path / "challenge", preset="lite")
    workspace = Workspace.open(tmp_path, environ={})
    extract(workspace, modalities=["vision"])
    suggest(workspace)

    def chosen(name: str, known: dict[str, int]) -> tuple[float, float, float]:
        of = read_groups(tmp_path / "groups" / f"{name}.csv", workspace.task).of
        labels = np.unique(list(of.values()), return_inverse=True)[1]
        return show(f"chosen: {name}", np.array([known[clip] for clip in of]), labels)

    store = find_store(workspace.features, "vision")
    clips = [clip for clip in store.ids if len(store.frames(clip))]
    true = np.array([truth.persons[clip] for clip in clips])
    means = np.array([store.frames(clip).astype(np.float64).mean(axis=0) for clip in clips])
    standard = (means - means.mean(axis=0)) / means.std(axis=0)
    spaces = {
        "means": PCA(32, whiten=True, random_state=0).fit_transform(standard),
        "discriminant": person_points(store.frames(clip) for clip in clips)[0],
    }
    for space, points in spaces.items():
        for way in ("eom", "leaf"):
            labels = HDBSCAN(min_cluster_size=2, cluster_selection_method=way, copy=True).fit_predict(points)
            show(f"{space}: HDBSCAN {way}", true, labels)
        for k in (2, 3):
            show(f"{space}: mutual {k} nearest neighbours", true, mutual_neighbours(points, k))
        for method in ("average", "ward"):
            labels = fcluster(linkage(points, method), len(set(true.tolist())), "maxclust")
            show(f"{space}: {method}, true number of persons", true, labels)
    rand, found, right = chosen("person", dict(truth.persons))
    assert rand > 0.9 and found > 0.9 and right > 0.9
    # Synthetic seed videos share whole clauses, so that several of them run together: what is safe to err on.
    rand, found, right = chosen("seed", dict(truth.seed_videos))
    assert rand > 0.4 and found > 0.98
