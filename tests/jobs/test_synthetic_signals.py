"""What is drawn for a clip, before any file is written."""

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.jobs.synthetic.ballots import (
    MEANS,
    RATERS,
    SPREAD,
    ZERO_RATES,
    draw_ratings,
    draw_seed_videos,
    shown,
)
from abawkit.jobs.synthetic.clip import CLIP, ClipPlan, record, streams
from abawkit.jobs.synthetic.face import EXPRESSIONS, draw, draw_look, express, room, sketch
from abawkit.jobs.synthetic.movement import Head, move
from abawkit.jobs.synthetic.voice import SAMPLE_RATE, draw_timbre, speak
from abawkit.jobs.synthetic.words import FILLERS, PHRASES, imitate, seed_sentence, vowels

EMOTIONS = np.eye(6) * 3 * np.array(SPREAD)


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(0)
    return draw_ratings(rng, draw_seed_videos(rng, 20_000))


def test_labels_are_votes(ratings) -> None:
    votes = ratings.labels * ratings.raters[:, None]
    np.testing.assert_allclose(votes, votes.round(), atol=1e-9)
    assert (ratings.labels >= 0).all() and (ratings.labels.sum(axis=1) <= 1 + 1e-9).all()
    assert set(ratings.raters) == set(range(RATERS[0], RATERS[1] + 1))


def test_labels_have_the_statistics_of_the_paper(ratings) -> None:
    labels = ratings.labels
    np.testing.assert_allclose(labels.mean(axis=0), MEANS, atol=0.006)
    np.testing.assert_allclose((labels == 0).mean(axis=0), ZERO_RATES, atol=0.012)
    np.testing.assert_allclose(labels.std(axis=0), SPREAD, atol=0.006)
    between = np.corrcoef(labels.T)
    assert np.abs(between[~np.eye(6, dtype=bool)]).max() < 0.18
    assert between[4, 5] == pytest.approx(between[~np.eye(6, dtype=bool)].max())


def test_few_seed_videos_have_their_share_of_each_emotion() -> None:
    few = draw_seed_videos(np.random.default_rng(1), 57)
    for column in few.T:
        np.testing.assert_allclose(np.sort(column), np.sort(few[:, 0]))
    assert few.std() == pytest.approx(1, abs=0.05)


def test_each_modality_and_each_clip_errs_on_its_own() -> None:
    errors = [[shown(rng, np.zeros(6), 1.0) for rng in streams(3, CLIP, clip, 5)] for clip in range(500)]
    between = np.corrcoef(np.reshape(errors, (500, 30)).T)
    assert np.abs(between[~np.eye(30, dtype=bool)]).max() < 0.2
    assert np.std(errors) == pytest.approx(1, abs=0.05)


def test_emotions_pull_face_and_movement_apart() -> None:
    def mean_of(signal) -> np.ndarray:
        return np.array([np.mean([signal(clip, row) for clip in range(200)], axis=0) for row in EMOTIONS])

    faces = mean_of(lambda clip, row: express(np.random.default_rng(clip), row))
    paths = mean_of(lambda clip, row: spread_of_path(move(np.random.default_rng(clip), row, np.arange(50) / 25)))
    for table in (faces, paths / paths.mean(axis=0)):
        gaps = [np.abs(a - b).max() for i, a in enumerate(table) for b in table[:i]]
        assert min(gaps) > 0.1
    smile = EXPRESSIONS[:, 0]
    assert faces[smile.argmax(), 0] > 0 > faces[smile.argmin(), 0]


def spread_of_path(heads: list[Head]) -> np.ndarray:
    return np.std([[head.x, head.y, head.yaw, head.pitch] for head in heads], axis=0)


def test_a_face_is_where_it_should_be_and_changes_with_the_expression() -> None:
    look = draw_look(np.random.default_rng(5))
    backdrop = room(look, 160, 160)
    pictures = []
    for smile in (-0.5, 0.8):
        picture = backdrop.copy()
        draw(picture, sketch(look, np.array([smile, 0, 0, 0, 0, 0, 0, 0])), (80, 80), 50, Head())
        pictures.append(picture)
    drawn = np.abs(pictures[0].astype(int) - backdrop).sum(axis=2) > 30
    assert drawn[40:120, 55:105].mean() > 0.9 and drawn[:15, :15].mean() < 0.1
    changed = np.argwhere(np.abs(pictures[0].astype(int) - pictures[1]).sum(axis=2) > 30)
    assert len(changed) > 50 and changed[:, 0].min() > 80  # below the eyes


def test_a_voice_has_the_pitch_it_should_have() -> None:
    low, high, own = [], [], []
    for clip in range(16):
        timbre = draw_timbre(np.random.default_rng((1, clip)))
        for row, pitches in ((EMOTIONS[2], low), (EMOTIONS[4], high)):
            sound, mouth = speak(np.random.default_rng((2, clip)), timbre, row, [0, 3, 4], 1.0)
            assert sound.dtype == np.float32 and len(sound) == len(mouth) == SAMPLE_RATE
            assert np.abs(sound).max() <= 1 and mouth.min() >= 0 and mouth.max() <= 1
            pitches.append(np.log2(pitch_of(sound[int(np.argmax(mouth)) :][:2400])))
        own.append(np.log2(timbre.pitch))
    assert np.median(high) > np.median(low) + 0.3
    assert abs(np.mean([low, high]) - np.mean(own)) < 0.5  # octaves
    assert np.corrcoef(np.mean([low, high], axis=0), own)[0, 1] > 0.6


def pitch_of(piece: np.ndarray) -> float:
    """The frequency of the highest peak of the autocorrelation between 70 and 500 Hz."""
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 8192)) ** 2
    echo = np.fft.irfft(spectrum)[: SAMPLE_RATE // 70]
    lag = SAMPLE_RATE // 500 + int(np.argmax(echo[SAMPLE_RATE // 500 :]))
    assert echo[lag] > 0.3 * echo[0]  # voiced, not noise
    return SAMPLE_RATE / lag


def test_nothing_to_say_is_near_silence() -> None:
    rng = np.random.default_rng(0)
    sound, mouth = speak(rng, draw_timbre(rng), np.zeros(6), [], 0.5)
    assert 0 < np.abs(sound).max() < 0.02 and not mouth.any()


def test_sentences_follow_their_seed_and_keep_their_words() -> None:
    rng = np.random.default_rng(0)
    chances = np.zeros(6)
    chances[3] = 0.9
    openers, mains, tails = PHRASES[3]
    found = 0
    for _ in range(200):
        sentence = seed_sentence(rng, chances)
        first, middle, last = sentence.split(" | ")
        found += (first in openers) + (last in tails) + any(middle.split()[0] == main.split()[0] for main in mains)
        words = imitate(rng, sentence).lower().strip(".!").split()
        wanted = sentence.lower().replace(" | ", " ").split()
        assert len(set(words) & set(wanted)) >= 0.5 * len(set(wanted))
        assert vowels(" ".join(words))
    assert found > 0.8 * 600
    assert len(PHRASES) == len(EMI.targets) + 1 and set(FILLERS) == {"thing", "time"}


def test_a_recording_depends_on_its_plan_alone() -> None:
    plan = ClipPlan("00007", "", 3, tuple(EMOTIONS[5]), 2, "We did it", "We did it", 0.8)
    first, second = record(plan), record(plan)
    np.testing.assert_array_equal(first.waveform, second.waveform)
    np.testing.assert_array_equal(list(first.crops), list(second.crops))
    frames = list(first.frames)
    np.testing.assert_array_equal(frames, list(second.frames))
    assert len(frames) == len(first.times) == 20 and frames[0].shape == (144, 176, 3)
    other = record(ClipPlan("00008", "", 3, plan.labels, 2, "We did it", "We did it", 0.8))
    assert not np.array_equal(first.waveform, other.waveform)
