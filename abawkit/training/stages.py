"""The stages of a training (paper Sec. 4.1): each modality alone, then fusion; checkpoints shared between systems.

A stage is named by a signature of all that it depends on: encoder, features of the split's own clips, labels, seed
and hyper-parameters. F1, F2 and F5 therefore train text once, test clips that are added later invalidate nothing,
and a checkpoint can never be stale.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from abawkit.errors import AbawkitError
from abawkit.features.spec import Modality
from abawkit.fileio import atomic_path, digest_json, locked, read_json, write_json
from abawkit.models.encoders import UnimodalModel
from abawkit.models.fusion import FusionModel
from abawkit.training.batches import ClipData
from abawkit.training.checkpoint import fusion_config, load_state, load_weights, save_weights
from abawkit.training.compiled import CompiledTrainer
from abawkit.training.loop import AutogradTrainer, Fit, Forward, Trainer, fit, predict_rows
from abawkit.training.placement import Batch, free_bytes, passing, place, told
from abawkit.training.trackers import Tracking
from abawkit.training.work import Work

Row = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A trained unimodal stage.

    Attributes:
        weights: Those of :class:`abawkit.models.encoders.UnimodalModel`, in its best state.
        summary: What ``metrics.json`` says of it.
        history: One row per epoch.
    """

    weights: Mapping[str, Tensor]
    summary: Mapping[str, Any]
    history: list[Row]


def summary_of(fitted: Fit) -> dict[str, Any]:
    """Returns what ``metrics.json`` says of a stage; a refit's has no score."""
    best = fitted.best_score if np.isfinite(fitted.best_score) else None
    return {"epochs": len(fitted.history), "best_epoch": fitted.best_epoch + 1, "best_score": best}


def unimodal_stage(work: Work, modality: Modality, record: Mapping[str, Any]) -> Stage:
    """Returns the trained stage, from its checkpoint when there is one.

    Args:
        work: What is trained.
        modality: The stage's modality.
        record: :meth:`Work.stage_record` of it.

    Raises:
        AbawkitError: The checkpoint is damaged, or the training failed.
    """
    signature = digest_json(record)
    folder = work.workspace.stages / f"{modality}-{signature[:12]}"
    done = folder / "stage.json"
    with locked(folder, f"training the {modality} stage", wait=24 * 3600.0):
        if not done.exists():
            _train_stage(work, modality, record, signature, folder)
        elif read_json(done, "a stage record")["record"] != record:
            raise AbawkitError("this stage checkpoint is not what its name says", path=folder, todo="delete it")
        else:
            work.progress.say(f"{modality}: trained before, taken from stages/{folder.name}")
    summary = read_json(done, "a stage record")
    weights = load_weights(folder / "model.safetensors")
    load_state(UnimodalModel(work.encoder(modality), len(work.task.targets)), weights, folder / "model.safetensors")
    rows = pd.read_csv(folder / "history.csv").to_dict("records")
    history = [{str(key): value for key, value in row.items()} for row in rows]
    work.tracking.rows(history)  # those of a stage that was trained before: the run's curves are whole
    return Stage(weights, summary["summary"], history)


def _train_stage(work: Work, modality: Modality, record: Mapping[str, Any], signature: str, folder: Path) -> None:
    plan = work.plan(modality, signature)
    torch.manual_seed(plan.seed)
    model = UnimodalModel(work.encoder(modality), len(work.task.targets)).to(work.device)

    def forward(batch: Batch) -> Tensor:
        prediction: Tensor = model(batch.inputs[modality])
        return prediction

    optimizer = work.optimizer([{"params": list(model.parameters())}])
    clips = work.train.only(modality)
    valid = None if work.valid is None else work.valid.only(modality)
    fitted = fit(
        model,
        optimizer,
        _trainer(work, model, forward, clips, valid, optimizer, modality),
        valid,
        plan,
        work.task,
        state=folder / "state.pt",
        on_epoch=_growing(folder / "history.csv", [], work.tracking),
        progress=work.progress,
    )
    save_weights(folder / "model.safetensors", model.state_dict())
    _write_history(folder / "history.csv", fitted.history)
    write_json(folder / "stage.json", {"record": record, "summary": summary_of(fitted)})
    (folder / "state.pt").unlink(missing_ok=True)
    _say(work, modality, fitted)


def fusion_stage(work: Work, path: Path, signature: str, stages: Mapping[Modality, Stage]) -> tuple[Fit, FusionModel]:
    """Returns the fitted fusion stage and its model in its best state.

    Args:
        work: What is trained.
        path: The run's folder, where its state and its history go.
        signature: The run's signature, which seeds it.
        stages: The trained unimodal stages.

    Raises:
        AbawkitError: The training failed.
    """
    plan = work.plan("fusion", signature)
    torch.manual_seed(plan.seed)
    model = FusionModel(fusion_config(work.hyper, {m: work.encoder(m) for m in stages}, len(work.task.targets)))
    for modality, stage in stages.items():
        encoder = {key[len("encoder.") :]: v for key, v in stage.weights.items() if key.startswith("encoder.")}
        model.encoder(modality).load_state_dict(encoder)
    model.to(work.device)

    def forward(batch: Batch) -> Tensor:
        prediction: Tensor = model(batch.inputs, batch.ready)
        return prediction

    # The optimiser's groups (Sec. 4.6): the head at the base rate, tuned encoders at a share of it, frozen ones in
    # neither. Every parameter is in one group or has no gradient.
    tuned = [p for m in stages if m not in model.config.frozen for p in model.encoder(m).parameters()]
    groups: list[dict[str, Any]] = [{"params": list(model.fusion_head.parameters()), "lr": work.hyper.lr}]
    if tuned:
        groups.append({"params": tuned, "lr": work.hyper.lr * work.hyper.encoder_lr_scale})
    before = [row for stage in stages.values() for row in stage.history]
    optimizer = work.optimizer(groups)
    clips = _with_frozen(work.train, model, work.device)
    valid = None if work.valid is None else _with_frozen(work.valid, model, work.device)
    fitted = fit(
        model,
        optimizer,
        _trainer(work, model, forward, clips, valid, optimizer, "fusion"),
        valid,
        plan,
        work.task,
        state=path / "state.pt",
        on_epoch=_growing(path / "history.csv", before, work.tracking),
        progress=work.progress,
    )
    _write_history(path / "history.csv", before + fitted.history)
    work.tracking.rows(fitted.history)
    _say(work, "fusion", fitted)
    return fitted, model


def _trainer(
    work: Work,
    model: nn.Module,
    forward: Forward,
    clips: ClipData,
    valid: ClipData | None,
    optimizer: torch.optim.Optimizer,
    name: str,
) -> Trainer:
    if work.device == "cpu":
        return CompiledTrainer(model, clips, optimizer, name, work.hyper.batch_size)
    placed = place([clips] if valid is None else [clips, valid], work.device, free_bytes(work.device))
    if words := told(placed, work.device):
        work.progress.say(f"{name}: {words}")
    return AutogradTrainer(model, forward, clips, optimizer, placed)


def _say(work: Work, name: str, fitted: Fit) -> None:
    if work.valid is None:
        work.progress.say(f"{name}: {len(fitted.history)} epochs replayed")
    else:
        work.progress.say(f"{name}: validation r {fitted.best_score:.4f} (epoch {fitted.best_epoch + 1})")


def _with_frozen(side: ClipData, model: FusionModel, device: str) -> ClipData:
    """Returns the clips with the embeddings of the frozen encoders, computed once."""
    ready: dict[str, Tensor] = {}
    for modality in cast(Sequence[Modality], model.config.frozen):
        encoder: nn.Module = model.encoder(modality)

        def forward(batch: Batch, modality: str = modality, encoder: nn.Module = encoder) -> Tensor:
            embedding: Tensor = encoder(batch.inputs[modality])
            return embedding

        embedded = predict_rows(encoder, forward, passing(side.only(modality), device))
        ready[modality] = torch.from_numpy(embedded.astype(np.float32))
    return replace(side, ready=ready)


def _write_history(path: Path, history: list[Row]) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False, lineterminator="\n")


def _growing(path: Path, before: list[Row], tracking: Tracking) -> Callable[[Fit], None]:
    """Returns what writes the history after each epoch: whole the first time, then a row at its end.

    The trackers are told the same.
    """
    begun = False

    def grow(fitted: Fit) -> None:
        nonlocal begun
        if not begun:
            _write_history(path, before + fitted.history)
        else:
            with path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(fitted.history[-1].values())
        begun = True
        tracking.rows(fitted.history)

    return grow
