"""Silence, doubt, repetition and stretches, on constructed waveforms, logits, texts and tokens."""

import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.backbones.speech import (
    Thresholds,
    average_log_probability,
    compression_ratio,
    greedy,
    loudest_db,
    no_speech_probability,
    stretches,
    verdict,
)

RATE = 16_000


def test_thresholds_are_those_of_the_paper() -> None:
    assert Thresholds() == Thresholds(no_speech=0.6, log_probability=-1.0, compression=2.4, silence_db=-60.0)


def test_silence_is_what_is_nowhere_loud() -> None:
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    assert loudest_db(np.zeros(RATE, np.float32), sample_rate=RATE) == -math.inf
    assert loudest_db(np.zeros(0, np.float32), sample_rate=RATE) == -math.inf
    assert loudest_db(np.full(RATE, 0.3, np.float32), sample_rate=RATE) < -100, "a constant offset is not a sound"
    quiet = 1e-4 * noise
    assert -80 < loudest_db(quiet, sample_rate=RATE) < -75
    loud = np.concatenate([quiet, 0.1 * noise[:200]])  # half a piece more, at the very end
    assert loudest_db(loud, sample_rate=RATE) > -30
    assert loudest_db(noise[:7], sample_rate=RATE) > -10, "shorter than a piece"


def test_no_speech_is_a_softmax_over_all_tokens() -> None:
    logits = torch.tensor([[0.0, math.log(3), -math.inf, 0.0], [9.0, 0.0, 0.0, 0.0]])
    found = no_speech_probability(logits, 1)
    np.testing.assert_allclose(found.numpy(), [0.6, 1 / (math.exp(9) + 3)], rtol=1e-6)


def test_greedy_takes_the_most_probable_and_forbidden_tokens_take_no_probability() -> None:
    scores = torch.tensor([[1.0, 2.0, -math.inf], [5.0, 5.0, 5.0]], dtype=torch.float16)
    tokens, values = greedy(scores)
    assert tokens.tolist() == [1, 0] and values.dtype == torch.float32
    np.testing.assert_allclose(values.numpy(), [-math.log(1 + math.exp(-1)), -math.log(3)], rtol=1e-5)


def test_mean_log_probability_counts_the_end_token_and_nothing_after_it() -> None:
    steps = [-0.5, -1.5, -0.25, -50.0]
    assert average_log_probability([7, 8, 3, 9], steps, end=3) == pytest.approx(-0.75)
    assert average_log_probability([7, 8, 9, 9], steps, end=3) == pytest.approx(sum(steps) / 4)
    assert average_log_probability([3, 3], [-0.1, -9.0], end=3) == -0.1
    assert average_log_probability([], [], end=3) == -math.inf


def test_compression_ratio_is_of_the_bytes() -> None:
    text = "それは違う。" * 40
    assert compression_ratio(text) == len(text.encode()) / len(zlib.compress(text.encode())) > 2.4
    assert compression_ratio("you are so good at this, I am amazed") < 2.4 and compression_ratio("") == 0


@pytest.mark.parametrize(
    ("no_speech", "log_probability", "compression", "reason"),
    [
        (0.61, -1.01, 1.0, "no speech"),
        (0.60, -1.01, 1.0, "unsure"),
        (0.99, -1.00, 1.0, ""),
        (0.99, -1.01, 9.0, "no speech"),
        (0.10, -0.10, 2.4, ""),
        (0.10, -0.10, 2.41, "repetitive"),
        (0.10, -5.00, 2.41, "repetitive"),
        (0.10, math.nan, 1.0, "unsure"),
    ],
)
def test_verdict(no_speech: float, log_probability: float, compression: float, reason: str) -> None:
    rules = Thresholds()
    found = verdict(no_speech=no_speech, log_probability=log_probability, compression=compression, thresholds=rules)
    assert found == reason


def cut(tokens: list[int], seconds: float = 30.0) -> tuple[list[tuple[float, float, tuple[int, ...]]], float]:
    found, moved = stretches(tokens, seconds=seconds, text_below=50, times_from=100)
    return [(stretch.start, stretch.end, stretch.tokens) for stretch in found], moved


def test_stretches_between_timestamps() -> None:
    # <0> a <1><1.5> b <2><2> c: c was cut by the end of the window
    assert cut([100, 1, 150, 175, 2, 200, 200, 3]) == ([(0.0, 1.0, (1,)), (1.5, 2.0, (2,))], 2.0)
    # a single timestamp at the end: nothing is said after it
    assert cut([100, 1, 150, 150, 2, 200]) == ([(0.0, 1.0, (1,)), (1.0, 2.0, (2,))], 30.0)
    # no pair was closed
    assert cut([100, 1, 2]) == ([(0.0, 30.0, (1, 2))], 30.0)
    assert cut([1, 2]) == ([(0.0, 30.0, (1, 2))], 30.0)
    assert cut([110, 1, 200], seconds=3.0) == ([(0.2, 2.0, (1,))], 3.0)
    assert cut([]) == ([], 30.0)
    # timestamps after the end of the sound, special tokens and stretches without words
    assert cut([100, 1, 400, 400, 2, 500, 500], seconds=3.0) == ([(0.0, 3.0, (1,)), (3.0, 3.0, (2,))], 3.0)
    assert cut([100, 60, 150, 150, 2, 200, 200]) == ([(1.0, 2.0, (2,))], 2.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 60), st.integers(100, 1600)), max_size=12), st.floats(0.1, 30))
def test_no_token_is_taken_twice_and_no_time_leaves_the_window(tokens: list[int], seconds: float) -> None:
    found, moved = cut(tokens, seconds)
    words = [token for _, _, stretch in found for token in stretch]
    assert words == [token for token in tokens if token < 50][: len(words)]
    assert 0 <= moved <= seconds
    assert all(0 <= start <= seconds and 0 <= end <= seconds for start, end, _ in found)
