"""Audio features: hidden states of a Wav2Vec2, HuBERT or WavLM model, fifty frames per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.audio import (
    EMOTIONS,
    AudioModel,
    embed_waveforms,
    frame_grid,
    has_emotion_head,
    layer_choice,
    load_audio_model,
)
from abawkit.backbones.batching import Computing
from abawkit.backbones.folder import open_folder
from abawkit.errors import ModalityMissing, UsageError
from abawkit.extractors.sources import media_source
from abawkit.features.spec import FeatureSpec, Loaded, Workload
from abawkit.layout.folder import Clip
from abawkit.media.audio import decode_audio


class TransformerAudio:
    """Makes frames from a clip's sound with a transformers audio encoder.

    The sound is that of the audio file, else the video's track. The times are the middles of what each frame sees.

    Args:
        model: Model id or local folder.
        window: Longer clips run in windows of this length (seconds).
        overlap: How much of a window the next one repeats (seconds), at least 0.1 and at most half a window.
        layers: Which hidden states; see :func:`abawkit.backbones.audio.layer_choice`.
        with_vad: Append the outputs of the model's emotion head for each frame (arousal, dominance, valence): 1027
            values per frame with the default model.
        how: Device, precision and batches of the computation; default: the processor.
        dtype: Floating-point type in the store.

    Raises:
        AbawkitError: The model is not on this machine, or is not an audio encoder.
        UsageError: The overlap does not suit the window, the model has no such layer, or no emotion head.
    """

    def __init__(
        self,
        model: str = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        *,
        window: float = 30.0,
        overlap: float = 4.0,
        layers: str = "-1",
        with_vad: bool = False,
        how: Computing | None = None,
        dtype: Literal["float16", "float32"] = "float16",
    ) -> None:
        if not 0.1 <= overlap <= window / 2:
            raise UsageError(
                "the overlap does not suit the window",
                got=f"{window} s and {overlap} s",
                expected="an overlap of at least 0.1 s and at most half a window",
            )
        found = open_folder(model)
        self.folder = found.path
        self.grid = frame_grid(found.path)
        self.layers = layer_choice(layers, found.path)
        self.with_vad = with_vad
        if with_vad and not has_emotion_head(found.path):
            raise UsageError(
                "this audio model has no emotion head",
                path=found.path,
                expected="a checkpoint with classifier.dense and classifier.out_proj, as audeering's",
                todo="leave out --with-vad, or choose another --model audio=ID",
            )
        self.how = replace(how) if how else Computing()
        self.window = window
        self.overlap = overlap
        self.spec = FeatureSpec(
            modality="audio",
            name=found.name + ("-vad" if with_vad else ""),
            dim=found.dim + (len(EMOTIONS) if with_vad else 0),
            extractor="transformers-audio/1",
            model=found.model,
            revision=found.revision,
            weights=found.weights,
            processor="pyav",
            preprocessing={
                "sample_rate": self.grid.sample_rate,
                "window": window,
                "overlap": overlap,
                "layers": list(self.layers),
                "with_vad": with_vad,
            },
            precision=self.how.precision,
            dtype=dtype,
            time_source="index",
            licence=found.licence,
        )
        self.workload = Workload(frames=345)
        self._model: AudioModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def source(self, clip: Clip) -> str:
        """Returns a digest of name, size and modification time of the sound's file; empty when there is none."""
        return media_source(clip.audio or clip.video)

    def load(self, clip: Clip) -> Loaded:
        """Returns the waveform, ``float32 [N]``, at the model's sample rate.

        Raises:
            ModalityMissing: There is no file, or it has no sound.
            MediaError: It cannot be decoded.
        """
        path = clip.audio or clip.video
        if path is None:
            raise ModalityMissing("there is no audio file and no video")
        sound = decode_audio(path, sample_rate=self.grid.sample_rate)
        warnings = sound.warnings
        if len(sound.waveform) < self.grid.receptive:
            seconds = len(sound.waveform) / self.grid.sample_rate
            warnings += (f"{seconds:.3f} s of sound are too short for a frame: padded with silence",)
        return Loaded(sound.waveform, warnings=warnings)

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns ``float32 [T, D]`` and the times ``float32 [T]`` per clip; T is at least 1."""
        if self._model is None:
            self._model = load_audio_model(self.folder, how=self.how, layers=self.layers, with_vad=self.with_vad)
        values = embed_waveforms(
            self._model,
            [loaded.data for loaded in batch],
            window=self.window,
            overlap=self.overlap,
        )
        return [(frames, self.grid.times(len(frames))) for frames in values]
