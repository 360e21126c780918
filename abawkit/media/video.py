"""Video files: what their header says, and their frames with presentation timestamps.

Frame rates in headers lie (25 to 1000 in the challenge's clips), so time comes from presentation timestamps alone.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from abawkit.errors import Damage, MediaError

#: The containers that may be opened. libav would also follow playlists to other files and draw text files as pictures.
_FORMATS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,mp3,wav,w64,flac,ogg,aac,aiff,au,caf"

#: How far out of order frames may come and still be put in order.
_REORDER = 4

#: A frame counts for a grid time up to this much before it (s): Matroska rounds timestamps to milliseconds.
_ROUNDING = 1e-3

#: Seconds without a frame that are worth a warning: a demuxer jumps over broken bytes without a word.
_HOLE = 1.0


@dataclass(frozen=True)
class MediaInfo:
    """What the header of a media file says; it may be wrong.

    Attributes:
        duration: Seconds; None where the header has none (files of browser recorders).
        has_video: Whether there is a video track that is not a cover picture.
        has_audio: Whether there is an audio track that can be decoded.
        width: Width of the picture as it is displayed (pixels); None without video.
        height: Height of the picture as it is displayed (pixels); None without video.
        rotation: Degrees by which the stored picture is turned clockwise for display: 0, 90, 180 or 270.
        header_fps: Frames per second by the header. Not to be relied on.
        sample_rate: Sample rate of the audio track (Hz); None without audio.
        frames: Number of frames by the header; None where it has none.
        video_tracks: Number of video tracks that are not cover pictures.
        audio_tracks: Number of audio tracks.
    """

    duration: float | None
    has_video: bool
    has_audio: bool
    width: int | None
    height: int | None
    rotation: int
    header_fps: float | None
    sample_rate: int | None
    frames: int | None
    video_tracks: int
    audio_tracks: int


@dataclass
class DecodedVideo:
    """The frames of a video.

    Attributes:
        frames: RGB, ``uint8 [T, H, W, 3]``, upright.
        times: Seconds from the first frame, ``float32 [T]``, never decreasing.
        decoded: Number of frames that were decoded, of which ``frames`` is a sample.
        warnings: What was odd and did not stop the decoding.
    """

    frames: NDArray[np.uint8]
    times: NDArray[np.float32]
    decoded: int
    warnings: tuple[str, ...] = ()


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Yields the open container of a media file.

    Raises:
        MediaError: The file is not there, is empty, or is not a video or sound file.
    """
    try:
        # Tags in another encoding than UTF-8 are not a reason to refuse a clip.
        container = av.open(str(path), options={"format_whitelist": _FORMATS}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unreadable(path, "cannot be opened as video or sound", error) from error
    with container:
        yield container


def unreadable(path: Path, message: str, error: BaseException | None) -> MediaError:
    """Returns the error to raise for a file that cannot be decoded; ``error`` is libav's own."""
    todo = "copy the file again from the organisers' archive; if it is broken there too, leave the clip as failed"
    size = path.stat().st_size if path.is_file() else None
    got = "an empty file" if size == 0 else None if error is None else _said(error)
    return MediaError(message, path=path, got=got, expected="a video or sound file", todo=todo)


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def video_stream(container: Any) -> Any | None:
    """Returns the best video stream that is not a cover picture and can be decoded; None: there is none."""
    best = container.streams.best("video")
    candidates = ([best] if best is not None else []) + list(container.streams.video)
    for stream in candidates:
        if stream.codec_context is not None and not _is_cover(stream):
            return stream
    return None


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def audio_stream(container: Any) -> Any | None:
    """Returns the best audio stream that can be decoded; None: there is none."""
    best = container.streams.best("audio")
    candidates = ([best] if best is not None else []) + list(container.streams.audio)
    return next((stream for stream in candidates if stream.codec_context is not None), None)


def probe(path: Path) -> MediaInfo:
    """Returns what the file's header says; decodes no more than the first frame, which alone has the rotation.

    A file whose header can be read and whose frames cannot has rotation 0.

    Raises:
        MediaError: The file cannot be opened as video or sound.
    """
    with open_media(path) as container:
        video, audio = video_stream(container), audio_stream(container)
        rotation = 0 if video is None else _header_rotation(container, video)
        size = (None, None) if video is None else (video.codec_context.width, video.codec_context.height)
        width, height = size if rotation % 180 == 0 else size[::-1]
        rate = None if video is None else video.average_rate
        return MediaInfo(
            duration=None if container.duration is None else container.duration / av.time_base,
            has_video=video is not None,
            has_audio=audio is not None,
            width=width,
            height=height,
            rotation=rotation,
            header_fps=float(rate) if rate else None,
            sample_rate=None if audio is None else audio.codec_context.sample_rate,
            frames=None if video is None else video.frames or None,
            video_tracks=sum(not _is_cover(stream) for stream in container.streams.video),
            audio_tracks=len(container.streams.audio),
        )


def _header_rotation(container: Any, stream: Any) -> int:
    if "mov" not in container.format.name:  # the containers of cameras and telephones
        return 0
    stream.codec_context.thread_count = 1
    try:
        return next((_clockwise(frame) for frame in container.decode(stream)), 0)
    except av.FFmpegError:
        return 0


def _clockwise(frame: Any) -> int:
    # libav counts anti-clockwise and allows any angle; a picture can be turned by right angles.
    return int(round(-frame.rotation / 90) % 4 * 90)


class VideoPass:
    """One pass over the frames of a video, as an iterator of ``(seconds, frame)``.

    Times count from the first frame, and never decrease. Frames that come up to four places out of order are put in
    order; those that come later still are left out, with a warning. At a decode error the pass ends, since later
    frames are drawn upon the broken one: what was decoded is kept, with a warning. At most five frames in full
    resolution are held.

    Args:
        path: The file.
        fps: Sampling: for each grid time k / fps the first frame at or after it (to within a millisecond) is kept,
            once. A video slower than that keeps all its frames. None: all frames.

    Attributes:
        decoded: Number of frames that were decoded so far.
        announced: Number of frames by the header; None where it has none.
        warnings: What was odd so far.

    Raises:
        MediaError: While iterating: the file cannot be opened, has no video track, or none of its frames can be
            decoded.
    """

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        self.path = path
        self.fps = fps
        self.decoded = 0
        self.announced: int | None = None
        self.warnings: list[str] = []
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        """Yields seconds from the first frame, and the frame, which :meth:`picture` turns into an array."""
        origin, slot = 0.0, -1
        for time, frame in self._ordered():
            if slot < 0:
                origin = time
            # Without sampling every frame is its own slot.
            here = slot + 1 if self.fps is None else math.floor((time - origin + _ROUNDING) * self.fps)
            if here > slot:
                slot = here
                yield time - origin, frame

    def picture(self, frame: Any, *, max_side: int | None = None, grey: bool = False) -> NDArray[np.uint8]:
        """Returns a frame of this pass as RGB ``uint8 [H, W, 3]`` or grey ``uint8 [H, W]``, upright.

        Args:
            frame: From the iterator.
            max_side: The longer side is at most so many pixels (area average); it is never enlarged.
            grey: One channel, 0.299 R + 0.587 G + 0.114 B.

        All pictures of a pass have the size of the first one, also where the size changes within the video.
        """
        if self._size is None:
            longer = max(frame.width, frame.height)
            scale = 1.0 if max_side is None else min(1.0, max_side / longer)
            self._size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        # One reformatter for the whole pass: each keeps megabytes of state.
        small = self._reformatter.reformat(
            frame, *self._size, "gray" if grey else "rgb24", interpolation="AREA", threads=1
        )
        turned: NDArray[np.uint8] = np.rot90(small.to_ndarray(), -_clockwise(frame) // 90)
        return np.ascontiguousarray(turned)

    def _ordered(self) -> Iterator[tuple[float, Any]]:
        waiting: list[tuple[float, int, Any]] = []
        newest, late = -math.inf, 0
        for count, (time, frame) in enumerate(self._decode()):
            if time < newest:
                late += 1
                continue
            heapq.heappush(waiting, (time, count, frame))
            if len(waiting) > _REORDER:
                newest, _, frame = heapq.heappop(waiting)
                yield newest, frame
        while waiting:
            time, _, frame = heapq.heappop(waiting)
            yield time, frame
        if late:
            self.warnings.append(f"{late} of {self.decoded} frames came too late to be put in order: left out")

    def _decode(self) -> Iterator[tuple[float, Any]]:
        """Yields presentation time and frame, as they come."""
        with open_media(self.path) as container:
            stream = video_stream(container)
            if stream is None:
                raise unreadable(self.path, "has no video track that can be decoded", None)
            # One thread: workers are processes, and the frames kept at a decode error are always the same.
            stream.codec_context.thread_count = 1
            self.decoded = 0
            self.announced = stream.frames or None
            self.warnings = []
            problem: list[BaseException] = []
            untimed, hole = 0, 0.0
            start = end = 0.0
            for frame in _frames(container, stream, problem):
                self.decoded += 1
                if frame.pts is not None:
                    time = float(frame.pts * stream.time_base)
                else:
                    untimed += 1
                    time = end + 1 / float(stream.guessed_rate or 25)
                if self.decoded == 1:
                    start = end = time
                hole, end = max(hole, time - end), time
                yield time, frame
            if self.decoded == 0:
                raise unreadable(self.path, "no frame can be decoded", problem[0] if problem else None)
            if untimed:
                self.warnings.append(f"{untimed} of {self.decoded} frames have no timestamp: the header's rate is used")
            if hole > _HOLE:
                self.warnings.append(Damage(f"there are {hole:.1f} s without a frame between two frames"))
            if problem:
                of = f" of {stream.frames}" if stream.frames > self.decoded else ""
                said = _said(problem[0])
                message = f"decode error after {self.decoded}{of} frames, which are kept: {said}"
                self.warnings.append(Damage(message))
            else:
                self.warnings.extend(shortfall(container, stream, end - start))


def _frames(container: Any, stream: Any, problem: list[BaseException]) -> Iterator[Any]:
    """Yields decoded frames up to the first decode error, which is put into ``problem``."""
    try:
        yield from container.decode(stream)
    except av.FFmpegError as error:
        problem.append(error)


def shortfall(container: Any, stream: Any, seconds: float) -> list[str]:
    """Returns a warning when so many decoded seconds are clearly less than the header says: a file cut off early."""
    if stream.duration is not None:
        expected = float(stream.duration * stream.time_base)
    else:
        expected = (container.duration or 0) / av.time_base
    if seconds >= expected - max(0.5, 0.1 * expected):
        return []
    return [Damage(f"the header says {expected:.1f} s of {stream.type}, {seconds:.1f} s can be decoded")]


def decode_video(
    path: Path, *, fps: float | None = None, max_frames: int | None = None, max_side: int | None = None
) -> DecodedVideo:
    """Returns the frames of a video, sampled by their timestamps, upright.

    Args:
        path: The file.
        fps: For each grid time k / fps from the first frame, the first frame at or after it is kept (to within a
            millisecond), once. None: all frames.
        max_frames: Where there are more, so many are kept, spread evenly over the whole video, the first among
            them; the number of sampled frames between two kept ones differs by a factor of two at most. At least 1.
        max_side: Frames are scaled down as they come, the longer side to at most so many pixels.

    The best video stream is taken, never a cover picture. Display rotation is applied; non-square pixels are
    left as they are. Memory is bounded by twice ``max_frames`` pictures of ``max_side``.

    Raises:
        MediaError: The file cannot be opened, has no video track, or none of its frames can be decoded. An error
            after some frames is a warning that says how many were kept.
    """
    video = VideoPass(path, fps=fps)
    kept: list[tuple[float, NDArray[np.uint8]]] = []
    stride = 1
    for index, (time, frame) in enumerate(video):
        if index % stride == 0:
            kept.append((time, video.picture(frame, max_side=max_side)))
        if max_frames is not None and len(kept) > 2 * max_frames:
            kept = kept[::2]
            stride *= 2
    chosen = [kept[place] for place in spread(len(kept), max_frames)]
    frames = np.stack([picture for _, picture in chosen])
    times = np.array([time for time, _ in chosen], np.float32)
    return DecodedVideo(frames, times, video.decoded, tuple(video.warnings))


def spread(count: int, at_most: int | None) -> Iterable[int]:
    """Returns the places to keep of ``count`` things: all, or ``at_most`` spread evenly from the first to the last.

    >>> list(spread(3, None)), list(spread(9, 3))
    ([0, 1, 2], [0, 4, 8])
    """
    if at_most is None or count <= at_most:
        return range(count)
    return [int(place) for place in np.linspace(0, count - 1, at_most).round()]


def frame_times(path: Path) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Returns the seconds of each frame from the first one, ``float32 [T]``, never decreasing, and the warnings.

    Every frame is decoded, none is converted: a header's count is not to be relied on.

    Raises:
        MediaError: As :func:`decode_video`.
    """
    video = VideoPass(path)
    times = np.array([time for time, _ in video], np.float32)
    return times, tuple(video.warnings)
