"""``abawkit predict``: a run's predictions for any clips whose features are there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawkit.challenge import Side, Task
from abawkit.data.labels import load_official
from abawkit.data.splits.resplit import find_split
from abawkit.device import pick_device
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import Modality
from abawkit.features.store import FeatureStore
from abawkit.layout.folder import ChallengeFolder
from abawkit.progress import SILENT, Progress
from abawkit.runs.predictions import Predictions, write_predictions
from abawkit.runs.records import ModelRecord
from abawkit.runs.run import Run
from abawkit.training.batches import ClipData, load_clips, row_batches
from abawkit.training.checkpoint import load_run_model
from abawkit.training.placement import EVALUATION_BATCH, passing
from abawkit.workspace import Workspace


def predict(workspace: Workspace, run: Run, on: Side = "test", *, progress: Progress = SILENT) -> Predictions:
    """Predicts all clips of one side, writes ``predictions/<side>.csv`` into the run and returns the predictions.

    Args:
        workspace: The workspace.
        run: A trained run; an ensemble has no model, it is made again from its members.
        on: ``valid`` (of the run's split) or ``test`` (the challenge folder's test clips).
        progress: What to report to.

    Raises:
        UsageError: The run is an ensemble, or there are no test clips.
        AbawkitError: Features are missing or of another signature, or the model file is not ours.
    """
    record = run.model
    ids: Sequence[str]
    if on == "valid":
        split = find_split(workspace, record.ratio, record.split)
        # Without the truth, nothing that reads the file can score a run that may know these clips.
        ids, truth = split.valid.ids, split.valid.values if run.is_scorable else None
    else:
        ids, truth = test_ids(workspace), None
        if not ids:
            raise UsageError("there are no test clips yet", path=workspace.data, todo="add them, then: abawkit extract")
    device = pick_device(workspace.settings.training.device)
    clips = load_clips(run_stores(workspace, record), ids, truth)
    with progress.task(f"predict {on}", len(clips)) as bar:
        table = predict_table(run.path, record, clips, workspace.task, device)
        bar.advance(len(clips))
    write_predictions(run.path / "predictions" / f"{on}.csv", table)
    return run.predictions(on, workspace.task)


def test_ids(workspace: Workspace) -> tuple[str, ...]:
    """Returns the ids of the test clips that are in the challenge folder now, sorted."""
    return tuple(load_official(ChallengeFolder.open(workspace.data, workspace.task)).test_ids)


def run_stores(workspace: Workspace, record: ModelRecord) -> dict[Modality, FeatureStore]:
    """Returns the feature stores that a run was trained on.

    Raises:
        AbawkitError: A store is gone, has another signature, or lacks a shard.
    """
    stores: dict[Modality, FeatureStore] = {}
    for modality, folder in record.features.items():
        store = FeatureStore.open(workspace.features / modality / folder)
        expected = record.signatures[modality]
        if store.spec.signature != expected:
            raise AbawkitError(
                f"the {modality} features are not those that the run was trained on",
                path=store.path,
                got=store.spec.signature,
                expected=expected,
                todo="abawkit extract with the settings of that run, or train again",
            )
        store.require_whole()
        stores[modality] = store
    return stores


def predict_table(path: Path, record: ModelRecord, clips: ClipData, task: Task, device: str) -> pd.DataFrame:
    """Returns the prediction table of the clips (see :mod:`abawkit.runs.predictions`), indexed by id.

    Args:
        path: The run's folder, for its model file.
        record: The run's ``config.json``.
        clips: Features, and the truth where it is known.
        task: The challenge track.
        device: Where to compute.
    """
    model, stages = load_run_model(path / "model.safetensors", record, len(task.targets))
    if model is not None:
        model.to(device)
    modalities: list[Modality] = list(record.encoders)
    blocks: dict[str, list[NDArray[np.float64]]] = {}

    def keep(prefix: str, values: Tensor) -> None:
        blocks.setdefault(prefix, []).append(values.cpu().numpy().astype(np.float64))

    steps = list(row_batches(len(clips), EVALUATION_BATCH))
    with torch.inference_mode(), closing(passing(clips, device).batches(steps)) as batches:
        for batch in batches:
            inputs = batch.inputs
            embeddings = [] if model is None else model.embed(inputs)
            if model is not None:
                keep("", model.fuse(embeddings))
            for modality in modalities:
                if modality in stages:
                    keep(f"{modality}:" if model is not None else "", stages[modality].to(device)(inputs[modality]))
                if model is not None:
                    keep(f"without-{modality}:", model.fuse_without(embeddings, modality))
    values = {prefix: np.concatenate(parts) for prefix, parts in blocks.items()}
    columns: dict[str, Any] = {}
    if clips.truth is not None:
        values = {"truth.": clips.truth.cpu().numpy().astype(np.float64), **values}
    main = {prefix: block for prefix, block in values.items() if prefix in ("truth.", "")}
    for prefix, block in main.items():
        columns |= {prefix + target: block[:, index] for index, target in enumerate(task.targets)}
    columns["missing"] = [" ".join(m for m in modalities if not clips.present[m][row]) for row in range(len(clips))]
    for modality in modalities:
        columns[f"frames.{modality}"] = clips.lengths(modality)
    for prefix, block in values.items():
        if prefix not in main:
            columns |= {prefix + target: block[:, index] for index, target in enumerate(task.targets)}
    return pd.DataFrame(columns, index=pd.Index(clips.ids, name=task.id_column))
