"""A workspace of random labels and feature stores, made in a moment: no media, no extraction."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from abawkit.challenge import EMI
from abawkit.data.labels import load_official
from abawkit.features.spec import ClipFeatures, FeatureSpec, Modality, Status
from abawkit.features.store import FeatureStore
from abawkit.features.writer import open_for_writing
from abawkit.layout.folder import ChallengeFolder
from abawkit.workspace import Workspace

#: Values per frame, small and each another.
DIMS: Mapping[Modality, int] = {"text": 11, "audio": 12, "vision": 9, "motion": 5}


TRAIN, VALID, TEST = 36, 24, 12


def random_workspace(root: Path, config: str = "", *, seed: int = 0) -> Workspace:
    """Returns a workspace whose challenge folder holds labels, drawn as votes, and empty clips."""
    challenge = root / "challenge"
    rng = np.random.default_rng(seed)
    for name, ids in (("train", range(TRAIN)), ("valid", range(TRAIN, TRAIN + VALID))):
        (challenge / "raw").mkdir(parents=True, exist_ok=True)
        lines = [",".join((EMI.id_column, *EMI.targets))]
        for clip in ids:
            votes = rng.multinomial(3, np.full(7, 1 / 7))[:6] / 3
            lines.append(",".join((f"{clip:05d}", *map(str, votes))))
            (challenge / "raw" / f"{clip:05d}.mp4").touch()
        (challenge / f"{name}_split.csv").write_text("\n".join(lines) + "\n")
    (challenge / "test" / "raw").mkdir(parents=True)
    for clip in range(TRAIN + VALID, TRAIN + VALID + TEST):
        (challenge / "test" / "raw" / f"{clip:05d}.mp4").touch()
    (root / "abawkit.toml").write_text(f'data = "challenge"\n{config}')
    workspace = Workspace.open(root, environ={})
    random_stores(workspace, seed=seed)
    return workspace


def random_stores(workspace: Workspace, *, seed: int = 0) -> dict[Modality, FeatureStore]:
    """Writes one store per modality for every clip, with missing clips, clips of one frame and one long clip.

    The labels are in the features, weakly, so that something can be learned. Text vectors have lengths far from 1.
    """
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    labels = dict(zip(official.train.ids, official.train.values, strict=True))
    labels |= dict(zip(official.valid.ids, official.valid.values, strict=True))
    ids = sorted({*labels, *official.test_ids})
    stores = {}
    for number, (modality, dim) in enumerate(DIMS.items()):
        rng = np.random.default_rng([seed, number])
        towards = rng.normal(size=(6, dim))
        made = []
        for row, clip in enumerate(ids):
            lengths = {3: 0, 7: 1, 11: 0, 20: 400}
            frames = lengths.get(row % 24 if row < 24 else row % 17, int(rng.integers(2, 12)))
            if modality == "text":
                frames = min(frames, 1)
            values = rng.normal(2.0, 3.0, (frames, dim)) + 4 * labels.get(clip, np.zeros(6)) @ towards
            status = Status.PRESENT if frames else Status.MISSING
            times = np.full(frames, np.nan, np.float32)
            made.append(ClipFeatures(clip, status, values.astype(np.float16), times, f"random-{seed}"))
        path: Path = workspace.features / modality / "random-0"
        with open_for_writing(path, FeatureSpec(modality, "random", dim, f"random/{seed}")) as writer:
            writer.add(made)
            stores[modality] = writer.store
    return stores
