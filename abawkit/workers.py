"""Worker processes that leave Ctrl-C to their parent and never outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from abawkit.errors import AbawkitError
from abawkit.progress import Task

_In = TypeVar("_In")
_Out = TypeVar("_Out")

#: Seconds between checks for dead processes, and how long to wait for terminated ones.
_CHECK_INTERVAL, _END_TIMEOUT = 1.0, 10.0


class WorkerPool(ProcessPoolExecutor):
    """Newly spawned processes that run calls.

    They are spawned, never forked: the caller may have threads (torch, a notebook).
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), initializer=_begin)

    def result(self, future: Future[_Out]) -> _Out:
        """Returns what a submitted call returned.

        Raises:
            BrokenProcessPool: A process died; here also when it died while it sent a result, whose end
                concurrent.futures awaits for ever.
        """
        died = False
        while True:
            try:
                return future.result(_CHECK_INTERVAL)
            except TimeoutError:
                if future.done():  # it is the call that raised it
                    return future.result()
            if died:
                raise BrokenProcessPool("a process died while it sent a result")
            # Whoever died is noticed by the executor itself, as a rule: one more round for that.
            died = bool(wait([process.sentinel for process in self._alive()], timeout=0))

    def first(self, futures: Sequence[Future[_Out]]) -> Future[_Out]:
        """Returns one of the submitted calls that is done, the first to be; :meth:`result` has its result.

        Raises:
            BrokenProcessPool: As :meth:`result`.
        """
        died = False
        while True:
            done, _ = wait_for(futures, timeout=_CHECK_INTERVAL, return_when=FIRST_COMPLETED)
            if done:
                return next(future for future in futures if future in done)
            if died:
                raise BrokenProcessPool("a process died while it sent a result")
            died = bool(wait([process.sentinel for process in self._alive()], timeout=0))

    def end(self) -> None:
        """Ends the processes, whatever they are doing."""
        # concurrent.futures has no public way to do so, and its own thread would wait for the rest of what a process
        # was sending. Without this end of the pipe it sees that nobody is left. A Python that exits while that thread
        # still closes things prints a traceback, so it is waited for.
        processes, results, manager = self._alive(), self._result_queue, self._executor_manager_thread
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        if results is not None:
            results._writer.close()  # type: ignore[attr-defined]
        if manager is not None:
            manager.join(_END_TIMEOUT)  # type: ignore[attr-defined]

    def _alive(self) -> list[BaseProcess]:
        return list((self._processes or {}).values())


def _begin() -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent was killed and could not end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def worker_died(todo: str, *, path: Path | None = None, got: str | None = None) -> AbawkitError:
    """Returns what to raise when a worker process died; ``todo`` says what to do if memory ran out."""
    if "abawkit.cli.app" not in sys.modules and hasattr(sys.modules["__main__"], "__file__"):
        todo += "; in a script of your own, call it below `if __name__ == '__main__':`, since workers import the script"
    return AbawkitError("a worker process died, most often for lack of memory", path=path, got=got, todo=todo)


def in_processes(
    function: Callable[[_In], _Out],
    items: Sequence[_In],
    *,
    workers: int | None,
    bar: Task,
    chunk: int = 64,
    inline_below: int = 512,
    todo: str = "run it again with fewer --workers, or on a machine with more memory",
) -> Generator[_Out, None, None]:
    """Yields ``function(item)`` in the order of the items, computed in several processes.

    Args:
        function: A function at the top of a module (or a ``functools.partial`` of one), which another process can find.
        items: What to call it with; each has to be picklable and small.
        workers: Processes; default: one per core, at most 8.
        bar: Is moved on by one per item.
        chunk: Items that go to a process at a time.
        inline_below: With fewer items, or one worker, everything is done in this process: starting others costs
            about a second.
        todo: What to do when a process dies for lack of memory.

    At most four chunks per worker are under way, so memory does not grow with the number of items.

    Raises:
        AbawkitError: A process died, as it does when memory runs out.
    """
    count = max(1, workers or min(8, os.cpu_count() or 1))
    if count == 1 or len(items) < inline_below:
        for item in items:
            result = function(item)
            bar.advance()
            yield result
        return
    chunks = (items[start : start + chunk] for start in range(0, len(items), chunk))
    pool = WorkerPool(count)
    try:
        waiting = deque(pool.submit(each, function, part) for part in islice(chunks, 4 * count))
        while waiting:
            results = pool.result(waiting.popleft())
            waiting.extend(pool.submit(each, function, part) for part in islice(chunks, 1))
            bar.advance(len(results))
            yield from results
    except BrokenProcessPool as error:
        raise worker_died(todo) from error
    finally:
        pool.end()


def each(function: Callable[[_In], _Out], items: Sequence[_In]) -> list[_Out]:
    """Returns ``function(item)`` for each item: what a worker does with several at a time."""
    return [function(item) for item in items]
