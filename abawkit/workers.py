"""Worker processes that leave Ctrl-C to their parent and never outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import TypeVar

from abawkit.errors import AbawkitError
from abawkit.progress import Task

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Returns a pool of ``workers`` fresh processes.

    They are spawned, never forked: the caller may have threads (torch, a notebook).
    """
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


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
    pool = worker_pool(count)
    try:
        waiting = deque(pool.submit(_each, function, part) for part in islice(chunks, 4 * count))
        while waiting:
            results = waiting.popleft().result()
            waiting.extend(pool.submit(_each, function, part) for part in islice(chunks, 1))
            bar.advance(len(results))
            yield from results
    except BrokenProcessPool as error:
        raise worker_died("run it again with fewer --workers, or on a machine with more memory") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _each(function: Callable[[_In], _Out], items: Sequence[_In]) -> list[_Out]:
    return [function(item) for item in items]
