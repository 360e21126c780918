"""``abawkit train``: the unimodal stages, then fusion (paper Sec. 4.1), with stage checkpoints shared between systems.

A stage is named by a signature of all that it depends on: encoder, features of the split's own clips, labels, seed
and hyper-parameters. F1, F2 and F5 therefore train text once, test clips that are added later invalidate nothing,
and a checkpoint can never be stale.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from abawkit.challenge import Task
from abawkit.data.splitfile import Split
from abawkit.data.splits import find_split
from abawkit.device import pick_device
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import Modality
from abawkit.features.store import FeatureStore, choose_store
from abawkit.fileio import atomic_path, digest_json, locked, read_json, storage_errors, write_json
from abawkit.metrics import score
from abawkit.models.encoders import EncoderConfig, UnimodalModel
from abawkit.models.fusion import FusionModel
from abawkit.progress import SILENT, Progress
from abawkit.systems.loader import Hyperparameters, System, load_system
from abawkit.training.batches import ClipData, load_clips
from abawkit.training.checkpoint import fusion_config, load_state, load_weights, save_run_model, save_weights
from abawkit.training.environment import describe
from abawkit.training.loop import Fit, FitPlan, fit, predict_rows
from abawkit.training.predict import predict_table, test_ids
from abawkit.training.runs import Run, write_predictions
from abawkit.workspace import Workspace

#: Changes whenever the same inputs would train differently, so that old stage checkpoints are not reused.
_TRAINING_VERSION = 1


@dataclass(frozen=True)
class _Work:
    """What every stage of one training needs."""

    workspace: Workspace
    system: System
    split: Split
    stores: Mapping[Modality, FeatureStore]
    train: ClipData
    valid: ClipData
    seed: int
    device: str
    progress: Progress

    @property
    def hyper(self) -> Hyperparameters:
        return self.system.hyperparameters

    @property
    def task(self) -> Task:
        return self.workspace.task

    def encoder(self, modality: Modality) -> EncoderConfig:
        """Returns the modality's encoder as the system wants it."""
        return EncoderConfig(
            kind="mlp" if modality == "text" else "attention",
            inputs=self.stores[modality].spec.dim,
            hidden=self.hyper.motion_hidden if modality == "motion" else self.hyper.hidden,
            dropout=self.hyper.dropout,
        )

    def plan(self, name: str, signature: str) -> FitPlan:
        """Returns how the stage is fitted; it is seeded from its signature."""
        return FitPlan(
            name=name,
            epochs=self.hyper.epochs(name),
            patience=self.hyper.fusion_patience if name == "fusion" else self.hyper.patience,
            batch_size=self.hyper.batch_size,
            clip_norm=self.hyper.clip_norm,
            alpha=self.hyper.alpha,
            min_delta=self.hyper.min_delta,
            lr_factor=self.hyper.lr_factor,
            seed=int(signature[:12], 16),
            checkpoint_seconds=self.workspace.settings.training.checkpoint_seconds,
        )

    def stage_record(self, modality: Modality) -> dict[str, Any]:
        """Returns everything that the modality's stage depends on."""
        store, split = self.stores[modality], self.split
        plan = asdict(self.plan(modality, "0"))
        del plan["seed"], plan["checkpoint_seconds"]
        return {
            "version": _TRAINING_VERSION,
            "task": self.task.name,
            "score": self.task.score,
            "encoder": asdict(self.encoder(modality)),
            "plan": plan,
            "lr": self.hyper.lr,
            "weight_decay": self.hyper.weight_decay,
            "seed": self.seed,
            "features": store.spec.signature,
            "train": [store.content_digest(split.train.ids), split.train.digest],
            "valid": [store.content_digest(split.valid.ids), split.valid.digest],
        }


def train(
    workspace: Workspace,
    system: str = "F4",
    *,
    split: str | None = None,
    seed: int | None = None,
    features: Mapping[str, str] | None = None,
    allow_lite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Trains a system and returns its run; a run that is already finished is returned at once.

    Args:
        workspace: The workspace; hyper-parameters that its settings name replace the system's own.
        system: ``F1`` … ``F5``.
        split: Name of the split; default: the one with the ratio that the system asks for.
        seed: Default: the setting ``training.seed``.
        features: Modality → which store, where there are several.
        allow_lite: Train on lite features although the data are of the official size.
        progress: What to report to.

    Killed at any moment, the same call goes on from the last saved epoch and comes to the same result.

    Raises:
        UsageError: The split or features are missing (the message says which command makes them).
        FindingsError: The machine has a GPU that torch cannot use.
        AbawkitError: The training failed.
    """
    settings = workspace.settings.training
    own = Hyperparameters.__annotations__
    changes = {key: value for key, value in settings.model_dump().items() if key in own and value is not None}
    wanted = load_system(system, changes)
    if unknown := sorted(set(features or {}) - set(wanted.modalities)):
        raise UsageError(
            f"{wanted.name} has no such modality",
            got=unknown[0],
            expected=", ".join(wanted.modalities),
            todo="correct --features MODALITY=STORE",
        )
    chosen = find_split(workspace, wanted.ratio, split)
    lite = workspace.settings.extract.preset == "lite"
    stores = {
        modality: choose_store(workspace.features, modality, lite=lite, wanted=(features or {}).get(modality))
        for modality in wanted.modalities
    }
    _refuse_lite(workspace, chosen, stores, allow_lite)
    device = pick_device(settings.device)
    with _deterministic(settings.threads):
        work = _Work(
            workspace,
            wanted,
            chosen,
            stores,
            load_clips(stores, chosen.train.ids, chosen.train.values, device=device),
            load_clips(stores, chosen.valid.ids, chosen.valid.values, device=device),
            settings.seed if seed is None else seed,
            device,
            progress,
        )
        return _train_run(work)


def _refuse_lite(workspace: Workspace, split: Split, stores: Mapping[Modality, FeatureStore], allow_lite: bool) -> None:
    weak = [modality for modality, store in stores.items() if store.spec.name == "lite"]
    official = workspace.task.official_size(len(split.train.ids), len(split.valid.ids))
    if weak and official and not allow_lite:
        raise UsageError(
            "these data are of the official size, and lite features are too weak for the leaderboard",
            got=f"lite features for {', '.join(weak)}",
            expected="features of the preset paper",
            todo="abawkit extract --preset paper, or give --allow-lite if you mean it",
        )


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Makes torch deterministic within the block, and leaves its settings and generators as they were."""
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
    # Without it, deterministic matrix products on CUDA are refused; it counts only before CUDA is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    if threads:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])


def _train_run(work: _Work) -> Run:
    records = {modality: work.stage_record(modality) for modality in work.stores}
    config = {
        "kind": "run",
        "format": 1,
        "task": work.task.name,
        "system": work.system.name,
        "split": work.split.name,
        "seed": work.seed,
        "ratio": work.system.ratio,
        "definition": work.system.to_json(),
        "stages": {modality: digest_json(record)[:12] for modality, record in records.items()},
        "features": {modality: store.path.name for modality, store in work.stores.items()},
        "signatures": {modality: store.spec.signature for modality, store in work.stores.items()},
        "encoders": {modality: asdict(work.encoder(modality)) for modality in work.stores},
        "subject_safe": work.split.subject_safe,
    }
    signature = digest_json({"config": config, "version": _TRAINING_VERSION})
    name = f"{work.system.name}-{work.split.name}-s{work.seed}-{signature[:8]}"
    path = work.workspace.runs / name
    if (path / "metrics.json").exists():
        work.progress.say(f"{name} is already finished")
        return Run.open(path)
    with locked(path, "training this run"), storage_errors(path):
        # The words are not part of the signature: other words make no other run.
        write_json(path / "config.json", config | {"subject_note": work.split.note})
        write_json(path / "env.json", describe(path, work.device, work.stores, work.split))
        write_json(path / "clips.json", {"train": work.split.train.ids, "valid": work.split.valid.ids})
        log = _Log(work.progress, path / "train.log")
        work = replace(work, progress=log)
        stages = {modality: _stage(work, modality, records[modality]) for modality in work.stores}
        fitted, model = _fusion(work, path, signature, stages)
        save_run_model(path / "model.safetensors", model, {m: stage.weights for m, stage in stages.items()})
        table = predict_table(path, config, work.valid, work.task, work.device)
        write_predictions(path / "predictions" / "valid.csv", table)
        prediction = table[list(work.task.targets)].to_numpy(np.float64)
        scores = score(work.task, work.split.valid.values, prediction)
        metrics = {
            "scores": {"valid": scores.to_json()},
            "stages": {modality: stage.summary for modality, stage in stages.items()} | {"fusion": _summary(fitted)},
        }
        _predict_test(work, path, config)
        # Last: with this file the run is finished. The training state is no longer needed then.
        write_json(path / "metrics.json", metrics)
        (path / "state.pt").unlink(missing_ok=True)
    return Run.open(path)


def _predict_test(work: _Work, path: Path, config: dict[str, Any]) -> None:
    """Predicts the test clips that are there now; those that come later are ``abawkit predict``'s."""
    ids = test_ids(work.workspace)
    absent = [clip for clip in ids if any(clip not in store for store in work.stores.values())]
    if absent:
        makers = dict.fromkeys(s.spec.command for s in work.stores.values() if any(clip not in s for clip in ids))
        todo = f"{'; '.join(makers)}; then: abawkit predict {path.name} --on test"
        work.progress.say(f"{len(absent)} of {len(ids)} test clips have no features yet: {todo}")
    elif ids:
        clips = load_clips(work.stores, ids, device=work.device)
        table = predict_table(path, config, clips, work.task, work.device)
        write_predictions(path / "predictions" / "test.csv", table)


@dataclass(frozen=True)
class _Stage:
    """A trained unimodal stage."""

    weights: Mapping[str, Tensor]
    summary: Mapping[str, Any]
    history: list[dict[str, Any]]


def _summary(fitted: Fit) -> dict[str, Any]:
    return {"epochs": len(fitted.history), "best_epoch": fitted.best_epoch + 1, "best_score": fitted.best_score}


def _optimizer(work: _Work, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    # One pass over the parameters instead of ten: a quarter of the time per step on a CPU, and as deterministic.
    return torch.optim.AdamW(groups, lr=work.hyper.lr, weight_decay=work.hyper.weight_decay, fused=True)


def _stage(work: _Work, modality: Modality, record: Mapping[str, Any]) -> _Stage:
    """Returns the trained stage, from its checkpoint when there is one."""
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
    history = pd.read_csv(folder / "history.csv").to_dict("records")
    return _Stage(weights, summary["summary"], [{str(k): v for k, v in row.items()} for row in history])


def _train_stage(work: _Work, modality: Modality, record: Mapping[str, Any], signature: str, folder: Path) -> None:
    plan = work.plan(modality, signature)
    torch.manual_seed(plan.seed)
    model = UnimodalModel(work.encoder(modality), len(work.task.targets)).to(work.device)

    def forward(clips: ClipData, rows: Any) -> Tensor:
        prediction: Tensor = model(clips.inputs(rows, skip=clips.ready)[modality])
        return prediction

    fitted = fit(
        model,
        _optimizer(work, [{"params": list(model.parameters())}]),
        forward,
        work.train.only(modality),
        work.valid.only(modality),
        plan,
        work.task,
        state=folder / "state.pt",
        on_epoch=lambda fitted: _write_history(folder / "history.csv", fitted.history),
        progress=work.progress,
    )
    save_weights(folder / "model.safetensors", model.state_dict())
    _write_history(folder / "history.csv", fitted.history)
    write_json(folder / "stage.json", {"record": record, "summary": _summary(fitted)})
    (folder / "state.pt").unlink(missing_ok=True)
    work.progress.say(f"{modality}: validation r {fitted.best_score:.4f} (epoch {fitted.best_epoch + 1})")


def _fusion(work: _Work, path: Path, signature: str, stages: Mapping[Modality, _Stage]) -> tuple[Fit, FusionModel]:
    """Returns the fitted fusion stage and its model in its best state."""
    plan = work.plan("fusion", signature)
    torch.manual_seed(plan.seed)
    model = FusionModel(fusion_config(work.hyper, {m: work.encoder(m) for m in stages}, len(work.task.targets)))
    for modality, stage in stages.items():
        encoder = {key[len("encoder.") :]: v for key, v in stage.weights.items() if key.startswith("encoder.")}
        model.encoder(modality).load_state_dict(encoder)
    model.to(work.device)

    def forward(clips: ClipData, rows: Any) -> Tensor:
        ready = {modality: embedding[rows] for modality, embedding in clips.ready.items()}
        prediction: Tensor = model(clips.inputs(rows, skip=clips.ready), ready)
        return prediction

    # The optimiser's groups (Sec. 4.6): the head at the base rate, tuned encoders at a share of it, frozen ones in
    # neither. Every parameter is in one group or has no gradient.
    tuned = [p for m in stages if m not in model.config.frozen for p in model.encoder(m).parameters()]
    groups: list[dict[str, Any]] = [{"params": list(model.fusion_head.parameters())}]
    if tuned:
        groups.append({"params": tuned, "lr": work.hyper.lr * work.hyper.encoder_lr_scale})
    before = [row for stage in stages.values() for row in stage.history]
    fitted = fit(
        model,
        _optimizer(work, groups),
        forward,
        _with_frozen(work.train, model),
        _with_frozen(work.valid, model),
        plan,
        work.task,
        state=path / "state.pt",
        on_epoch=lambda fitted: _write_history(path / "history.csv", before + fitted.history),
        progress=work.progress,
    )
    _write_history(path / "history.csv", before + fitted.history)
    work.progress.say(f"fusion: validation r {fitted.best_score:.4f} (epoch {fitted.best_epoch + 1})")
    return fitted, model


def _with_frozen(side: ClipData, model: FusionModel) -> ClipData:
    """Returns the clips with the embeddings of the frozen encoders, computed once."""
    ready = {}
    for modality in model.config.frozen:
        encoder: nn.Module = model.encoder(modality)

        def forward(clips: ClipData, rows: Any, modality: str = modality, encoder: nn.Module = encoder) -> Tensor:
            embedding: Tensor = encoder(clips.inputs(rows, skip={})[modality])
            return embedding

        embedded = predict_rows(encoder, forward, side).astype(np.float32)
        ready[modality] = torch.from_numpy(embedded).to(next(model.parameters()).device)
    return replace(side, ready=ready)


def _write_history(path: Path, history: list[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False, lineterminator="\n")


class _Log:
    """Reports on, and keeps what was said in ``train.log``."""

    def __init__(self, progress: Progress, path: Path) -> None:
        self._progress = progress
        self._path = path
        self.task = progress.task

    def say(self, message: str) -> None:
        """Tells the user, and the log."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(message + "\n")
        self._progress.say(message)
