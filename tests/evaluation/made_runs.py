"""Run folders with drawn predictions: what later steps read of a training, without one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit.challenge import EMI
from abawkit.features.spec import Modality
from abawkit.runs.predictions import write_predictions
from abawkit.runs.records import ClipIds, MissingRecord, RunMetrics, TrainedRecord
from abawkit.runs.run import Run
from abawkit.workspace import Workspace


def make_workspace(root: Path) -> Workspace:
    root.mkdir(parents=True, exist_ok=True)
    (root / "abawkit.toml").write_text('data = "challenge"\n')
    return Workspace.open(root, environ={})


def clip_ids(first: int, count: int) -> list[str]:
    return [f"{number:05d}" for number in range(first, first + count)]


def drawn_labels(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Labels in thirds, mostly 0."""
    return np.random.default_rng(seed).choice([0, 0, 0, 1 / 3, 2 / 3, 1], (count, 6))


def make_fold(workspace: Workspace, name: str, index: int, of: int) -> str:
    """Writes the record of one split of a fold set and returns the split's name."""
    folder = workspace.splits / f"{name}-{index}"
    folder.mkdir(parents=True)
    side = {"content": "0"}
    record = {
        "format": 2, "ratio": "2:1", "ratio_got": "2:1", "strategy": "random", "note": "", "content": "0",
        "subject_safe": False, "keep_train": False, "test_content": [], "seed": 42, "moved": 0, "held_out": 0,
        "counts": {"train": 160, "valid": 80, "test": 0}, "parent": {"train": side, "valid": side},
        "groups": None, "fold": {"set": name, "index": index, "of": of},
    }  # fmt: skip
    (folder / "split.json").write_text(json.dumps(record))
    return folder.name


def make_run(
    workspace: Workspace,
    name: str,
    ids: Sequence[str],
    truth: NDArray[np.float64],
    prediction: NDArray[np.float64],
    *,
    system: str = "F3",
    split: str = "official",
    seed: int = 42,
    train: Sequence[str] = (),
    extra: dict[str, Any] | None = None,
    stages: dict[Modality, str] | None = None,
) -> Run:
    path = workspace.runs / name
    (path / "predictions").mkdir(parents=True)
    record = TrainedRecord(
        kind="run", format=1, task=EMI.name, system=system, split=split, seed=seed, ratio="2:1", definition={},
        stages=stages or {}, features={}, signatures={}, inputs={}, subject_safe=True,
        missing=MissingRecord(policy="zero", dropped={}),
    )  # fmt: skip
    record.write(path)
    ClipIds(train=tuple(train), valid=tuple(ids)).write(path)
    blocks = {"truth.": truth, "": prediction}
    columns = {prefix + t: values[:, e] for prefix, values in blocks.items() for e, t in enumerate(EMI.targets)}
    table = pd.DataFrame(columns | (extra or {}), index=pd.Index(ids, name=EMI.id_column))
    write_predictions(path / "predictions" / "valid.csv", table)
    RunMetrics(scores={}).write(path)
    return Run.open(path)
