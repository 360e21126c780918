"""Files that are either complete or absent: atomic writes, hashing, JSON, locks."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from abawkit.errors import AbawkitError

_REASONS = {
    errno.ENOSPC: ("the disk is full", "make room, then run the same command again: nothing finished is lost"),
    errno.EDQUOT: ("your disk quota is used up", "make room, then run the same command again"),
    errno.EACCES: ("the folder cannot be written to", "change its permissions or choose another workspace"),
    errno.EPERM: ("the folder cannot be written to", "change its permissions or choose another workspace"),
    errno.EROFS: ("the file system is read-only", "choose a workspace on a file system that can be written to"),
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an ``OSError`` of the block into one message that names ``path`` and says what to do.

    Raises:
        AbawkitError: The disk is full, the folder cannot be written to, or another input/output error.
    """
    try:
        yield
    except OSError as error:
        reason, todo = _REASONS.get(
            error.errno or 0,
            (f"input/output error: {error.strerror or error}", "check the disk, then run the command again"),
        )
        raise AbawkitError(reason, path=error.filename or path, todo=todo) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to ``path``; when the block succeeds, it is fsynced and renamed to ``path``.

    When the block raises, the temporary file is removed and ``path`` is as it was. A process that is killed can
    leave a ``.tmp-`` file behind, never a half-written ``path``.

    Raises:
        AbawkitError: The disk is full or the folder cannot be written to.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            # mkstemp makes files that only their owner can read; teams share folders, so follow the umask.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
            _fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path`` as UTF-8, atomically (see :func:`atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


def write_json(path: Path, record: Any) -> None:
    """Writes ``record`` to ``path`` as indented JSON, atomically. NaN becomes null: JSON has no NaN."""
    write_text(path, json.dumps(json_ready(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def json_ready(value: Any) -> Any:
    """Returns ``value`` with paths as text, tuples as lists and NaN or infinity as None.

    >>> json_ready({"r": float("nan"), "at": (1, Path("a"))})
    {'r': None, 'at': [1, 'a']}
    """
    if value is None or isinstance(value, str):  # most values
        return value
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return float(value) if value == value and abs(value) != float("inf") else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a numpy scalar
        return json_ready(value.item())
    return value


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Returns the JSON object in ``path``.

    Args:
        path: The file.
        what: What the file should be, for the message (``a run record``).

    Raises:
        AbawkitError: There is no such file, or it is not a JSON object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AbawkitError("there is no such file", path=path, expected=what) from error
    except OSError as error:
        raise AbawkitError(f"cannot be read: {error.strerror}", path=path, expected=what) from error
    except ValueError as error:
        raise AbawkitError("is not valid JSON", path=path, got=str(error)[:120], expected=what) from error
    if not isinstance(record, dict):
        raise AbawkitError("is not a JSON object", path=path, got=type(record).__name__, expected=what)
    return record


def digest(*parts: bytes | str) -> str:
    """Returns the SHA-256 of the parts as 64 hexadecimal digits; the borders between parts count.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()


def digest_json(record: Any) -> str:
    """Returns the SHA-256 of ``record`` in canonical JSON (sorted keys, no spaces) as 64 hexadecimal digits."""
    return digest(json.dumps(json_ready(record), sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of the file's bytes as 64 hexadecimal digits.

    Raises:
        AbawkitError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AbawkitError(f"cannot be read: {error.strerror}", path=path) from error


@contextmanager
def locked(folder: Path, what: str, *, wait: float = 0.0) -> Iterator[None]:
    """Holds the folder's lock file for the block, so that one process at a time works on it.

    Args:
        folder: The folder; it is made when it is not there.
        what: What the other process is doing, for the message (``extracting audio``).
        wait: How long to wait for the other process (seconds).

    Raises:
        AbawkitError: Another process holds the lock. A killed process holds none: the system releases it.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=wait)
        except Timeout as error:
            raise AbawkitError(
                f"another process is {what} here", path=folder, todo="wait for it to end, then run this again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def human_bytes(count: float) -> str:
    """Returns a size as people say it.

    >>> human_bytes(2_500_000)
    '2.4 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
