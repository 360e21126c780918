"""A clip's source files: transcripts, and digests that notice that a file was replaced.

Every clip's digest is taken on every run, so it is made of what the file system says, not of a large file's content. A
file that cannot be accessed has a digest too: loading it says what is wrong, and only that clip fails.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from abawkit.data.transcripts import Transcript, TranscriptSet, choose_set, list_sets
from abawkit.errors import MediaError, ModalityMissing, UsageError
from abawkit.features.spec import Workload
from abawkit.fileio import digest
from abawkit.layout.folder import Clip, is_face_name, split_name


def read_transcript(path: Path | None) -> str:
    """Returns the transcript without spaces around it.

    Raises:
        ModalityMissing: There is no file, or not one letter or digit in it.
        MediaError: The file cannot be read, or is not UTF-8.
    """
    if path is None:
        raise ModalityMissing("there is no transcript", todo="abawkit transcribe")
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


@dataclass(frozen=True)
class Transcripts:
    """Where a clip's words come from: ``text/NNNNN.txt`` of the data folder, the workspace's transcripts, or both.

    With both, the file in ``text/`` is used, unless the clip was transcribed in spite of it (``transcribe
    --overwrite``). So one clip without a file does not need a store of its own; what made each clip's
    words is part of its source in the feature store, and a clip whose words changed is extracted again.

    Attributes:
        sets: The workspace's transcripts.
        files: Whether files in ``text/`` are used.
    """

    sets: tuple[TranscriptSet, ...] = ()
    files: bool = True

    @classmethod
    def of(cls, folder: Path, wanted: str) -> Transcripts:
        """Returns what the setting ``extract.transcripts`` means.

        Args:
            folder: The workspace's folder of transcripts.
            wanted: ``auto``: both; ``folder``: ``text/`` only; else the name of transcripts, and those only.

        Raises:
            UsageError: There are no transcripts of that name.
        """
        if wanted == "auto":
            return cls(tuple(list_sets(folder)))
        return cls() if wanted == "folder" else cls((choose_set(folder, wanted),), files=False)

    @property
    def preprocessing(self) -> dict[str, str]:
        """What the feature's specification says of them: the recogniser, when all words are of one that was named."""
        return {} if self.files else {"transcripts": self.sets[0].recogniser.signature}

    def source(self, clip: Clip) -> str:
        """Returns the digest of the clip's words and what made them; empty where there is no transcript.

        Raises:
            UsageError: Several recognisers have transcribed the clip, and none is named.
        """
        heard = self.transcript(clip)
        return text_source(clip.text if self.files else None) if heard is None else heard[0].source(heard[1])

    def read(self, clip: Clip) -> str:
        """Returns the clip's words, without spaces around them.

        Raises:
            ModalityMissing: There is no transcript, or not one letter or digit in it.
            MediaError: The file cannot be read or is not UTF-8, or the clip's sound could not be decoded.
            UsageError: Several recognisers have transcribed the clip, and none is named.
        """
        heard = self.transcript(clip)
        if heard is None:
            return read_transcript(clip.text if self.files else None)
        transcript = heard[1]
        if transcript.outcome == "failed":
            raise MediaError("it could not be transcribed", path=clip.audio or clip.video, got=transcript.reason)
        if not any(letter.isalnum() for letter in transcript.text):
            raise ModalityMissing("the transcript has no words", path=heard[0].path, got=transcript.reason or "nothing")
        return transcript.text

    def transcript(self, clip: Clip) -> tuple[TranscriptSet, Transcript] | None:
        """Returns the clip's transcript in the workspace; None when the words are to be taken from its file.

        Raises:
            UsageError: Several recognisers have transcribed the clip, and none is named.
        """
        heard = [(one, one.clips[clip.id]) for one in self.sets if clip.id in one.clips]
        if self.files and clip.text is not None:
            heard = [(one, transcript) for one, transcript in heard if transcript.overwrites]
        if len(heard) > 1:
            raise UsageError(
                "several recognisers have transcribed the same clips",
                path=heard[0][0].path.parent,
                got=", ".join(one.path.name for one, _ in heard),
                todo=f"say which: --set extract.transcripts={heard[-1][0].path.name}, or move the others away",
            )
        return heard[0] if heard else None


#: The files in ``text/`` alone.
TEXT_FILES = Transcripts()

#: A transcript is one small file: reading it costs less than sending it to a worker and back.
TEXT_WORKLOAD = Workload(frames=1, in_workers=False, group_clips=128)

#: Face crops of a clip of the challenge's mean length.
CROPS = 65


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
    if folder is None:
        return ""
    # One pass, no sorting by name, no path objects: there are a million crops.
    try:
        with os.scandir(folder) as entries:
            crops = sorted(
                (int(stem), entry.name, entry.stat().st_size)
                for entry in entries
                for stem, suffix in [split_name(entry.name)]
                if is_face_name(stem, suffix)
            )
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return digest("unreadable", str(error.errno))
    return digest("\n".join(f"{name} {size}" for _, name, size in crops)) if crops else ""
