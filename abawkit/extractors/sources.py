"""A clip's source files: transcripts, and digests that notice that a file was replaced.

A digest is taken of every clip on every run, so it costs no more than a look at the file. A file that cannot be
looked at has one too: reading it says what is wrong, and only that clip fails.
"""

from __future__ import annotations

from pathlib import Path

from abawkit.data.layout import face_images
from abawkit.errors import MediaError, ModalityMissing
from abawkit.fileio import digest


def read_transcript(path: Path | None) -> str:
    """Returns the transcript without spaces around it.

    Raises:
        ModalityMissing: There is no file, or not one letter or digit in it.
        MediaError: The file cannot be read, or is not UTF-8.
    """
    if path is None:
        raise ModalityMissing("there is no transcript", todo="write text/NNNNN.txt with a speech recogniser")
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise MediaError("cannot be read", path=path, got=error.strerror) from error
    except UnicodeDecodeError as error:
        raise MediaError("the transcript is not UTF-8 text", path=path, got=str(error)[:120]) from error
    if not any(letter.isalnum() for letter in text):
        raise ModalityMissing("the transcript has no words", path=path, got=repr(text[:40]) if text else "nothing")
    return text


def text_source(path: Path | None) -> str:
    """Returns the digest of a text file's content; an empty text when there is none."""
    try:
        return "" if path is None else digest(path.read_bytes())
    except OSError as error:
        return digest("unreadable", str(error.errno))


def media_source(path: Path | None) -> str:
    """Returns the digest of a media file's name, size and modification time (ns); an empty text for no file."""
    try:
        if path is None:
            return ""
        stat = path.stat()
    except OSError as error:
        return digest("unreadable", str(error.errno))
    return digest(path.name, str(stat.st_size), str(stat.st_mtime_ns))


def faces_source(folder: Path | None) -> str:
    """Returns the digest of the names and sizes of a folder's face crops; an empty text where there are none."""
    try:
        paths = [] if folder is None else face_images(folder)
        parts = [part for path in paths for part in (path.name, str(path.stat().st_size))]
    except OSError as error:
        return digest("unreadable", str(error.errno))
    return digest(*parts) if parts else ""
