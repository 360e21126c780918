"""The training loop: evaluate, checkpoint, stop?, step; interruptible after every epoch."""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawkit.challenge import Task
from abawkit.errors import AbawkitError
from abawkit.fileio import atomic_path
from abawkit.metrics import score
from abawkit.progress import Progress
from abawkit.training.batches import ClipData, row_batches
from abawkit.training.losses import ccc_mse_loss
from abawkit.training.placement import EVALUATION_BATCH, Batch, InPlace, Placed


@dataclass(frozen=True)
class FitPlan:
    """How one stage is fitted.

    Attributes:
        name: ``text``, …, ``fusion``.
        epochs: Most epochs.
        patience: Epochs without improvement before it stops.
        batch_size: Clips per step.
        clip_norm: Largest gradient norm.
        alpha: Share of the CCC term in the loss.
        min_delta: What counts as an improvement of the score.
        lr_factor: What the plateau scheduler multiplies the rates with.
        seed: Seed of the shuffling and the dropout.
        checkpoint_seconds: How often the state for resuming is saved.
        replay: The learning rate of each epoch to replay, of the first parameter group; the others keep their share
            of it. There are as many epochs as rates, and nothing is validated. None: the scheduler sets the rates.
    """

    name: str
    epochs: int
    patience: int
    batch_size: int
    clip_norm: float
    alpha: float
    min_delta: float
    lr_factor: float
    seed: int
    checkpoint_seconds: float
    replay: tuple[float, ...] | None = None


@dataclass
class Fit:
    """What a fit has come to: one row of ``history`` per epoch, and the best state of all parts of the model."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = -math.inf
    best_state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def next_epoch(self) -> int:
        """The epoch to come, from 0."""
        return len(self.history)


#: A batch → predictions.
Forward = Callable[[Batch], Tensor]


class Trainer(Protocol):
    """What computes: an epoch of training, and predictions."""

    def epoch(self, plan: FitPlan, epoch: int) -> float:
        """Trains for an epoch, from 0, and returns the mean loss over its clips."""

    def predict(self, clips: ClipData) -> NDArray[np.float64]:
        """Returns predictions ``float64 [N, E]`` for all clips, in eval mode."""


class AutogradTrainer:
    """Trains by torch's autograd, on any device.

    Args:
        model: The model.
        forward: A batch → predictions.
        clips: What is trained on.
        optimizer: Over flattened parameters.
        placed: Where these clips are, and those that are predicted; what is not among them is used in place.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Forward,
        clips: ClipData,
        optimizer: torch.optim.Optimizer,
        placed: Sequence[Placed] = (),
    ) -> None:
        self._model, self._forward, self._optimizer = model, forward, optimizer
        self._sides = placed
        self._clips = self._placed(clips)
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def epoch(self, plan: FitPlan, epoch: int) -> float:
        """Trains for an epoch and returns the mean loss over its clips."""
        self._model.train()
        total: Tensor | float = 0.0
        count = len(self._clips.clips)
        steps = list(row_batches(count, plan.batch_size, seed=plan.seed + epoch))
        with closing(self._clips.batches(steps)) as batches:
            for batch in batches:
                assert batch.truth is not None
                loss = ccc_mse_loss(batch.truth, self._forward(batch), plan.alpha)
                self._optimizer.zero_grad(set_to_none=False)  # gradients are views of one buffer
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self._parameters, plan.clip_norm)
                self._optimizer.step()
                total = total + loss.detach() * len(batch.truth)
        return float(total) / count

    def predict(self, clips: ClipData) -> NDArray[np.float64]:
        """Returns predictions ``float64 [N, E]`` for all clips, in eval mode."""
        return predict_rows(self._model, self._forward, self._placed(clips))

    def _placed(self, clips: ClipData) -> Placed:
        return next((side for side in self._sides if side.clips is clips), None) or InPlace(clips)


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    trainer: Trainer,
    valid: ClipData | None,
    plan: FitPlan,
    task: Task,
    *,
    state: Path,
    on_epoch: Callable[[Fit], None],
    progress: Progress,
) -> Fit:
    """Fits ``model`` and leaves its best state in it; of a replay, its last.

    Args:
        model: The model; only parameters in ``optimizer`` are updated.
        optimizer: With its parameter groups.
        trainer: Trains the model with the optimiser, on the clips that it knows.
        valid: Clips to choose the best epoch on; None for a replay.
        plan: How.
        task: Whose score chooses.
        state: File to resume from and to save to; it is removed by the caller.
        on_epoch: Called after each epoch.
        progress: What to report to.

    Raises:
        AbawkitError: The loss is not finite, or no epoch had a defined score.
    """
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=plan.lr_factor, patience=max(3, plan.patience // 3)
    )
    shares = [group["lr"] / optimizer.param_groups[0]["lr"] for group in optimizer.param_groups]
    result = _resume(state, model, optimizer, scheduler)
    if result.history:
        progress.say(f"{plan.name}: goes on after epoch {result.next_epoch}")
    truth = None if valid is None else _numpy(valid.truth)
    epochs = plan.epochs if plan.replay is None else len(plan.replay)
    saved = time.monotonic()
    with progress.task(f"train {plan.name}", epochs, "epochs") as bar:
        bar.advance(result.next_epoch)
        for epoch in range(result.next_epoch, epochs):
            if plan.replay is None and result.history and epoch - result.best_epoch > plan.patience:
                break
            if plan.replay is not None:
                for group, share in zip(optimizer.param_groups, shares, strict=True):
                    group["lr"] = plan.replay[epoch] * share
            rate = optimizer.param_groups[0]["lr"]
            loss = trainer.epoch(plan, epoch)
            if not math.isfinite(loss):
                raise AbawkitError(
                    f"the loss of the {plan.name} stage is not finite in epoch {epoch + 1}",
                    got=str(loss),
                    todo="train with a lower rate, such as --set training.lr=5e-5",
                )
            value = math.nan
            if valid is not None and truth is not None:
                value = score(task, truth, trainer.predict(valid)).primary
                scheduler.step(value if math.isfinite(value) else -1.0)
            # A score of nan, of a constant prediction, is no improvement.
            if value > result.best_score + plan.min_delta or (plan.replay is not None and epoch == epochs - 1):
                result.best_epoch, result.best_score = epoch, value
                result.best_state = {key: value.clone() for key, value in model.state_dict().items()}
            result.history.append({"stage": plan.name, "epoch": epoch + 1, "loss": loss, "score": value, "lr": rate})
            if time.monotonic() - saved >= plan.checkpoint_seconds:
                _save(state, model, optimizer, scheduler, result)
                saved = time.monotonic()
            on_epoch(result)
            bar.advance(1, _note(result, plan))
    if result.best_epoch < 0:
        there = {} if valid is None else valid.present
        raise AbawkitError(
            f"no epoch of the {plan.name} stage has a defined validation score: the prediction is constant",
            got="validation clips with features: "
            + ", ".join(f"{modality} {int(present.sum())} of {len(present)}" for modality, present in there.items()),
            todo="give the clips what they lack (transcripts?), or take another split or --set training.lr",
        )
    model.load_state_dict(result.best_state)
    return result


def _note(result: Fit, plan: FitPlan) -> str:
    last = result.history[-1]
    if plan.replay is not None:
        return f"loss {last['loss']:.3f}"
    left = plan.patience - (last["epoch"] - 1 - result.best_epoch)
    best = f"best {result.best_score:.3f} at {result.best_epoch + 1}, " if result.best_epoch >= 0 else ""
    return f"r {last['score']:.3f}, {best}patience {left}"


def predict_rows(model: nn.Module, forward: Forward, placed: Placed) -> NDArray[np.float64]:
    """Returns predictions ``float64 [N, E]`` for all clips, in eval mode."""
    model.eval()
    steps = list(row_batches(len(placed.clips), EVALUATION_BATCH))
    with torch.inference_mode(), closing(placed.batches(steps)) as batches:
        return _numpy(torch.cat([forward(batch) for batch in batches]))


def _numpy(values: Tensor | None) -> NDArray[np.float64]:
    assert values is not None
    return values.detach().cpu().numpy().astype(np.float64)


def _save(path: Path, model: nn.Module, optimizer: Any, scheduler: Any, result: Fit) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "history": result.history,
        "best_epoch": result.best_epoch,
        "best_score": result.best_score,
        "best_state": result.best_state,
    }
    data = io.BytesIO()
    torch.save(state, data)
    with atomic_path(path) as temporary:  # written by Python, whose errors say that the disk is full
        temporary.write_bytes(data.getbuffer())


def _resume(path: Path, model: nn.Module, optimizer: Any, scheduler: Any) -> Fit:
    if not path.exists():
        return Fit()
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        return Fit(state["history"], state["best_epoch"], state["best_score"], state["best_state"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise AbawkitError(
            "this is no training state of ours, or it is damaged",
            path=path,
            got=" ".join(str(error).split())[:120],
            todo="delete it; the stage then starts again from its beginning",
        ) from error
