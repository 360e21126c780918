"""Transcription: the words of clips that have none, from their sound, into the workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.speech import Thresholds, loudest_db
from abawkit.backbones.whisper import (
    SAMPLE_RATE,
    Heard,
    Whisper,
    language_code,
    load_whisper,
    open_whisper,
    transcribe_waveforms,
    whisper_precision,
)
from abawkit.data.transcripts import (
    Outcome,
    Recogniser,
    Transcript,
    TranscriptSet,
    TranscriptWriter,
    made_by,
    mixed_transcripts,
    open_for_writing,
)
from abawkit.device import pick_device, share_processor
from abawkit.errors import AbawkitError, Damage, MediaError, ModalityMissing, UsageError
from abawkit.extraction.select import official_clips, select_clips
from abawkit.extractors.sources import Transcripts, media_source
from abawkit.fileio import write_json, write_text
from abawkit.findings import Finding
from abawkit.layout.folder import Clip
from abawkit.media.audio import decode_audio
from abawkit.progress import SILENT, Progress
from abawkit.workers import in_processes
from abawkit.workspace import Workspace

#: Fewest clips of a part: what a killed process loses at most.
_PART = 16


@dataclass(frozen=True)
class Transcription:
    """What a transcription did.

    Attributes:
        path: Folder of the transcripts; None when there was nothing to transcribe.
        model: Model id or folder.
        clips: Number of clips that were asked for.
        in_folder: Clips among them whose transcript lies in the data folder, and was left as it is.
        transcribed: Clips that were transcribed just now.
        outcomes: Outcome (``spoken``, ``empty``, ``missing``, ``failed``) → clips, of those that were not left.
        reasons: Why clips are empty → clips.
        failures: Clip id → why it failed.
        findings: T405 and T401, over all splits.
    """

    path: Path | None
    model: str
    clips: int
    in_folder: int
    transcribed: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        findings = [finding.to_json() for finding in self.findings]
        return {**vars(self), "path": None if self.path is None else str(self.path), "findings": findings}


def transcribe(
    workspace: Workspace,
    *,
    splits: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Progress = SILENT,
) -> Transcription:
    """Transcribes the clips that have no transcript, and returns what was done.

    Args:
        workspace: The workspace; model, language and thresholds come from its settings.
        splits: ``train``, ``valid``, ``test``; default: all that are there.
        only: Ids of the clips; default: all of the splits.
        overwrite: Also clips that have a transcript in the data folder. That file stays as it is; the workspace's
            transcript is used instead of it.
        retry_failed: Try clips again that failed before.
        progress: What to report to.

    The sound is that of the audio file, else the video's track. A clip whose sound was replaced is transcribed
    again. A clip without sound is recorded as missing, a silent one as empty, one that cannot be decoded as failed.
    After a kill at any moment, the same call continues from the last part that was written.

    Raises:
        UsageError: There is no challenge folder, or a split, clip or language is unknown.
        AbawkitError: The model is missing, the disk is full, or another process is transcribing with it.
    """
    settings = workspace.settings.extract
    chosen = select_clips(workspace, splits, only, None)
    clips = sorted((clip for members in chosen.values() for clip in members), key=lambda clip: clip.id)
    wanted = [clip for clip in clips if overwrite or clip.text is None]
    left = len(clips) - len(wanted)
    if left:
        kept = "in text/, which is used (--overwrite transcribes them too)"
        progress.say(f"{left} of {len(clips)} clips have a transcript {kept}")
    if not wanted:
        return Transcription(None, settings.whisper_model, len(clips), left)
    share_processor()
    device = pick_device(settings.device)
    thresholds = Thresholds(
        no_speech=settings.whisper_no_speech,
        log_probability=settings.whisper_log_probability,
        compression=settings.whisper_compression,
        silence_db=settings.whisper_silence_db,
    )
    found = open_whisper(settings.whisper_model)
    recogniser = Recogniser(
        name=found.name,
        model=found.model,
        revision=found.revision,
        weights=found.weights,
        language=language_code(found.path, settings.whisper_language),
        thresholds=asdict(thresholds),
        precision=whisper_precision(device),
        on_damage=settings.on_damage,
    )
    path = workspace.transcripts / recogniser.folder
    with open_for_writing(path, recogniser) as writer:
        todo = [_Work(clip, media_source(clip.audio or clip.video), clip.text is not None) for clip in wanted]
        todo = [work for work in todo if not work.is_done(writer.set, retry_failed=retry_failed)]
        known = sum(work.clip.id in writer.set.clips for work in todo)
        if known:
            progress.say(f"{known} clips have new sound, or failed before: transcribed again")
        load = partial(load_whisper, found.path, language=recogniser.language, thresholds=thresholds, device=device)
        batch = settings.whisper_batch or (4 if device == "cpu" else 32)
        _run(todo, writer, load, batch=batch, workers=settings.workers or None, progress=progress)
    made = TranscriptSet(path, recogniser)
    heard = [made.clips[clip.id] for clip in wanted]
    words = Transcripts((made,))
    everyone = official_clips(workspace)
    findings = mixed_transcripts({s: [made_by(words.source(clip)) for clip in c] for s, c in everyone.items()})
    return Transcription(
        path=path,
        model=found.model,
        clips=len(clips),
        in_folder=left,
        transcribed=len(todo),
        outcomes=dict(Counter(transcript.outcome for transcript in heard)),
        reasons=dict(Counter(transcript.reason for transcript in heard if transcript.outcome == "empty")),
        failures={transcript.clip: transcript.reason for transcript in heard if transcript.outcome == "failed"},
        findings=tuple(findings),
    )


@dataclass(frozen=True)
class _Work:
    """A clip to transcribe, the digest of its sound, and whether it has a transcript in the data folder."""

    clip: Clip
    source: str
    overwrites: bool

    def is_done(self, done: TranscriptSet, *, retry_failed: bool) -> bool:
        before = done.clips.get(self.clip.id)
        if before is None or before.source != self.source or before.overwrites < self.overwrites:
            return False
        return not (retry_failed and before.outcome == "failed")

    def empty(self, outcome: Outcome, reason: str, warnings: Sequence[str] = ()) -> Transcript:
        """Returns the transcript of a clip without words."""
        return Transcript(
            self.clip.id, outcome, reason=reason, source=self.source, overwrites=self.overwrites, warnings=warnings
        )


@dataclass(frozen=True)
class _Loud:
    """A waveform in which there is something to hear, and what was odd about it."""

    waveform: NDArray[np.float32]
    warnings: tuple[str, ...]


def _listen(work: _Work, *, silence_db: float, on_damage: str) -> _Loud | Transcript:
    """Returns the sound of a clip, or the transcript of one without; runs in worker processes."""
    path = work.clip.audio or work.clip.video
    try:
        if path is None:
            raise ModalityMissing("there is no audio file and no video")
        sound = decode_audio(path, sample_rate=SAMPLE_RATE)
    except ModalityMissing as error:
        return work.empty("missing", error.message)
    except Exception as error:  # any exception is this clip's failure
        got = f" (got {error.got})" if isinstance(error, AbawkitError) and error.got else ""
        return work.empty("failed", f"{error.message if isinstance(error, AbawkitError) else repr(error)}{got}")
    if on_damage == "fail" and any(isinstance(warning, Damage) for warning in sound.warnings):
        return work.empty("failed", "; ".join(sound.warnings))
    if loudest_db(sound.waveform, sample_rate=SAMPLE_RATE) <= silence_db:
        return work.empty("empty", "silence", sound.warnings)
    return _Loud(sound.waveform, tuple(map(str, sound.warnings)))


def _run(
    todo: Sequence[_Work],
    writer: TranscriptWriter,
    load: Callable[[], Whisper],
    *,
    batch: int,
    workers: int | None,
    progress: Progress,
) -> None:
    """Transcribes part by part; parts follow from the sorted list of clips, never from the moment of an interruption.

    The model is loaded when the first clip comes that is not silent.
    """
    if not todo:
        return
    recogniser = writer.set.recogniser
    listen = partial(_listen, silence_db=recogniser.thresholds["silence_db"], on_damage=recogniser.on_damage)
    whisper: Whisper | None = None
    with (
        progress.task("transcribe", len(todo)) as bar,
        SILENT.task("decode") as silent,
        closing(in_processes(listen, todo, workers=workers, bar=silent, chunk=4, inline_below=_PART)) as sounds,
    ):
        size = max(_PART, batch)
        for part in (todo[at : at + size] for at in range(0, len(todo), size)):
            heard: list[Transcript] = []
            loud: list[tuple[_Work, _Loud]] = []
            for work, sound in zip(part, islice(sounds, len(part)), strict=True):
                if isinstance(sound, Transcript):
                    heard.append(sound)
                    bar.advance(1, work.clip.id)
                else:
                    loud.append((work, sound))
            if loud:
                whisper = whisper or load()
                waveforms = [sound.waveform for _, sound in loud]
                found = transcribe_waveforms(whisper, waveforms, batch=batch, done=bar.advance)
                heard += [_transcript(work, sound, words) for (work, sound), words in zip(loud, found, strict=True)]
            writer.add(sorted(heard, key=lambda transcript: transcript.clip))


def _transcript(work: _Work, sound: _Loud, words: Heard) -> Transcript:
    return Transcript(
        clip=work.clip.id,
        outcome="empty" if words.reason else "spoken",
        text=words.text,
        reason=words.reason,
        source=work.source,
        language=words.language,
        overwrites=work.overwrites,
        segments=words.segments,
        windows=words.windows,
        warnings=sound.warnings,
    )


def export_transcripts(
    workspace: Workspace,
    transcripts: Path | None,
    target: Path,
    *,
    splits: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    timestamps: bool = False,
) -> tuple[int, int]:
    """Writes ``NNNNN.txt`` of each clip, for other programs, and returns how many have a transcript and how many not.

    Args:
        workspace: The workspace.
        transcripts: The folder of transcripts to take; None: those in the data folder alone.
        target: The folder to write to; files of the same name there are replaced.
        splits: As of :func:`transcribe`.
        only: As of :func:`transcribe`.
        timestamps: Write ``NNNNN.json`` too, with language and segments, of clips that were transcribed here.

    A clip in which nothing was said gets an empty file; one without sound, or that failed, gets none.

    Raises:
        UsageError: The target lies in the challenge folder, which is never written to.
        AbawkitError: The target cannot be written to.
    """
    if target.resolve().is_relative_to(workspace.data.resolve()):
        todo = "give a folder elsewhere"
        raise UsageError("the challenge folder is never written to", path=target, todo=todo)
    words = Transcripts() if transcripts is None else Transcripts((TranscriptSet.open(transcripts),))
    written = without = 0
    for clip in (clip for members in select_clips(workspace, splits, only, None).values() for clip in members):
        heard = words.transcript(clip)
        text = _words(words, clip)
        if text is None:
            without += 1
            continue
        written += 1
        write_text(target / f"{clip.id}.txt", text + "\n" if text else "")
        if timestamps and heard is not None:
            write_json(target / f"{clip.id}.json", {"language": heard[1].language, "segments": heard[1].segments})
    return written, without


def _words(words: Transcripts, clip: Clip) -> str | None:
    """Returns the clip's words; empty when nothing was said, None when there is no transcript."""
    heard = words.transcript(clip)
    try:
        return words.read(clip)
    except ModalityMissing:
        said_nothing = clip.text is not None if heard is None else heard[1].outcome == "empty"
        return "" if said_nothing else None
    except MediaError:
        return None
