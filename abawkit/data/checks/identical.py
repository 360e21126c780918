"""Byte-identical files of two clips: a copy on both sides of a split is leakage.

Transcripts are not compared: people who mimic the same video say the same words.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from abawkit.errors import AbawkitError
from abawkit.findings import Report
from abawkit.layout.folder import KINDS, Clip, Kind, is_face_name, is_file, scan, split_name
from abawkit.progress import SILENT, Progress
from abawkit.workers import in_processes

#: Bytes that are read of a sound or video file to see whether another one could be the same.
START = 4096

_WHAT: dict[Kind, str] = {
    "video": "this is the video",
    "audio": "this is the sound file",
    "faces": "these are the face crops",
    "openface": "this is the OpenFace file",
    "vit": "this is the file of ViT features",
    "wav2vec2": "this is the file of wav2vec2 features",
}


def read_start(path: str | Path, most: int) -> tuple[int, bytes]:
    """Returns the size of a file and at most its first ``most`` bytes.

    Raises:
        OSError: It cannot be read.
    """
    # Without pathlib and without a buffer: there are a million face crops.
    with io.FileIO(path) as file:
        return os.fstat(file.fileno()).st_size, file.read(most)


def fingerprint(size: int, start: bytes) -> bytes:
    """Returns 16 bytes that are the same for files of the same size and the same first bytes."""
    return hashlib.blake2b(start, digest_size=16, salt=size.to_bytes(8, "little")).digest()


def check_identical(
    clips: Mapping[str, Clip],
    prints: Mapping[str, Mapping[Kind, bytes]],
    split_of: Mapping[str, str],
    report: Report,
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> None:
    """Adds a finding per file, and per folder of face crops, whose bytes are those of an earlier clip.

    Args:
        clips: Clip id → its files.
        prints: Clip id → kind → fingerprint. Files with the same one are compared whole.
        split_of: Clip id → split.
        report: Takes the findings.
        workers: Processes; default: one per core, at most 8.
        progress: Shows how far it is.
    """
    alike: defaultdict[tuple[Kind, bytes], list[str]] = defaultdict(list)
    for clip in sorted(prints):
        for kind, mark in prints[clip].items():
            alike[kind, mark].append(clip)
    candidates = [(kind, clip) for (kind, _), group in alike.items() if len(group) > 1 for clip in group]
    if not candidates:
        return
    paths: list[Path] = [getattr(clips[clip], kind) for kind, clip in candidates]
    same: defaultdict[tuple[Kind, bytes], list[str]] = defaultdict(list)
    with progress.task("comparing files", total=len(paths), unit="files") as bar:
        digests = in_processes(_digest, paths, workers=workers, bar=bar)
        for (kind, clip), found in zip(candidates, digests, strict=True):
            if found is not None:
                same[kind, found].append(clip)
    groups = sorted(same.items(), key=lambda item: (KINDS.index(item[0][0]), item[1]))
    for (kind, _), (first, *others) in groups:
        for clip in others:
            message = f"{_WHAT[kind]} of clip {first}, byte for byte"
            if split_of[clip] != split_of[first]:
                message += f": {first} is in {split_of[first]}, {clip} in {split_of[clip]}, which is leakage"
            report.add("M320", message, path=getattr(clips[clip], kind), got=clip, expected="a file of its own")


def _digest(path: Path) -> bytes | None:
    """Returns a digest of a whole file, or of the names and bytes of the face crops in a folder; None: unreadable."""
    try:
        if not path.is_dir():
            return _file_digest(path)
        whole = hashlib.blake2b(digest_size=32)
        for entry in scan(path):
            if is_face_name(*split_name(entry.name)) and is_file(entry):
                whole.update(entry.name.encode() + b"\0" + _file_digest(entry.path))
        return whole.digest()
    except (OSError, AbawkitError):  # it is gone since
        return None


def _file_digest(path: str | Path) -> bytes:
    with io.FileIO(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest()
