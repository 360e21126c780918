"""How long validation takes, and how much memory, beside the floor: one `stat`, or one `open` and `read`, per file.

Writes a challenge folder of the official 17,246 clips with 65 face crops each, no two files alike, and one of a quarter
of that, to show how time and memory grow, and deletes both again: 1.5 million tiny files, 6 GB, about five minutes in
all. They lie in memory where it is large enough; with `--keep FOLDER` they are made there, once, and stay. Everything
is measured in one run, with the files in the system's cache.
"""

import argparse
import csv
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from abawkit.challenge import EMI
from abawkit.media.encode import write_jpeg, write_mp3, write_video

CROPS = 65
ALL = sum(EMI.counts.values())
PROCESSES = 2
_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# -- the folder ------------------------------------------------------------------------------------------------------


def make_challenge(root: Path, clips: int) -> None:
    """Writes a challenge folder of ``clips`` clips in which nothing is wrong, split as the official one is."""
    train, valid = (clips * EMI.counts[name] // ALL for name in ("train", "valid"))
    for base in (root, root / "test_data"):
        for name in ("raw", "audio", "face_images", "text"):
            (base / name).mkdir(parents=True)
    rng = random.Random(1)
    for path, ids in (
        (root / "train_split.csv", range(train)),
        (root / "valid_split.csv", range(train, train + valid)),
    ):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(EMI.header)
            writer.writerows([f"{clip:05d}", *_votes(rng)] for clip in ids)
    with tempfile.TemporaryDirectory() as folder:
        media = _templates(Path(folder))
    step = -(-clips // 64)
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        parts = [range(first, min(first + step, clips)) for first in range(0, clips, step)]
        list(pool.map(_write_clips, *zip(*[(root, part, train + valid, media) for part in parts], strict=True)))


def _votes(rng: random.Random) -> list[float]:
    """Labels of one clip: each of three raters votes for one emotion or for none."""
    cast = [rng.randrange(7) for _ in range(3)]
    return [cast.count(target) / 3 for target in range(6)]


def _templates(folder: Path) -> tuple[bytes, bytes, bytes]:
    """Returns an mp4, an mp3 and a jpeg file."""
    times = [k / 12.5 for k in range(8)]
    frames = [np.full((48, 64, 3), 20 * k, np.uint8) for k in range(8)]
    sound = 0.3 * np.sin(np.arange(10_000, dtype=np.float32) / 20)
    write_video(folder / "clip.mp4", frames, times, waveform=sound)
    write_mp3(folder / "clip.mp3", sound)
    write_jpeg(folder / "crop.jpg", frames[4][:32, :32])
    return tuple((folder / name).read_bytes() for name in ("clip.mp4", "clip.mp3", "crop.jpg"))  # type: ignore[return-value]


def _write_clips(root: Path, clips: range, labelled: int, media: tuple[bytes, bytes, bytes]) -> None:
    """Writes the files of some clips; each differs from every other in its first bytes, as real ones do."""
    mp4, mp3, jpeg = media
    for clip in clips:
        base, name = root / ("" if clip < labelled else "test_data"), f"{clip:05d}"
        # The version of an mp4's brand, the encoder named in an mp3, and a comment in a jpeg are anyone's to fill.
        (base / "raw" / f"{name}.mp4").write_bytes(mp4[:12] + struct.pack(">I", clip) + mp4[16:])
        (base / "audio" / f"{name}.mp3").write_bytes(re.sub(rb"Lavf[0-9.]{5}", b"clip" + name.encode(), mp3, count=1))
        (base / "text" / f"{name}.txt").write_text(f"these are the words of clip {name}")
        faces = base / "face_images" / name
        faces.mkdir()
        handle = os.open(faces, os.O_RDONLY)
        for crop in range(CROPS):
            file = os.open(f"{crop}.jpg", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=handle)
            os.write(file, jpeg[:2] + struct.pack(">2sHII", b"\xff\xfe", 10, clip, crop) + jpeg[2:])
            os.close(file)
        os.close(handle)


# -- the floor -------------------------------------------------------------------------------------------------------


def stat_all(folders: list[str]) -> int:
    """Returns how many files there are, each of which was asked for its size."""
    return _each(folders, os.stat)


def read_all(folders: list[str]) -> int:
    """Returns how many files there are, of each of which the first 64 bytes were read."""

    def read(path: str) -> None:
        file = os.open(path, os.O_RDONLY)
        os.read(file, 64)
        os.close(file)

    return _each(folders, read)


def _each(folders: list[str], look: Callable[[str], object]) -> int:
    files = 0
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    look(entry.path)
                    files += 1
    return files


def floor(work: Callable[[list[str]], int], root: Path, processes: int) -> tuple[int, float]:
    """Returns the number of files, and the seconds it takes to look at each; starting processes is not counted."""
    folders = [str(folder) for folder, _, _ in os.walk(root)]
    parts = [folders[start::processes] for start in range(processes)]
    if processes == 1:
        began = time.perf_counter()
        return work(folders), time.perf_counter() - began
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.5] * processes))
        began = time.perf_counter()
        return sum(pool.map(work, parts)), time.perf_counter() - began


# -- the command -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """What one command took.

    Attributes:
        seconds: Wall time.
        processor: Processor time of all its processes (seconds): on a busy machine the better figure.
        largest: Peak memory of its largest process (MiB).
        together: Peak of the memory of all its processes (MiB); pages that they share count once for each.
    """

    seconds: float
    processor: float
    largest: float
    together: float


def run(arguments: list[str]) -> Taken:
    """Runs ``abawkit`` with ``arguments`` and returns what it took."""
    sums: list[int] = [0]
    ended = threading.Event()
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "abawkit", *arguments], stdout=said, stderr=said)
        watcher = threading.Thread(target=_watch, args=(process.pid, sums, ended))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        ended.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            raise SystemExit(said.read().decode() + f"abawkit {' '.join(arguments)} ended with {process.returncode}")
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, max(sums) / 1024)


def _watch(pid: int, sums: list[int], ended: threading.Event) -> None:
    while not ended.wait(0.25):
        sums.append(_memory(pid))


def _memory(pid: int) -> int:
    """Returns the memory of a process and of all below it in KiB; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return own + sum(_memory(int(child)) for child in below)


def measure(root: Path, clips: int) -> dict[str, Taken]:
    """Prints and returns what the levels take on one folder, beside the floor."""
    floor(read_all, root, PROCESSES)  # brings everything into the cache
    floors: dict[str, float] = {}
    for what, work in (("stat every file", stat_all), ("open and read every file", read_all)):
        for processes in (1, PROCESSES):
            files, seconds = floor(work, root, processes)
            floors[what if processes == 1 else f"{what}, {processes} processes"] = seconds
    _, stat, _, read = floors.values()
    quick = run(["validate", str(root), "--quick"])
    default = run(["validate", str(root)])
    print(f"\n{clips:,} clips, {files:,} files; load {os.getloadavg()[0]:.1f}")
    print(f"{'':38s} {'seconds':>8s} {'to floor':>9s} {'processor':>9s} {'MiB largest':>12s} {'MiB together':>13s}")
    for name, seconds in floors.items():
        print(f"{name:38s} {seconds:8.1f}")
    for name, taken, base in (("validate --quick", quick, stat), ("validate", default, read)):
        ratio = f"{taken.seconds / base:.1f} x"
        print(
            f"{name:38s} {taken.seconds:8.1f} {ratio:>9s} {taken.processor:9.1f}"
            f" {taken.largest:12.0f} {taken.together:13.0f}"
        )
    return {"validate --quick": quick, "validate": default}


def in_memory(clips: int) -> str | None:
    """Returns the file system in memory, if there is one and the folders take at most half of the memory."""
    # The files are in the cache anyway when it is measured; some disks take a millisecond to delete one.
    need = 6 * 1024 * 1.25 * clips * (CROPS + 4)
    memory = Path("/dev/shm")
    if not memory.is_dir() or need > min(shutil.disk_usage(memory).free, _MEMORY / 2):
        return None
    return str(memory)


def main() -> None:
    """Prints two small tables, for a quarter of the clips and for all, and how time and memory grow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=ALL, help=f"default: {ALL:,}, the official number")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the clips there, once, and leave them")
    wanted = parser.parse_args()
    with ExitStack() as stack:
        place = wanted.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(dir=in_memory(wanted.clips))))
        taken = []
        for clips in (wanted.clips // 4, wanted.clips):
            root = place / f"challenge-{clips}"
            if not root.is_dir():
                began = time.perf_counter()
                make_challenge(root.with_suffix(".new"), clips)
                root.with_suffix(".new").rename(root)
                print(f"{clips:,} clips written in {time.perf_counter() - began:.0f} s")
            taken.append(measure(root, clips))
    print("\nfour times the clips:")
    for name in taken[0]:
        few, all_ = taken[0][name], taken[1][name]
        largest, together = all_.largest - few.largest, all_.together - few.together
        more = f"{largest:+.0f} MiB in the largest process, {together:+.0f} together"
        print(f"{name:38s} {all_.seconds / few.seconds:8.1f} times the seconds; {more}")


if __name__ == "__main__":
    main()
