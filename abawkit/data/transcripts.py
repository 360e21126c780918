"""Transcripts of a workspace: what a speech recogniser heard, with everything that the words depend on.

The data folder is never written to, so transcripts lie in ``transcripts/<model>-<signature>/``: ``transcripts.json``
says how they were made (:class:`Recogniser`), and each ``part-NNNNN.jsonl`` holds some clips. Its first line is
``{"format", "signature", "clips"}``, and then comes one JSON object per clip, which also says by what it was made. A
part is written to a temporary file, synced and renamed, and never changed; the newest part that has a clip is the one
that counts. So a process that is killed loses at most the part that it was computing, and a scan of 17,246 clips reads
a thousand small files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from abawkit import __version__
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import digest, digest_json, json_ready, locked, read_json, write_json, write_text
from abawkit.findings import Finding

MANIFEST = "transcripts.json"
_FORMAT = 1
_NOTE = "Derived from data under the organisers' EULA: do not publish, do not upload, do not commit."
_TODO = "delete this file and run: abawkit transcribe"

#: ``spoken``: it has words. ``empty``: it has sound and no words. ``missing``: no sound. ``failed``: not decodable.
Outcome = Literal["spoken", "empty", "missing", "failed"]

#: Where the words of ``text/NNNNN.txt`` come from, as far as anybody knows.
TEXT_FOLDER = "text/"


@dataclass(frozen=True)
class Recogniser:
    """Everything that a transcript depends on, besides the clip's own sound.

    Attributes:
        name: Short name of the model, for people and folder names.
        model: Model id or local folder.
        revision: The model's revision.
        weights: SHA-256 over the model's files.
        language: The language that was asked for (``en``); None: found again in each clip.
        thresholds: What a window has to pass to count as speech.
        method: The code that makes it, with its version: a change of what it computes changes this text.
        precision: Floating-point type of the computation.
        on_damage: What becomes of a clip that can be decoded in part only: ``keep`` or ``fail``.
    """

    name: str
    model: str
    revision: str | None
    weights: str
    language: str | None
    thresholds: Mapping[str, float]
    method: str = "whisper-greedy/1"
    precision: str = "float32"
    on_damage: str = "keep"

    @property
    def signature(self) -> str:
        """Twelve hexadecimal digits that change with anything that can change a word."""
        # A model folder that was moved is still the same model: its weights' hash says so.
        record = {key: value for key, value in asdict(self).items() if key not in ("name", "model", "revision")}
        return digest_json(record)[:12]

    @property
    def folder(self) -> str:
        """Name of the folder of its transcripts: ``<name>-<signature>``."""
        return f"{self.name}-{self.signature}"


@dataclass(frozen=True)
class Transcript:
    """What was heard in one clip.

    Attributes:
        clip: Clip id.
        outcome: See :data:`Outcome`; only a ``spoken`` clip has words.
        text: The words, without spaces around them.
        reason: Why there are none: ``silence``, ``no speech``, ``unsure``, ``repetitive``, or what failed.
        source: Digest of the file that was heard, so that a replaced clip is noticed.
        language: Language code, asked for or found; None where nothing was heard.
        overwrites: It was asked for although the data folder has a transcript of the clip, and goes before that.
        segments: ``{"start", "end", "text"}`` of each stretch of words (seconds), in order.
        windows: Of each window that the model took: ``start`` and ``end`` (seconds), ``no_speech``,
            ``log_probability``, ``compression``, ``reason`` (empty: taken), and the ``rejected`` text.
        warnings: What was odd about the sound.
    """

    clip: str
    outcome: Outcome
    text: str = ""
    reason: str = ""
    source: str = ""
    language: str | None = None
    overwrites: bool = False
    segments: Sequence[Mapping[str, Any]] = ()
    windows: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = field(default=())


class TranscriptSet:
    """The transcripts of one recogniser, opened for reading; the parts are read when a clip is first asked for.

    Attributes:
        path: Its folder.
        recogniser: How they were made.
    """

    def __init__(self, path: Path, recogniser: Recogniser) -> None:
        self.path = path
        self.recogniser = recogniser

    @classmethod
    def open(cls, path: Path) -> TranscriptSet:
        """Returns the transcripts in folder ``path``.

        Raises:
            AbawkitError: They are none, were written by another version, or their description was edited.
        """
        record = read_json(path / MANIFEST, "the description of transcripts")
        try:
            recogniser = Recogniser(**record["recogniser"])
            found, expected = (record["format"], record["signature"]), (_FORMAT, recogniser.signature)
        except (KeyError, TypeError) as error:
            raise AbawkitError("is not the description of transcripts", path=path / MANIFEST, got=str(error)) from error
        if found != expected:
            raise AbawkitError(
                "these transcripts were written by another version, or their description was edited",
                path=path / MANIFEST,
                got=f"format {found[0]}, signature {found[1]}",
                expected=f"format {expected[0]}, signature {expected[1]}",
                todo="move the folder away and run: abawkit transcribe",
            )
        return cls(path, recogniser)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "recogniser": self.recogniser}

    @cached_property
    def clips(self) -> dict[str, Transcript]:
        """Clip id → its transcript.

        Raises:
            AbawkitError: A part is damaged.
        """
        found: dict[str, Transcript] = {}
        for part in sorted(self.path.glob("part-*.jsonl")):
            found.update((transcript.clip, transcript) for transcript in read_part(part, self.recogniser))
        return found

    def source(self, transcript: Transcript) -> str:
        """Returns what stands for the words of a clip in a feature store: by what they were made, and their digest."""
        return f"{self.path.name}:{digest(transcript.outcome, transcript.text, transcript.reason)}"


def made_by(source: str) -> str:
    """Returns by what the words were made that a text feature's ``source`` stands for; empty: there are none.

    >>> made_by("whisper-tiny-0123456789ab:77aa"), made_by("77aa"), made_by("")
    ('whisper-tiny-0123456789ab', 'text/', '')
    """
    recogniser, mark, _ = source.rpartition(":")
    return recogniser if mark else TEXT_FOLDER if source else ""


def read_part(path: Path, recogniser: Recogniser) -> list[Transcript]:
    """Returns the transcripts of one part.

    Raises:
        AbawkitError: It is damaged, or belongs to another recogniser.
    """
    number = 1
    try:
        first, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        header = json.loads(first)
        made: list[Transcript] = []
        for number, line in enumerate(lines, start=2):  # noqa: B007 - the message needs it
            record = json.loads(line)
            record.pop("made_by")
            made.append(Transcript(**record))
            if not isinstance(made[-1].text, str):
                raise TypeError("text is not a text")
        number, whole = 1, header["clips"] == len(made) and header["format"] == _FORMAT
        signature = header["signature"]
    except OSError as error:
        raise AbawkitError(f"cannot be read: {error.strerror}", path=path) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error)[:120]
        raise AbawkitError("these transcripts are damaged", path=path, line=number, got=reason, todo=_TODO) from error
    if not whole:
        got = f"{len(made)} clips, format {header['format']}"
        expected = f"{header['clips']} clips, format {_FORMAT}"
        raise AbawkitError("these transcripts are damaged", path=path, got=got, expected=expected, todo=_TODO)
    if signature != recogniser.signature:
        message, expected = "these transcripts are of another recogniser", recogniser.signature
        raise AbawkitError(message, path=path, got=str(signature), expected=expected, todo=_TODO)
    return made


class TranscriptWriter:
    """The one writer of a set of transcripts, made by :func:`open_for_writing`.

    Attributes:
        set: What was there when it was opened.
    """

    def __init__(self, path: Path, recogniser: Recogniser) -> None:
        if (path / MANIFEST).exists():
            self.set = TranscriptSet.open(path)
        else:
            self.set = TranscriptSet(path, recogniser)
            record = {
                "format": _FORMAT,
                "signature": recogniser.signature,
                "recogniser": asdict(recogniser),
                "tool": f"abawkit {__version__}",
                "note": _NOTE,
            }
            write_json(path / MANIFEST, record)
        for left in path.glob(".tmp-*"):
            left.unlink()
        parts = sorted(path.glob("part-*.jsonl"))
        self._next = int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 0

    def add(self, transcripts: Sequence[Transcript]) -> Path:
        """Writes the transcripts as the next part and returns its path.

        Raises:
            AbawkitError: The disk is full or the folder cannot be written to; nothing is left behind.
        """
        recogniser = self.set.recogniser
        header = {"format": _FORMAT, "signature": recogniser.signature, "clips": len(transcripts)}
        made = {key: value for key, value in asdict(recogniser).items() if key != "name"}
        made["tool"] = f"abawkit {__version__}"
        lines = [header, *({**vars(transcript), "made_by": made} for transcript in transcripts)]
        path = self.set.path / f"part-{self._next:05d}.jsonl"
        text = "\n".join(json.dumps(json_ready(line), ensure_ascii=False, allow_nan=False) for line in lines)
        write_text(path, text + "\n")
        self._next += 1
        return path


@contextmanager
def open_for_writing(path: Path, recogniser: Recogniser) -> Iterator[TranscriptWriter]:
    """Yields the one writer of the transcripts in folder ``path``, which is made when it is not there.

    Raises:
        AbawkitError: Another process is writing them, or the folder cannot be written to.
    """
    with locked(path, "transcribing"):
        yield TranscriptWriter(path, recogniser)


def list_sets(folder: Path) -> list[TranscriptSet]:
    """Returns all sets of transcripts below the folder ``transcripts`` of a workspace, by name."""
    return [TranscriptSet.open(manifest.parent) for manifest in sorted(folder.glob(f"*/{MANIFEST}"))]


def choose_set(folder: Path, wanted: str) -> TranscriptSet:
    """Returns the set with that folder name, signature or model name.

    Raises:
        UsageError: There is none, or there are several.
    """
    sets = list_sets(folder)
    chosen = [one for one in sets if wanted in (one.path.name, *_names(one.recogniser))]
    if len(chosen) == 1:
        return chosen[0]
    raise UsageError(
        f"there are {'several' if chosen else 'no'} transcripts named {wanted}",
        path=folder,
        got=", ".join(one.path.name for one in sets) or "none",
        expected="auto, folder, or the name of transcripts",
        todo="name one of them: --set extract.transcripts=NAME" if sets else "make them: abawkit transcribe",
    )


def _names(recogniser: Recogniser) -> tuple[str, str, str]:
    return recogniser.signature, recogniser.name, recogniser.model


def mixed_transcripts(made: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Returns the findings on transcripts that were not all made by the same recogniser.

    Args:
        made: Split → by what the words of each of its clips were made, as of :func:`made_by`; empty: no transcript.

    T405: the clips of a split, or of two splits, have transcripts of different provenance. Systematic differences
    between recognisers (case, punctuation, fillers, empty transcripts) then look like differences between clips.
    T401: a split has no transcripts at all, and another one has.

    >>> found = mixed_transcripts({"train": ["text/", "text/"], "test": ["tiny-00", ""]})
    >>> found[0].code, found[0].got
    ('T405', 'train: 2 by text/; test: 1 by tiny-00')
    """
    counts = {split: Counter(name for name in names if name) for split, names in made.items() if names}
    findings = []
    if len(set().union(*counts.values())) > 1:
        shown = [f"{split}: {', '.join(f'{n} by {name}' for name, n in c.items())}" for split, c in counts.items() if c]
        message = "the transcripts were not all made by the same recogniser"
        expected = "one recogniser for all clips (abawkit transcribe --overwrite)"
        findings.append(Finding("T405", message, got="; ".join(shown), expected=expected))
    if any(counts.values()):
        for split in [split for split, counted in counts.items() if not counted]:
            message = f"no clip of {split} has a transcript, and other splits have"
            findings.append(Finding("T401", message, expected=f"abawkit transcribe --split {split}"))
    return findings
