"""kill -9 at random moments of a command that continues where it was: it ends as if it had not been killed.

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

#: The share of kills at a moment between the start and the first file of that start; the others come after one.
_EARLY = 0.25

#: The command, which tells into a file where its main thread is when it is asked: a signal that is else ignored.
_STACK = "stack.txt"
_TELLING = f"""
import faulthandler, signal
faulthandler.register(signal.SIGURG, open("{_STACK}", "w"), all_threads=False)
from abawkit.__main__ import main
main()
"""

#: Words in a line of that stack → what the command is at; the innermost line that has one of them counts.
_PHASES = {
    "in write_segment": "writing a segment",
    "in _write_manifest": "writing a manifest",
    "in list_failures": "listing failures",
    "in close": "ending its workers",
    "in load_": "loading the model",
    "in transcribe_waveforms": "embedding",
    "in in_processes": "decoding",
    "in make_plan": "planning",
    "extraction/decode.py": "decoding",
    "in _embed_group": "embedding",
    "in __init__": "opening a store",
    "extraction/": "between these",
}

Seen = dict[Path, tuple[int, int]]


@dataclass(frozen=True)
class Job:
    """A command, the folder that it fills, and what its finished files are called there."""

    arguments: tuple[str, ...]
    output: str
    finished: str
    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        (folder / _STACK).unlink(missing_ok=True)
        command = [sys.executable, "-c", _TELLING, *self.arguments]
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

    def manifests(self, folder: Path) -> dict[Path, dict[str, list[str]]]:
        """Each feature store's segments and the clips in them; transcripts have no such list."""
        paths = (folder / self.output).glob("*/*/store.json")
        return {path: json.loads(path.read_text())["segments"] for path in paths}

    def result(self, folder: Path) -> dict[str, bytes]:
        """Everything that is there, but the lock files."""
        files = (path for path in (folder / self.output).rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Pace:
    """An uninterrupted run: what it left, and its seconds until the first file, between two, and after the last.

    ``idle`` is how many seconds the command takes when everything is there.
    """

    result: dict[str, bytes]
    count: int
    first: float
    step: float
    last: float
    idle: float


@dataclass
class Tally:
    """Where the kills fell: what the command was at, and how much of the whole was done (quarters).

    Attributes:
        phases: What it was at → kills.
        quarters: How much was done → kills.
        starts: How often the command was started.
        ends: How often it ended by itself: more than once, when it was ready before the last kill.
        seconds: How long all of it took.
    """

    phases: Counter[str] = field(default_factory=Counter)
    quarters: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    ends: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lists = (", ".join(f"{name} {n}" for name, n in sorted(c.items())) for c in (self.phases, self.quarters))
        work = f"one run of the work in {self.starts} starts ({self.ends} ended) and {self.seconds:.0f} s"
        return f"{self.phases.total()} kills of {work}; {'; '.join(lists)}"


def uninterrupted(job: Job, folder: Path) -> Pace:
    """Runs the command, and again when everything is there, measures both, and removes what it left."""
    began = time.time()
    assert job.start(folder).wait(timeout=600) == 0, (folder / "told.txt").read_text()
    ended = time.time()
    assert job.start(folder).wait(timeout=600) == 0, (folder / "told.txt").read_text()
    idle = time.time() - ended
    times = sorted(when / 1e9 for _, when in job.seen(folder).values())
    step = (times[-1] - times[0]) / max(1, len(times) - 1)
    pace = Pace(job.result(folder), len(times), times[0] - began, step, ended - times[-1], idle)
    shutil.rmtree(folder / job.output)
    return pace


def kill_to_the_same_end(job: Job, folder: Path, kills: int, rng: random.Random) -> Tally:
    """Kills one run of the work so often, each time at a random moment, going on each time; returns where.

    The moments are drawn for an even way from the start to the end: each lets so many files be finished that the
    kills that are left suffice, whatever the machine's speed, and the last one comes when all of them are there.
    Nothing that is finished is ever removed.

    Raises:
        AssertionError: The result differs, or something finished was done again.
    """
    pace = uninterrupted(job, folder)
    began = time.monotonic()
    tally, seen, named = Tally(), {}, {}
    while True:
        left = kills - tally.phases.total()
        stack = _run(job, folder, seen, pace, left, rng)
        tally.starts += 1
        for path, segments in named.items():
            now = job.manifests(folder)[path]
            assert {name: now.get(name) for name in segments} == segments, f"{path} lost a segment"
        named = job.manifests(folder)
        if stack is None:
            tally.ends += 1
            if not left:
                break
            continue  # the kills that are left fall on a command that finds nothing to do
        tally.phases[_phase(stack, len(seen) == pace.count)] += 1
        tally.quarters[f"{min(3, 4 * len(seen) // pace.count) * 25} % done"] += 1
    assert len(seen) == pace.count
    assert job.result(folder) == pace.result
    tally.seconds = time.monotonic() - began
    return tally


def _run(job: Job, folder: Path, seen: Seen, pace: Pace, left: int, rng: random.Random) -> str | None:
    """Starts the command; returns its stack if it was killed, and None if it ended. Adds to ``seen``.

    Args:
        job: The command.
        folder: Where it runs.
        seen: The finished files.
        pace: The uninterrupted run.
        left: How many kills are to come; with none it runs to its end.
        rng: What the moment is drawn from.
    """
    before, missing = len(seen), pace.count - len(seen)
    # On average half of it, which is this kill's even share: those that come early let nothing be finished.
    most = 2 * missing / max(1.0, left * (1 - _EARLY))
    files = missing if left == 1 else min(missing - 1, int(rng.uniform(0, most)))
    delay = rng.uniform(0, pace.last / 4 if left == 1 else pace.step)
    if not missing:
        delay = rng.uniform(0, pace.idle / 2)
    elif left > 1 and (rng.random() < _EARLY or not files):
        files, delay = 0, rng.uniform(0, 1.5 * pace.first)
    started = time.monotonic()
    process = job.start(folder)
    reached: float | None = None
    while process.poll() is None:
        _watch(job, folder, seen)
        now = time.monotonic()
        if reached is None and len(seen) - before >= files:
            reached = now
        # Some files take no time at all: before they are too many it is killed, whatever was drawn.
        spent = left > 1 and missing and len(seen) - before >= min(missing, most + 1)
        if left and (spent or (reached and now - reached >= delay)):
            _kill(process, folder)
            break
        assert now - started < 600, "it hangs"
        time.sleep(0.001)
    code = process.wait()
    _watch(job, folder, seen)
    if code == -signal.SIGKILL:
        stack = folder / _STACK
        return stack.read_text() if stack.exists() else ""
    assert code == 0, (folder / "told.txt").read_text()
    return None


def _kill(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Kills it and its workers a moment after it was asked where it is; while it starts, it may not answer."""
    stack = folder / _STACK
    if stack.exists():
        process.send_signal(signal.SIGURG)
        asked = time.monotonic()
        while "<string>" not in stack.read_text() and time.monotonic() - asked < 0.02:
            pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _watch(job: Job, folder: Path, seen: Seen) -> None:
    now = job.seen(folder)
    assert {path: now.get(path) for path in seen} == seen, "a finished file was done again"
    seen.update(now)


def _phase(stack: str, all_there: bool) -> str:
    found = (phase for line in stack.splitlines() for words, phase in _PHASES.items() if words in line)
    phase = next(found, "starting")
    return "after the last file" if all_there and phase in ("starting", "between these") else phase
