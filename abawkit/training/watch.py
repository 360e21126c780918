"""How far trainings in other processes are, read from the histories that they write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from abawkit.progress import Task


@contextmanager
def watched(stages: Path, runs: Path, bar: Task, *, seconds: float = 2.0) -> Iterator[None]:
    """Notes on the bar, within the block, the last epoch of each stage that is being trained.

    Args:
        stages: The workspace's stages.
        runs: The workspace's runs.
        bar: Where they are noted.
        seconds: How often.
    """
    began, done = time.time(), Event()

    def update_bar() -> None:
        while not done.wait(seconds):
            if note := last_epochs(stages, runs, since=began):
                bar.advance(0, note)

    thread = Thread(target=update_bar, daemon=True, name="watching trainings")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def last_epochs(stages: Path, runs: Path, *, since: float) -> str:
    """Returns stage, epoch and validation score of what is being trained, such as ``audio 12 r .341 · text 3 r .200``.

    Args:
        stages: The workspace's stages.
        runs: The workspace's runs.
        since: Only histories that were written after this time (seconds since the epoch).
    """
    found = []
    for folder, end in ((stages, "stage.json"), (runs, "metrics.json")):
        for path in sorted(folder.glob("*/history.csv")):
            try:
                if path.stat().st_mtime < since or (path.parent / end).exists():
                    continue
                row = path.read_text(encoding="utf-8").splitlines()[-1].split(",")
                stage, epoch, score = row[0], int(row[1]), float(row[3] or "nan")
            except (OSError, ValueError, IndexError):
                continue  # being written, or just removed
            found.append(f"{stage} {epoch}" + (f" r {score:.3f}" if score == score else ""))
    return " · ".join(found).replace("r 0.", "r .")
