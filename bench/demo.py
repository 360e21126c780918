"""How long the steps of the demo take, and the largest memory of one process."""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from abawkit.jobs.demo import demo
from abawkit.progress import Task


class Clock:
    """A progress that only keeps times."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = []

    @contextmanager
    def task(self, what: str, total: int | None = None, unit: str = "clips") -> Iterator[Task]:
        """Begins a piece of work."""
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Keeps nothing."""

    def say(self, message: str) -> None:
        """Keeps when a step began."""
        if message.startswith("▸"):
            self.marks.append((message[2:].split(":")[0], time.perf_counter()))


def main() -> None:
    """Prints seconds per step."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        done = demo(Path(folder) / "demo", progress=clock)
        ends = [*(when for _, when in clock.marks[1:]), time.perf_counter()]
        for (step, began), ended in zip(clock.marks, ends, strict=True):
            print(f"{step:36s} {ended - began:6.1f} s")
        print(f"{'all':36s} {done.seconds:6.1f} s")
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**20
    print(f"largest memory: main process {own:.0f} MiB, largest worker {workers:.0f} MiB")


if __name__ == "__main__":
    main()
