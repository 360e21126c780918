import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from abawkit.backbones.audio import (
    FrameGrid,
    embed_waveforms,
    frame_grid,
    has_emotion_head,
    layer_choice,
    load_audio_model,
    windows,
)
from abawkit.backbones.batching import Computing
from abawkit.backbones.loading import quiet
from abawkit.errors import AbawkitError, UsageError
from tests import tiny_models

GRID = FrameGrid(16_000, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
KINDS = ("layer", "group", "hubert", "wavlm", "emotion")
#: Samples: two of equal length, one just above and one below a single frame, one that ends within a stride.
LENGTHS = (6_000, 2_563, 400, 320, 6_000, 9_456)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads of a tiny convolution mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("audio")
    return {
        "layer": tiny_models.wav2vec2(root / "layer"),
        "group": tiny_models.wav2vec2(root / "group", norm="group"),
        "convolutions": tiny_models.wav2vec2(root / "convolutions", layers=0),
        "hubert": tiny_models.hubert(root / "hubert"),
        "wavlm": tiny_models.wavlm(root / "wavlm"),
        "emotion": tiny_models.emotion_wav2vec2(root / "emotion"),
    }


def sound(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness rises and falls, off centre, so that normalisation and padding matter."""
    random = np.random.default_rng(seed)
    swell = 0.1 + np.abs(np.sin(np.arange(samples) / 5000))
    return (0.2 + swell * random.normal(size=samples)).astype(np.float32)


@cache
def plain_model(folder: Path) -> torch.nn.Module:
    with quiet():
        return AutoModel.from_pretrained(folder).eval()


def by_hand(folder: Path, waveform: np.ndarray) -> np.ndarray:
    processor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    inputs = processor(waveform, sampling_rate=16_000, return_tensors="pt")["input_values"]
    model = plain_model(folder)
    with torch.no_grad():
        return model(inputs).last_hidden_state[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_same_as_alone_by_hand_whatever_the_batch(models: dict[str, Path], kind: str) -> None:
    model = load_audio_model(models[kind], how=Computing())
    assert model.padded == (kind in ("layer", "wavlm", "emotion"))
    waveforms = [sound(length, seed) for seed, length in enumerate(LENGTHS)]
    for order in (range(len(LENGTHS)), [3, 0, 5]):
        made = embed_waveforms(model, [waveforms[index] for index in order], window=30, overlap=2)
        for index, values in zip(order, made, strict=True):
            assert values.dtype == np.float32
            if LENGTHS[index] >= GRID.receptive:
                expected = by_hand(models[kind], waveforms[index])
                assert np.abs(expected).max() > 0.5
                np.testing.assert_allclose(values, expected, atol=1e-5)
            else:
                assert values.shape == (1, tiny_models.DIM)
                assert np.isfinite(values).all()


def test_padding_would_change_group_norm_models(models: dict[str, Path]) -> None:
    """The reason for batches of equal length: without them this difference is what one gets."""
    model = load_audio_model(models["group"], how=Computing())
    pair = [sound(4_000), sound(8_000)]
    right = embed_waveforms(model, pair, window=30, overlap=2)[0]
    wrong = embed_waveforms(replace(model, padded=True), pair, window=30, overlap=2)[0]
    assert np.abs(right - wrong).max() > 1e-2


def test_normalisation_follows_the_processor(models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models["layer"], tmp_path / "model")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "do_normalize": False}))
    model = load_audio_model(folder, how=Computing())
    values = embed_waveforms(model, [sound(4_000)], window=30, overlap=2)[0]
    np.testing.assert_allclose(values, by_hand(folder, sound(4_000)), atol=1e-5)
    assert np.abs(values - by_hand(models["layer"], sound(4_000))).max() > 1e-2
    # As newer versions of transformers save a processor.
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    assert load_audio_model(folder, how=Computing()).normalise


def test_silence_and_too_short_sounds(models: dict[str, Path]) -> None:
    model = load_audio_model(models["layer"], how=Computing())
    for samples in (0, 1, 320, 6_000):
        values = embed_waveforms(model, [np.zeros(samples, np.float32)], window=30, overlap=2)[0]
        assert len(values) == max(1, GRID.frames(samples))
        assert np.isfinite(values).all()
    short = sound(320)
    normal = (short - short.mean()) / np.sqrt(short.var() + 1e-7)
    with torch.no_grad():
        expected = model.model(torch.from_numpy(np.pad(normal, (0, 80)))[None]).last_hidden_state[0].numpy()
    np.testing.assert_allclose(embed_waveforms(model, [short], window=30, overlap=2)[0], expected, atol=1e-5)


def test_windows_give_the_frames_of_one_pass(models: dict[str, Path]) -> None:
    """Without attention, what a frame sees is bounded: windows must then agree with one pass everywhere."""
    model = load_audio_model(models["convolutions"], how=Computing())
    long, short = sound(50_123), sound(9_000, 1)
    whole = embed_waveforms(model, [long], window=30, overlap=2)[0]
    for batch in (1, None):
        model.how.batch = batch
        pieces, alone = embed_waveforms(model, [long, short], window=1, overlap=0.4)
        np.testing.assert_allclose(pieces, whole, atol=1e-5)
        np.testing.assert_allclose(alone, by_hand(models["convolutions"], short), atol=1e-5)
    np.testing.assert_allclose(whole, by_hand(models["convolutions"], long), atol=1e-5)


def test_windows_with_attention_stay_close_to_one_pass(models: dict[str, Path]) -> None:
    model = load_audio_model(models["layer"], how=Computing())
    long = sound(50_123)
    whole, pieces = (embed_waveforms(model, [long], window=window, overlap=0.8)[0] for window in (30, 2))
    assert whole.shape == pieces.shape
    assert np.abs(whole - pieces).max() > 1e-5  # it did run in windows
    apart, a_frame_off = np.abs(whole - pieces).mean(), np.abs(whole[1:] - pieces[:-1]).mean()
    assert apart < 0.3 * a_frame_off


@settings(max_examples=60, deadline=None)
@given(st.integers(400, 3_000_000), st.floats(0.5, 40), st.floats(0.1, 0.5))
def test_windows_cover_every_frame_once(samples: int, window: float, share: float) -> None:
    overlap = max(0.1, window * share)
    plan = windows(samples, GRID, window=window, overlap=overlap)
    assert (plan[0].start, plan[-1].stop) == (0, samples)
    assert [part.first for part in plan] == [0, *(part.last for part in plan[:-1])]
    assert plan[-1].last == GRID.frames(samples)
    for part in plan:
        assert part.start % GRID.stride == 0
        assert part.stop - part.start <= window * GRID.sample_rate
        offset = part.start // GRID.stride
        assert offset <= part.first < part.last <= offset + GRID.frames(part.stop - part.start)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000))
def test_frame_count_is_that_of_the_convolutions(samples: int) -> None:
    length = samples
    for kernel, stride in zip(GRID.kernels, GRID.strides, strict=True):
        length = max(0, (length - kernel) // stride + 1)
    assert GRID.frames(samples) == length


def test_frame_times_are_the_middles(models: dict[str, Path]) -> None:
    grid = frame_grid(models["layer"])
    assert grid == GRID
    assert (grid.stride, grid.receptive, grid.frames(399), grid.frames(400)) == (320, 400, 0, 1)
    np.testing.assert_allclose(grid.times(3), [0.0125, 0.0325, 0.0525], atol=1e-7)
    # An impulse moves the frame whose middle it is in most, without attention and normalisation.
    model = load_audio_model(models["convolutions"], how=Computing()).model
    quiet_, loud = torch.zeros(2, 1, 8_000)
    loud[0, 4_040] = 1.0
    with torch.no_grad():
        change = (model.feature_extractor(loud) - model.feature_extractor(quiet_)).abs().sum(1)[0]
    assert abs(grid.times(len(change))[int(change.argmax())] - 4_040 / 16_000) <= 0.0125


@pytest.mark.parametrize("entry", [{"model_type": "data2vec-audio"}, {"add_adapter": True}, {"conv_stride": [5]}])
def test_audio_models_that_are_refused(models: dict[str, Path], tmp_path: Path, entry: dict[str, object]) -> None:
    folder = shutil.copytree(models["layer"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **entry}))
    with pytest.raises(AbawkitError, match="not an audio model"):
        frame_grid(folder)


def test_folder_without_processor(models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models["layer"], tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(AbawkitError, match="no such file") as caught:
        frame_grid(folder)
    assert "preprocessor_config.json" in str(caught.value)


@pytest.mark.parametrize("kind", ["layer", "group", "wavlm"])
@pytest.mark.parametrize("text", ["0", "1", "-2", "mean:2", "2"])
def test_layers_are_those_of_transformers(models: dict[str, Path], kind: str, text: str) -> None:
    layers = layer_choice(text, models[kind])
    model = load_audio_model(models[kind], how=Computing(), layers=layers)
    waveforms = [sound(length, seed) for seed, length in enumerate((9_000, 5_000, 16_001))]
    made = embed_waveforms(model, waveforms, window=30, overlap=2)
    for waveform, values in zip(waveforms, made, strict=True):
        processor = Wav2Vec2FeatureExtractor.from_pretrained(models[kind])
        inputs = processor(waveform, sampling_rate=16_000, return_tensors="pt")["input_values"]
        with torch.no_grad():
            output = plain_model(models[kind])(inputs, output_hidden_states=True)
        states, last = output.hidden_states, output.last_hidden_state
        wanted = {
            "0": states[0],
            "1": states[1],
            "-2": states[1],
            "2": last,
            "mean:2": (states[1] + last) / 2,
        }
        np.testing.assert_allclose(values, wanted[text][0].numpy(), atol=1e-5)


@pytest.mark.parametrize("text", ["3", "-4", "mean:3", "mean:0", "mean:-1", "last", ""])
def test_layers_that_are_not_there(models: dict[str, Path], text: str) -> None:
    with pytest.raises(UsageError, match="no such layer"):
        layer_choice(text, models["layer"])


def test_the_emotion_head_is_that_of_the_model_card(models: dict[str, Path]) -> None:
    """The card's RegressionHead (dropout, dense, tanh, dropout, out_proj), here on every frame."""
    from safetensors.torch import load_file

    assert has_emotion_head(models["emotion"]) and not has_emotion_head(models["layer"])
    plain = load_audio_model(models["emotion"], how=Computing())
    model = load_audio_model(models["emotion"], how=Computing(), with_vad=True, layers=(-2,))
    waveforms = [sound(9_000), sound(30_000, 1)]
    with_vad = embed_waveforms(model, waveforms, window=30, overlap=2)
    last = embed_waveforms(plain, waveforms, window=30, overlap=2)
    weights = {key: value.numpy() for key, value in load_file(models["emotion"] / "model.safetensors").items()}
    for values, hidden in zip(with_vad, last, strict=True):
        inner = np.tanh(hidden @ weights["classifier.dense.weight"].T + weights["classifier.dense.bias"])
        expected = inner @ weights["classifier.out_proj.weight"].T + weights["classifier.out_proj.bias"]
        assert values.shape == (len(hidden), tiny_models.DIM + 3)
        np.testing.assert_allclose(values[:, -3:], expected, atol=1e-5)
