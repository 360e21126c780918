"""One clip: its plan, its pictures and sound, and its files in the organisers' layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import EMI
from abawkit.fileio import storage_errors
from abawkit.jobs.synthetic.ballots import Array
from abawkit.jobs.synthetic.face import Drawing, Look, Picture, draw, draw_look, express, room, sketch
from abawkit.jobs.synthetic.movement import Head, move
from abawkit.jobs.synthetic.voice import SAMPLE_RATE, draw_timbre, speak
from abawkit.jobs.synthetic.words import vowels
from abawkit.media.encode import write_jpeg, write_mp3, write_video

WIDTH, HEIGHT = 176, 144
FRAME_RATE = 25
CROP = 160
CROPS_PER_SECOND = (4.0, 6.0)
ONE_FRAME_SECONDS = 0.064

#: Which stream of random numbers is for what: each clip and each person has its own.
CHALLENGE, PERSON, CLIP = 0, 1, 2


@dataclass(frozen=True)
class ClipPlan:
    """Everything that a clip is made from.

    Attributes:
        id: Clip id.
        folder: Where its modality folders are, relative to the challenge folder.
        seed: Seed of the challenge.
        labels: What it shows: six labels.
        person: Number of the person.
        words: What the person says.
        transcript: Content of the transcript; None: there is no such file.
        seconds: Length.
        oddities: What is wrong with it (keys of :data:`~abawkit.jobs.synthetic.challenge.ODDITIES`).
    """

    id: str
    folder: str
    seed: int
    labels: tuple[float, ...]
    person: int
    words: str
    transcript: str | None
    seconds: float
    oddities: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Recording:
    """A clip before it is encoded.

    Attributes:
        frames: The video's pictures, ``uint8 [144, 176, 3]``, drawn one at a time as they are asked for.
        times: Their presentation times (seconds).
        crops: The face crops, ``uint8 [160, 160, 3]``.
        waveform: Sound ``float32 [N]`` at 16 kHz in [-1, 1].
    """

    frames: Iterator[Picture]
    times: list[float]
    crops: Iterator[Picture]
    waveform: NDArray[np.float32]


def streams(seed: int, kind: int, number: int, count: int) -> list[np.random.Generator]:
    """Returns ``count`` independent generators that depend on nothing but the three numbers."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence((seed, kind, number)).spawn(count)]


def record(plan: ClipPlan) -> Recording:
    """Returns the pictures and the sound of a clip; the same plan gives the same ones anywhere."""
    look_rng, timbre_rng = streams(plan.seed, PERSON, plan.person, 2)
    look, timbre = draw_look(look_rng), draw_timbre(timbre_rng)
    _, voice_rng, face_rng, movement_rng, picture_rng = streams(plan.seed, CLIP, int(plan.id), 5)
    labels = np.array(plan.labels)

    waveform, mouth = speak(voice_rng, timbre, labels, vowels(plan.words), plan.seconds)
    expression = express(face_rng, labels)
    times = _frame_times(picture_rng, plan)
    crop_count = max(1, round(plan.seconds * picture_rng.uniform(*CROPS_PER_SECOND)))
    crop_times = np.linspace(0, plan.seconds, crop_count, endpoint=False)
    heads = move(movement_rng, labels, np.concatenate([times, crop_times]))
    blinks = np.cumsum(picture_rng.uniform(1.0, 4.0, size=2 + int(plan.seconds)))

    @cache
    def drawing(speaking: int, blink: int) -> Drawing:
        return sketch(look, expression, speaking=speaking / 2, blink=blink)

    def drawing_at(time: float) -> Drawing:
        speaking = mouth[min(int(time * SAMPLE_RATE), len(mouth) - 1)]
        return drawing(round(2 * float(speaking)), int(np.any(np.abs(blinks - time) < 0.08)))

    shots = [(drawing_at(time), head) for time, head in zip([*times, *crop_times], heads, strict=True)]
    grain_rng, crop_rng = picture_rng.spawn(2)
    return Recording(
        _film(grain_rng, look, shots[: len(times)]),
        times.tolist(),
        _crop(crop_rng, look, shots[len(times) :]),
        waveform,
    )


def write_clip(root: Path, plan: ClipPlan) -> str:
    """Writes a clip's files below ``root`` and returns its id.

    Raises:
        AbawkitError: The disk is full or the folder cannot be written to.
    """
    names = EMI.folders
    base = root / plan.folder
    recording = record(plan)
    sound = None if "no_audio_track" in plan.oddities else recording.waveform
    faces = base / names.faces / plan.id
    with storage_errors(root):
        faces.mkdir(exist_ok=True)
        if "empty_face_folder" not in plan.oddities:
            for number, crop in enumerate(recording.crops):
                write_jpeg(faces / f"{number}.jpg", crop)
        if "stray_file" in plan.oddities:
            (faces / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
        if plan.transcript is not None:
            (base / names.text / f"{plan.id}.txt").write_text(plan.transcript, encoding="utf-8")
    if sound is not None:
        write_mp3(base / names.audio / f"{plan.id}.mp3", sound, SAMPLE_RATE)
    video = base / names.video / f"{plan.id}.mp4"
    write_video(video, recording.frames, recording.times, waveform=sound, sample_rate=SAMPLE_RATE)
    return plan.id


def _frame_times(rng: np.random.Generator, plan: ClipPlan) -> Array:
    if "one_frame" in plan.oddities:
        return np.zeros(1)
    if "variable_frame_rate" in plan.oddities:
        steps = rng.choice([0.02, 0.04, 0.08, 0.12], size=int(plan.seconds / 0.02))
        times = np.cumsum(steps) - steps[0]
        return np.asarray(times[times < plan.seconds], np.float64)
    return np.arange(round(plan.seconds * FRAME_RATE)) / FRAME_RATE


def _film(rng: np.random.Generator, look: Look, shots: list[tuple[Drawing, Head]]) -> Iterator[Picture]:
    """Yields the pictures of a webcam that stands still."""
    backdrop, grain = room(look, WIDTH, HEIGHT), _grain(rng, WIDTH, HEIGHT)
    x, y, size = (HEIGHT * part for part in look.place)
    for (drawing, head), noise in zip(shots, cycle(grain), strict=False):
        picture = backdrop.copy()
        draw(picture, drawing, (x, y), size, head)
        yield np.clip(picture + noise, 0, 255).astype(np.uint8)


def _crop(rng: np.random.Generator, look: Look, shots: list[tuple[Drawing, Head]]) -> Iterator[Picture]:
    """Yields face crops: a detector has found the face, with errors of its own."""
    backdrop, grain = room(look, CROP, CROP), _grain(rng, CROP, CROP)
    for (drawing, head), noise in zip(shots, cycle(grain), strict=False):
        picture = backdrop.copy()
        size = 0.36 * CROP * rng.uniform(0.96, 1.04)
        x, y = np.array([0.5, 0.52]) * CROP + rng.normal(0, 1.5, size=2) - size * np.array([head.x, head.y])
        draw(picture, drawing, (float(x), float(y)), size, head)
        yield np.clip(picture + noise, 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator, width: int, height: int) -> NDArray[np.int16]:
    """Returns four pictures of camera noise, all as much lighter or darker as the light is, to be used in turn."""
    light = rng.normal(0, 8)
    noise = rng.normal(light, 3, size=(4, height, width, 1)).astype(np.int16)
    return np.repeat(noise, 3, axis=3)
