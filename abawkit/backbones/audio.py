"""Frame features of waveforms from Wav2Vec2, HuBERT and WavLM models (CHALLENGE: audio (T, 1024)).

Models whose feature encoder uses layer norm take padded batches with the attention mask. Models with group norm
(``feat_extract_norm: group``, such as wav2vec2-base) compute statistics over the padding whatever the mask says:
they only ever see unpadded batches of equal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import batches, forward
from abawkit.backbones.hub import read_config, read_processor
from abawkit.backbones.loading import load_model
from abawkit.errors import AbawkitError

Waveform = NDArray[np.float32]

#: Model types of ``config.json`` for which frames, masks and windows are known to be right.
MODEL_TYPES = ("wav2vec2", "hubert", "wavlm")


@dataclass(frozen=True)
class FrameGrid:
    """Where the output frames of a stack of convolutions lie in the waveform, in samples.

    Attributes:
        sample_rate: Of the waveform (Hz).
        kernels: Kernel size of each convolution.
        strides: Stride of each convolution.
    """

    sample_rate: int
    kernels: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def stride(self) -> int:
        """Samples from one frame to the next (320 for all published models: 50 frames per second)."""
        return int(np.prod(self.strides))

    @property
    def receptive(self) -> int:
        """Samples that one frame sees (400): the shortest waveform that gives a frame.

        >>> FrameGrid(16000, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)).receptive
        400
        """
        size = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            size = (size - 1) * stride + kernel
        return size

    def frames(self, samples: int) -> int:
        """Returns how many frames a waveform of ``samples`` samples gives; 0 when it is too short for one."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def times(self, frames: int) -> NDArray[np.float32]:
        """Returns the middle of what each frame sees, in seconds: ``float32 [frames]``.

        >>> FrameGrid(16000, (400,), (320,)).times(2).tolist()
        [0.012500000186264515, 0.032499998807907104]
        """
        middles = np.arange(frames) * self.stride + self.receptive / 2
        return (middles / self.sample_rate).astype(np.float32)


def frame_grid(folder: Path) -> FrameGrid:
    """Returns the frame grid of a model folder, read without transformers.

    Raises:
        AbawkitError: The model is no Wav2Vec2-like audio model, or is one with an adapter that changes the grid.
    """
    config = read_config(folder)
    kernels, strides = config.get("conv_kernel"), config.get("conv_stride")
    usable = config.get("model_type") in MODEL_TYPES and not config.get("add_adapter")
    if not usable or not kernels or not strides or len(kernels) != len(strides):
        raise AbawkitError(
            "this is not an audio model that can be used",
            path=folder / "config.json",
            got=f"model_type {config.get('model_type')!r}" + (", with an adapter" if config.get("add_adapter") else ""),
            expected="Wav2Vec2, HuBERT or WavLM with conv_kernel and conv_stride, without an adapter",
        )
    sample_rate = int(read_processor(folder, "feature_extractor").get("sampling_rate", 16_000))
    return FrameGrid(sample_rate, tuple(kernels), tuple(strides))


@dataclass(frozen=True)
class Window:
    """A piece of a long waveform, and which of the whole waveform's frames are taken from it.

    Attributes:
        start: First sample.
        stop: One past the last sample.
        first: The first frame taken from it, counted over the whole waveform.
        last: One past the last frame taken from it.
    """

    start: int
    stop: int
    first: int
    last: int


def windows(samples: int, grid: FrameGrid, *, window: float, overlap: float) -> list[Window]:
    """Returns the windows that a waveform is embedded in; a single one when it is not longer than a window.

    Windows start on the frame grid, so their frames are those of one pass over the whole waveform. Where two
    overlap, each gives its half: every frame taken has at least half the overlap of sound around it.

    Args:
        samples: Length of the waveform, at least ``grid.receptive``.
        grid: The model's frame grid.
        window: Length of a window (seconds).
        overlap: How much of a window the next one repeats (seconds); less than a window.

    >>> for piece in windows(2800, FrameGrid(100, (4,), (2,)), window=12.0, overlap=4.0):
    ...     print(piece)
    Window(start=0, stop=1200, first=0, last=500)
    Window(start=800, stop=2000, first=500, last=900)
    Window(start=1600, stop=2800, first=900, last=1399)
    """
    size, shared = (int(seconds * grid.sample_rate) // grid.stride * grid.stride for seconds in (window, overlap))
    total = grid.frames(samples)
    starts = [0]
    while starts[-1] + size < samples:
        starts.append(starts[-1] + size - shared)
    borders = [(start + shared // 2) // grid.stride for start in starts[1:]]
    return [
        Window(start, min(start + size, samples), first, last)
        for start, first, last in zip(starts, [0, *borders], [*borders, total], strict=True)
    ]


@dataclass(frozen=True)
class AudioModel:
    """An audio encoder in memory.

    Attributes:
        model: The transformers model.
        grid: Where its frames lie.
        normalise: Each waveform is brought to zero mean and unit variance first.
        padded: Batches may be padded (with the attention mask); False: only waveforms of equal length.
    """

    model: Any
    grid: FrameGrid
    normalise: bool
    padded: bool


def load_audio_model(folder: Path, *, device: str) -> AudioModel:
    """Returns the audio encoder of a folder; of a checkpoint with a head beside it, the encoder alone.

    Raises:
        AbawkitError: See :func:`frame_grid` and :func:`abawkit.backbones.loading.load_model`.
    """
    grid = frame_grid(folder)
    normalise = bool(read_processor(folder, "feature_extractor").get("do_normalize", True))
    model = load_model(folder, device=device)
    return AudioModel(model, grid, normalise, padded=model.config.feat_extract_norm == "layer")


def embed_waveforms(
    audio_model: AudioModel,
    waveforms: Sequence[Waveform],
    *,
    window: float,
    overlap: float,
    batch_seconds: float = 30.0,
) -> list[NDArray[np.float32]]:
    """Returns the last hidden state of each waveform: ``float32 [T, D]``, with ``T`` at least 1.

    Args:
        audio_model: The encoder.
        waveforms: Mono, ``float32 [N]``, at the model's sample rate. One too short for a frame is padded with
            zeros to one frame.
        window: Longer waveforms run in windows of this length (seconds).
        overlap: By how much windows overlap (seconds); see :func:`windows`.
        batch_seconds: Most seconds of sound in one forward pass, padding included.
    """
    grid = audio_model.grid
    prepared = [_prepare(waveform, grid.receptive, normalise=audio_model.normalise) for waveform in waveforms]
    plans = [windows(len(waveform), grid, window=window, overlap=overlap) for waveform in prepared]
    pieces = [
        (waveform[part.start : part.stop], part, clip)
        for clip, (waveform, plan) in enumerate(zip(prepared, plans, strict=True))
        for part in plan
    ]

    def run(group: Sequence[int]) -> Sequence[NDArray[np.float32]]:
        return _hidden(audio_model, [pieces[index][0] for index in group])

    dim = audio_model.model.config.hidden_size
    values = [np.empty((grid.frames(len(waveform)), dim), np.float32) for waveform in prepared]
    lengths = [len(piece) for piece, _, _ in pieces]
    budget = int(batch_seconds * grid.sample_rate)
    for group in batches(lengths, budget=budget, equal=not audio_model.padded):
        for index, hidden in zip(group, forward(run, group), strict=True):
            _, part, clip = pieces[index]
            offset = part.start // grid.stride
            values[clip][part.first : part.last] = hidden[part.first - offset : part.last - offset]
    return values


def _prepare(waveform: Waveform, shortest: int, *, normalise: bool) -> Waveform:
    if normalise and len(waveform):  # as transformers' Wav2Vec2FeatureExtractor
        waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    return np.pad(waveform, (0, max(0, shortest - len(waveform)))).astype(np.float32, copy=False)


def _hidden(audio_model: AudioModel, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
    """Returns the last hidden state of each waveform of one batch, without the frames of the padding."""
    import torch

    longest = max(len(waveform) for waveform in waveforms)
    inputs = np.zeros((len(waveforms), longest), np.float32)
    mask = np.zeros((len(waveforms), longest), np.int64)
    for row, waveform in enumerate(waveforms):
        inputs[row, : len(waveform)] = waveform
        mask[row, : len(waveform)] = 1
    device = audio_model.model.device
    hidden = audio_model.model(
        torch.from_numpy(inputs).to(device),
        attention_mask=torch.from_numpy(mask).to(device) if audio_model.padded else None,
    ).last_hidden_state  # [B, T, D]
    frames = [audio_model.grid.frames(len(waveform)) for waveform in waveforms]
    return [row[:count] for row, count in zip(hidden.to("cpu", torch.float32).numpy(), frames, strict=True)]
