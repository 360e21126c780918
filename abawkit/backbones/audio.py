"""Frame features of waveforms from Wav2Vec2, HuBERT and WavLM models (1,024 values with the paper's model).

Models whose feature encoder uses layer norm take padded batches with the attention mask. Models with group norm
(``feat_extract_norm: group``, such as wav2vec2-base) compute statistics over the padding whatever the mask says:
they only ever see unpadded batches of equal length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import Computing, batches, computing, forward
from abawkit.backbones.config import read_config, read_processor
from abawkit.backbones.loading import load_model
from abawkit.errors import AbawkitError, UsageError

Waveform = NDArray[np.float32]

#: Most seconds of sound in one forward pass, padding included, unless a number of pieces is asked for; and on a CPU the
#: most values of the first convolution: 10 s of sound with the published models, where one clip alone is as fast as
#: several and nothing is padded.
CPU_SECONDS, GPU_SECONDS, CPU_VALUES = 60, 240, 10 * 512 * 3200
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
        AbawkitError: The model is not a Wav2Vec2-like audio model, or has an adapter that changes the grid.
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
    # Both in whole frames, in samples: every window then starts on the frame grid of the whole waveform.
    size, shared = (int(seconds * grid.sample_rate) // grid.stride * grid.stride for seconds in (window, overlap))
    total = grid.frames(samples)
    starts = [0]
    while starts[-1] + size < samples:
        starts.append(starts[-1] + size - shared)
    # From which frame of the whole waveform on each later window is taken: the middle of its overlap with the last one.
    borders = [(start + shared // 2) // grid.stride for start in starts[1:]]
    return [
        Window(start, min(start + size, samples), first, last)
        for start, first, last in zip(starts, [0, *borders], [*borders, total], strict=True)
    ]


def layer_choice(text: str, folder: Path) -> tuple[int, ...]:
    """Returns the hidden states that ``text`` means, counted from the last: -1 is the last layer's output.

    Args:
        text: A layer: -1 is the last, 0 what enters the first, N the output of the N-th; or ``mean:K``, the mean of
            the last K layers.
        folder: The model's folder; its config.json says how many layers there are.

    Raises:
        UsageError: There is no such layer.
    """
    count = int(read_config(folder).get("num_hidden_layers", 0))
    match = re.fullmatch(r"(mean:)?(-?[0-9]{1,4})", text.strip())
    number = int(match[2]) if match else -9999
    if match and match[1] and 1 <= number <= count:
        return tuple(range(-number, 0))
    if match and not match[1] and -count - 1 <= number <= count:
        return (number if number < 0 else number - count - 1,)
    raise UsageError(
        "there is no such layer in this audio model",
        path=folder,
        got=repr(text),
        expected=f"a number from {-count - 1} to {count}, or mean:K with K from 1 to {count}",
    )


def has_emotion_head(folder: Path) -> bool:
    """Whether the checkpoint has the regression head of audeering's models beside its encoder."""
    return {key for path in folder.glob("*.safetensors") for key in _keys(path)} >= _HEAD


def _keys(path: Path) -> set[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return set(file.keys())
    except (OSError, SafetensorError):
        return set()  # loading the encoder says what is wrong with the file


def _emotion_head(folder: Path, device: str) -> Any:
    """Returns the head as a function of a hidden state ``[…, D]`` → ``[…, 3]``: Linear, tanh, Linear."""
    import torch
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {key: file.get_tensor(key).float() for key in _HEAD & set(file.keys())}
    layers = []
    for name in ("dense", "out_proj"):
        weight, bias = found[f"classifier.{name}.weight"], found[f"classifier.{name}.bias"]
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        layers.append(linear)
    return torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1]).eval().requires_grad_(False).to(device)


#: The regression head of audeering's models (their model card), and how many outputs it has.
_HEAD = frozenset(f"classifier.{name}.{kind}" for name in ("dense", "out_proj") for kind in ("weight", "bias"))
EMOTIONS = ("arousal", "dominance", "valence")


@dataclass(frozen=True)
class AudioModel:
    """An audio encoder in memory.

    Attributes:
        model: The transformers model.
        how: Device and precision of its forward passes.
        grid: Where its frames lie.
        normalise: Each waveform is brought to zero mean and unit variance first.
        padded: Batches may be padded (with the attention mask); False: only waveforms of equal length.
        layers: The hidden states whose mean is taken, counted from the last (-1).
        head: The emotion head, applied to each frame of the last hidden state, as the model card applies it to their
            mean; None: its outputs are not wanted.
    """

    model: Any
    how: Computing
    grid: FrameGrid
    normalise: bool
    padded: bool
    layers: tuple[int, ...] = (-1,)
    head: Any = None

    @property
    def dim(self) -> int:
        """Values per frame."""
        return int(self.model.config.hidden_size) + (0 if self.head is None else len(EMOTIONS))


def load_audio_model(
    folder: Path, *, how: Computing, layers: tuple[int, ...] = (-1,), with_vad: bool = False
) -> AudioModel:
    """Returns the audio encoder of a folder; of a checkpoint with a head beside it, the encoder alone.

    Args:
        folder: The model's folder.
        how: Device and precision.
        layers: See :func:`layer_choice`.
        with_vad: Also the emotion head, where :func:`has_emotion_head` says that there is one.

    Raises:
        AbawkitError: See :func:`frame_grid` and :func:`abawkit.backbones.loading.load_model`.
    """
    grid = frame_grid(folder)
    normalise = bool(read_processor(folder, "feature_extractor").get("do_normalize", True))
    model = load_model(folder, device=how.device)
    head = _emotion_head(folder, how.device) if with_vad else None
    return AudioModel(model, how, grid, normalise, model.config.feat_extract_norm == "layer", layers, head)


def embed_waveforms(
    audio_model: AudioModel, waveforms: Sequence[Waveform], *, window: float, overlap: float
) -> list[NDArray[np.float32]]:
    """Returns the hidden states of each waveform: ``float32 [T, D]``, with ``T`` at least 1.

    With the emotion head, its three outputs per frame come after them: arousal, dominance, valence.

    Args:
        audio_model: The encoder.
        waveforms: Mono, ``float32 [N]``, at the model's sample rate. One too short for a frame is padded with
            zeros to one frame.
        window: Longer waveforms run in windows of this length (seconds).
        overlap: By how much windows overlap (seconds); see :func:`windows`.
    """
    grid = audio_model.grid
    prepared = [_prepare(waveform, grid.receptive, normalise=audio_model.normalise) for waveform in waveforms]
    plans = [windows(len(waveform), grid, window=window, overlap=overlap) for waveform in prepared]
    # All windows of all waveforms are batched by length; each then fills its part of its waveform's frames.
    pieces = [
        (waveform[part.start : part.stop], part, clip)
        for clip, (waveform, plan) in enumerate(zip(prepared, plans, strict=True))
        for part in plan
    ]

    def run(group: Sequence[int]) -> Sequence[NDArray[np.float32]]:
        return _hidden(audio_model, [pieces[index][0] for index in group])

    values = [np.empty((grid.frames(len(waveform)), audio_model.dim), np.float32) for waveform in prepared]
    lengths = [len(piece) for piece, _, _ in pieces]
    how, rate = audio_model.how, grid.sample_rate
    config = audio_model.model.config
    # Fewer samples where the first convolution is wide, so that its output fits the processor's caches.
    narrow = CPU_VALUES * int(config.conv_stride[0]) // int(config.conv_dim[0])  # samples
    budget = how.budget(min(narrow, CPU_SECONDS * rate), GPU_SECONDS * rate)
    with computing(how):
        for group in batches(lengths, budget=budget, equal=not audio_model.padded, most=how.batch):
            for index, hidden in zip(group, forward(run, group, how, lengths.__getitem__), strict=True):
                _, part, clip = pieces[index]  # hidden: [T of the window, D]
                offset = part.start // grid.stride
                values[clip][part.first : part.last] = hidden[part.first - offset : part.last - offset]
    return values


def emotions(audio_model: AudioModel, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the outputs, ``float32 [3]``, of the model's emotion head for one hidden state ``[D]``."""
    import torch

    with torch.inference_mode():
        outputs = audio_model.head(torch.from_numpy(np.ascontiguousarray(hidden)).to(audio_model.model.device))
    values: NDArray[np.float32] = outputs.to("cpu", torch.float32).numpy()
    return values


def _prepare(waveform: Waveform, shortest: int, *, normalise: bool) -> Waveform:
    if normalise and len(waveform):  # as transformers' Wav2Vec2FeatureExtractor, in fewer passes over the samples
        waveform = waveform - waveform.mean()
        waveform /= np.sqrt(waveform @ waveform / len(waveform) + np.float32(1e-7))
    return np.pad(waveform, (0, max(0, shortest - len(waveform)))).astype(np.float32, copy=False)


def _hidden(audio_model: AudioModel, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
    """Returns the frames of each waveform of one batch, without those of the padding."""
    import torch

    longest = max(len(waveform) for waveform in waveforms)
    inputs = np.zeros((len(waveforms), longest), np.float32)
    mask = np.zeros((len(waveforms), longest), np.int64)
    for row, waveform in enumerate(waveforms):
        inputs[row, : len(waveform)] = waveform
        mask[row, : len(waveform)] = 1
    device = audio_model.model.device
    last_only = audio_model.layers == (-1,)
    uneven = bool((mask == 0).any())
    output = audio_model.model(
        torch.from_numpy(inputs).to(device),
        attention_mask=torch.from_numpy(mask).to(device) if audio_model.padded and uneven else None,
        output_hidden_states=not last_only,
    )
    hidden = output.last_hidden_state  # [B, T, D]
    if not last_only:
        # Versions of transformers differ in whether the last of the hidden states is before its layer norm.
        states = [*output.hidden_states[:-1], hidden]
        hidden = torch.stack([states[layer] for layer in audio_model.layers]).mean(0)
    if audio_model.head is not None:
        hidden = torch.cat([hidden, audio_model.head(output.last_hidden_state)], dim=-1)  # [B, T, D + 3]
    frames = [audio_model.grid.frames(len(waveform)) for waveform in waveforms]
    return [row[:count] for row, count in zip(hidden.to("cpu", torch.float32).numpy(), frames, strict=True)]
