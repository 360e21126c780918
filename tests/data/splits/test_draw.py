from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from abawkit.data.splits.draw import deal, deal_out, even_out, hold_out, in_order, label_counts, take
from abawkit.data.splits.ratio import Ratio
from abawkit.errors import UsageError
from tests.data.paper_labels import voters

Labels = dict[str, np.ndarray]

few = settings(max_examples=60, deadline=None)
sizes_of_units = st.lists(st.integers(1, 7), min_size=1, max_size=9)


def clips(count: int) -> list[str]:
    return [f"{k:05d}" for k in range(count)]


@st.composite
def pools(draw: st.DrawFn, least: int = 2) -> tuple[list[str], dict[str, str], Labels]:
    """Clips, groups of some of them, and labels as raters' votes."""
    ids = clips(draw(st.integers(least, 40)))
    named = draw(st.lists(st.sampled_from(["", "", "a", "b", "c", "d"]), min_size=len(ids), max_size=len(ids)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    votes = rng.multinomial(3, [0.2, 0.15, 0.05, 0.02, 0.15, 0.13, 0.3], len(ids))[:, :6] / 3
    return ids, {clip: name for clip, name in zip(ids, named, strict=True) if name}, dict(zip(ids, votes, strict=True))


def sums(sizes: list[int]) -> set[int]:
    """Returns every sum of some of the sizes, found by trying all."""
    return {sum(chosen) for count in range(len(sizes) + 1) for chosen in combinations(sizes, count)}


@given(sizes_of_units, st.integers(-5, 70), st.integers(0, 20), st.integers(0, 70))
@example([2, 2], 1, 0, 4)  # 0 and 2 are as near
@few
def test_take_finds_the_nearest_sum(sizes: list[int], wanted: int, low: int, high: int) -> None:
    allowed = [total for total in sums(sizes) if low <= total <= high]
    if not allowed:
        with pytest.raises(ValueError, match="no sum"):
            take(sizes, wanted, low, high)
        return
    got = int(np.array(sizes)[take(sizes, wanted, low, high)].sum())
    assert got == min(allowed, key=lambda total: (abs(total - wanted), -total))


@given(st.integers(1, 300), st.integers(0, 300))
@few
def test_of_units_of_one_clip_the_first_are_taken(count: int, wanted: int) -> None:
    wanted = min(wanted, count)
    assert take([1] * count, wanted, 0, count).tolist() == [k < wanted for k in range(count)]


@given(pools(), st.integers(0, 9), st.randoms(use_true_random=False))
@few
def test_the_order_depends_on_seed_and_ids_alone(
    pool: tuple[list[str], dict[str, str], Labels], seed: int, random: object
) -> None:
    ids, groups, _ = pool
    units = in_order(ids, groups, seed)
    assert sorted(clip for unit in units for clip in unit) == ids
    shuffled = list(ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    renamed = {clip: f"person {ord(groups[clip])}" for clip in reversed(shuffled) if clip in groups}
    assert in_order(shuffled, renamed, seed) == units
    for unit in units:
        assert len({groups.get(clip, clip) for clip in unit}) == 1
    assert len(units) == len({groups.get(clip, clip) for clip in ids})
    # Clips without a group come in the same order as when nobody has one.
    alone = [unit[0] for unit in in_order(ids, {}, seed)]
    left = [unit[0] for unit in units]
    assert left == [clip for clip in alone if clip in set(left)]


def test_groups_named_like_clips_are_no_clips() -> None:
    assert in_order(["00000", "00001"], {"00001": "00000"}, 1) == in_order(["00000", "00001"], {}, 1)


@given(pools(), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.booleans())
@few
def test_hold_out(pool: tuple[list[str], dict[str, str], Labels], a: int, b: int, seed: int, stratified: bool) -> None:
    ids, groups, labels = pool
    units = in_order(ids, groups, seed)
    wanted = Ratio(a, b).training_clips(len(ids))
    if len(units) < 2:
        with pytest.raises(ValueError, match="no sum"):
            hold_out(units, wanted)
        return
    held = hold_out(units, wanted, labels=labels if stratified else None)
    rest = set(ids) - set(held)
    assert 0 < len(held) < len(ids) and len(set(held)) == len(held) and set(held) <= set(ids)
    assert not {groups[clip] for clip in held if clip in groups} & {groups[clip] for clip in rest if clip in groups}
    reached = sums([len(unit) for unit in units]) - {0, len(ids)} if len(units) < 12 else range(1, len(ids))
    if len(units) < 12:
        assert len(rest) == min(reached, key=lambda total: (abs(total - wanted), -total))
    if not groups:
        assert len(rest) == min(max(wanted, 1), len(ids) - 1)
    if stratified:  # exactly the counts of the random draw, and nothing else than seed, ids, groups and labels matters
        assert len(held) == len(hold_out(units, wanted))
        again = dict(sorted(labels.items(), key=lambda pair: pair[1].tolist()))
        assert set(hold_out(in_order(reversed(ids), groups, seed), wanted, labels=again)) == set(held)


@given(pools(), st.integers(2, 6), st.integers(0, 3), st.booleans())
@few
def test_folds_are_a_partition(
    pool: tuple[list[str], dict[str, str], Labels], folds: int, seed: int, stratified: bool
) -> None:
    ids, groups, labels = pool
    units = in_order(ids, groups, seed)
    if len(units) < folds:
        return
    parts = deal_out(units, folds, labels=labels if stratified else None)
    assert len(parts) == folds and all(parts)
    assert sorted(clip for part in parts for clip in part) == ids
    names = [{groups[clip] for clip in part if clip in groups} for part in parts]
    assert not any(one & other for one, other in combinations(names, 2))
    sizes = [len(part) for part in parts]
    if not groups:
        assert max(sizes) - min(sizes) <= 1
    assert sizes == [len(part) for part in deal_out(units, folds)]  # stratified or not


@given(sizes_of_units, st.integers(2, 4))
@example([5, 5, 4, 4, 3, 3, 3], 3)  # the largest first to the smallest gives 11, 8 and 8
@few
def test_no_two_folds_can_be_more_equal(sizes: list[int], folds: int) -> None:
    if len(sizes) < folds:
        return
    fold = deal(sizes, folds)
    parts = [[size for size, at in zip(sizes, fold, strict=True) if at == k] for k in range(folds)]
    assert all(parts)
    for one, other in combinations(parts, 2):
        total = sum(one) + sum(other)
        assert abs(sum(one) - sum(other)) == min(abs(2 * reached - total) for reached in sums(one + other))


def test_folds_are_nearly_always_the_best_that_there_are() -> None:
    rng = np.random.default_rng(0)
    every = np.array(list(product(range(3), repeat=7)))
    best = 0
    for _ in range(40):
        sizes = rng.integers(1, 9, 7)
        totals = np.stack([((every == k) * sizes).sum(axis=1) for k in range(3)], axis=1)
        best += np.ptp(np.bincount(deal(sizes.tolist(), 3), sizes)) == np.ptp(totals, axis=1).min()
    assert best >= 36


@given(pools(least=8), st.integers(0, 3))
@few
def test_the_properties_that_are_shared_out(pool: tuple[list[str], dict[str, str], Labels], seed: int) -> None:
    ids, groups, labels = pool
    units = in_order(ids, groups, seed)
    counts = label_counts(units, labels)
    table = np.array([labels[clip] for clip in ids])
    patterns = {tuple(row) for row in (table > 0).tolist()}
    cuts = counts.shape[1] - len(patterns)
    assert (counts[:, cuts:].sum(axis=1) == [len(unit) for unit in units]).all()  # each clip has one pattern
    assert counts.sum(axis=0)[[0]] == (table[:, 0] > 0).sum()
    # With few distinct values, the greatest difference of the shares is the Kolmogorov-Smirnov statistic.
    half = len(units) // 2
    if half:
        one, other = ([clip for unit in part for clip in unit] for part in (units[:half], units[half:]))
        ks = [ks_2samp(*([labels[c][e] for c in side] for side in (one, other)), method="asymp") for e in range(6)]
        shares = counts[:half, :cuts].sum(axis=0) / len(one) - counts[half:, :cuts].sum(axis=0) / len(other)
        assert np.abs(shares).max() == pytest.approx(max(found.statistic for found in ks))


@given(st.integers(0, 500))
@few
def test_no_exchange_brings_a_side_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, 14)
    counts = rng.integers(0, 4, (14, 5)).astype(np.float64)
    goal = counts.sum(axis=0) * 0.4
    before = rng.integers(0, 3, 14)
    side = before.copy()
    even_out(side, 0, sizes, counts, goal)

    def off(side: np.ndarray) -> float:
        return float(((counts[side == 0].sum(axis=0) - np.round(goal)) ** 2).sum())

    assert off(side) <= off(before)
    for k in range(3):  # sizes are exchanged for the same sizes
        assert sorted(sizes[side == k]) == sorted(sizes[before == k])
    for one, other in product(np.flatnonzero(side == 0), np.flatnonzero(side > 0)):
        if sizes[one] == sizes[other]:
            tried = side.copy()
            tried[one], tried[other] = tried[other], tried[one]
            assert off(tried) >= off(side)


def test_the_draws_stay_as_they_are() -> None:
    # A draw that changes would change everybody's splits.
    cast = np.random.default_rng(7).integers(0, 7, (40, 3))
    votes = np.stack([(cast == target).sum(axis=1) / 3 for target in range(6)], axis=1)
    ids = clips(40)
    held = hold_out(in_order(ids[20:], {}, 42), 12, least=0, labels=dict(zip(ids, votes, strict=True)))
    assert " ".join(clip[3:] for clip in sorted(held)) == "22 24 27 28 29 30 34 39"
    parts = deal_out(in_order(ids, {clip: clip[3] for clip in ids[::2]}, 42), 3)
    assert [" ".join(clip[3:] for clip in sorted(part)) for part in parts] == [
        "01 03 07 15 20 22 24 26 28 30 32 34 36 38",
        "05 10 11 12 14 16 18 19 23 25 29 35 39",
        "00 02 04 06 08 09 13 17 21 27 31 33 37",
    ]


def test_sides_before_this_one_are_left_alone() -> None:
    rng = np.random.default_rng(3)
    side = np.repeat([0, 1, 2], 20)
    counts = rng.integers(0, 2, (60, 4)).astype(np.float64)
    even_out(side, 1, np.ones(60, dtype=np.int64), counts, counts.mean(axis=0) * 20)
    assert (side[:20] == 0).all() and (side[20:] != np.repeat([1, 2], 20)).any()


def paper_labels(train: int, valid: int) -> Labels:
    rng = np.random.default_rng(5)
    values = np.concatenate([voters("train").labels(rng, train), voters("valid").labels(rng, valid)])
    return dict(zip(clips(train + valid), values, strict=True))


def shift(labels: Labels, held: list[str]) -> float:
    """Returns the KS statistic between the held-out and the other clips, averaged over the labels."""
    one = np.array([labels[clip] for clip in held])
    other = np.array([labels[clip] for clip in sorted(labels.keys() - set(held))])
    return float(np.mean([ks_2samp(a, b, method="asymp").statistic for a, b in zip(one.T, other.T, strict=True)]))


@pytest.mark.parametrize("free", [False, True], ids=["keep-train", "free"])
def test_stratified_sides_are_more_alike(free: bool) -> None:
    labels = paper_labels(600, 340)
    pool = clips(940)[0 if free else 600 :]
    training = 752 - (940 - len(pool))
    random, stratified = [], []
    for seed in range(4):
        units = in_order(pool, {}, seed)
        random.append(shift(labels, hold_out(units, training, least=int(free))))
        stratified.append(shift(labels, hold_out(units, training, least=int(free), labels=labels)))
    assert max(stratified) < 0.4 * min(random), (random, stratified)


def test_stratified_folds_are_more_alike() -> None:
    labels = paper_labels(600, 340)
    units = in_order(labels, {clip: f"{int(clip) // 5}" for clip in clips(500)}, 1)
    random, stratified = deal_out(units, 5), deal_out(units, 5, labels=labels)
    assert max(shift(labels, part) for part in stratified) < 0.6 * np.mean([shift(labels, part) for part in random])


@pytest.mark.parametrize("free", [False, True], ids=["keep-train", "free"])
def test_official_size(free: bool) -> None:
    pool = clips(12660)[0 if free else 8072 :]
    training = Ratio(4, 1).training_clips(12660) - (0 if free else 8072)
    rng = np.random.default_rng(0)
    groups = {clip: f"{int(clip) >= 8072}{rng.integers(0, 300)}" for clip in pool}
    labels = dict(zip(clips(12660), np.asarray(rng.integers(0, 3, (12660, 2)) / 2), strict=True))
    for of in ({}, groups):
        units = in_order(pool, of, 42)
        for given_labels in (None, labels):
            assert len(hold_out(units, training, least=int(free), labels=given_labels)) == 2532
        assert np.ptp([len(part) for part in deal_out(units, 5)]) <= 1


@pytest.mark.parametrize(
    "text", ["", "4", "4:0", "0:1", "-4:1", "4:1:1", "a:b", "4.5:1", "4/1", "inf:1", "9" * 99 + ":1"]
)
def test_no_ratio(text: str) -> None:
    with pytest.raises(UsageError, match="not a ratio"):
        Ratio.parse(text)


@given(st.integers(1, 9999), st.integers(1, 9999), st.integers(1, 99999))
@few
def test_ratio_arithmetic(a: int, b: int, total: int) -> None:
    ratio = Ratio.parse(f" {a} : {b}")
    got = ratio.training_clips(total)
    assert abs(got * (a + b) - total * a) * 2 <= a + b  # nobody comes nearer
    assert Ratio.parse(str(ratio)) == ratio and ratio.train * b == ratio.valid * a


def test_the_paper_counts() -> None:
    assert Ratio.parse("4:1").training_clips(8072 + 4588) == 10128


@pytest.mark.parametrize(
    ("ratio", "total", "kept", "words"),
    [
        ("1:1", 20, 14, "training clips would have to leave"),
        ("100:1", 20, 14, "no clip would be left for validation"),
        ("1:100", 20, 0, "no clip would be left for training"),
    ],
)
def test_a_ratio_that_cannot_be_reached(ratio: str, total: int, kept: int, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Ratio.parse(ratio).refuse_unless_reachable(total, kept)
    assert "3:1, 4:1, 5:1, 9:1" in str(caught.value)
    Ratio.parse("4:1").refuse_unless_reachable(total, kept)
