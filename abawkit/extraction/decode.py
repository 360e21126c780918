"""Clips decoded ahead of the model, in worker processes, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice

from abawkit.errors import AbawkitError
from abawkit.features.spec import Extractor, Loaded
from abawkit.layout.folder import Clip
from abawkit.progress import Task
from abawkit.workers import WorkerPool, each, worker_died

#: Clips decoded ahead of the model: at least so many per worker, and more while they are small (bytes, clips), so
#: that the workers decode while the model computes a group of clips.
_AHEAD, _AHEAD_BYTES, _AHEAD_CLIPS = 2, 128 * 2**20, 64

#: Most clips, and bytes, of a chunk that a worker decodes at a time: sending one costs 0.2 ms.
_CHUNK, _CHUNK_BYTES = 8, 2**18


class DecodingPool:
    """Decodes clips in order, in worker processes that are started when the first media clip comes."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: WorkerPool | None = None

    def load(self, extractor: Extractor, clips: Sequence[Clip], task: Task) -> Generator[Loaded | Exception]:
        """Yields each clip's decoded form, or the exception that says why there is none, in order."""
        if not extractor.workload.in_workers:
            for clip in clips:
                result = _load(extractor, clip)
                task.advance(1, clip.id)  # before the yield: the caller does not ask again after the last clip
                yield result
            return
        if self._pool is None:
            self._pool = WorkerPool(self._workers)
        waiting: deque[tuple[list[Clip], Future[list[Loaded | Exception]]]] = deque()
        load = partial(_load, extractor)
        upcoming = iter(clips)
        size, ahead = 2**22, 0  # bytes of a decoded clip, a running mean; clips that are sent and not yet yielded
        try:
            while True:
                # Small clips go in chunks, large ones alone; how many are ahead is limited by memory.
                chunk = max(1, min(_CHUNK, _CHUNK_BYTES // size))
                most = max(self._workers * _AHEAD * chunk, min(_AHEAD_CLIPS, _AHEAD_BYTES // size))
                while ahead + chunk <= most and (some := list(islice(upcoming, chunk))):
                    waiting.append((some, self._pool.submit(each, load, some)))
                    ahead += len(some)
                if not waiting:
                    return
                # The oldest chunk first, whichever is done: the order of the clips is kept.
                some, future = waiting[0]
                results = self._pool.result(future)
                waiting.popleft()
                ahead -= len(some)
                for clip, result in zip(some, results, strict=True):
                    if isinstance(result, Loaded):
                        size += (result.data.nbytes - size) // 8 + 1
                    task.advance(1, clip.id)
                    yield result
        except BrokenProcessPool as error:
            near = ", ".join(clip.id for some, _ in waiting for clip in some)
            todo = "run it again with fewer --workers; nothing finished is lost"
            raise worker_died(todo, got=f"clips in work: {near}") from error

    def close(self) -> None:
        """Ends the workers, whatever they are doing."""
        if self._pool is not None:
            self._pool.end()


@contextmanager
def decoding_pool(wanted: int) -> Iterator[DecodingPool]:
    """Yields a pool of ``wanted`` processes (0: one per core) and ends it."""
    pool = DecodingPool(wanted or len(os.sched_getaffinity(0)))
    try:
        yield pool
    finally:
        pool.close()


def _load(extractor: Extractor, clip: Clip) -> Loaded | Exception:
    try:
        return extractor.load(clip)
    except AbawkitError as error:
        return error
    except Exception as error:  # any exception is this clip's failure; AbawkitError can be pickled
        return AbawkitError(f"{type(error).__name__}: {error}", path=clip.video or clip.audio)
