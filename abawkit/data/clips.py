"""Checks of one clip's files, each a small function, and such work done for many clips at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from abawkit.data.layout import KINDS, Clip, Kind, is_face_name, is_file, is_stray, listing, split_name
from abawkit.errors import AbawkitError, MediaError
from abawkit.findings import Finding, Report
from abawkit.media.video import MediaInfo, probe
from abawkit.progress import Task as ProgressTask

#: The organisers' sound files have this sample rate (Hz).
SAMPLE_RATE = 16_000

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class ClipCheck:
    """What was found about one clip.

    Attributes:
        findings: In the order of the files.
        present: What the clip has: a file that is there and not empty, at least one face crop.
        seconds: Duration of the video by its header; None where that is not known.
    """

    findings: tuple[Finding, ...]
    present: frozenset[Kind]
    seconds: float | None


def check_clip(clip: Clip, root: Path, *, media: bool = True) -> ClipCheck:
    """Returns what is wrong with the files of one clip; files that are not there are not its business.

    Args:
        clip: The clip. Its files that are links out of the challenge folder count as not there.
        root: The challenge folder.
        media: Open video and sound (headers only). False: look at sizes only.
    """
    report = Report()
    files = {kind: path for kind in KINDS if (path := getattr(clip, kind)) and not leaves(path, root, path.parent)}
    present: set[Kind] = set()
    seconds = None
    for kind, path in files.items():
        if kind == "faces":
            there = _check_faces(path, root, report)
        elif kind == "text":
            there = _check_text(path, report)
        else:
            there = _has_bytes(path, report)
        if there:
            present.add(kind)
        if there and media and kind in ("video", "audio"):
            info = _open(path, report)
            if info is not None and kind == "video":
                _check_video(path, info, "audio" in files, report)
                seconds = info.duration
            elif info is not None:
                _check_audio(path, info, report)
    return ClipCheck(tuple(report.findings), frozenset(present), seconds)


def _has_bytes(path: Path, report: Report) -> bool:
    try:
        size = path.stat().st_size
    except OSError as error:
        report.add("F109", f"cannot be read: {error.strerror}", path=path)
        return False
    if size == 0:
        report.add("M302", "a file of zero bytes", path=path)
    return size > 0


def _open(path: Path, report: Report) -> MediaInfo | None:
    try:
        return probe(path)
    except MediaError as error:
        report.add("M303", error.message, path=path, got=error.got, expected=error.expected)
        return None


def _check_video(path: Path, info: MediaInfo, has_sound_file: bool, report: Report) -> None:
    if not info.has_video:
        report.add("M305", "no video track", path=path)
    elif info.frames == 1:
        report.add("M306", "the video has a single frame", path=path)
    if not info.has_audio:
        instead = "; the clip's sound file is taken" if has_sound_file else ", nor has the clip a sound file"
        report.add("M304", f"the video has no audio track{instead}", path=path)


def _check_audio(path: Path, info: MediaInfo, report: Report) -> None:
    if not info.has_audio:
        report.add("M303", "no sound in it", path=path, expected="a sound file")
    elif info.sample_rate != SAMPLE_RATE:
        got, expected = f"{info.sample_rate} Hz", f"{SAMPLE_RATE} Hz"
        report.add("M311", "another sample rate: it is converted", path=path, got=got, expected=expected)


def _check_faces(folder: Path, root: Path, report: Report) -> bool:
    """Returns whether there is at least one face crop."""
    try:
        entries = listing(folder)
    except AbawkitError as error:
        report.add("F109", error.message, path=folder)
        return False
    crops = 0
    for entry in entries:
        is_crop = is_face_name(*split_name(entry.name)) and is_file(entry)
        if is_crop and not entry.is_symlink() and entry.stat().st_size:
            crops += 1  # nearly all of a million files
            continue
        path = Path(entry.path)
        if is_stray(entry.name):
            report.add("F105", "a stray file", path=path)
        elif leaves(path, root, folder):
            add_link(path, report)
        elif not is_crop:
            message, expected = "no face crop: left aside", "0.jpg, 1.jpg, …"
            report.add("M309", message, path=path, got=repr(entry.name), expected=expected)
        else:
            crops += _has_bytes(path, report)
    if not crops:
        report.add("M308", "no face crop in the folder", path=folder)
    return crops > 0


def _check_text(path: Path, report: Report) -> bool:
    """Returns whether there is something in the transcript."""
    try:
        data = path.read_bytes()
    except OSError as error:
        report.add("F109", f"cannot be read: {error.strerror}", path=path)
        return False
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.add("T403", "the transcript is not UTF-8 text", path=path, line=line, expected="UTF-8")
    said = bool(data.decode("utf-8-sig", errors="replace").strip())
    if not said:
        report.add("T402", "the transcript is empty", path=path)
    return said


def in_threads(
    function: Callable[[_In], _Out], items: Sequence[_In], workers: int | None, bar: ProgressTask
) -> Iterator[_Out]:
    """Yields ``function(item)`` in the order of the items, several at a time.

    For work that waits for files or is done by libraries that leave other threads alone meanwhile.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, workers or min(8, os.cpu_count() or 1)))
    try:
        for result in pool.map(function, items):
            bar.advance()
            yield result
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the clips that are left


def leaves(path: Path, *inside: Path) -> bool:
    """Whether ``path`` is a link that leads out of all the folders ``inside``."""
    try:
        if not path.is_symlink():
            return False
        target = path.resolve()
        return not any(target.is_relative_to(folder.resolve()) for folder in inside)
    except (OSError, RuntimeError):  # a circle leads nowhere
        return False


def add_link(path: Path, report: Report) -> None:
    """Adds the finding for a link that leaves the challenge folder."""
    message = "a link that leaves the challenge folder; validation does not look behind it"
    report.add("F108", message, path=path, got=repr(str(path.readlink())))
