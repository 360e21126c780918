"""What one training works on: the system, its split and its features, found and checked before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from abawkit.challenge import Task
from abawkit.data.labels import LabelTable
from abawkit.data.splits.files import Split
from abawkit.data.splits.resplit import find_split
from abawkit.device import pick_device
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import Status
from abawkit.features.store import FeatureStore, choose_store, list_stores
from abawkit.optim.schedules import Replay
from abawkit.runs.run import Run, find_run
from abawkit.systems.schema import System
from abawkit.training.batches import ClipData, Source, load_clips, require_clips, takes_one_frame
from abawkit.training.loop import FitPlan
from abawkit.workspace import Workspace

#: Changes whenever the same inputs would train differently, so that old stage checkpoints are not reused.
TRAINING_VERSION = 5


@dataclass(frozen=True)
class Request:
    """One training, as it is asked for; small, so that it can be sent to another process.

    Attributes:
        workspace: The workspace.
        system: What is trained.
        split: Name of the split; None: the one with the ratio that the system asks for.
        seed: The seed.
        features: Slot or modality → which store, where there are several.
        allow_lite: Train on lite features although the data are of the official size.
        parent: Name of the run that is refitted on all labelled clips; None: this is not a refit.
    """

    workspace: Workspace
    system: System
    split: str | None
    seed: int
    features: Mapping[str, str]
    allow_lite: bool = False
    parent: str | None = None


@dataclass(frozen=True)
class Work:
    """One training with everything that it needs.

    Attributes:
        request: What was asked for.
        split: The split; a refit's has all labelled clips in train, and none in valid.
        sources: Slot → where its frames come from.
        contents: Slot → digests of the features of its train and valid clips.
        dropped: Side → labelled clips that were left out because they lack a modality.
        device: Where to compute.
        parent: The run that is refitted.
    """

    request: Request
    split: Split
    sources: Mapping[str, Source]
    contents: Mapping[str, tuple[str, str]]
    dropped: Mapping[str, int]
    device: str
    parent: Run | None = None

    @property
    def workspace(self) -> Workspace:
        """The workspace."""
        return self.request.workspace

    @property
    def system(self) -> System:
        """What is trained."""
        return self.request.system

    @property
    def task(self) -> Task:
        """The challenge track."""
        return self.workspace.task

    @property
    def inputs(self) -> dict[str, int]:
        """Slot → values per frame."""
        return {slot: source.store.spec.dim for slot, source in self.sources.items()}

    def train_clips(self, slots: Sequence[str]) -> ClipData:
        """Returns the clips to learn from, with these slots."""
        table = self.split.train
        return load_clips({slot: self.sources[slot] for slot in slots}, table.ids, table.values)

    def valid_clips(self, slots: Sequence[str]) -> ClipData | None:
        """Returns the clips to choose the best epoch on, with these slots; None for a refit."""
        table = self.split.valid
        sources = {slot: self.sources[slot] for slot in slots}
        return load_clips(sources, table.ids, table.values) if len(table) else None

    def plan(self, stage: str, seed: int) -> FitPlan:
        """Returns how a stage is fitted.

        Args:
            stage: A slot, ``fusion`` or ``joint``.
            seed: Seed of its shuffling and dropout.
        """
        how, system = self.system.training, self.system
        schedule, epochs = how.schedule, system.epochs(stage)
        if self.parent is not None:
            best = self.parent.metrics.stages[stage].best_epoch
            rates = tuple(row["lr"] for row in self.parent.history(stage)[:best])
            schedule, epochs = Replay(rates), len(rates)
        return FitPlan(
            name=stage,
            epochs=epochs,
            patience=system.patience(stage),
            batch_size=how.batch_size,
            loss=system.loss(stage),
            schedule=schedule,
            clip_norm=how.clip_norm,
            min_delta=how.min_delta,
            accumulate=how.accumulate,
            precision=how.precision,
            ema=how.ema,
            seed=seed,
            checkpoint_seconds=self.workspace.settings.training.checkpoint_seconds,
        )

    def stage_record(self, slot: str) -> dict[str, Any]:
        """Returns everything that a slot's own stage depends on."""
        source, split, how = self.sources[slot], self.split, self.system.training
        plan = asdict(self.plan(slot, 0))
        del plan["seed"], plan["checkpoint_seconds"]
        record = {
            "version": TRAINING_VERSION,
            "task": self.task.name,
            "score": self.task.score,
            "network": asdict(self.system.network(slot, self.inputs, len(self.task.targets))),
            "plan": plan,
            "lr": how.lr,
            "weight_decay": how.weight_decay,
            "seed": self.request.seed,
            "features": source.store.spec.signature,
            "normalize": source.normalize,
            "train": [self.contents[slot][0], split.train.digest],
            "valid": [self.contents[slot][1], split.valid.digest],
        }
        written: dict[str, Any] = json.loads(json.dumps(record))  # as it is read from the checkpoint
        return written


def prepare(request: Request) -> Work:
    """Returns the training with its split and its features; everything is there, or it raises.

    Raises:
        UsageError: The split or features are missing (the message says which command makes them).
        FindingsError: The machine has a GPU that torch cannot use.
        AbawkitError: A refit's split or features are not those of its parent.
    """
    workspace, system = request.workspace, request.system
    known = {*system.slots, *system.modalities}
    if unknown := sorted(set(request.features) - known):
        raise UsageError(
            f"{system.name} has no such modality",
            got=unknown[0],
            expected=", ".join(system.slots),
            todo="correct --features MODALITY=STORE",
        )
    split = find_split(workspace, system.ratio, request.split)
    sources = {slot: _source(request, slot) for slot in system.slots}
    _refuse_lite(request, split, sources)
    dropping = system.fusion is not None and system.fusion.missing == "drop"
    split, dropped = _without_incomplete(split, sources) if dropping else (split, {})
    parent = None if request.parent is None else find_run(workspace, request.parent)
    if parent is not None:
        split = _all_labelled(request, split, sources, parent)
    for source in sources.values():
        require_clips(source.store, [*split.train.ids, *split.valid.ids])
    contents = {
        slot: (source.store.content_digest(split.train.ids), source.store.content_digest(split.valid.ids))
        for slot, source in sources.items()
    }
    return Work(request, split, sources, contents, dropped, pick_device(workspace.settings.training.device), parent)


def _source(request: Request, slot: str) -> Source:
    workspace, wanted = request.workspace, request.system.slots[slot]
    named = request.features.get(slot) or request.features.get(wanted.modality)
    lite = workspace.settings.extract.preset == "lite"
    if named is None and wanted.features is not None:
        store = _store_of_system(workspace, request.system, slot)
    else:
        store = choose_store(workspace.features, wanted.modality, lite=lite, wanted=named)
    return Source(store, wanted.normalize, takes_one_frame(wanted.encoder))


def _store_of_system(workspace: Workspace, system: System, slot: str) -> FeatureStore:
    """Returns the store that the system itself names; simulated features stand for any.

    Raises:
        UsageError: It is not there; the message has the command that makes it.
    """
    wanted = system.slots[slot]
    stores = [store for store in list_stores(workspace.features) if store.spec.modality == wanted.modality]
    if not any(wanted.features in (s.path.name, s.spec.name, s.spec.signature) for s in stores):
        simulated = [store for store in stores if store.spec.simulated]
        if len(simulated) == 1:
            return simulated[0]
        raise UsageError(
            f"{system.name} needs the {wanted.modality} features {wanted.features}",
            path=workspace.features / wanted.modality,
            got=", ".join(store.path.name for store in stores) or "none",
            todo=f"{wanted.extract or f'abawkit extract --modality {wanted.modality}'}; "
            f"or take others: --features {wanted.modality}=NAME",
        )
    return choose_store(workspace.features, wanted.modality, lite=False, wanted=wanted.features)


def _refuse_lite(request: Request, split: Split, sources: Mapping[str, Source]) -> None:
    weak = [slot for slot, source in sources.items() if source.store.spec.name == "lite"]
    official = request.workspace.task.official_size(len(split.train.ids), len(split.valid.ids))
    if weak and official and not request.allow_lite:
        raise UsageError(
            "these data are of the official size, and lite features are too weak for the leaderboard",
            got=f"lite features for {', '.join(weak)}",
            expected="features of the preset paper",
            todo="abawkit extract --preset paper, or give --allow-lite if you mean it",
        )


def _without_incomplete(split: Split, sources: Mapping[str, Source]) -> tuple[Split, dict[str, int]]:
    """Returns the split without clips that lack audio, vision or motion, and how many were left out on each side.

    Text is zeros where it is missing, as the paper has it.
    """
    needed = [source.store for source in sources.values() if source.store.spec.modality != "text"]

    def complete(table: LabelTable) -> LabelTable:
        kept = [c for c in table.ids if all(c not in s or s.status(c) == Status.PRESENT for s in needed)]
        return table.subset(kept)

    train, valid = complete(split.train), complete(split.valid)
    dropped = {"train": len(split.train) - len(train), "valid": len(split.valid) - len(valid)}
    if not len(train) or not len(valid):
        raise UsageError("no clip of a side has all modalities", got=f"left out: {dropped}", expected="missing: zero")
    return replace(split, train=train, valid=valid), dropped


def _all_labelled(request: Request, split: Split, sources: Mapping[str, Source], parent: Run) -> Split:
    """Returns the split of a refit: all labelled clips in train, and none to validate on."""
    todo = f"abawkit train --system {request.system.name}, then refit that run"
    if set(split.train.ids) != parent.train_ids or set(split.valid.ids) != set(parent.valid_ids):
        raise AbawkitError("the split is not the one that the run was trained on", path=split.folder, todo=todo)
    for slot, source in sources.items():
        if source.store.spec.signature != parent.model.signatures[slot]:
            modality = source.store.spec.modality
            message = f"the {modality} features are not those that the run was trained on"
            raise AbawkitError(message, path=source.store.path, todo=todo)
    ids, values = split.train.ids + split.valid.ids, np.concatenate([split.train.values, split.valid.values])
    return replace(split, train=LabelTable(split.train.path, ids, values), valid=split.valid.subset(()))
