"""One stage of a training: a slot's encoder alone, fusion of trained encoders, or everything at once (Sec. 4.1).

The stage of a slot is named by a signature of all that it depends on: network, features of the split's own clips,
labels, seed and hyper-parameters. F1, F2 and F5 therefore train text once, test clips that are added later invalidate
nothing, and a checkpoint can never be stale.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from abawkit.errors import AbawkitError
from abawkit.fileio import atomic_path, digest_json, locked, read_json, write_json
from abawkit.models.encoders.encoder import dtype_of
from abawkit.models.network import Network
from abawkit.optim.optimizer import adamw, parameter_groups
from abawkit.progress import Progress
from abawkit.runs.records import StageSummary
from abawkit.systems.schema import FUSION
from abawkit.training.batches import ClipData
from abawkit.training.checkpoint import load_state, load_weights, save_weights
from abawkit.training.loop import Fit, fit, predict_rows
from abawkit.training.placement import Batch, InPlace, Placed, describe, for_one_pass, free_bytes, place
from abawkit.training.trackers import UNTRACKED, Tracking
from abawkit.training.work import Work

Row = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A trained stage.

    Attributes:
        weights: Of its network, in its best state.
        summary: What ``metrics.json`` says of it.
        history: One row per epoch.
    """

    weights: Mapping[str, Tensor]
    summary: StageSummary
    history: list[Row] = field(default_factory=list)


def stage_folder(work: Work, slot: str) -> Path:
    """Returns the folder of the slot's own stage."""
    return work.workspace.stages / f"{slot}-{digest_json(work.stage_record(slot))[:12]}"


def slot_stage(work: Work, slot: str, progress: Progress, tracking: Tracking = UNTRACKED) -> Stage:
    """Returns the trained stage of a slot, from its checkpoint where there is one.

    Raises:
        AbawkitError: The checkpoint is damaged, or the training failed.
    """
    record = work.stage_record(slot)
    signature = digest_json(record)
    folder = work.workspace.stages / f"{slot}-{signature[:12]}"
    done = folder / "stage.json"
    with locked(folder, f"training the {slot} stage", wait=24 * 3600.0):
        if not done.exists():
            _train_slot(work, slot, record, signature, folder, progress, tracking)
    written = read_json(done, "a stage record")
    if written["record"] != record:
        raise AbawkitError("this stage checkpoint is not what its name says", path=folder, todo="delete it")
    weights = load_weights(folder / "model.safetensors")
    network = Network(work.system.network(slot, work.inputs, len(work.task.targets)))
    load_state(network, weights, folder / "model.safetensors")
    rows = pd.read_csv(folder / "history.csv").to_dict("records")
    stage = Stage(
        weights, StageSummary(**written["summary"]), [{str(key): value for key, value in row.items()} for row in rows]
    )
    progress.say(f"{slot}: {in_words(stage.summary)}, stages/{folder.name}")
    tracking.rows(stage.history)  # those of a stage that was trained before: the run's curves are complete
    return stage


def _train_slot(
    work: Work,
    slot: str,
    record: Mapping[str, Any],
    signature: str,
    folder: Path,
    progress: Progress,
    tracking: Tracking,
) -> None:
    train, valid = work.train_clips([slot]), work.valid_clips([slot])
    fitted, network = fit_stage(work, slot, signature, train, valid, folder, progress, tracking=tracking)
    save_weights(folder / "model.safetensors", network.state_dict())
    write_history(folder / "history.csv", fitted.history)
    write_json(folder / "stage.json", {"record": record, "summary": summary_of(fitted).to_json()})
    (folder / "state.pt").unlink(missing_ok=True)


def final_stage(
    work: Work,
    folder: Path,
    signature: str,
    stages: Mapping[str, Stage],
    progress: Progress,
    tracking: Tracking,
) -> tuple[Stage, Network]:
    """Returns the last stage of a system of several slots, ``fusion`` or ``joint``, and its network.

    Args:
        work: What is trained.
        folder: The run's folder, where its state and its history go.
        signature: The run's signature, which seeds it.
        stages: The trained stages of the slots; none of ``joint``.
        progress: What to report to.
        tracking: Who draws the epochs.

    Raises:
        AbawkitError: The training failed.
    """
    slots = list(work.sources)
    earlier = [row for stage in stages.values() for row in stage.history]
    fitted, network = fit_stage(
        work,
        work.system.final,
        signature,
        work.train_clips(slots),
        work.valid_clips(slots),
        folder,
        progress,
        stages=stages,
        earlier=earlier,
        tracking=tracking,
    )
    write_history(folder / "history.csv", earlier + fitted.history)
    tracking.rows(fitted.history)
    summary = summary_of(fitted)
    progress.say(f"{work.system.final}: {in_words(summary)}")
    return Stage(network.state_dict(), summary, fitted.history), network


def fit_stage(
    work: Work,
    name: str,
    signature: str,
    train: ClipData,
    valid: ClipData | None,
    folder: Path,
    progress: Progress,
    *,
    stages: Mapping[str, Stage] | None = None,
    earlier: Sequence[Row] = (),
    tracking: Tracking = UNTRACKED,
) -> tuple[Fit, Network]:
    """Trains any stage and returns what it came to, and its network in its best state.

    Args:
        work: What is trained.
        name: A slot, ``fusion`` or ``joint``.
        signature: What seeds it.
        train: Clips to learn from, with the stage's slots.
        valid: Clips to choose the best epoch on; None for a refit.
        folder: Where the state for resuming and the history go.
        progress: What to report to.
        stages: Trained stages whose encoders it begins with.
        earlier: Rows of the history before its own.
        tracking: Who draws the epochs.

    Raises:
        AbawkitError: The training failed.
    """
    plan = work.plan(name, int(signature[:12], 16))
    torch.manual_seed(plan.seed)
    network = Network(work.system.network(name, work.inputs, len(work.task.targets)))
    for slot, stage in (stages or {}).items():
        own = (f"{slot}_encoder.", f"{slot}_token")
        network.load_state_dict({k: v for k, v in stage.weights.items() if k.startswith(own)}, strict=False)
    network.to(work.device)
    how = work.system.training
    scale = how.encoder_lr_scale if name == FUSION else 1.0
    optimizer = adamw(parameter_groups(network, lr=how.lr, encoder_lr_scale=scale), how.weight_decay)
    sides = [with_frozen(clips, network, work.device) for clips in (train, valid) if clips is not None]
    placed = _placed(sides, work.device)
    if words := describe(placed, work.device):
        progress.say(f"{name}: {words}")
    fitted = fit(
        network,
        optimizer,
        placed[0],
        placed[1] if len(placed) > 1 else None,
        plan,
        work.task,
        state=folder / "state.pt",
        on_epoch=_growing(folder / "history.csv", list(earlier), tracking),
        progress=progress,
    )
    return fitted, network


def _placed(sides: Sequence[ClipData], device: str) -> list[Placed]:
    if device == "cpu":
        return [InPlace(clips) for clips in sides]
    return place(sides, device, free_bytes(device))


def with_frozen(side: ClipData, network: Network, device: str) -> ClipData:
    """Returns the clips with the vectors of the frozen encoders, computed once."""
    ready: dict[str, Tensor] = {}
    for slot in network.frozen:

        def encode(batch: Batch, slot: str = slot) -> Tensor:
            return network.encode(slot, batch.inputs.clips[slot])

        vectors = predict_rows(network, encode, for_one_pass(side.only([slot]), device))
        ready[slot] = torch.from_numpy(vectors).to(dtype_of(network))
    return replace(side, ready=ready)


def summary_of(fitted: Fit) -> StageSummary:
    """Returns what ``metrics.json`` says of a stage; a refit's has no score."""
    best = fitted.best_score if np.isfinite(fitted.best_score) else None
    return StageSummary(epochs=len(fitted.history), best_epoch=fitted.best_epoch + 1, best_score=best)


def in_words(summary: StageSummary) -> str:
    """Returns a stage's result for people.

    >>> in_words(StageSummary(epochs=12, best_epoch=2, best_score=0.25))
    'validation r 0.2500 (epoch 2)'
    """
    if summary.best_score is None:
        return f"{summary.epochs} epochs replayed"
    return f"validation r {summary.best_score:.4f} (epoch {summary.best_epoch})"


def write_history(path: Path, history: Sequence[Row]) -> None:
    """Writes one row per epoch: stage, epoch, loss, score, lr."""
    with atomic_path(path) as temporary:
        pd.DataFrame(list(history)).to_csv(temporary, index=False, lineterminator="\n")


def _growing(path: Path, earlier: list[Row], tracking: Tracking) -> Callable[[Fit], None]:
    """Returns what writes the history after each epoch, whole the first time, then a row at its end, and draws it."""
    begun = False

    def grow(fitted: Fit) -> None:
        nonlocal begun
        if not begun:
            write_history(path, earlier + fitted.history)
        else:
            with path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(fitted.history[-1].values())
        begun = True
        tracking.rows(fitted.history)

    return grow
