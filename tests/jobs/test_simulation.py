"""What is simulated has the paper's statistics, and its strengths are those that were asked for."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from abawkit.challenge import EMI
from abawkit.data.raters import fewest_raters
from abawkit.data.stats.published import PAPER
from abawkit.errors import UsageError
from abawkit.features.spec import MODALITIES, Modality
from abawkit.jobs.simulation.constants import TABLE_4, constants, fit_strengths, ridge_r
from abawkit.jobs.simulation.label_model import moments, vote_chances
from abawkit.jobs.simulation.signal import CARRIER, SHAPES, Signal, directions
from abawkit.jobs.simulation.world import World, draw_world, split_sizes, stream

SEEDS = range(5)
LIKE = {"train": "train", "valid": "valid", "test": "valid"}


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    """Worlds of the official size; the constants were fitted to none of them."""
    return [draw_world(seed, split_sizes(), constants()) for seed in SEEDS]


@pytest.fixture(scope="module")
def small() -> World:
    return draw_world(7, split_sizes(clips=300), constants())


@pytest.mark.parametrize("split", LIKE)
def test_means_and_shares_of_zeros_are_the_papers(worlds: list[World], split: str) -> None:
    published = PAPER["splits"][LIKE[split]]
    for key, at in (("mean", 1.0), ("zero_percent", 100.0)):
        asked = np.array([published[key][name] for name in EMI.targets]) / at
        labels = [world.labels[world.rows(split)] for world in worlds]
        found = np.array([y.mean(axis=0) if key == "mean" else (y == 0).mean(axis=0) for y in labels])
        # Five worlds tell the standard error themselves, persons and seed videos included; t of 4 degrees of freedom.
        error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert (np.abs(found.mean(axis=0) - asked) < 8 * error + 1e-3).all(), (key, found.mean(axis=0), asked)
        # And no single world is far off.
        assert np.abs(found - asked).max() < (0.012 if key == "mean" else 0.025), key


def test_the_expectation_of_means_and_zeros_is_exact() -> None:
    rng = np.random.default_rng(3)
    chances = vote_chances(rng.standard_normal((60_000, 6)), [(2.0, 9.0)] * 6)
    votes = rng.multinomial(7, np.hstack([chances, 1 - chances.sum(axis=1, keepdims=True)]).clip(0))[:, :6] / 7
    mean, none, correlation = moments(chances)
    assert mean == pytest.approx(votes.mean(axis=0), abs=3e-3)
    assert none[0] == pytest.approx(np.mean([(1 - chances[:, 0]) ** n for n in (5, 6, 7, 8, 9)]), abs=1e-12)
    assert correlation == pytest.approx(np.corrcoef(votes.T), abs=0.02)


def test_labels_are_correlated_as_in_the_paper(worlds: list[World]) -> None:
    found = np.mean([np.corrcoef(w.labels[: w.rows("valid").stop].T) for w in worlds], axis=0)
    assert found[4, 5] == pytest.approx(PAPER["correlation"]["Excitement"]["Joy"], abs=0.02)
    found[4, 5] = found[5, 4] = 0
    assert np.abs(found - np.diag(np.diag(found))).max() <= 0.155


def test_labels_are_votes(worlds: list[World]) -> None:
    labels = worlds[0].labels
    assert (fewest_raters(labels, 1e-9, 9) > 0).all()
    assert labels.sum(axis=1).max() <= 1 + 1e-9 and labels.min() == 0


def test_lengths_and_frames_are_the_papers(worlds: list[World]) -> None:
    world = worlds[1]
    labelled = world.seconds[: world.rows("valid").stop]
    assert labelled.mean() == pytest.approx(6.9, abs=0.1) and labelled.min() == 0.064
    assert np.percentile(labelled, 95) == pytest.approx(11.5, abs=0.25)
    assert labelled.sum() / 3600 == pytest.approx(24 + 19 / 60, abs=0.4)
    frames, strides = world.frames(10.0), world.frames(50.0)
    for split, median, longest in (("train", 65, 2255), ("valid", 66, 12500)):
        own = frames[world.rows(split)]
        assert abs(np.median(own) - median) <= 1.5 and own.min() == 1 and own.max() == longest
    assert strides[11694] == 62495 and frames[11694] == 12500  # clip 11694, as it is published
    assert (world.frames(None) == 1).all()
    small = draw_world(0, split_sizes(clips=1500), constants())
    assert small.seconds.max() < 30 and small.seconds.min() == 0.064


def test_missing_text(worlds: list[World]) -> None:
    for split, share in (("train", 0.0567), ("valid", 0.0634), ("test", 0.0634)):
        assert worlds[0].silent[worlds[0].rows(split)].mean() == pytest.approx(share, abs=2e-4)


def test_nobody_is_in_two_splits_but_seed_videos_are(worlds: list[World]) -> None:
    world = worlds[0]
    persons, videos = ([set(of[world.rows(split)].tolist()) for split in LIKE] for of in (world.persons, world.videos))
    assert not (persons[0] & persons[1] or persons[0] & persons[2] or persons[1] & persons[2])
    assert len(videos[0] & videos[1] & videos[2]) > 1000
    counted = np.bincount(world.persons)
    assert counted.min() >= 29 and counted.max() <= 31
    # Clips of one seed video have alike labels, and so have, less so, clips of one person.
    shown = world.shown[:, 0]
    alike = [np.corrcoef(*_pairs(shown, of).T)[0, 1] for of in (world.videos, world.persons)]
    assert alike[0] > 0.3 > 0.15 > alike[1] > 0.03


def _pairs(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    order = np.argsort(of, kind="stable")
    same = of[order][:-1] == of[order][1:]
    return np.stack([values[order][:-1][same], values[order][1:][same]], axis=1)


def test_sizes() -> None:
    assert split_sizes(scale=0.25) == {"train": 2018, "valid": 1147, "test": 1146}
    for wrong in (
        {"clips": 30},
        {"scale": 100.0},
        {"scale": float("nan")},
        {"scale": -1.0},
        {"clips": 1500, "scale": 1.0},
    ):
        with pytest.raises(UsageError):
            split_sizes(**wrong)  # type: ignore[arg-type]


def test_a_stream_depends_on_its_key_alone() -> None:
    assert stream(1, 2, 3).random() == stream(1, 2, 3).random() != stream(1, 2, 4).random()


@pytest.mark.parametrize("modality", ["text", "vision", "motion"])
def test_ridge_has_the_r_of_table_4(worlds: list[World], modality: Modality) -> None:
    found = []
    for world in worlds[: 4 if modality == "motion" else 1]:
        x = Signal(world, modality, constants()["strengths"][modality]).pooled()
        train, valid = world.rows("train"), world.rows("valid")
        x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        prediction = Ridge(alpha=len(x[train])).fit(x[train], world.labels[train]).predict(x[valid])
        truth = world.labels[valid]
        found.append([np.corrcoef(truth[:, e], prediction[:, e])[0, 1] for e in range(6)])
    asked = np.array(TABLE_4[modality])
    assert np.abs(np.mean(found, axis=0) - asked).max() < 0.04, np.mean(found, axis=0).round(3)
    assert np.mean(found) == pytest.approx(asked.mean(), abs=0.02)


def test_the_kept_r_are_those_of_table_4() -> None:
    for modality in MODALITIES:
        asked = np.maximum(TABLE_4[modality], 0.0)
        assert np.abs(np.array(constants()["reached"][modality]) - asked).max() < 0.03
        assert constants()["strengths"]["motion"][0] == 0


def test_our_ridge_is_ridge(small: World) -> None:
    x = Signal(small, "motion", [0.9] * 6).pooled()
    train, valid = small.rows("train"), small.rows("valid")
    z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    best, error = np.zeros(6), np.inf
    for penalty in (train.stop - train.start) * np.logspace(-4, 2, 13):
        fit = Ridge(alpha=penalty).fit(z[train], small.labels[train])
        hat = z[train] @ np.linalg.solve(z[train].T @ z[train] + penalty * np.eye(23), z[train].T)
        free = 1 - np.trace(hat) / len(hat)
        residual = ((small.labels[train] - fit.predict(z[train])) ** 2).sum(axis=0)
        spread = small.labels[train].var(axis=0) * len(hat)
        if (own := float((residual / spread).mean() / free**2)) < error:
            prediction, error = fit.predict(z[valid]), own
            best = np.array([np.corrcoef(small.labels[valid][:, e], prediction[:, e])[0, 1] for e in range(6)])
    assert ridge_r(x, small) == pytest.approx(best, abs=1e-6)


def test_more_strength_is_a_higher_r(worlds: list[World]) -> None:
    weak, strong = (ridge_r(Signal(worlds[0], "motion", [g] * 6).pooled(), worlds[0]) for g in (0.2, 0.8))
    assert (strong > weak + 0.15).all()


@pytest.mark.parametrize("modality", MODALITIES)
def test_frames_have_the_mean_that_pooling_says(small: World, modality: Modality) -> None:
    signal = Signal(small, modality, [0.7] * 6)
    shape = SHAPES[modality]
    outside, inside = signal._levels(slice(0, 60))
    deviations = []
    for row, frames in enumerate(signal.frames(0, 60)):
        count, carriers = signal.lengths[row], signal.carriers[row]
        assert frames.shape == (count, shape.dim) and frames.dtype == np.float16 and np.isfinite(frames).all()
        if count:
            mean = frames.astype(np.float64).mean(axis=0) / shape.scale
            share = carriers / count
            deviations.append((mean - outside[row] - share * (inside[row] - outside[row])) * np.sqrt(count))
    every = np.concatenate(deviations)
    assert abs(every.mean()) < 6 / np.sqrt(len(every)) and every.std() == pytest.approx(1, abs=0.03)
    # The coefficients of the mean are the signal's, however long the clip is (those of 768 and more are near apart).
    if modality == "text":
        pooled = signal.pooled()[:60] @ directions(modality)[:6].T / shape.signal
        there = signal.lengths[:60] > 0
        assert np.corrcoef(pooled[there].ravel(), signal.inside[:60][there].ravel())[0, 1] > 0.8


def test_a_stretch_of_the_frames_carries_the_signal(small: World) -> None:
    signal = Signal(small, "audio", [0.7] * 6)
    carrier = directions("audio")[6]
    for row, frames in enumerate(signal.frames(20, 40), 20):
        count = signal.lengths[row]
        assert signal.carriers[row] == max(1, round(CARRIER * count))
        shown = frames.astype(np.float64) @ carrier
        smooth = np.convolve(shown, np.ones(signal.carriers[row]), "valid") / signal.carriers[row]
        assert smooth.max() - shown.mean() > 0.03


def test_missing_text_has_no_frames(small: World) -> None:
    signal = Signal(small, "text", [0.5] * 6)
    frames = list(signal.frames(0, 200))
    assert [len(f) == 0 for f in frames] == small.silent[:200].tolist()
    assert (signal.pooled()[small.silent] == 0).all()


def test_errors_are_partly_common_to_modalities_and_persons(worlds: list[World]) -> None:
    text, audio = (Signal(worlds[0], modality, [0.0] * 6).inside for modality in ("text", "audio"))
    assert text.std(axis=0) == pytest.approx(np.ones(6), abs=0.08)
    assert np.corrcoef(text.ravel(), audio.ravel())[0, 1] == pytest.approx(0.3, abs=0.05)
    assert np.corrcoef(*_pairs(text[:, 0], worlds[0].persons).T)[0, 1] == pytest.approx(0.15, abs=0.06)
    # None of it is the labels'.
    assert abs(np.corrcoef(text[:, 0], worlds[0].labels[:, 0])[0, 1]) < 0.04


def test_the_same_frames_again_whatever_was_asked_before(small: World) -> None:
    first = Signal(small, "vision", [0.5] * 6)
    list(first.frames(0, 10))
    again = Signal(draw_world(7, split_sizes(clips=300), constants()), "vision", [0.5] * 6)
    assert all(np.array_equal(a, b) for a, b in zip(first.frames(10, 20), again.frames(10, 20), strict=True))


def test_fitting_strengths_gives_what_is_kept() -> None:
    fitted = fit_strengths(constants(), ["motion"])
    for key in ("strengths", "reached"):
        assert fitted[key]["motion"] == pytest.approx(constants()[key]["motion"], abs=2e-3)
