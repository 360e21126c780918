"""An extractor of one's own: the loudness of a clip's sound in eight bands, ten times per second.

``pyproject.toml`` beside this file declares :func:`loudness` as the entry point ``loudness`` of the group
``abawkit.extractors``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit import Workspace
from abawkit.errors import ModalityMissing
from abawkit.extractors.sources import media_source
from abawkit.features.spec import FeatureSpec, Loaded, Workload
from abawkit.layout.folder import Clip
from abawkit.media.audio import decode_audio

SAMPLE_RATE = 16_000
FRAME = 1_600  # samples: 0.1 s, so the bins of its spectrum are 10 Hz apart
BANDS = (50, 150, 300, 500, 800, 1_300, 2_200, 4_000)  # where each begins (Hz); the last one ends at 8 kHz


class Loudness:
    """Eight values per 0.1 s of sound: the power in each band, as (decibels + 60) / 15.

    Encoders expect values of about the size of 1.
    """

    # Everything that the values depend on: another spec gives another store. Change "loudness/1" with the code.
    spec = FeatureSpec(
        modality="audio",
        name="loudness",
        dim=len(BANDS),
        extractor="loudness/1",
        preprocessing={"sample_rate": SAMPLE_RATE, "frame": FRAME, "bands": BANDS},
        time_source="index",
    )
    # A clip of 6.9 s has 69 frames: for the estimate of `extract --plan`.
    workload = Workload(frames=69)

    def source(self, clip: Clip) -> str:
        """Returns a digest by which a replaced file is noticed; empty where the clip has no sound."""
        return media_source(clip.audio or clip.video)

    def load(self, clip: Clip) -> Loaded:
        """Returns the waveform ``float32 [N]``; runs in a worker process.

        Raises:
            ModalityMissing: There is no sound; the clip is recorded as missing.
        """
        path = clip.audio or clip.video
        if path is None:
            raise ModalityMissing("there is neither an audio nor a video file")
        sound = decode_audio(path, sample_rate=SAMPLE_RATE)
        return Loaded(sound.waveform, warnings=sound.warnings)

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns values ``float32 [T, 8]`` and times ``float32 [T]`` (seconds) per clip; T is at least 1.

        A model would be loaded here at the first call, and kept.
        """
        return [self._levels(loaded.data) for loaded in batch]

    def _levels(self, waveform: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        count = max(1, len(waveform) // FRAME)
        padded = np.pad(waveform, (0, max(0, FRAME - len(waveform))))
        frames = padded[: count * FRAME].reshape(count, FRAME)
        spectrum = np.square(np.abs(np.fft.rfft(frames * np.hanning(FRAME)))) / FRAME**2
        power = np.add.reduceat(spectrum, [hertz * FRAME // SAMPLE_RATE for hertz in BANDS], axis=1)
        decibels = 10 * np.log10(power + 1e-10)
        times = np.arange(count, dtype=np.float32) * np.float32(FRAME / SAMPLE_RATE)
        return ((decibels + 60) / 15).astype(np.float32), times


def loudness(workspace: Workspace) -> Loudness:
    """Returns the extractor; ``workspace.settings.extract`` has device, precision and batch size for a model."""
    return Loudness()
