"""Media files out of arrays: video with sound, mp3, jpeg.

One thread per encoder, so that the same arrays give the same bytes with the same build of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from abawkit.errors import MediaError
from abawkit.fileio import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Ticks per second of the presentation timestamps: any frame time is right to 0.03 ms.
TIME_BASE = Fraction(1, 16_000)

_NOMINAL_RATE = 25
_SAMPLES_PER_FRAME = 1024


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    times: Sequence[float],
    *,
    waveform: NDArray[np.float32] | None = None,
    sample_rate: int = 16_000,
) -> None:
    """Writes an mp4 file: h264, every frame at its own time, and aac sound where there is a waveform.

    Args:
        path: The file; an existing one is replaced.
        frames: RGB pictures ``uint8 [H, W, 3]``, as many as ``times``; H and W the same for all, and even. They
            are taken one at a time.
        times: Presentation time of each frame in seconds, increasing; the steps need not be equal.
        waveform: Sound ``float32 [N]`` in [-1, 1], mono; None: the file has no audio track.
        sample_rate: Samples per second of ``waveform`` (Hz).

    Raises:
        ValueError: No frames, an odd width or height, or as many frames as times are not there.
        AbawkitError: The disk is full or the folder cannot be written to.
        MediaError: The encoder refuses.
    """
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None or first.shape[0] % 2 or first.shape[1] % 2:
        raise ValueError("a video needs at least one frame, of even width and height")
    with _encoding(path), av.open(str(path), "w", format="mp4") as container:
        video: Any = container.add_stream(
            "libx264", rate=_NOMINAL_RATE, options={"preset": "ultrafast", "crf": "24", "threads": "1"}
        )
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = TIME_BASE
        # Both tracks have to be declared before the first packet: the file's header lists them.
        sound: Any = None
        if waveform is not None:
            sound = container.add_stream("aac", rate=sample_rate, layout="mono", options={"aac_coder": "fast"})
        for picture, time in zip(chain([first], pictures), times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time / TIME_BASE), TIME_BASE
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None and waveform is not None:
            _encode_sound(container, sound, waveform, sample_rate)


def write_mp3(path: Path, waveform: NDArray[np.float32], sample_rate: int = 16_000) -> None:
    """Writes a mono mp3 file of constant 64 kbit/s.

    Args:
        path: The file; an existing one is replaced.
        waveform: ``float32 [N]`` in [-1, 1]; N at least 1.
        sample_rate: Samples per second (Hz); one that mp3 knows (16,000, 44,100 …).

    Raises:
        ValueError: The waveform is empty.
        AbawkitError: The disk is full or the folder cannot be written to.
        MediaError: The encoder refuses.
    """
    if not len(waveform):
        raise ValueError("an mp3 file needs at least one sample")
    with _encoding(path), av.open(str(path), "w", format="mp3") as container:
        stream: Any = container.add_stream(
            "libmp3lame", rate=sample_rate, layout="mono", options={"compression_level": "7"}
        )
        stream.bit_rate = 64_000
        _encode_sound(container, stream, waveform, sample_rate)


def write_jpeg(path: Path, picture: NDArray[np.uint8], quality: int = 90) -> None:
    """Writes an RGB picture ``uint8 [H, W, 3]`` as a jpeg file of ``quality`` 0 to 100.

    Raises:
        AbawkitError: The disk is full or the folder cannot be written to.
    """
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    with storage_errors(path):
        path.write_bytes(data.tobytes())


def _encode_sound(container: Any, stream: Any, waveform: NDArray[np.float32], sample_rate: int) -> None:
    samples = np.clip(np.asarray(waveform, np.float32), -1, 1)[None]
    for start in range(0, samples.shape[1], _SAMPLES_PER_FRAME):
        piece = np.ascontiguousarray(samples[:, start : start + _SAMPLES_PER_FRAME])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@contextmanager
def _encoding(path: Path) -> Iterator[None]:
    try:
        with storage_errors(path):
            yield
    except av.FFmpegError as error:
        raise MediaError(f"cannot be encoded: {error}", path=path) from error
