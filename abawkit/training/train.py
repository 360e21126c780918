"""``abawkit train``: whole systems, one seed or several, and refits on all labelled clips; each leaves a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from abawkit.data.labels import LabelTable
from abawkit.data.splits.files import Split
from abawkit.data.splits.resplit import find_split
from abawkit.device import pick_device
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import Modality, Status
from abawkit.features.store import FeatureStore, choose_store
from abawkit.fileio import digest_json, locked, storage_errors
from abawkit.metrics import score
from abawkit.progress import SILENT, Progress
from abawkit.runs.predictions import write_predictions
from abawkit.runs.records import (
    METRICS,
    ClipIds,
    MissingRecord,
    ModelRecord,
    ParentScores,
    RunMetrics,
    SideScores,
    StageSummary,
    TrainedRecord,
)
from abawkit.runs.run import Run
from abawkit.systems.loader import Hyperparameters, System, load_system
from abawkit.training.batches import load_clips
from abawkit.training.checkpoint import save_run_model
from abawkit.training.compiled import compiled_before, training_threads
from abawkit.training.environment import describe
from abawkit.training.predict import predict_table, run_stores, test_ids
from abawkit.training.stages import fusion_stage, summary_of, unimodal_stage
from abawkit.training.trackers import chosen_trackers, tracked
from abawkit.training.watch import watched
from abawkit.training.work import TRAINING_VERSION, Log, Replay, Work
from abawkit.workers import in_processes
from abawkit.workspace import Workspace


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
    return _train(_order(workspace, system, split, seed, features, allow_lite), progress)


def train_many(
    workspace: Workspace,
    systems: Sequence[str],
    *,
    seeds: Sequence[int],
    features: Mapping[str, str] | None = None,
    split: str | Sequence[str] | None = None,
    allow_lite: bool = False,
    progress: Progress = SILENT,
) -> list[Run]:
    """Trains each system on each split with each seed and returns the runs: by system, then split, then seed.

    Systems share the stages that are the same. On the processor splits and seeds are trained beside one another, each
    in a process of one thread, which gives the same bits as each alone; on a GPU they follow one another.

    Args:
        workspace: As :func:`train`.
        systems: Names.
        seeds: At least one.
        features: As :func:`train`, for all of the systems.
        split: As :func:`train`, or several, such as those of a fold set.
        allow_lite: As :func:`train`.
        progress: What to report to.

    Raises:
        UsageError: As :func:`train`, before anything is trained.
        AbawkitError: As :func:`train`.
    """
    names = [load_system(system).name for system in systems]
    splits = [split] if split is None or isinstance(split, str) else list(split)
    for name in names:
        for each in splits:
            _order(workspace, name, each, None, features, allow_lite)
    settings = workspace.settings.training
    parts = [(each, seed) for each in splits for seed in seeds]
    if len(parts) == 1 or pick_device(settings.device) != "cpu":
        made = [_one(workspace, names, features, allow_lite, part, progress) for part in parts]
    else:
        unit = "seeds" if len(splits) == 1 else "folds" if len(seeds) == 1 else "folds and seeds"
        with progress.task(f"train {', '.join(names)}", len(parts), unit) as bar:
            cores = len(os.sched_getaffinity(0))
            alone = settings.model_copy(update={"threads": 1})
            each_alone = replace(workspace, settings=workspace.settings.model_copy(update={"training": alone}))
            one = partial(_one, each_alone, names, features, allow_lite)
            with watched(workspace.stages, workspace.runs, bar):
                todo = f"run it again on a machine with more memory, or one of the {unit} at a time"
                most = min(cores, len(parts))
                made = list(in_processes(one, parts, workers=most, bar=bar, chunk=1, inline_below=2, todo=todo))
    return [Run.open(paths[index]) for index in range(len(names)) for paths in made]


def _one(
    workspace: Workspace,
    systems: Sequence[str],
    features: Mapping[str, str] | None,
    allow_lite: bool,
    part: tuple[str | None, int],
    progress: Progress = SILENT,
) -> list[Path]:
    split, seed = part
    keys: dict[str, Any] = {"split": split, "features": features, "allow_lite": allow_lite}
    return [train(workspace, system, seed=seed, progress=progress, **keys).path for system in systems]


def refit(workspace: Workspace, parent: Run, *, progress: Progress = SILENT) -> Run:
    """Trains a run again on all labelled clips, those of its validation too, and returns the new run.

    Every stage takes as many epochs as the parent's stage took to its best state, at the parent's learning rates;
    nothing is validated and nothing stops early. No clip is left to score it, and its record says so. (The paper's
    4:1 systems had 2,056 more training clips than its 2:1 systems, and went from .506 to .570 on test.)

    Args:
        workspace: The workspace.
        parent: A trained run.
        progress: What to report to.

    Raises:
        UsageError: ``parent`` is an ensemble, imported, or itself a refit.
        AbawkitError: Its split or its features are not those that it was trained on, or the training failed.
    """
    record = parent.record
    if not isinstance(record, TrainedRecord) or parent.parent is not None:
        raise UsageError("only a run that was trained here can be refitted", got=parent.name, todo="abawkit runs list")
    hyper = record.definition["hyperparameters"]
    system = load_system(record.system, hyper)
    split = find_split(workspace, record.ratio, record.split)
    stores = run_stores(workspace, record)
    kept, dropped = _without_incomplete(split, stores, system.hyperparameters.missing)
    if set(kept.train.ids) != parent.train_ids or set(kept.valid.ids) != set(parent.valid_ids):
        todo = f"abawkit train --system {system.name}, then refit that run"
        raise AbawkitError("the split is not the one that the run was trained on", path=split.folder, todo=todo)
    everyone = LabelTable(
        kept.train.path, kept.train.ids + kept.valid.ids, np.concatenate([kept.train.values, kept.valid.values])
    )
    whole = replace(kept, train=everyone, valid=kept.valid.subset(()))
    replay = {
        stage: tuple(row["lr"] for row in parent.history(stage)[: summary.best_epoch])
        for stage, summary in parent.metrics.stages.items()
    }
    return _train(_Order(workspace, system, whole, stores, record.seed, dropped, (parent, replay)), progress)


@dataclass(frozen=True)
class _Order:
    """What is to be trained on what."""

    workspace: Workspace
    system: System
    split: Split
    stores: Mapping[Modality, FeatureStore]
    seed: int
    dropped: Mapping[str, int]
    parent: tuple[Run, Replay] | None


def _order(
    workspace: Workspace,
    system: str,
    split: str | None,
    seed: int | None,
    features: Mapping[str, str] | None,
    allow_lite: bool,
) -> _Order:
    """Returns what :func:`train` is to train; everything is there, or it raises."""
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
    kept, dropped = _without_incomplete(chosen, stores, wanted.hyperparameters.missing)
    return _Order(workspace, wanted, kept, stores, settings.seed if seed is None else seed, dropped, None)


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


def _without_incomplete(
    split: Split, stores: Mapping[Modality, FeatureStore], missing: str
) -> tuple[Split, dict[str, int]]:
    """Returns the split without clips that lack audio, vision or motion, and how many were left out on each side.

    Only with the policy ``drop``; text is zeros where it is missing, as the paper has it.
    """
    if missing != "drop":
        return split, {}
    needed = [store for modality, store in stores.items() if modality != "text"]

    def whole(table: LabelTable) -> LabelTable:
        kept = [c for c in table.ids if all(c not in s or s.status(c) == Status.PRESENT for s in needed)]
        return table.subset(kept)

    train, valid = whole(split.train), whole(split.valid)
    dropped = {"train": len(split.train) - len(train), "valid": len(split.valid) - len(valid)}
    if not len(train) or not len(valid):
        raise UsageError("no clip of a side has all modalities", got=f"left out: {dropped}", expected="missing: zero")
    return replace(split, train=train, valid=valid), dropped


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Makes torch deterministic within the block, and leaves its settings and generators as they were.

    The networks are too small for several threads of torch's, whose results would depend on their number; the training
    step has two of its own where ``threads`` allows it (0: as many as there are cores).
    """
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
    # Without it, deterministic matrix products on CUDA are refused; it counts only before CUDA is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.cuda.is_available():  # the operators used on a CPU are deterministic; asking for it imports a compiler
        torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    threads = threads or len(os.sched_getaffinity(0))
    try:
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices=devices), training_threads(threads):
            yield
    finally:
        if torch.cuda.is_available():
            torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])


def _train(order: _Order, progress: Progress) -> Run:
    workspace, split, stores = order.workspace, order.split, order.stores
    settings = workspace.settings.training
    device = pick_device(settings.device)
    if device == "cpu" and not compiled_before():
        progress.say("compiling the training for this machine: once, for about a minute")
    with _deterministic(settings.threads):
        valid = load_clips(stores, split.valid.ids, split.valid.values) if len(split.valid) else None
        work = Work(
            workspace,
            order.system,
            split,
            stores,
            load_clips(stores, split.train.ids, split.train.values),
            valid,
            order.seed,
            device,
            order.dropped,
            None if order.parent is None else order.parent[1],
            progress,
        )
        return _train_run(work, None if order.parent is None else order.parent[0])


def _record(work: Work, parent: Run | None, records: Mapping[Modality, Any]) -> TrainedRecord:
    record = TrainedRecord(
        kind="run",
        format=1,
        task=work.task.name,
        system=work.system.name,
        split=work.split.name,
        seed=work.seed,
        ratio=work.system.ratio,
        definition=work.system.to_json(),
        stages={modality: digest_json(record)[:12] for modality, record in records.items()},
        features={modality: store.path.name for modality, store in work.stores.items()},
        signatures={modality: store.spec.signature for modality, store in work.stores.items()},
        encoders={modality: asdict(work.encoder(modality)) for modality in work.stores},
        missing=MissingRecord(policy=work.hyper.missing, dropped=dict(work.dropped)),
        subject_safe=work.split.subject_safe,
        subject_note=work.split.note,
        simulated=any(store.spec.simulated for store in work.stores.values()),
    )
    return record if parent is None else record.model_copy(update={"parent": parent.name, "scorable": False})


def _train_run(work: Work, parent: Run | None) -> Run:
    records = {modality: work.stage_record(modality) for modality in work.stores}
    record = _record(work, parent, records)
    signature = digest_json({"config": record.identity(), "version": TRAINING_VERSION})
    name = f"{work.system.name}-{work.split.name}-s{work.seed}-{signature[:8]}"
    path = work.workspace.runs / (name if parent is None else f"refit-{name}")
    if (path / METRICS).exists():
        work.progress.say(f"{path.name} is already finished")
        return Run.open(path)
    settings = work.workspace.settings.training
    trackers = chosen_trackers(settings.trackers, online=settings.trackers_online)
    told = {"system": work.system.name, "split": work.split.name, "seed": work.seed, **asdict(work.hyper)}
    with (
        locked(path, "training this run"),
        storage_errors(path),
        tracked(trackers, path, told, work.progress) as tracking,
    ):
        record.write(path)
        describe(path, work.device, work.stores, work.split).write(path)
        ClipIds(train=work.split.train.ids, valid=work.split.valid.ids).write(path)
        work = replace(work, progress=Log(work.progress, path / "train.log"), tracking=tracking)
        if any(work.dropped.values()):
            gone = ", ".join(f"{count} of {side}" for side, count in work.dropped.items())
            work.progress.say(f"clips that lack audio, vision or motion are left out: {gone}")
        stages = {modality: unimodal_stage(work, modality, records[modality]) for modality in work.stores}
        fitted, model = fusion_stage(work, path, signature, stages)
        save_run_model(path / "model.safetensors", model, {m: stage.weights for m, stage in stages.items()})
        summaries = {modality: stage.summary for modality, stage in stages.items()} | {"fusion": summary_of(fitted)}
        metrics = RunMetrics(scores={}, stages={stage: StageSummary(**summary) for stage, summary in summaries.items()})
        if work.valid is not None:
            table = predict_table(path, record, work.valid, work.task, work.device)
            write_predictions(path / "predictions" / "valid.csv", table)
            prediction = table[list(work.task.targets)].to_numpy(np.float64)
            scores = score(work.task, work.split.valid.values, prediction)
            metrics = metrics.model_copy(update={"scores": {"valid": SideScores.of(scores)}})
        if parent is not None:
            scored = ParentScores(run=parent.name, scores=parent.metrics.scores)
            metrics = metrics.model_copy(update={"parent": scored})
        _predict_test(work, path, record)
        # Last: with this file the run is finished. The training state is no longer needed then.
        metrics.write(path)
        (path / "state.pt").unlink(missing_ok=True)
    return Run.open(path)


def _predict_test(work: Work, path: Path, record: ModelRecord) -> None:
    """Predicts the test clips that are there now; those that come later are ``abawkit predict``'s."""
    ids = test_ids(work.workspace)
    absent = [clip for clip in ids if any(clip not in store for store in work.stores.values())]
    if absent:
        makers = dict.fromkeys(s.spec.command for s in work.stores.values() if any(clip not in s for clip in ids))
        todo = f"{'; '.join(makers)}; then: abawkit predict {path.name} --on test"
        work.progress.say(f"{len(absent)} of {len(ids)} test clips have no features yet: {todo}")
    elif ids:
        clips = load_clips(work.stores, ids)
        table = predict_table(path, record, clips, work.task, work.device)
        write_predictions(path / "predictions" / "test.csv", table)
