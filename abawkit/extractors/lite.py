"""Extractors without models: seconds per thousand clips on any machine, for a first run, the demo and tests.

Every value has a formula; they are weak, but real, baselines. All the work is done in ``load``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import ModalityMissing
from abawkit.extractors import acoustics, finished
from abawkit.extractors.flow import STATISTICS, WINDOW_SECONDS, flow_statistics, pair_statistics
from abawkit.extractors.sources import CROPS, TEXT_FILES, TEXT_WORKLOAD, Transcripts, faces_source, media_source
from abawkit.features.spec import Extractor, FeatureSpec, Loaded, Modality, Workload
from abawkit.layout.folder import Clip
from abawkit.media.audio import decode_audio
from abawkit.media.faces import face_crops
from abawkit.media.images import HOG_SIDE, HOG_VALUES, dct_low, grey, hog, optical_flow, resize
from abawkit.media.video import VideoPass, decode_video

Embedded = tuple[NDArray[np.floating[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class LiteText:
    """Hashed character n-grams of the transcript: one frame of ``dim`` values, of length 1.

    Two to four characters within words, lower-cased, hashed with alternating sign. On the graded emotions
    of 10,000 texts (EmoBank, ``bench/emobank.py``) they do as well as TF-IDF of words at this size, not at 768 values.
    ``transcripts`` says where the words come from.
    """

    dim: int = 4096
    shortest: int = 2
    longest: int = 4
    transcripts: Transcripts = TEXT_FILES
    workload = TEXT_WORKLOAD

    @property
    def spec(self) -> FeatureSpec:
        """``lite``: one frame per clip."""
        sizes = {"dim": self.dim, "shortest": self.shortest, "longest": self.longest}
        settings = {**sizes, **self.transcripts.preprocessing}
        return FeatureSpec("text", "lite", self.dim, "lite-text/1", preprocessing=settings)

    def source(self, clip: Clip) -> str:
        """Returns the digest of the transcript and what made it."""
        return self.transcripts.source(clip)

    def load(self, clip: Clip) -> Loaded:
        """Returns the transcript's vector, ``float32 [1, dim]``.

        Raises:
            ModalityMissing: There is no transcript, or no letter or digit in it.
            MediaError: The transcript is not UTF-8 text.
        """
        text = self.transcripts.read(clip)
        values = _hasher(self.dim, self.shortest, self.longest).transform([text]).toarray()
        return Loaded(values.astype(np.float32), text=text)

    def embed(self, batch: Sequence[Loaded]) -> list[Embedded]:
        """Returns the values as they were loaded; a text has no times."""
        return [finished(loaded) for loaded in batch]


@cache
def _hasher(dim: int, shortest: int, longest: int) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=dim, analyzer="char_wb", ngram_range=(shortest, longest), lowercase=True)


@dataclass(frozen=True)
class LiteAudio:
    """Log-mel spectrum, loudness, pitch and voicing, 50 frames per second (``acoustics.acoustic_frames``)."""

    workload = Workload(frames=345)

    @property
    def spec(self) -> FeatureSpec:
        """``lite``: 43 values per frame of 25 ms, every 20 ms."""
        settings = {
            "sample_rate": acoustics.SAMPLE_RATE,
            "window": acoustics.WINDOW,
            "hop": acoustics.HOP,
            "mels": acoustics.MELS,
            "mel_range": acoustics.MEL_RANGE,
            "pitch_range": acoustics.PITCH_RANGE,
            "pitch_window": acoustics.PITCH_WINDOW,
            "pitch_band": acoustics.PITCH_BAND,
            "voiced": acoustics.VOICED,
        }
        return FeatureSpec(
            "audio", "lite", acoustics.MELS + 3, "lite-audio/1", preprocessing=settings, time_source="index"
        )

    def source(self, clip: Clip) -> str:
        """Returns a digest of the name, size and modification time of the file that has the sound."""
        return media_source(clip.audio or clip.video)

    def load(self, clip: Clip) -> Loaded:
        """Returns the frames of ``audio/NNNNN.mp3``, or else of the video's track, with each frame's start (s).

        Raises:
            ModalityMissing: There is neither file, or no audio track.
            MediaError: The sound cannot be decoded.
        """
        path = clip.audio or clip.video
        if path is None:
            raise ModalityMissing("there is neither an audio nor a video file")
        audio = decode_audio(path, sample_rate=acoustics.SAMPLE_RATE)
        values = acoustics.acoustic_frames(audio.waveform)
        times = np.arange(len(values), dtype=np.float32) * np.float32(acoustics.HOP / acoustics.SAMPLE_RATE)
        return Loaded(values, times=times, warnings=audio.warnings)

    def embed(self, batch: Sequence[Loaded]) -> list[Embedded]:
        """Returns the values and times as they were loaded."""
        return [finished(loaded) for loaded in batch]


@dataclass(frozen=True)
class LiteVision:
    """Shape and shading of the face: histograms of gradients and low cosine coefficients of each crop.

    Each picture becomes grey, 64×64: 324 values of ``images.hog`` and 64 of ``images.dct_low``, times three, so that
    both kinds vary about equally much. Where a clip has no face crops, the full frame is taken instead (with a
    warning when its face folder is there and empty).

    Attributes:
        max_frames: Pictures per clip, spread evenly where there are more.
        fps: Frames per second of the video, where there are no crops.
        coefficients: Cosine frequencies per axis.
    """

    max_frames: int = 200
    fps: float = 5.0
    coefficients: int = 8
    workload = Workload(frames=CROPS, many_files=True)

    @property
    def spec(self) -> FeatureSpec:
        """``lite``: 388 values per picture; crops carry no timestamps."""
        dim = HOG_VALUES + self.coefficients**2
        return FeatureSpec("vision", "lite", dim, "lite-vision/1", preprocessing=asdict(self))

    def source(self, clip: Clip) -> str:
        """Returns a digest of the crops' names and sizes, or else of the video's name, size and time."""
        return faces_source(clip.faces) or media_source(clip.video)

    def load(self, clip: Clip) -> Loaded:
        """Returns one row per face crop, or else per sampled frame.

        Raises:
            ModalityMissing: There are neither crops nor a video.
            MediaError: There are crops and none can be decoded, or the video cannot.
        """
        warnings: list[str] = []
        pictures = self._pictures(clip, warnings)
        rows = []
        for picture in pictures:
            small = resize(grey(picture), HOG_SIDE, HOG_SIDE)
            rows.append(np.concatenate([hog(small), 3 * dct_low(small, self.coefficients)]))
        return Loaded(np.stack(rows), warnings=tuple(warnings))

    def _pictures(self, clip: Clip, warnings: list[str]) -> NDArray[np.uint8]:
        if clip.faces is not None:
            try:
                return face_crops(clip.faces, size=HOG_SIDE, max_images=self.max_frames, warnings=warnings)[0]
            except ModalityMissing:
                warnings.append("the face folder has no crops: full frames are used")
        if clip.video is None:
            raise ModalityMissing("there are neither face crops nor a video file")
        video = decode_video(clip.video, fps=self.fps, max_frames=self.max_frames, max_side=2 * HOG_SIDE)
        warnings.extend(video.warnings)
        return video.frames

    def embed(self, batch: Sequence[Loaded]) -> list[Embedded]:
        """Returns the values as they were loaded, without times."""
        return [finished(loaded) for loaded in batch]


@dataclass(frozen=True)
class LiteMotion:
    """Eight statistics of the optical flow from one frame to the next (paper, Sec. 4.3; columns in ``flow``).

    Attributes:
        fps: Frames per second that are compared, by their timestamps.
        max_side: Longer side of the grey frames (pixels).
    """

    fps: float = 10.0
    max_side: int = 96

    @property
    def spec(self) -> FeatureSpec:
        """``lite``: eight values per pair of frames, at the later frame's timestamp."""
        settings = {**asdict(self), "columns": list(STATISTICS), "window_seconds": WINDOW_SECONDS}
        return FeatureSpec(
            "motion", "lite", len(STATISTICS), "lite-motion/1", preprocessing=settings, time_source="pts"
        )

    @property
    def workload(self) -> Workload:
        """One row per sampled frame of the video."""
        return Workload(frames=6.9 * self.fps)

    def source(self, clip: Clip) -> str:
        """Returns a digest of the video's name, size and modification time."""
        return media_source(clip.video)

    def load(self, clip: Clip) -> Loaded:
        """Returns one row per pair of frames; a clip of one frame has one row of zeros.

        No more than two grey frames are held. Frames closer than half the sampling step count as half a step
        apart: a small step cannot make a huge value.

        Raises:
            ModalityMissing: There is no video.
            MediaError: The video cannot be decoded.
        """
        if clip.video is None:
            raise ModalityMissing("there is no video file")
        video = VideoPass(clip.video, fps=self.fps)
        pairs, times = [], []
        before: tuple[float, NDArray[np.uint8]] | None = None
        for time, frame in video:
            picture = video.picture(frame, max_side=self.max_side, grey=True)
            if before is not None:
                seconds = max(time - before[0], 0.5 / self.fps)
                pairs.append(pair_statistics(optical_flow(before[1], picture), seconds))
                times.append(time)
            before = time, picture
        if not pairs:
            nothing = np.zeros((1, len(STATISTICS)), np.float32)
            return Loaded(nothing, times=np.zeros(1, np.float32), warnings=tuple(video.warnings))
        stamps = np.array(times, np.float32)
        return Loaded(flow_statistics(np.stack(pairs), stamps), times=stamps, warnings=tuple(video.warnings))

    def embed(self, batch: Sequence[Loaded]) -> list[Embedded]:
        """Returns the values and times as they were loaded."""
        return [finished(loaded) for loaded in batch]


def lite_extractors(transcripts: Transcripts = TEXT_FILES) -> dict[Modality, Extractor]:
    """Returns the extractors without models, by modality; all can be pickled."""
    text = LiteText(transcripts=transcripts)
    return {"text": text, "audio": LiteAudio(), "vision": LiteVision(), "motion": LiteMotion()}
