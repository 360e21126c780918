"""Media files with one thing wrong with each, made once and planted in challenge folders."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np

from abawkit.media.encode import write_jpeg, write_mp3, write_video

RNG_SEED = 3


class _Pipe(BytesIO):
    """A file that cannot go back, as a browser's recorder writes: the header never gets its duration."""

    def seekable(self) -> bool:
        return False

    def seek(self, *where: int) -> int:
        raise OSError("a pipe")


def write_odd_media(folder: Path) -> Path:
    """Returns the folder, with the files in it."""
    rng = np.random.default_rng(RNG_SEED)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    steady = [k / 12.5 for k in range(20)]
    sound = np.sin(np.arange(24_000, dtype=np.float32) / 20) * 0.3
    whole = folder / "whole.mp4"
    write_video(whole, frames, steady, waveform=sound)
    data = whole.read_bytes()
    middle = len(data) // 2
    write_video(folder / "variable.mp4", frames, np.cumsum(rng.uniform(0.02, 0.2, 20)).tolist(), waveform=sound)
    write_video(folder / "silent.mp4", frames, steady, waveform=np.zeros_like(sound))
    write_video(folder / "short.mp4", frames[:2], [0.0, 0.03], waveform=sound[:640])
    (folder / "broken.mp4").write_bytes(data[:middle] + bytes(4000) + data[middle + 4000 :])
    (folder / "turned.mp4").write_bytes(_turned(data))
    _write_mkv(folder / "tracks.mkv", frames, tracks=2)
    _write_mkv(folder / "lying.mkv", frames, rate=Fraction(1000))
    live = _Pipe()
    _write_mkv(live, frames)
    (folder / "live.mkv").write_bytes(live.getvalue())
    write_mp3(folder / "silent.mp3", rng.uniform(-3e-4, 3e-4, 24_000).astype(np.float32))
    write_mp3(folder / "whole.mp3", np.tile(sound, 3))
    data = (folder / "whole.mp3").read_bytes()
    (folder / "broken.mp3").write_bytes(data[: len(data) // 3] + bytes(len(data) * 2 // 3))
    write_jpeg(folder / "whole.jpg", frames[0])
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-900])
    return folder


def _turned(mp4: bytes) -> bytes:
    """Returns the file with a display matrix that turns the pictures by 90°."""
    at = mp4.index(b"tkhd") + 4 + 40  # version 0: flags, times, id, duration, layer, group, volume before the matrix
    matrix = b"".join(number.to_bytes(4, "big", signed=True) for number in (0, 1 << 16, 0, -(1 << 16), 0, 0))
    return mp4[:at] + matrix + mp4[at + len(matrix) :]


def _write_mkv(target: Any, frames: list[np.ndarray], *, rate: Fraction = Fraction(25, 2), tracks: int = 1) -> None:
    """Writes 12.5 frames per second with sound; the header says ``rate``."""
    with av.open(target if isinstance(target, _Pipe) else str(target), "w", format="matroska") as container:
        videos: list[Any] = [container.add_stream("libx264", rate=rate) for _ in range(tracks)]
        sound: Any = container.add_stream("aac", rate=16_000, layout="mono")
        for video in videos:
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
        tone = av.AudioFrame.from_ndarray(
            (np.sin(np.arange(25_600, dtype=np.float32) / 20) * 0.3)[None], format="fltp", layout="mono"
        )
        tone.sample_rate, tone.pts = 16_000, 0
        for number, picture in enumerate(frames):
            for video in videos:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number * 80, Fraction(1, 1000)
                container.mux(video.encode(frame))
        container.mux(sound.encode(tone))
        for stream in (*videos, sound):
            container.mux(stream.encode(None))
