"""Sound of audio and video files: one channel at one sample rate."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from abawkit.errors import Damage, ModalityMissing
from abawkit.media.video import audio_stream, open_media, shortfall, unreadable

#: Samples of a piece of sound, about.
_PIECE = 65_536


@dataclass
class DecodedAudio:
    """A waveform.

    Attributes:
        waveform: One channel, ``float32 [N]`` in [-1, 1].
        sample_rate: Hz.
        warnings: What was odd and did not stop the decoding.
    """

    waveform: NDArray[np.float32]
    sample_rate: int
    warnings: tuple[str, ...] = ()


def decode_audio(path: Path, *, sample_rate: int = 16000, max_seconds: float | None = None) -> DecodedAudio:
    """Returns the sound of an audio or video file, resampled, the mean of its channels.

    Args:
        path: The file. The best audio track is taken.
        sample_rate: Hz.
        max_seconds: Decode no more than so much from the beginning.

    Time 0 is the track's first sample: a track that begins later than the pictures is not padded. Packets that
    cannot be decoded are left out, with a warning, because the ones after them do not depend on them.

    Raises:
        ModalityMissing: There is no audio track, or it is there and empty.
        MediaError: The file cannot be opened, or nothing of its audio track can be decoded.
    """
    limit = None if max_seconds is None else round(max_seconds * sample_rate)
    sound = AudioPass(path, sample_rate=sample_rate)
    pieces: list[NDArray[np.float32]] = []
    samples = 0
    with closing(iter(sound)) as decoded:
        for piece in decoded:
            pieces.append(piece)
            samples += len(piece)
            if limit is not None and samples >= limit:
                break
    waveform = np.concatenate(pieces)[:limit]
    np.clip(waveform, -1, 1, out=waveform)
    return DecodedAudio(waveform, sample_rate, tuple(sound.warnings))


class AudioPass:
    """One pass over the sound of an audio or video file, as an iterator of pieces ``float32 [n]``, n at least 1.

    What :func:`decode_audio` says of its waveform is true of the pieces, but that nothing is clipped.

    Args:
        path: The file.
        sample_rate: Hz; None: that of the file.

    Attributes:
        sample_rate: Hz; None until the file is open, where that of the file was asked for.
        warnings: What was odd and did not stop the decoding; complete when the pass has ended.

    Raises:
        ModalityMissing: While iterating: there is no audio track, or it is there and empty.
        MediaError: While iterating: the file cannot be opened, or nothing of its audio track can be decoded.
    """

    def __init__(self, path: Path, *, sample_rate: int | None = None) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self.warnings: list[str] = []

    def __iter__(self) -> Generator[NDArray[np.float32], None, None]:
        """Yields the pieces."""
        self.warnings = []
        with open_media(self.path) as container:
            stream = audio_stream(container)
            if stream is None and container.streams.audio:
                raise unreadable(self.path, "its sound is in a form that cannot be decoded", None)
            if stream is None:
                raise ModalityMissing("has no audio track", path=self.path)
            stream.codec_context.thread_count = 1
            rate = self.sample_rate = self.sample_rate or stream.codec_context.sample_rate
            samples = 0
            errors: list[BaseException] = []
            missing: list[str] = []
            try:
                for piece in _resampled(_frames(container, stream, errors), rate):
                    samples += len(piece)
                    if len(piece):
                        yield piece
                missing = shortfall(container, stream, samples / rate)
            except av.FFmpegError as error:  # damaged headers name forms that nothing can convert
                raise unreadable(self.path, "its sound is in a form that cannot be converted", error) from error
            finally:  # also where the caller has heard enough
                broken = f"{len(errors)} packet(s) of sound cannot be decoded: left out"
                self.warnings = [*([Damage(broken)] if errors else []), *missing]
        if samples == 0:
            if errors:
                raise unreadable(self.path, "nothing of its sound can be decoded", errors[0])
            raise ModalityMissing("its audio track is empty", path=self.path)


def _frames(container: Any, stream: Any, errors: list[BaseException]) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        try:
            yield from next(packets).decode()
        except StopIteration:
            return
        except av.FFmpegError as error:
            errors.append(error)  # after an error of the container itself, the next packet is StopIteration


def _resampled(frames: Iterator[Any], sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Yields ``float32 [n]`` pieces: the mean of the channels, resampled.

    The frames of a file are short (36 ms of an mp3): they are gathered, since each array costs more than its samples.
    """
    resampler: Any = None
    gathered: Any = None
    form = None
    for frame in frames:
        if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
            # Concatenated files change their form on the way.
            yield from _flushed(resampler, gathered)
            # The channels stay: libav's own down-mix to float adds them with a gain of 1.41, and clips.
            resampler, gathered = av.AudioResampler(format="fltp", rate=sample_rate), av.AudioFifo()
        frame.pts = None
        _gather(resampler.resample(frame), gathered)
        if gathered.samples >= _PIECE:
            yield _mono(gathered.read())
    yield from _flushed(resampler, gathered)


def _flushed(resampler: Any, gathered: Any) -> Iterator[NDArray[np.float32]]:
    if resampler is not None:
        _gather(resampler.resample(None), gathered)
        if gathered.samples:
            yield _mono(gathered.read())


def _gather(frames: Sequence[Any], gathered: Any) -> None:
    for frame in frames:
        frame.pts = None
        gathered.write(frame)


def _mono(frame: Any) -> NDArray[np.float32]:
    channels: NDArray[np.float32] = frame.to_ndarray()
    mean: NDArray[np.float32] = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
    return mean
