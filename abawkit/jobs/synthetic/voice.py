"""How people sound: a source-filter voice that says the vowels of a sentence.

Glottal pulses (Rosenberg's flow, differentiated) of a moving pitch go through four formants (Klatt's resonators
in cascade) per vowel; consonants are bursts of noise. The six emotions change pitch, melody, loudness, tempo,
breath, colour, tremor and laughter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from abawkit.jobs.synthetic.ballots import Array, shown

SAMPLE_RATE = 16_000

#: Standard deviation of the voice's own noise, in the unit of :func:`~abawkit.jobs.synthetic.ballots.shown`.
VOICE_NOISE = 1.0

#: What a unit of each emotion does to the voice: rows in the official order of the emotions.
#: pitch (semitones), melody (semitones), slope (semitones from start to end), level (dB), tempo (octaves),
#: breath, colour, tremor (semitones), laughter
DELIVERY = np.array(
    [
        [0.4, 0.2, 1.6, -1.0, -0.10, 0.14, 0.00, 0.00, 0.00],  # Admiration: breathy, rising
        [0.8, 0.2, 0.0, 0.8, 0.05, 0.05, 0.10, 0.00, 0.34],  # Amusement: laughing
        [-1.2, -0.3, -0.6, 1.6, -0.06, -0.08, -0.40, 0.00, 0.00],  # Determination: low, firm, pressed
        [-0.5, -0.2, -1.2, -1.6, -0.12, 0.00, -0.20, 0.25, 0.00],  # Empathic Pain: soft, falling, trembling
        [1.6, 0.3, 0.0, 1.4, 0.16, 0.00, 0.00, 0.00, 0.00],  # Excitement: high, loud, quick
        [0.6, 0.7, 0.0, 0.0, 0.00, -0.02, 0.50, 0.00, 0.00],  # Joy: bright, melodious
    ]
)

#: F1 to F4 (Hz) of an adult man's a, e, i, o, u, and their bandwidths.
FORMANTS = ((730, 1090, 2440, 3500), (530, 1840, 2480, 3500), (290, 2250, 3010, 3600), (570, 840, 2410, 3400),
            (320, 870, 2240, 3400))  # fmt: skip
BANDWIDTHS = (70, 90, 130, 220)


@dataclass(frozen=True)
class Timbre:
    """A person's voice.

    Attributes:
        pitch: Mean fundamental frequency (Hz).
        tract: Length of the formants' scale: 1 for a man, 1.17 for a woman.
        tempo: Syllables per second.
        gain: Loudness of the microphone (dB).
        hiss: Level of the room's noise (dB below full scale).
    """

    pitch: float
    tract: float
    tempo: float
    gain: float
    hiss: float


def draw_timbre(rng: np.random.Generator) -> Timbre:
    """Returns a random person's voice."""
    high = bool(rng.random() < 0.5)
    return Timbre(
        pitch=float((195 if high else 118) * 2 ** (rng.normal(0, 2) / 12)),
        tract=float((1.15 if high else 1.0) * (1 + rng.normal(0, 0.02))),
        tempo=float(rng.uniform(3.8, 4.8)),
        gain=float(rng.normal(0, 1.5)),
        hiss=float(rng.uniform(-66, -56)),
    )


def speak(
    rng: np.random.Generator, timbre: Timbre, labels: Array, vowels: list[int], seconds: float
) -> tuple[NDArray[np.float32], Array]:
    """Returns a waveform ``float32 [N]`` at 16 kHz in [-1, 1], and the mouth's opening at each sample in [0, 1].

    Args:
        rng: Generator of this clip's voice.
        timbre: Whose voice it is.
        labels: The clip's labels, ``[6]``.
        vowels: Indices into ``aeiou``; they are said again from the start until time is up. Empty: silence.
        seconds: Length; the waveform has at least one sample.
    """
    pitch, melody, slope, level, tempo, breath, colour, tremor, laughter = shown(rng, labels, VOICE_NOISE) @ DELIVERY
    count = max(1, round(seconds * SAMPLE_RATE))
    time = np.arange(count) / SAMPLE_RATE
    hiss = 10 ** (timbre.hiss / 20) * rng.standard_normal(count)
    rate = timbre.tempo * 2 ** float(np.clip(tempo, -0.7, 0.7))
    onsets = _onsets(rng, rate, seconds)
    if not vowels or not len(onsets):
        return hiss.astype(np.float32), np.zeros(count)

    said = [vowels[index % len(vowels)] for index in range(len(onsets))]
    gates = np.zeros((len(FORMANTS), count))
    consonants = np.zeros(count)
    for onset, vowel in zip(onsets, said, strict=True):
        _add_syllable(rng, gates[vowel], consonants, onset, 0.8 / rate)
    loudness = gates.sum(axis=0)

    # pitch: the person's, the emotions', a melody from syllable to syllable, a slope, a tremor
    tones = np.clip(1.6 + melody, 0.3, 5) * rng.standard_normal(len(onsets))
    semitones = pitch + np.interp(time, onsets, tones) + (slope - 2) * (time / max(seconds, 0.5) - 0.5)
    semitones += max(0.0, tremor) * np.sin(2 * np.pi * 6.5 * time)
    laugh = float(np.clip(laughter, 0, 1))
    bounce = 0.5 - 0.5 * np.cos(2 * np.pi * 5 * time)
    frequency = timbre.pitch * 2 ** (np.clip(semitones + 2 * laugh * bounce, -12, 16) / 12)
    loudness = loudness * (1 - laugh * bounce)

    airy = float(np.clip(0.15 + breath, 0.02, 0.75))
    source = (1 - airy) * _glottis(rng, frequency) + airy * 0.5 * rng.standard_normal(count)
    tilt = float(np.clip(0.55 - 0.3 * colour, 0.0, 0.93))
    source = lfilter([1 - tilt], [1, -tilt], source)
    speech = np.zeros(count)
    for vowel in sorted(set(said)):
        speech += gates[vowel] * _resonate(source, np.array(FORMANTS[vowel]) * timbre.tract * (1 + 0.03 * colour))
    speech *= 1 - laugh * bounce
    consonants = lfilter([1, -0.95], [1], consonants * rng.standard_normal(count))
    speech = speech / (_rms(speech) + 1e-9) + 0.15 * consonants

    decibels = -27 + timbre.gain + float(np.clip(level, -14, 12))
    waveform = np.clip(10 ** (decibels / 20) * speech + hiss, -1, 1)
    return waveform.astype(np.float32), np.clip(loudness, 0, 1)


def _onsets(rng: np.random.Generator, rate: float, seconds: float) -> Array:
    """Returns the syllables' start times (seconds), after a short pause that a very short clip does not have."""
    steps = rng.uniform(0.75, 1.25, size=int(seconds * rate * 2) + 2) / rate
    steps[0] = min(0.15, seconds / 8) * rng.random()
    times = np.cumsum(steps)
    return np.asarray(times[times < seconds * 0.95], np.float64)


def _add_syllable(rng: np.random.Generator, gate: Array, consonants: Array, onset: float, seconds: float) -> None:
    """Opens ``gate`` for one vowel (quick rise, slow fall), with a burst of noise before it more often than not."""
    start, length = int(onset * SAMPLE_RATE), max(2, int(seconds * SAMPLE_RATE))
    shape = np.minimum(1, np.arange(length) / (0.03 * SAMPLE_RATE)) * np.cos(np.linspace(0, np.pi / 2, length)) ** 0.5
    stop = min(start + length, len(gate))
    gate[start:stop] = np.maximum(gate[start:stop], rng.uniform(0.7, 1) * shape[: stop - start])
    if rng.random() < 0.6:
        first = max(0, start - int(0.04 * SAMPLE_RATE))
        consonants[first:start] += rng.uniform(0.3, 1)


def _glottis(rng: np.random.Generator, frequency: Array) -> Array:
    """Returns glottal pulses of unit power, of the given frequency (Hz) at each sample, with some jitter."""
    jitter = lfilter([0.02], [1, -0.98], rng.standard_normal(len(frequency)))
    phase = np.cumsum(frequency * (1 + 0.1 * jitter) / SAMPLE_RATE) % 1
    rise, fall = 0.4, 0.16
    flow = np.where(
        phase < rise,
        0.5 - 0.5 * np.cos(np.pi * phase / rise),
        np.where(phase < rise + fall, np.cos(np.pi / 2 * (phase - rise) / fall), 0),
    )
    pulses = np.diff(flow, prepend=0.0)
    return np.asarray(pulses / (_rms(pulses) + 1e-9), np.float64)


def _resonate(source: Array, formants: Array) -> Array:
    """Returns the source through one resonator per formant (Hz), at the loudness of its mean power."""
    sound: Any = source
    for frequency, bandwidth in zip(formants, BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
        turn = 2 * radius * np.cos(2 * np.pi * min(frequency, 7000.0) / SAMPLE_RATE)
        sound = lfilter([1 - turn + radius**2], [1, -turn, radius**2], sound)
    return np.asarray(sound / (_rms(sound) + 1e-9), np.float64)


def _rms(sound: Array) -> float:
    return float(np.sqrt(np.mean(sound**2)))
