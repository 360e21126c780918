"""Checks of one clip's files, each a small function."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from abawkit.data.checks.crops import check_faces
from abawkit.data.checks.identical import START, fingerprint, read_start
from abawkit.data.checks.names import leaves
from abawkit.errors import Damage, MediaError, ModalityMissing
from abawkit.findings import Depth, Finding, Report
from abawkit.layout.folder import KINDS, Clip, Kind, is_face_name, is_file, split_name
from abawkit.media.audio import AudioPass
from abawkit.media.video import MediaInfo, VideoPass, probe

#: The organisers' sound files have this sample rate (Hz).
SAMPLE_RATE = 16_000

#: Sound that is nowhere louder is silent: -60 dB of full scale, below the noise of any microphone that is on.
SILENCE = 1e-3

#: A clip that is shorter (s) has no mimicry in it.
SHORTEST = 0.1

#: The frame rate varies when at least so many of the steps between frames differ from the median step by more than
#: this share of it and this many seconds (containers round to milliseconds).
VARYING_STEPS, VARYING_SHARE, VARYING_SECONDS = 0.05, 0.1, 2e-3

#: The header's frame rate is wrong when it differs by more than this share, and by more than one frame in the clip.
WRONG_RATE = 0.05


@dataclass(frozen=True)
class ClipCheck:
    """What was found about one clip.

    Attributes:
        findings: In the order of the files.
        present: What the clip has: a file that is there and not empty, at least one face crop. With ``quick``: what is
            there by its name.
        seconds: Duration of the video by its header; None where that is not known, and with ``quick``.
        prints: Fingerprints of the files whose bytes are compared between clips; none with ``quick``.
    """

    findings: tuple[Finding, ...]
    present: frozenset[Kind]
    seconds: float | None = None
    prints: dict[Kind, bytes] = field(default_factory=dict)


def presence(clip: Clip, root: Path) -> frozenset[Kind]:
    """Returns what the clip has: a file that is not empty, a face crop by its name, a transcript with text in it.

    Args:
        clip: The clip. Its files that are links out of the challenge folder count as not there.
        root: The challenge folder.

    What cannot be read counts as not there; :func:`check_clip` says why.
    """
    return frozenset(kind for kind in KINDS if (path := getattr(clip, kind)) and _is_there(kind, path, root))


def _is_there(kind: Kind, path: Path, root: Path) -> bool:
    try:
        if leaves(path, root, path.parent):
            return False
        if kind == "text":
            return bool(path.read_bytes().decode("utf-8-sig", errors="replace").strip())
        if kind != "faces":
            return path.stat().st_size > 0
        with os.scandir(path) as entries:
            return any(is_face_name(*split_name(entry.name)) and is_file(entry) for entry in entries)
    except OSError:
        return False


def check_clip(clip: Clip, root: Path, depth: Depth = "default") -> ClipCheck:
    """Returns what is wrong with the files of one clip; files that are not there are not its business.

    Args:
        clip: The clip. Its files that are links out of the challenge folder count as not there.
        root: The challenge folder.
        depth: ``quick``: names only. ``default``: opens every file, and reads headers. ``deep``: decodes everything.
    """
    report = Report()
    files = {kind: path for kind in KINDS if (path := getattr(clip, kind)) and not leaves(path, root, path.parent)}
    present: set[Kind] = set()
    prints: dict[Kind, bytes] = {}
    seconds = None
    for kind, path in files.items():
        mark = None
        if kind == "faces":
            there, mark = check_faces(path, root, depth, report)
        elif depth == "quick":
            there = True
        elif kind == "text":
            there = _check_text(path, report)
        else:
            mark = _start(path, report)
            there = mark is not None
        if there:
            present.add(kind)
        if mark is not None:
            prints[kind] = mark
        if there and depth != "quick" and kind in ("video", "audio"):
            info = _open(path, report)
            if info is not None and kind == "video":
                seconds = _check_video(path, info, "audio" in files, depth, report)
            elif info is not None:
                _check_audio(path, info, "video" in files, depth, report)
    return ClipCheck(tuple(report.findings), frozenset(present), seconds, prints)


def _start(path: Path, report: Report) -> bytes | None:
    """Returns a fingerprint of the file; None where it is empty or cannot be read."""
    try:
        size, start = read_start(path, START)
    except OSError as error:
        report.add("F109", f"cannot be read: {error.strerror}", path=path)
        return None
    if size == 0:
        report.add("M302", "a file of zero bytes", path=path)
        return None
    return fingerprint(size, start)


def _open(path: Path, report: Report) -> MediaInfo | None:
    try:
        return probe(path)
    except MediaError as error:
        report.add("M303", error.message, path=path, got=error.got, expected=error.expected)
        return None


def _check_video(path: Path, info: MediaInfo, has_sound_file: bool, depth: Depth, report: Report) -> float | None:
    """Returns the duration by the header (s), None where it has none."""
    frames = info.frames
    damage: list[str] = []
    if not info.has_video:
        report.add("M305", "no video track", path=path)
    else:
        if depth == "deep":
            frames = _decode_pictures(path, info, damage, report)
        if 1 in (frames, info.frames):
            report.add("M306", "the video has a single frame", path=path)
        _check_duration(path, info, report)
        if info.rotation:
            message = "the pictures are stored turned: every frame is turned upright when it is read"
            report.add("M316", message, path=path, got=f"turned by {info.rotation}°")
    if not info.has_audio:
        kind = "no audio track that can be decoded" if info.audio_tracks else "no audio track"
        instead = "; the clip's sound file is taken" if has_sound_file else ", nor has the clip a sound file"
        report.add("M304", f"the video has {kind}{instead}", path=path)
    elif depth == "deep":
        _listen(path, damage, report, "M304", silence=not has_sound_file)
    _check_tracks(path, info, report)
    _add_damage(path, damage, report)
    return info.duration if info.has_video and info.duration is not None and info.duration > 0 else None


def _check_audio(path: Path, info: MediaInfo, has_video: bool, depth: Depth, report: Report) -> None:
    if not info.has_audio:
        report.add("M303", "no sound in it", path=path, expected="a sound file")
        return
    if info.sample_rate != SAMPLE_RATE:
        got, expected = f"{info.sample_rate} Hz", f"{SAMPLE_RATE} Hz"
        report.add("M311", "another sample rate: it is converted", path=path, got=got, expected=expected)
    _check_duration(path, info, report, short=not has_video)
    _check_tracks(path, info, report)
    if depth == "deep":
        damage: list[str] = []
        _listen(path, damage, report, "M303", silence=True)
        _add_damage(path, damage, report)


def _check_duration(path: Path, info: MediaInfo, report: Report, *, short: bool = True) -> None:
    if info.duration is None or info.duration <= 0:
        got = "none" if info.duration is None else f"{info.duration:g} s"
        report.add("M313", "the header does not say how long it is", path=path, got=got, expected="a duration")
    elif short and info.duration < SHORTEST:
        got, expected = f"{info.duration:.3f} s", f"at least {SHORTEST} s"
        report.add("M321", "the clip is hardly there", path=path, got=got, expected=expected)


def _check_tracks(path: Path, info: MediaInfo, report: Report) -> None:
    if max(info.video_tracks, info.audio_tracks) > 1:
        got = f"{info.video_tracks} of video, {info.audio_tracks} of sound"
        report.add("M317", "several tracks of one kind: the best of each is taken", path=path, got=got)


def _decode_pictures(path: Path, info: MediaInfo, damage: list[str], report: Report) -> int | None:
    """Returns how many frames can be decoded, None where none can; what is lost goes into ``damage``."""
    video = VideoPass(path)
    try:
        times = np.array([time for time, _ in video])
    except MediaError as error:
        report.add("M303", error.message, path=path, got=error.got, expected=error.expected)
        return None
    damage += [warning for warning in video.warnings if isinstance(warning, Damage)]
    if not damage and video.announced is not None and video.decoded < video.announced:
        damage.append(
            f"{video.decoded} of the header's {video.announced} frames are there, without an error: the file itself "
            "leaves the others out (an edit list), or its count is wrong"
        )
    steps = np.diff(times)
    if len(steps):
        usual = float(np.median(steps))
        odd = np.abs(steps - usual) > VARYING_SHARE * usual + VARYING_SECONDS
        if odd.mean() >= VARYING_STEPS:
            got = f"{1000 * steps.min():.0f} to {1000 * steps.max():.0f} ms from frame to frame"
            report.add("M310", "the frame rate varies", path=path, got=got, expected=f"{1000 * usual:.0f} ms")
        span = float(times[-1])
        rate = len(steps) / span if span > 0 else 0.0
        header_rate = info.header_fps
        if rate and header_rate and abs(header_rate - rate) > max(WRONG_RATE * rate, 1 / span):
            message = "the header gives another frame rate than the timestamps"
            got, expected = f"{header_rate:.4g} per second", f"{rate:.4g}, which is used"
            report.add("M312", message, path=path, got=got, expected=expected)
    return video.decoded


def _listen(path: Path, damage: list[str], report: Report, none: str, *, silence: bool) -> None:
    """Decodes the sound; what is lost goes into ``damage``. ``none`` is the code for a track without a sample."""
    sound = AudioPass(path)
    peak = 0.0
    try:
        for piece in sound:
            peak = max(peak, float(np.abs(piece).max()))
    except ModalityMissing as error:
        report.add(none, error.message, path=path)
        return
    except MediaError as error:
        report.add("M303", error.message, path=path, got=error.got, expected=error.expected)
        return
    damage += sound.warnings
    if silence and peak < SILENCE:
        got = f"a peak of {20 * np.log10(peak):.0f} dB" if peak else "zeros only"
        report.add("M315", "the sound is silent", path=path, got=got, expected="above -60 dB of full scale")


def _add_damage(path: Path, damage: Sequence[str], report: Report) -> None:
    if damage:
        report.add("M314", "; ".join(damage), path=path, expected="a file that can be decoded to its end")


def _check_text(path: Path, report: Report) -> bool:
    """Returns whether there is something in the transcript."""
    try:
        data = path.read_bytes()
    except OSError as error:
        report.add("F109", f"cannot be read: {error.strerror}", path=path)
        return False
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.add("T403", "the transcript is not UTF-8 text", path=path, line=line, expected="UTF-8")
        return bool(data.strip())
    if not text:
        report.add("T402", "the transcript is empty", path=path)
    elif not any(letter.isalnum() for letter in text):
        report.add("T404", "nothing but punctuation in the transcript", path=path, got=ascii(text[:20]))
    return bool(text)
