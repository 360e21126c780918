"""Acoustic descriptors of a waveform by textbook formulas: log-mel spectrum, loudness, pitch."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Hz; every waveform here has it.
SAMPLE_RATE = 16000

#: Samples per frame (25 ms) and from one frame to the next (20 ms): the frames of wav2vec 2.0.
WINDOW, HOP = 400, 320

MELS = 40
MEL_RANGE = (60.0, 7600.0)
FFT = 512

#: Lowest and highest pitch (Hz), the window in which a period is looked for (samples), the band of the waveform
#: that it is looked for in (Hz: without the rumble of rooms and most of the formants), and the least voicing.
PITCH_RANGE = (60.0, 400.0)
PITCH_WINDOW = 640
PITCH_BAND = (60.0, 900.0)
VOICED = 0.5

#: Powers below this count as silence (-100 and -70 dB of full scale).
_FLOOR = 1e-10
_PITCH_FLOOR = 1e-7

#: Frames worked on at a time: a clip of 20 minutes needs no more memory than one of 20 seconds.
_BLOCK = 1024

_FloatArray = NDArray[np.float32]


def acoustic_frames(waveform: _FloatArray) -> _FloatArray:
    """Returns 40 log-mel bands, loudness, pitch and voicing per frame, ``float32 [T, 43]``.

    Args:
        waveform: ``float32 [N]`` at 16 kHz in [-1, 1], N at least 1.

    Frames of 25 ms begin every 20 ms; ``T = max(1, 1 + (N - 400) // 320)``, a shorter waveform is padded with
    zeros. Levels are decibels of full scale, put onto a scale of about [-3, 4] by ``(dB + 60) / 15``: nothing is
    normalised by clip, so loudness stays comparable between clips. Columns 0-39: :func:`log_mel`; 40: mean power
    of the frame; 41: pitch in octaves above 55 Hz (semitones / 12; .13 to 2.86; 0 where unvoiced); 42: voicing
    strength in [0, 1] (see :func:`pitch`).

    >>> acoustic_frames(np.zeros(16000, np.float32)).shape
    (49, 43)
    """
    padded = np.pad(waveform, (0, max(0, WINDOW - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    reach = PITCH_WINDOW + _lags()[1] + 1
    margin = (reach - WINDOW) // 2
    voice = np.pad(_in_band(padded), (margin, reach))
    around = np.lib.stride_tricks.sliding_window_view(voice, reach)[::HOP][: len(frames)]
    values = np.empty((len(frames), MELS + 3), np.float32)
    for start in range(0, len(frames), _BLOCK):
        block = slice(start, start + _BLOCK)
        values[block, :MELS] = log_mel(frames[block])
        values[block, MELS] = _level(np.mean(np.square(frames[block]), axis=1))
        hertz, values[block, MELS + 2] = pitch(around[block])
        values[block, MELS + 1] = np.where(hertz > 0, np.log2(np.maximum(hertz, 1) / 55), 0)
    return values


def log_mel(frames: _FloatArray) -> _FloatArray:
    """Returns the log-mel spectrum of frames ``float32 [T, 400]`` as ``float32 [T, 40]``.

    Periodic Hann window, 512-point transform, 40 triangles equally wide in mel (2595 log10(1 + f / 700)) from 60
    to 7600 Hz, each the weighted mean of the power in its band, such that white noise has its variance in every
    band; then ``(10 log10(power + 1e-10) + 60) / 15``.
    """
    window, filters = _filters()
    power = np.square(np.abs(np.fft.rfft(frames * window, FFT)))
    return _level(power.astype(np.float32, copy=False) @ filters)


def pitch(frames: _FloatArray) -> tuple[_FloatArray, _FloatArray]:
    """Returns pitch (Hz, 0 where unvoiced) and voicing strength (0 to 1), both ``float32 [T]``.

    Args:
        frames: ``float32 [T, n]`` at 16 kHz, n at least 640 + 268 samples, filtered to 60-900 Hz.

    Normalised cross-correlation of the first 640 samples with those ``lag`` later, for lags of 60 to 400 Hz;
    the shortest lag that is a peak of at least .9 times the highest one counts (which avoids octaves too low),
    refined by a parabola. Strength is the correlation there; below .5 a frame is unvoiced. Powers below -70 dB of
    full scale push the correlation to 0.
    """
    # Correlation of the head (640 samples) with itself at every lag, by one FFT that is long enough not to wrap.
    first, last = _lags()
    centred = frames - frames.mean(axis=1, keepdims=True)
    size = 1 << (PITCH_WINDOW + last).bit_length()
    head = np.fft.rfft(centred[:, :PITCH_WINDOW], size)
    product = np.fft.irfft(np.conj(head) * np.fft.rfft(centred[:, : PITCH_WINDOW + last + 1], size), size)
    # Energy of each 640 samples, as differences of the running sum of squares: [T, lags].
    total = np.cumsum(np.pad(np.square(centred, dtype=np.float64), ((0, 0), (1, 0))), axis=1)
    lags = np.arange(first - 1, last + 2)
    energy = total[:, lags + PITCH_WINDOW] - total[:, lags]
    own = total[:, PITCH_WINDOW : PITCH_WINDOW + 1]
    correlation = product[:, lags] / (np.sqrt(own * energy) + PITCH_WINDOW * _PITCH_FLOOR)

    # A peak is higher than its neighbours; the first one of at least .9 of the highest is the period.
    before, here, after = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
    peak = (here > 0) & (here >= before) & (here > after)
    highest = np.max(here * peak, axis=1, keepdims=True)
    place = np.argmax(peak & (here >= 0.9 * highest), axis=1)[:, None]
    y0, y1, y2 = (np.take_along_axis(part, place, axis=1)[:, 0] for part in (before, here, after))
    found = highest[:, 0] > 0
    # The vertex of the parabola through the peak and its neighbours refines the lag.
    curve = np.where(found, y0 - 2 * y1 + y2, -1)
    lag = first + place[:, 0] + np.where(found, 0.5 * (y0 - y2) / np.minimum(curve, -1e-9), 0)
    strength = np.where(found, np.clip(y1, 0, 1), 0)
    hertz = np.where(strength >= VOICED, SAMPLE_RATE / lag, 0)
    return hertz.astype(np.float32), strength.astype(np.float32)


def _level(power: NDArray[np.floating]) -> _FloatArray:
    level: _FloatArray = ((10 * np.log10(power + _FLOOR) + 60) / 15).astype(np.float32)
    return level


def _lags() -> tuple[int, int]:
    lowest, highest = PITCH_RANGE
    return round(SAMPLE_RATE / highest), round(SAMPLE_RATE / lowest)


def _in_band(waveform: _FloatArray) -> _FloatArray:
    """Returns the waveform through a Butterworth band-pass, two poles at each side."""
    from scipy.signal import sosfilt

    return np.asarray(sosfilt(_sections(), waveform), np.float32)


@cache
def _sections() -> _FloatArray:
    from scipy.signal import butter

    return np.asarray(butter(2, PITCH_BAND, btype="bandpass", fs=SAMPLE_RATE, output="sos"), np.float32)


@cache
def _filters() -> tuple[_FloatArray, _FloatArray]:
    """Returns the window ``[400]`` and the triangles ``[257, 40]``."""
    window = np.hanning(WINDOW + 1)[:-1]
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in MEL_RANGE)
    edges = 700 * (10 ** (np.linspace(lowest, highest, MELS + 2) / 2595) - 1)
    bins = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    triangles /= triangles.sum(axis=0) * np.square(window).sum()
    return window.astype(np.float32), triangles.astype(np.float32)
