"""One run: the stages of its slots, fusion, predictions and scores; everything that it leaves in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from abawkit.fileio import digest_json, locked, storage_errors
from abawkit.metrics import score
from abawkit.progress import Progress
from abawkit.runs.predictions import write_predictions
from abawkit.runs.records import (
    METRICS,
    ClipIds,
    MissingRecord,
    ParentScores,
    RunMetrics,
    SideScores,
    StageSummary,
    TrainedRecord,
)
from abawkit.training.batches import load_clips
from abawkit.training.checkpoint import save_run_model
from abawkit.training.environment import describe
from abawkit.training.predict import predict_table, test_ids
from abawkit.training.stage import final_stage, slot_stage, write_history
from abawkit.training.trackers import chosen_trackers, tracked
from abawkit.training.work import TRAINING_VERSION, Work


@contextmanager
def deterministic() -> Iterator[None]:
    """Makes torch deterministic within the block, in one thread, and leaves its settings and generators as they were.

    The networks are too small for several threads of torch's, whose results would depend on their number.
    """
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
    # Without it, deterministic matrix products on CUDA are refused; it counts only before CUDA is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.cuda.is_available():  # the operators used on a CPU are deterministic; asking for it imports a compiler
        torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        if torch.cuda.is_available():
            torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])


def run_folder(work: Work) -> tuple[Path, str, TrainedRecord]:
    """Returns a run's folder, its signature, and its record, before it is trained."""
    record = _record(work)
    signature = digest_json({"config": record.identity(), "version": TRAINING_VERSION})
    system = work.system.name.replace("/", "-")
    name = f"{system}-{work.split.name}-s{work.request.seed}-{signature[:8]}"
    return work.workspace.runs / (name if work.parent is None else f"refit-{name}"), signature, record


def _record(work: Work) -> TrainedRecord:
    stores = {slot: source.store for slot, source in work.sources.items()}
    policy = "zero" if work.system.fusion is None else work.system.fusion.missing
    record = TrainedRecord(
        kind="run",
        format=2,
        task=work.task.name,
        system=work.system.name,
        split=work.split.name,
        seed=work.request.seed,
        ratio=work.system.ratio,
        definition=work.system.to_json(),
        inputs=work.inputs,
        stages={slot: digest_json(work.stage_record(slot))[:12] for slot in work.system.unimodal},
        features={slot: f"{store.spec.modality}/{store.path.name}" for slot, store in stores.items()},
        signatures={slot: store.spec.signature for slot, store in stores.items()},
        missing=MissingRecord(policy=policy, dropped=dict(work.dropped)),
        subject_safe=work.split.subject_safe,
        subject_note=work.split.note,
        simulated=any(store.spec.simulated for store in stores.values()),
    )
    if work.parent is None:
        return record
    return record.model_copy(update={"parent": work.parent.name, "scorable": False})


def train_run(work: Work, progress: Progress) -> Path:
    """Trains one run, with those of its stages that are not trained yet, and returns its folder."""
    path, signature, record = run_folder(work)
    if (path / METRICS).exists():
        progress.say(f"{path.name} is already finished")
        return path
    settings = work.workspace.settings.training
    trackers = chosen_trackers(settings.trackers, online=settings.trackers_online)
    shown = {"system": work.system.name, "split": work.split.name, "seed": work.request.seed}
    shown |= work.system.training.model_dump(mode="json")
    with locked(path, "training this run"), storage_errors(path), tracked(trackers, path, shown, progress) as tracking:
        record.write(path)
        stores = {slot: source.store for slot, source in work.sources.items()}
        describe(path, work.device, stores, work.split).write(path)
        ClipIds(train=work.split.train.ids, valid=work.split.valid.ids).write(path)
        log = Log(progress, path / "train.log")
        if any(work.dropped.values()):
            gone = ", ".join(f"{count} of {side}" for side, count in work.dropped.items())
            log.say(f"clips that lack audio, vision or motion are left out: {gone}")
        stages = {slot: slot_stage(work, slot, log, tracking) for slot in work.system.unimodal}
        summaries = {slot: stage.summary for slot, stage in stages.items()}
        if work.system.fusion is None:
            write_history(path / "history.csv", next(iter(stages.values())).history)
            network = None
        else:
            final, network = final_stage(work, path, signature, stages, log, tracking)
            summaries[work.system.final] = final.summary
        save_run_model(path / "model.safetensors", network, {slot: stage.weights for slot, stage in stages.items()})
        _finish(work, path, record, summaries, log)
    return path


def _finish(work: Work, path: Path, record: TrainedRecord, stages: dict[str, StageSummary], log: Log) -> None:
    """Predicts with the trained run and writes its scores."""
    metrics = RunMetrics(scores={}, stages=stages)
    valid = work.valid_clips(list(work.sources))
    if valid is not None:
        table = predict_table(path, record, valid, work.task, work.device)
        write_predictions(path / "predictions" / "valid.csv", table)
        prediction = table[list(work.task.targets)].to_numpy(np.float64)
        scores = SideScores.of(score(work.task, work.split.valid.values, prediction))
        metrics = metrics.model_copy(update={"scores": {"valid": scores}})
    if work.parent is not None:
        scored = ParentScores(run=work.parent.name, scores=work.parent.metrics.scores)
        metrics = metrics.model_copy(update={"parent": scored})
    _predict_test(work, path, record, log)
    # Last: with this file the run is finished. The training state is not needed any more then.
    metrics.write(path)
    (path / "state.pt").unlink(missing_ok=True)


def _predict_test(work: Work, path: Path, record: TrainedRecord, log: Log) -> None:
    """Predicts the test clips that are there now; those that come later are ``abawkit predict``'s."""
    ids = test_ids(work.workspace)
    stores = [source.store for source in work.sources.values()]
    absent = [clip for clip in ids if any(clip not in store for store in stores)]
    if absent:
        makers = dict.fromkeys(store.spec.command for store in stores if any(clip not in store for clip in ids))
        todo = f"{'; '.join(makers)}; then: abawkit predict {path.name} --on test"
        log.say(f"{len(absent)} of {len(ids)} test clips have no features yet: {todo}")
    elif ids:
        table = predict_table(path, record, load_clips(work.sources, ids), work.task, work.device)
        write_predictions(path / "predictions" / "test.csv", table)


class Log:
    """Reports, and keeps what was said in ``train.log``."""

    def __init__(self, progress: Progress, path: Path) -> None:
        self._progress = progress
        self._path = path
        self.task = progress.task

    def say(self, message: str) -> None:
        """Says a line to the user, and writes it down."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(message + "\n")
        self._progress.say(message)
