"""``abawkit predict``: a run's predictions for any clips whose features are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from abawkit.features.store import FeatureStore
from abawkit.layout.folder import ChallengeFolder
from abawkit.models.network import Inputs, Network
from abawkit.progress import SILENT, Progress
from abawkit.runs.predictions import Predictions, write_predictions
from abawkit.runs.records import ModelRecord
from abawkit.runs.run import Run
from abawkit.systems.schema import System
from abawkit.training.batches import ClipData, Source, load_clips, row_batches, takes_one_frame
from abawkit.training.checkpoint import load_run_model
from abawkit.training.placement import EVALUATION_BATCH, for_one_pass
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
    clips = load_clips(run_sources(workspace, record), ids, truth)
    with progress.task(f"predict {on}", len(clips)) as bar:
        table = predict_table(run.path, record, clips, workspace.task, device)
        bar.advance(len(clips))
    write_predictions(run.path / "predictions" / f"{on}.csv", table)
    return run.predictions(on, workspace.task)


def test_ids(workspace: Workspace) -> tuple[str, ...]:
    """Returns the ids of the test clips that are in the challenge folder now, sorted."""
    return tuple(load_official(ChallengeFolder.open(workspace.data, workspace.task)).test_ids)


def run_sources(workspace: Workspace, record: ModelRecord) -> dict[str, Source]:
    """Returns where the frames of each slot of a run come from.

    Raises:
        AbawkitError: A store is gone, has another signature, or lacks a shard.
    """
    system = System.model_validate(record.definition)
    sources: dict[str, Source] = {}
    for slot, folder in record.features.items():
        wanted = system.slots[slot]
        store = FeatureStore.open(workspace.features / folder)
        expected = record.signatures[slot]
        if store.spec.signature != expected:
            raise AbawkitError(
                f"the {wanted.modality} features are not those that the run was trained on",
                path=store.path,
                got=store.spec.signature,
                expected=expected,
                todo="abawkit extract with the settings of that run, or train again",
            )
        store.require_whole()
        sources[slot] = Source(store, wanted.normalize, takes_one_frame(wanted.encoder))
    return sources


def predict_table(path: Path, record: ModelRecord, clips: ClipData, task: Task, device: str) -> pd.DataFrame:
    """Returns the prediction table of the clips (see :mod:`abawkit.runs.predictions`), indexed by id.

    Args:
        path: The run's folder, for its model file.
        record: The run's ``config.json``.
        clips: Features, and the truth where it is known.
        task: The challenge track.
        device: Where to compute.
    """
    network, stages = load_run_model(path / "model.safetensors", record, len(task.targets))
    for model in (network, *stages.values()):
        if model is not None:
            model.to(device)
    blocks: dict[str, list[NDArray[np.float64]]] = {}

    def keep(prefix: str, values: Tensor) -> None:
        blocks.setdefault(prefix, []).append(values.cpu().numpy().astype(np.float64))

    steps = list(row_batches(len(clips), EVALUATION_BATCH))
    with torch.inference_mode(), closing(for_one_pass(clips, device).batches(steps)) as batches:
        for batch in batches:
            if network is not None:
                inputs = encoded(network, batch.inputs)
                output = network(inputs)
                keep("", output.prediction)
                for slot, head in output.heads.items():
                    if slot not in stages:
                        keep(f"{slot}:", head)
            for slot, stage in stages.items():
                keep("" if network is None else f"{slot}:", stage(batch.inputs).prediction)
            if network is not None:
                for slot in record.inputs:
                    keep(f"without-{slot}:", network(inputs, without=slot).prediction)
    values = {prefix: np.concatenate(parts) for prefix, parts in blocks.items()}
    if clips.truth is not None:
        values = {"truth.": clips.truth.cpu().numpy().astype(np.float64), **values}
    return _table(values, clips, task, list(record.inputs))


def encoded(network: Network, inputs: Inputs) -> Inputs:
    """Returns the same clips with the vectors of all slots, so that several forward passes encode them once."""
    ready = {slot: network.encode(slot, clips) for slot, clips in inputs.clips.items()}
    return Inputs({}, {**ready, **inputs.ready}, inputs.present)


def _table(
    values: Mapping[str, NDArray[np.float64]], clips: ClipData, task: Task, slots: Sequence[str]
) -> pd.DataFrame:
    """Returns one row per clip: truth, prediction, what is missing, lengths, then heads and leave-one-out."""

    def block(prefix: str) -> dict[str, NDArray[np.float64]]:
        return {prefix + target: values[prefix][:, index] for index, target in enumerate(task.targets)}

    first = [prefix for prefix in ("truth.", "") if prefix in values]
    columns: dict[str, Any] = {}
    for prefix in first:
        columns |= block(prefix)
    columns["missing"] = [" ".join(s for s in slots if not clips.present[s][row]) for row in range(len(clips))]
    for slot in slots:
        columns[f"frames.{slot}"] = clips.lengths(slot)
    for prefix in values:
        if prefix not in first:
            columns |= block(prefix)
    return pd.DataFrame(columns, index=pd.Index(clips.ids, name=task.id_column))
