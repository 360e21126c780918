"""The training loop: step, evaluate, checkpoint, stop?; interruptible after every epoch."""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawkit.challenge import Task
from abawkit.errors import AbawkitError
from abawkit.fileio import atomic_path
from abawkit.metrics import score
from abawkit.models.network import Network
from abawkit.optim.losses import LossTerm, total_loss
from abawkit.optim.optimizer import WeightAverage, trainable
from abawkit.optim.precision import Precision, autocast, in_dtype
from abawkit.optim.schedules import Replay, Schedule, ScheduleConfig
from abawkit.progress import Progress
from abawkit.training.batches import row_batches
from abawkit.training.placement import EVALUATION_BATCH, Batch, Placed

#: Added to the seed of the order for dropout, so that the two streams of numbers differ (torch seeds with 32 bits).
_DROPOUT = 0x9E3779B9


@dataclass(frozen=True)
class FitPlan:
    """How one stage is fitted.

    Attributes:
        name: The stage: a slot, ``fusion`` or ``joint``.
        epochs: Most epochs.
        patience: Epochs without improvement before it stops.
        batch_size: Clips per batch.
        loss: Terms of the loss.
        schedule: How the rates change; :class:`Replay` for a refit: as many epochs as rates, nothing is validated.
        clip_norm: Largest gradient norm.
        min_delta: What counts as an improvement of the score.
        accumulate: Batches per step: their gradients are averaged.
        precision: Of the forward pass (autocast); losses are float32.
        ema: Decay of the weights' running mean, which is scored and saved in their place; None: there is none.
        seed: Seed of the shuffling and the dropout.
        checkpoint_seconds: How often the state for resuming is saved.
    """

    name: str
    epochs: int
    patience: int
    batch_size: int
    loss: Sequence[LossTerm]
    schedule: ScheduleConfig
    clip_norm: float = 1.0
    min_delta: float = 1e-4
    accumulate: int = 1
    precision: Precision = "float32"
    ema: float | None = None
    seed: int = 0
    checkpoint_seconds: float = 10.0


@dataclass
class Fit:
    """What a fit has come to: one row of ``history`` per epoch, and the best state of the network."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = -math.inf
    best_state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def next_epoch(self) -> int:
        """The next epoch, from 0."""
        return len(self.history)


@dataclass
class _Training:
    """Everything whose state is saved: ``parts`` by name, and what it has come to."""

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    result: Fit = field(default_factory=Fit)

    @property
    def parts(self) -> dict[str, Any]:
        found = {
            "network": self.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "scaler": self.scaler,
            "average": self.average,
        }
        return {name: part for name, part in found.items() if part is not None}

    @property
    def scored(self) -> Network:
        """The network whose predictions count."""
        return self.network if self.average is None else self.average.network


def fit(
    network: Network,
    optimizer: torch.optim.Optimizer,
    train: Placed,
    valid: Placed | None,
    plan: FitPlan,
    task: Task,
    *,
    state: Path,
    on_epoch: Callable[[Fit], None],
    progress: Progress,
) -> Fit:
    """Fits ``network`` and leaves its best state in it; of a replay, its last.

    Args:
        network: The network; only parameters in ``optimizer`` are updated.
        optimizer: With its parameter groups.
        train: Clips to learn from.
        valid: Clips to choose the best epoch on; None for a replay.
        plan: How.
        task: Whose score chooses.
        state: File to resume from and to save to; the caller removes it.
        on_epoch: Called after each epoch.
        progress: What to report to.

    Raises:
        AbawkitError: The loss is not finite, or no epoch had a defined score.
    """
    replay = isinstance(plan.schedule, Replay)
    device = next(network.parameters()).device
    training = _Training(
        network,
        optimizer,
        plan.schedule.build(optimizer, plan.epochs, plan.patience),
        torch.amp.GradScaler(device.type, enabled=plan.precision == "float16"),
        None if plan.ema is None else WeightAverage(network, plan.ema),
    )
    _resume(state, training)
    result = training.result
    if result.history:
        progress.say(f"{plan.name}: continues after epoch {result.next_epoch}")
    saved = time.monotonic()
    with progress.task(f"train {plan.name}", plan.epochs, "epochs") as bar:
        bar.advance(result.next_epoch)
        for epoch in range(result.next_epoch, plan.epochs):
            if not replay and result.history and epoch - result.best_epoch > plan.patience:
                break
            rate = optimizer.param_groups[0]["lr"]
            loss = train_epoch(network, optimizer, train, plan, epoch, training.scaler, training.average)
            if not math.isfinite(loss):
                raise AbawkitError(
                    f"the loss of the {plan.name} stage is not finite in epoch {epoch + 1}",
                    got=str(loss),
                    todo="train with a lower rate, such as --set training.lr=5e-5",
                )
            value = math.nan if valid is None else evaluate(training.scored, valid, task)
            training.schedule.step(value)
            # A score of nan, of a constant prediction, is not an improvement.
            if value > result.best_score + plan.min_delta or (replay and epoch == plan.epochs - 1):
                result.best_epoch, result.best_score = epoch, value
                result.best_state = {key: each.clone() for key, each in training.scored.state_dict().items()}
            result.history.append({"stage": plan.name, "epoch": epoch + 1, "loss": loss, "score": value, "lr": rate})
            if time.monotonic() - saved >= plan.checkpoint_seconds:
                _save(state, training)
                saved = time.monotonic()
            on_epoch(result)
            bar.advance(1, _note(result, plan))
    if result.best_epoch < 0:
        present = {} if valid is None else valid.clips.present
        raise AbawkitError(
            f"no epoch of the {plan.name} stage has a defined validation score: the prediction is constant",
            got="validation clips with features: "
            + ", ".join(f"{slot} {int(there.sum())} of {len(there)}" for slot, there in present.items()),
            todo="give the clips what they lack (transcripts?), or take another split or --set training.lr",
        )
    network.load_state_dict(result.best_state)
    return result


def train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    clips: Placed,
    plan: FitPlan,
    epoch: int,
    scaler: torch.amp.GradScaler | None = None,
    average: WeightAverage | None = None,
) -> float:
    """Trains for an epoch, from 0, and returns the mean loss over its clips.

    Order and dropout follow from seed and epoch alone, so that an interrupted training needs no generator's state.

    Args:
        network: The network.
        optimizer: Over the parameters to update.
        clips: Clips to learn from.
        plan: How.
        epoch: Which.
        scaler: Scales the gradients of float16; None: there is no need.
        average: The weights' running mean, which takes every step.
    """
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    parameters = list(trainable(optimizer))
    network.train()
    torch.manual_seed(plan.seed + epoch + _DROPOUT)
    total: Tensor | float = 0.0
    steps = list(row_batches(len(clips.clips), plan.batch_size, seed=plan.seed + epoch))
    with closing(clips.batches(steps)) as batches:
        for number, batch in enumerate(batches, 1):
            assert batch.truth is not None
            with autocast(plan.precision, batch.truth.device):
                output = network(batch.inputs)
            loss = total_loss(plan.loss, in_dtype(output, batch.truth.dtype), batch.truth, batch.inputs.present)
            share = loss if plan.accumulate == 1 else loss / plan.accumulate
            scaler.scale(share).backward()  # type: ignore[no-untyped-call]
            if number % plan.accumulate == 0 or number == len(steps):
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(parameters, plan.clip_norm, foreach=True)
                before = scaler.get_scale()
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                # A step that float16 could not take was skipped, and the scale halved: nothing is new.
                if average is not None and scaler.get_scale() >= before:
                    average.update(network)
            total = total + loss.detach() * len(batch.truth)
    return float(total) / len(clips.clips)


def evaluate(network: Network, clips: Placed, task: Task) -> float:
    """Returns the task's score of the network's predictions over all clips; nan where it is not defined."""
    assert clips.clips.truth is not None
    prediction = predict_rows(network, lambda batch: network(batch.inputs).prediction, clips)
    return score(task, clips.clips.truth.cpu().numpy().astype(np.float64), prediction).primary


def predict_rows(network: nn.Module, forward: Callable[[Batch], Tensor], placed: Placed) -> NDArray[np.float64]:
    """Returns ``forward`` of all clips, ``float64 [N, …]``, in eval mode."""
    network.eval()
    steps = list(row_batches(len(placed.clips), EVALUATION_BATCH))
    with torch.inference_mode(), closing(placed.batches(steps)) as batches:
        return torch.cat([forward(batch) for batch in batches]).cpu().numpy().astype(np.float64)


def _note(result: Fit, plan: FitPlan) -> str:
    last = result.history[-1]
    if isinstance(plan.schedule, Replay):
        return f"loss {last['loss']:.3f}"
    left = plan.patience - (last["epoch"] - 1 - result.best_epoch)
    best = f"best {result.best_score:.3f} at {result.best_epoch + 1}, " if result.best_epoch >= 0 else ""
    return f"r {last['score']:.3f}, {best}patience {left}"


def _save(path: Path, training: _Training) -> None:
    result = training.result
    state = {name: part.state_dict() for name, part in training.parts.items()}
    state["fit"] = {
        "history": result.history,
        "best_epoch": result.best_epoch,
        "best_score": result.best_score,
        "best_state": result.best_state,
    }
    data = io.BytesIO()
    torch.save(state, data)
    with atomic_path(path) as temporary:  # written by Python, whose errors say that the disk is full
        temporary.write_bytes(data.getbuffer())


def _resume(path: Path, training: _Training) -> None:
    if not path.exists():
        return
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        for name, part in training.parts.items():
            part.load_state_dict(state[name])
        training.result = Fit(**state["fit"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise AbawkitError(
            "this is not a training state of ours, or it is damaged",
            path=path,
            got=" ".join(str(error).split())[:120],
            todo="delete it; the stage then starts again from its beginning",
        ) from error
