"""Independent work side by side: the stages of slots, then the runs that need them, in processes of one thread.

One thread gives the same bits wherever it runs, so a run does not depend on how many processes there were. A process
takes at most :data:`MEMORY` bytes of its own; the frames are mapped from the feature stores and shared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from abawkit.fileio import digest_json
from abawkit.progress import SILENT, Progress
from abawkit.runs.records import METRICS
from abawkit.training.stage import slot_stage, stage_folder
from abawkit.training.train_run import deterministic, run_folder, train_run
from abawkit.training.watch import watched
from abawkit.training.work import Request, Work, prepare
from abawkit.workers import WorkerPool, worker_died

#: Most bytes that a training process takes for itself: libraries, parameters, and one clip's frames in float32.
MEMORY = 1 << 30
#: Seconds of estimated work below which other processes are not worth their start.
WORTHWHILE = 20.0


@dataclass(frozen=True)
class _Job:
    """The stage of one slot, or (``slot`` is None) a run, of which all stages are trained.

    Attributes:
        request: The training that it is part of.
        slot: The slot.
        needs: Stage folders that have to be there first.
        cost: Estimated seconds.
    """

    request: Request
    slot: str | None
    needs: frozenset[Path]
    cost: float


def run_all(requests: Sequence[Request], progress: Progress) -> list[Path]:
    """Trains all of the requests and returns the folders of their runs, in their order.

    Raises:
        UsageError: Something is missing; nothing is trained then.
        AbawkitError: A training failed, or a process died.
    """
    works = _prepared(requests)
    jobs, runs = _jobs(works)
    workers = _workers(works, [*jobs.values(), *runs])
    several = len(requests) > 1
    if workers > 1:
        _side_by_side(jobs, runs if several else [], workers, progress)
        if several:
            return [run_folder(work)[0] for work in works]
    return [train_run(work, progress) for work in works]


def _prepared(requests: Sequence[Request]) -> list[Work]:
    """Returns everything checked; systems with several seeds are looked up once."""
    known: dict[str, Work] = {}
    return [_prepared_once(request, known) for request in requests]


def _prepared_once(request: Request, known: dict[str, Work]) -> Work:
    """Returns a request prepared; ``known`` keeps what was prepared, which does not depend on the seed."""
    key = digest_json([request.system.to_json(), request.split, dict(request.features), request.parent])
    if key not in known:
        known[key] = prepare(request)
    return replace(known[key], request=request)


def _jobs(works: Sequence[Work]) -> tuple[dict[Path, _Job], list[_Job]]:
    """Returns the stages that are not trained yet, each once, and the runs."""
    stages: dict[Path, _Job] = {}
    runs: list[_Job] = []
    for work in works:
        if (run_folder(work)[0] / METRICS).exists():
            continue
        costs = {slot: _seconds(work, slot) for slot in work.sources}
        needs = set()
        for slot in work.system.unimodal:
            folder = stage_folder(work, slot)
            if not (folder / "stage.json").exists():
                needs.add(folder)
                stages.setdefault(folder, _Job(work.request, slot, frozenset(), costs[slot]))
        runs.append(_Job(work.request, None, frozenset(needs), sum(costs.values())))
    return stages, runs


def _seconds(work: Work, slot: str) -> float:
    """Returns about how long a stage with this slot takes on one core: its frames are read at some 2e9 values/s."""
    store, ids = work.sources[slot].store, [*work.split.train.ids, *work.split.valid.ids]
    some = ids[:: max(1, len(ids) // 100)]
    frames = len(ids) * np.mean(
        [0.0 if clip not in store else float(len(store.frames(clip))) for clip in some] or [0.0]
    )
    steps = len(work.split.train) / work.system.training.batch_size
    epochs = work.system.epochs(slot if slot in work.system.unimodal else work.system.final)
    return float(epochs * (frames * store.spec.dim / 2e9 + steps * 2e-3))


def _workers(works: Sequence[Work], jobs: Sequence[_Job]) -> int:
    """Returns how many processes to train in; 1: this one."""
    wanted = works[0].workspace.settings.training.workers
    if works[0].device != "cpu" or len(jobs) < 2 or wanted == 1:
        return 1
    if not wanted and sum(job.cost for job in jobs) < WORTHWHILE:
        return 1
    cores = wanted or len(os.sched_getaffinity(0))
    return max(1, min(cores, len(jobs), _free_memory() // MEMORY))


def _free_memory() -> int:
    """Returns the bytes of memory that are free, or could be."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return 1 << 40


def _side_by_side(stages: Mapping[Path, _Job], runs: Sequence[_Job], workers: int, progress: Progress) -> None:
    """Trains the stages, and each run when its stages are there, the longest first."""
    waiting: list[tuple[Path | None, _Job]] = [*stages.items(), *((None, run) for run in runs)]
    if not waiting:
        return
    workspace = waiting[0][1].request.workspace
    todo = "run it again on a machine with more memory, or with --set training.workers=1"
    unit = "stages and runs" if runs else "stages"
    names = ", ".join(dict.fromkeys(job.request.system.name for _, job in waiting))
    trained: set[Path] = set()
    under_way: dict[Future[list[str]], Path | None] = {}
    with progress.task(f"train {names}", len(waiting), unit) as bar, watched(workspace.stages, workspace.runs, bar):
        pool = WorkerPool(workers)
        try:
            while waiting or under_way:
                ready = [each for each in waiting if each[1].needs <= trained]
                for folder, job in sorted(ready, key=lambda each: -each[1].cost)[: workers - len(under_way)]:
                    waiting.remove((folder, job))
                    under_way[pool.submit(_do, job.request, job.slot)] = folder
                done = pool.first(list(under_way))
                folder = under_way.pop(done)
                if folder is not None:
                    trained.add(folder)
                for line in pool.result(done):
                    progress.say(line)
                bar.advance()
        except BrokenProcessPool as error:
            raise worker_died(todo) from error
        finally:
            pool.end()


def _do(request: Request, slot: str | None) -> list[str]:
    """Does one job in a process of its own and returns what it said."""
    heard = _Heard()
    with deterministic():
        work = _prepared_once(request, _known)
        if slot is None:
            train_run(work, heard)
        else:
            slot_stage(work, slot, heard)
    return heard.lines


#: What was prepared in this process, which does many jobs of one campaign.
_known: dict[str, Work] = {}


class _Heard:
    """A progress that keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.task = SILENT.task

    def say(self, message: str) -> None:
        self.lines.append(message)
