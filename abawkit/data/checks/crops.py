"""Checks of one clip's folder of face crops: names alone, each picture's header, or every pixel."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from abawkit.data.checks.identical import read_start
from abawkit.data.checks.names import add_danger, add_link, danger, leaves
from abawkit.errors import AbawkitError
from abawkit.findings import Depth, Report
from abawkit.layout.folder import IMAGE_SUFFIXES, is_face_name, is_file, is_stray, listing, split_name

#: Bytes of a crop that are read at first: crops are smaller.
_START = 1 << 16

_SHOWN = 5


class _Once:
    """Findings of one folder: of each code the first, and how many more there are."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str, str | None, str | None]] = {}
        self._count: dict[str, int] = {}

    def add(self, code: str, path: str, message: str, *, got: str | None = None, expected: str | None = None) -> None:
        self._first.setdefault(code, (path, message, got, expected))
        self._count[code] = self._count.get(code, 0) + 1

    def report_to(self, report: Report) -> None:
        for code, (path, message, got, expected) in self._first.items():
            more = self._count[code] - 1
            text = f"; {more} more in this folder" if more else ""
            if code == "F108":
                add_link(Path(path), report, text)
            elif code == "F114":
                add_danger(Path(path), message, report, text)
            else:
                report.add(code, message + text, path=Path(path), got=got, expected=expected)


def check_faces(folder: Path, root: Path, depth: Depth, report: Report) -> tuple[bool, bytes | None]:
    """Returns whether there is a face crop in the folder of one clip, and a fingerprint of all crops.

    Args:
        folder: The folder.
        root: The challenge folder; what is a link out of it is left aside.
        depth: ``quick``: names only, and no fingerprint. ``default``: every picture's header. ``deep``: every pixel.
        report: Takes what is wrong: one finding per code, with the first file and how many more there are.
    """
    try:
        entries = listing(folder)
    except AbawkitError as error:
        report.add("F109", error.message, path=folder)
        return False, None
    found = _Once()
    crops: list[str] = []
    numbers: list[int] = []
    for entry in entries:
        stem, suffix = split_name(entry.name)
        # Nearly all of a million files are what they should be; the directory itself says that they are files.
        if is_face_name(stem, suffix) and (entry.is_file(follow_symlinks=False) or _is_linked_crop(entry, root, found)):
            crops.append(entry.path)
            numbers.append(int(stem))
        elif not entry.is_symlink() or not is_face_name(stem, suffix):
            _add_odd(entry, suffix, root, found)
    whole = hashlib.blake2b(digest_size=16)
    good = len(crops) if depth == "quick" else sum(_check_crop(path, depth, found, whole) for path in crops)
    found.report_to(report)
    if crops:
        _check_numbers(folder, numbers, report)
    else:
        report.add("M308", "no face crop in the folder", path=folder, expected="0.jpg, 1.jpg, …")
    return good > 0, whole.digest() if good and depth != "quick" else None


def _is_linked_crop(entry: os.DirEntry[str], root: Path, found: _Once) -> bool:
    """Whether a crop that is not a plain file is a link to one within the challenge folder."""
    if not entry.is_symlink():
        return False
    path = Path(entry.path)
    if leaves(path, root, path.parent):
        found.add("F108", entry.path, "")
        return False
    if not is_file(entry):
        _add_no_image(entry, found)
        return False
    return True


def _add_odd(entry: os.DirEntry[str], suffix: str, root: Path, found: _Once) -> None:
    path = Path(entry.path)
    if (why := danger(entry.name)) is not None:
        found.add("F114", entry.path, why)
    elif is_stray(entry.name):
        found.add("F105", entry.path, "a stray file")
    elif leaves(path, root, path.parent):
        found.add("F108", entry.path, "")
    elif suffix.lower() in IMAGE_SUFFIXES and is_file(entry):
        message, expected = "a face crop whose name is not a number: left aside", "0.jpg, 1.jpg, …"
        found.add("M319", entry.path, message, got=repr(entry.name), expected=expected)
    else:
        _add_no_image(entry, found)


def _add_no_image(entry: os.DirEntry[str], found: _Once) -> None:
    found.add("M309", entry.path, "no image: left aside", got=repr(entry.name), expected="0.jpg, 1.jpg, …")


def _check_crop(path: str, depth: Depth, found: _Once, whole: hashlib.blake2b) -> bool:
    """Returns whether there is something in the file; adds its name and bytes to ``whole``."""
    # Here, since only this needs the libraries for pictures, which take long to load.
    from abawkit.media.images import check_picture

    try:
        size, data = read_start(path, _START)
        if size > len(data) and (depth == "deep" or check_picture(data) is not None):
            data = Path(path).read_bytes()  # a header longer than what was read
    except OSError as error:
        found.add("F109", path, f"cannot be read: {error.strerror}")
        return False
    if size == 0:
        found.add("M302", path, "a file of zero bytes")
        return False
    whole.update(f"{path[path.rfind(os.sep) + 1 :]}\0{size}\0".encode())
    whole.update(data[:_START])
    if (wrong := check_picture(data)) is not None:
        found.add("M303", path, "cannot be read as an image", got=wrong, expected="a picture")
    elif depth == "deep" and (wrong := check_picture(data, whole=True)) is not None:
        found.add("M314", path, "the picture cannot be decoded to its end", got=wrong)
    return True


def _check_numbers(folder: Path, numbers: Sequence[int], report: Report) -> None:
    """Adds the finding for numbers that are missing or there twice; they begin at 0, or at 1."""
    ordered = sorted(numbers)
    unique = sorted(set(ordered))
    first = min(unique[0], 1)
    missing = unique[-1] - first + 1 - sum(number >= first for number in unique)
    twice = [a for a, b in pairwise(ordered) if a == b]
    problems = []
    if missing:
        gaps = ((a + 1, b - 1) for a, b in pairwise([first - 1, *unique]) if b - a > 1)
        shown = [f"{a}" if a == b else f"{a} to {b}" for (a, b), _ in zip(gaps, range(_SHOWN), strict=False)]
        problems.append(f"{missing} missing: {', '.join(shown)}{' …' if len(shown) == _SHOWN else ''}")
    if twice:
        problems.append(
            f"{len(twice)} twice: {', '.join(map(str, twice[:_SHOWN]))}{' …' if len(twice) > _SHOWN else ''}"
        )
    if problems:
        message = "the numbers of the face crops have gaps or repeat: the order of frames may be wrong"
        expected = f"{unique[0] if unique[0] < 2 else 0} to {unique[-1]}, each once"
        report.add("M318", message, path=folder, got="; ".join(problems), expected=expected)
