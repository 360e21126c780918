"""kill -9 at random moments of a command that goes on where it was: it ends as if it had not been killed.

What is compared: every file that the command leaves, byte for byte, with those of an uninterrupted run. What is
watched, every few milliseconds: a finished file (a segment, a part) is never replaced, and what a manifest names stays
named, with the same clips. As an uninterrupted run leaves exactly as many of them, none was done twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Kinds of moments and how often each is drawn: while the program starts, at work, and when it writes a file.
AIMS = {"start": 1, "work": 5, "write": 3}

Seen = dict[Path, tuple[int, int]]


@dataclass(frozen=True)
class Job:
    """A command, the folder that it fills, and what its finished files are called there."""

    arguments: tuple[str, ...]
    output: str
    finished: str
    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "abawkit", *self.arguments]
        with (folder / "told.txt").open("wb") as told:
            return subprocess.Popen(
                command, cwd=folder, env=os.environ | self.environ, stdout=told, stderr=told, start_new_session=True
            )

    def seen(self, folder: Path) -> Seen:
        """The finished files, each with what would change if it were written again."""
        found = {}
        for path in (folder / self.output).glob(self.finished):
            state = path.stat()
            found[path] = (state.st_ino, state.st_mtime_ns)
        return found

    def beside(self, folder: Path, name: str, since: float = 0.0) -> list[Path]:
        """Files of that name beside the finished ones that were made or opened for writing after ``since``."""
        found = []
        for path in (folder / self.output).glob(str(Path(self.finished).parent / name)):
            with contextlib.suppress(FileNotFoundError):
                found += [path] if path.stat().st_mtime > since else []
        return found

    def manifests(self, folder: Path) -> dict[Path, dict[str, list[str]]]:
        """Each feature store's segments and the clips in them; transcripts have no such list."""
        paths = (folder / self.output).glob("*/*/store.json")
        return {path: json.loads(path.read_text())["segments"] for path in paths}

    def result(self, folder: Path) -> dict[str, bytes]:
        """Everything that is there, but hidden files (locks)."""
        files = (path for path in (folder / self.output).rglob("[!.]*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Pace:
    """An uninterrupted run: what it left, and its seconds until the first finished file and between two of them."""

    result: dict[str, bytes]
    count: int
    first: float
    step: float


@dataclass
class Tally:
    """Where the kills fell: what the command was at, and how much of the whole was done (quarters)."""

    phases: Counter[str] = field(default_factory=Counter)
    quarters: Counter[str] = field(default_factory=Counter)
    ends: int = 0

    def __str__(self) -> str:
        lists = (", ".join(f"{name} {n}" for name, n in sorted(c.items())) for c in (self.phases, self.quarters))
        return f"{self.phases.total()} kills on the way to {self.ends} ends; {'; '.join(lists)}"


def uninterrupted(job: Job, folder: Path) -> Pace:
    """Runs the command once, measures it, and removes what it left."""
    began = time.time()
    process = job.start(folder)
    assert process.wait(timeout=600) == 0, (folder / "told.txt").read_text()
    times = sorted(when / 1e9 for _, when in job.seen(folder).values())
    pace = Pace(job.result(folder), len(times), times[0] - began, (times[-1] - times[0]) / max(1, len(times) - 1))
    shutil.rmtree(folder / job.output)
    return pace


def kill_to_the_same_end(job: Job, folder: Path, kills: int, rng: random.Random) -> Tally:
    """Kills the command so often, each time at a random moment, starting it again until it ends; returns where.

    The moments are drawn for an even way from the start to the end of one run of the work: each lets so many files be
    finished that the kills that are left suffice, whatever the machine's speed. Should the command end before, it
    starts from nothing.

    Raises:
        AssertionError: The result differs, or something finished was done again.
    """
    pace = uninterrupted(job, folder)
    tally, seen, named = Tally(), {}, {}
    while True:
        left = kills - tally.phases.total()
        before = set(seen)
        killed = _run(job, folder, seen, pace, left, rng)
        for path, segments in named.items():
            now = job.manifests(folder)[path]
            assert {name: now.get(name) for name in segments} == segments, f"{path} lost a segment"
        named = job.manifests(folder)
        if killed is not None:
            tally.phases[_phase(job, folder, killed, set(seen) - before, len(seen) == pace.count)] += 1
            tally.quarters[f"{min(3, 4 * len(seen) // pace.count) * 25} % done"] += 1
            continue
        assert len(seen) == pace.count
        assert job.result(folder) == pace.result and not job.beside(folder, ".tmp-*")
        tally.ends += 1
        if not left:
            return tally
        shutil.rmtree(folder / job.output)
        seen, named = {}, {}


def _run(job: Job, folder: Path, seen: Seen, pace: Pace, left: int, rng: random.Random) -> float | None:
    """Starts the command; returns when it was started if it was killed, and None if it ended. Adds to ``seen``."""
    aim = rng.choices(list(AIMS), list(AIMS.values()))[0] if left else "end"
    files = rng.randint(0, round(2 * (pace.count - len(seen)) / max(1, left)))
    delay = rng.uniform(0, pace.first if aim == "start" else pace.step)
    goal = len(seen) + (0 if aim == "start" else files)
    began, started = time.time(), time.monotonic()
    process = job.start(folder)
    reached: float | None = started if aim == "start" else None
    while process.poll() is None:
        if reached is None or aim != "write":  # a file is half-written for a moment only: no time to look elsewhere
            _watch(job, folder, seen)
        busy = aim != "work" or bool(job.beside(folder, ".lock", began))
        if reached is None and aim != "end" and len(seen) >= goal and busy:
            reached = time.monotonic()
        if reached is not None and (
            job.beside(folder, ".tmp-*", began) if aim == "write" else time.monotonic() - reached >= delay
        ):
            os.killpg(process.pid, signal.SIGKILL)
            break
        assert time.monotonic() - started < 600, "it hangs"
        time.sleep(0 if reached is not None and aim == "write" else 0.002)
    code = process.wait()
    _watch(job, folder, seen)
    if code == -signal.SIGKILL:
        return began
    assert code == 0, (folder / "told.txt").read_text()
    return None


def _watch(job: Job, folder: Path, seen: Seen) -> None:
    now = job.seen(folder)
    assert {path: now.get(path) for path in seen} == seen, "a finished file was done again"
    seen.update(now)


def _phase(job: Job, folder: Path, began: float, new: set[Path], all_there: bool) -> str:
    if job.beside(folder, ".tmp-*", began):
        return "writing a file"
    manifests = job.manifests(folder)
    if any(path.name not in manifests.get(path.parent / "store.json", {path.name: []}) for path in job.seen(folder)):
        return "between a file and its entry"
    if not job.beside(folder, ".lock", began):  # a lock file is truncated when it is opened
        return "starting"
    if all_there:
        return "after the last file"
    return "on a file" if new else "on its first file"
