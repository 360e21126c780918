"""What one training works on and with, and the records by which its stages and its run are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from abawkit.challenge import Task
from abawkit.data.splits.files import Split
from abawkit.features.spec import Modality
from abawkit.features.store import FeatureStore
from abawkit.models.encoders import EncoderConfig
from abawkit.models.flat import flatten
from abawkit.progress import Progress
from abawkit.systems.loader import Hyperparameters, System
from abawkit.training.batches import ClipData
from abawkit.training.loop import FitPlan
from abawkit.training.trackers import UNTRACKED, Tracking
from abawkit.workspace import Workspace

#: Changes whenever the same inputs would train differently, so that old stage checkpoints are not reused.
TRAINING_VERSION = 3

#: The learning rates that a refit replays: stage → one per epoch.
Replay = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Work:
    """What every stage of one training needs.

    Attributes:
        workspace: The workspace.
        system: What is trained.
        split: The split that it is trained on.
        stores: Modality → its feature store.
        train: Clips to learn from.
        valid: Clips to choose the best epochs on; None: a refit, which has none.
        seed: The seed.
        device: Where to compute.
        dropped: Side → labelled clips that were left out because they lack a modality.
        replay: What a refit replays; None: no refit.
        progress: What to report to.
        tracking: Who draws the epochs.
    """

    workspace: Workspace
    system: System
    split: Split
    stores: Mapping[Modality, FeatureStore]
    train: ClipData
    valid: ClipData | None
    seed: int
    device: str
    dropped: Mapping[str, int]
    replay: Replay | None
    progress: Progress
    tracking: Tracking = UNTRACKED

    @property
    def hyper(self) -> Hyperparameters:
        """The system's hyper-parameters."""
        return self.system.hyperparameters

    @property
    def task(self) -> Task:
        """The challenge track."""
        return self.workspace.task

    def encoder(self, modality: Modality) -> EncoderConfig:
        """Returns the modality's encoder as the system wants it."""
        return EncoderConfig(
            kind="mlp" if modality == "text" else "attention",
            inputs=self.stores[modality].spec.dim,
            hidden=self.hyper.motion_hidden if modality == "motion" else self.hyper.hidden,
            dropout=self.hyper.dropout,
            learned_missing=self.hyper.missing == "learned" and modality != "text",
        )

    def plan(self, name: str, signature: str) -> FitPlan:
        """Returns how a stage (a modality, or ``fusion``) is fitted; it is seeded from its signature."""
        seconds = self.workspace.settings.training.checkpoint_seconds
        replay = None if self.replay is None else self.replay[name]
        return fit_plan(self.hyper, name, int(signature[:12], 16), checkpoint_seconds=seconds, replay=replay)

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Returns AdamW over parameter groups (Sec. 4.8), each of them flattened into one parameter."""
        flat = flatten([group["params"] for group in groups])
        whole = [{**group, "params": [one]} for group, one in zip(groups, flat, strict=True)]
        # One pass over the parameters instead of ten: a quarter of the time per step on a CPU, and as deterministic.
        return torch.optim.AdamW(whole, lr=self.hyper.lr, weight_decay=self.hyper.weight_decay, fused=True)

    def stage_record(self, modality: Modality) -> dict[str, Any]:
        """Returns everything that the modality's stage depends on."""
        store, split = self.stores[modality], self.split
        plan = asdict(self.plan(modality, "0"))
        del plan["seed"], plan["checkpoint_seconds"]
        valid = () if self.valid is None else self.valid.ids
        return {
            "version": TRAINING_VERSION,
            "task": self.task.name,
            "score": self.task.score,
            "encoder": asdict(self.encoder(modality)),
            "plan": plan,
            "lr": self.hyper.lr,
            "weight_decay": self.hyper.weight_decay,
            "seed": self.seed,
            "features": store.spec.signature,
            "train": [store.content_digest(self.train.ids), split.train.digest],
            "valid": [store.content_digest(valid), split.valid.digest],
        }


def fit_plan(
    hyper: Hyperparameters,
    name: str,
    seed: int,
    *,
    checkpoint_seconds: float,
    replay: tuple[float, ...] | None = None,
) -> FitPlan:
    """Returns how a stage is fitted with these hyper-parameters.

    Args:
        hyper: The hyper-parameters.
        name: A modality, or ``fusion``.
        seed: Seed of the shuffling and the dropout.
        checkpoint_seconds: How often the state for resuming is saved.
        replay: The learning rate of each epoch to replay; None: the scheduler sets the rates.
    """
    return FitPlan(
        name=name,
        epochs=hyper.epochs(name),
        patience=hyper.fusion_patience if name == "fusion" else hyper.patience,
        batch_size=hyper.batch_size,
        clip_norm=hyper.clip_norm,
        alpha=hyper.alpha,
        min_delta=hyper.min_delta,
        lr_factor=hyper.lr_factor,
        seed=seed,
        checkpoint_seconds=checkpoint_seconds,
        replay=replay,
    )


class Log:
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
