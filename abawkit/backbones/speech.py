"""What counts as speech, as pure functions: silence, doubt and repetition, and the stretches between timestamps.

Thresholds and rules are those of Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak
Supervision", Sec. 4.5, and its released code), which a window of sound must pass before its words are used.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Length of the pieces whose loudness is taken (seconds).
_PIECE = 0.025

#: What one timestamp token is later than the one before (seconds; Sec. 2.3).
_TIME_STEP = 0.02


@dataclass(frozen=True)
class Thresholds:
    """What a window must pass to count as speech.

    Attributes:
        no_speech: Above this probability of "no speech", an improbable text is none (Whisper: .6).
        log_probability: Mean log-probability of the chosen tokens below which a text is not used (Whisper: -1).
        compression: Ratio by which a text can be compressed above which it repeats itself (Whisper: 2.4).
        silence_db: A window no part of which is louder is silent, and the model is not asked (dB below full scale).
    """

    no_speech: float = 0.6
    log_probability: float = -1.0
    compression: float = 2.4
    silence_db: float = -60.0


def loudest_db(waveform: NDArray[np.float32], *, sample_rate: int) -> float:
    """Returns the loudness of the loudest 25 ms, as root mean square in dB below full scale; -inf for no sound.

    A constant offset, as cheap sound cards add it, is not sound: it is taken out first.

    Args:
        waveform: ``float32 [N]`` in [-1, 1].
        sample_rate: Hz.

    >>> tone = 0.1 * np.sqrt(2) * np.sin(np.arange(16000) * 0.3)
    >>> round(loudest_db(tone.astype(np.float32), sample_rate=16000))
    -20
    """
    if not len(waveform):
        return -np.inf
    size = max(1, min(len(waveform), round(_PIECE * sample_rate)))
    steady = waveform - waveform.mean(dtype=np.float64)
    pieces = steady[: len(steady) // size * size].reshape(-1, size)
    rest = steady[-size:]  # the end, which may be shorter than a piece
    power = max(float(np.square(pieces).mean(axis=1).max()), float(np.square(rest).mean()))
    return 10 * float(np.log10(power)) if power > 0 else -np.inf


def no_speech_probability(logits: Any, token: int) -> Any:
    """Returns the probability of the "no speech" token: a tensor ``float32 [B]``.

    Args:
        logits: Of the token after ``<|startoftranscript|>``, a tensor ``[B, V]``, not changed by any rule.
        token: Id of the "no speech" token.
    """
    return logits.float().softmax(-1)[:, token]


def greedy(scores: Any) -> tuple[Any, Any]:
    """Returns the most probable token of each row and its log-probability: tensors ``int64 [B]``, ``float32 [B]``.

    Args:
        scores: A tensor ``[B, V]``; -inf where a token is forbidden, so that it takes no probability.
    """
    scores = scores.float()
    best = scores.max(-1)
    return best.indices, best.values - scores.logsumexp(-1)


def average_log_probability(tokens: Sequence[int], steps: Sequence[float], *, end: int) -> float:
    """Returns the mean log-probability of the tokens of one text, the end token included.

    Args:
        tokens: Chosen tokens; what comes after the end token does not count.
        steps: Their log-probabilities.
        end: Id of the end token.

    >>> average_log_probability([5, 6, 0, 0], [-1.0, -2.0, -0.75, -9.0], end=0)
    -1.25
    """
    count = tokens.index(end) + 1 if end in tokens else len(tokens)
    return sum(steps[:count]) / count if count else -np.inf


def compression_ratio(text: str) -> float:
    """Returns how many times smaller zlib makes the text; a text that repeats itself has a high ratio.

    >>> round(compression_ratio("I am so happy for you."), 1), round(compression_ratio("no no no " * 30), 1)
    (0.7, 18.0)
    """
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def verdict(*, no_speech: float, log_probability: float, compression: float, thresholds: Thresholds) -> str:
    """Returns why the text of a window is not taken, or an empty text when it is.

    Whisper itself decodes again at a higher temperature where a text is ``unsure`` or ``repetitive``; here such a text
    is left out, with the reason, because sampling would make a text depend on its neighbours in the batch.

    >>> rules = Thresholds()
    >>> verdict(no_speech=0.7, log_probability=-1.5, compression=1.0, thresholds=rules)
    'no speech'
    >>> verdict(no_speech=0.7, log_probability=-0.5, compression=1.0, thresholds=rules)  # it is sure of its words
    ''
    >>> verdict(no_speech=0.1, log_probability=-0.5, compression=3.0, thresholds=rules)
    'repetitive'
    """
    unsure = not log_probability >= thresholds.log_probability
    if unsure and no_speech > thresholds.no_speech:
        return "no speech"
    if compression > thresholds.compression:
        return "repetitive"
    return "unsure" if unsure else ""


@dataclass(frozen=True)
class Stretch:
    """Tokens between two timestamps.

    Attributes:
        start: Seconds from the beginning of the window.
        end: The same.
        tokens: The text tokens.
    """

    start: float
    end: float
    tokens: tuple[int, ...]


def stretches(
    tokens: Sequence[int], *, seconds: float, text_below: int, times_from: int
) -> tuple[list[Stretch], float]:
    """Returns the stretches of a window's tokens that have words, and how much later the next window begins (seconds).

    Whisper writes ``<0.00> words <2.40><2.40> more words <4.00>``. The next window begins at the last closed pair of
    timestamps: words after it may be cut by the end of the window; they are left out here and decoded again with the
    next window. Where no pair was closed, or the text ends with a single timestamp (nothing is said after it), the
    window is done. A stretch without a timestamp at its beginning or end reaches to that of the window.

    Args:
        tokens: What was decoded, without the end token.
        seconds: Length of the window; no stretch ends after it.
        text_below: Tokens with a smaller id are text.
        times_from: Id of the token of time 0; each one after it is 20 ms later.

    >>> stretches([100, 7, 150, 150, 8], seconds=30.0, text_below=50, times_from=100)
    ([Stretch(start=0.0, end=1.0, tokens=(7,))], 1.0)
    >>> stretches([100, 7, 150], seconds=30.0, text_below=50, times_from=100)
    ([Stretch(start=0.0, end=1.0, tokens=(7,))], 30.0)
    """
    # Seconds of each timestamp token; None for the others. A pair of timestamps closes the stretch before it.
    times = [(token - times_from) * _TIME_STEP if token >= times_from else None for token in tokens]
    closed = [at + 1 for at in range(len(tokens) - 1) if times[at] is not None and times[at + 1] is not None]
    done = not closed or (times[-1] is not None and times[-2] is None)
    borders = [0, *closed, *([len(tokens)] if done else [])]
    found = []
    for first, last in pairwise(borders):
        words = tuple(token for token in tokens[first:last] if token < text_below)
        if words:
            start, end = times[first], times[last - 1]
            start, end = (0.0 if start is None else start), (seconds if end is None else end)
            found.append(Stretch(min(start, seconds), min(end, seconds), words))
    moved = times[closed[-1] - 1] if closed else None
    return found, seconds if done or moved is None else min(moved, seconds)
