"""Which clips are drawn for which side of a split: pure functions of clip ids, labels, groups and a seed.

Clips that have to stay together (a subject's, or all that say the same words) are a unit; any other clip is a unit of
its own. Units are put into an order that depends on the seed and the clip ids alone, and are dealt from its front.
A stratified draw begins with the random one and exchanges units of one size until no exchange brings the labels of
the two sides nearer to each other, so that it has the counts of the random one, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from abawkit.fileio import digest

Units = Sequence[Sequence[str]]
Array = NDArray[np.float64]

#: Cuts between intensities: a label with more distinct values than this is cut at their quantiles.
_MOST_CUTS = 40

#: Kinds of units of each side that are looked at for an exchange, at first and at most.
_FEW, _MANY = 32, 2048

#: Exchanges that are made, where they still help, before all are looked at again.
_AT_ONCE = 16


def in_order(ids: Iterable[str], groups: Mapping[str, str], seed: int) -> list[list[str]]:
    """Returns the units in the order of the draw; a unit's clips are sorted.

    A unit's place is the SHA-256 of the seed and its least clip id: neither the order of ``ids`` nor the names of the
    groups matter, and a clip without a group has the same place as in a draw without groups.

    Args:
        ids: Clip ids.
        groups: Clip id → group, for those that have one.
        seed: The seed.

    >>> in_order(["00003", "00001", "00002"], {"00003": "a", "00001": "a"}, seed=42)
    [['00002'], ['00001', '00003']]
    """
    together: dict[tuple[bool, str], list[str]] = {}
    for clip in sorted(ids):
        together.setdefault((clip in groups, groups.get(clip, clip)), []).append(clip)
    return sorted(together.values(), key=lambda unit: digest(str(seed), unit[0]))


def hold_out(units: Units, training: int, *, least: int = 1, labels: Mapping[str, Array] | None = None) -> list[str]:
    """Returns the clips for validation; the other clips of the units are for training.

    Args:
        units: Clips that stay together, in the order of the draw: the early ones go to training.
        training: How many clips should go to training; the nearest number that the units allow does (of two that are
            as near, the greater), but never all of them.
        least: How many clips have to go to training at least.
        labels: Clip id → labels ``[E]``, of the clips of the units and of any others that are in training anyway:
            what is held out is made as like them all as it can be. None: the draw is random.

    Raises:
        ValueError: The units cannot be divided so that one side has ``least`` clips and the other at least one.

    >>> hold_out([["00002"], ["00001", "00003"]], training=2)
    ['00002']
    """
    sizes = [len(unit) for unit in units]
    side = take(sizes, training, least, sum(sizes) - 1).astype(np.int64)  # 0: validation, 1: training
    if labels is not None:
        _even_out_all(side, 1, units, labels)
    return [clip for unit, place in zip(units, side, strict=True) if place == 0 for clip in unit]


def deal_out(units: Units, folds: int, *, labels: Mapping[str, Array] | None = None) -> list[list[str]]:
    """Returns the clips of each fold; every clip of the units is in exactly one.

    Args:
        units: Clips that stay together, in the order of the draw.
        folds: At least 2, at most the number of units.
        labels: Clip id → labels ``[E]`` of the clips: the folds are made as like each other as they can be. None: the
            draw is random.

    >>> deal_out([["00002"], ["00001", "00003"], ["00004"]], folds=2)
    [['00001', '00003'], ['00002', '00004']]
    """
    fold = deal([len(unit) for unit in units], folds)
    if labels is not None:
        _even_out_all(fold, folds - 1, units, labels)
    return [[clip for unit, at in zip(units, fold, strict=True) if at == k for clip in unit] for k in range(folds)]


def take(sizes: Sequence[int], wanted: int, low: int, high: int) -> NDArray[np.bool_]:
    """Returns which units to take, the early ones first, so that their sizes sum as near to ``wanted`` as they can.

    Of two sums that are as near, the greater is taken. Sums are found by a bitset: bit s of ``reach[i]`` says that
    some of the units from i on sum to s.

    Args:
        sizes: Clips of each unit, each at least 1.
        wanted: The sum to come near to.
        low: The least sum that is allowed.
        high: The greatest sum that is allowed.

    Raises:
        ValueError: No sum of units lies in ``[low, high]``.

    >>> take([3, 1, 5, 1], wanted=8, low=1, high=9).tolist()
    [True, False, True, False]
    """
    reach = [1]
    for size in reversed(sizes):
        reach.append(reach[-1] | reach[-1] << size)
    reach.reverse()
    allowed = reach[0] & ((1 << high + 1) - 1) >> low << low if high >= low else 0
    if not allowed:
        raise ValueError("no sum of units is allowed")
    wanted = max(low, min(wanted, high))
    below = (allowed & ((1 << wanted + 1) - 1)).bit_length() - 1  # -1: none
    more = allowed >> wanted
    above = wanted + (more & -more).bit_length() - 1 if more else -1
    left = above if below < 0 or (above >= 0 and above - wanted <= wanted - below) else below
    taken = np.zeros(len(sizes), dtype=np.bool_)
    for index, size in enumerate(sizes):
        if size <= left and reach[index + 1] >> (left - size) & 1:
            taken[index] = True
            left -= size
    return taken


def deal(sizes: Sequence[int], folds: int) -> NDArray[np.int64]:
    """Returns the fold of each unit, 0 to ``folds`` - 1, so that the folds have as equal sizes as the units allow.

    The largest units are dealt first, each to the smallest fold (Graham 1969). Then the units of two folds are dealt
    again between the two by :func:`take`, until that makes no pair more equal. Without groups the sizes differ by 1
    at most; with groups no two folds can be made more equal, which is nearly always the best that all together can be.

    Args:
        sizes: Clips of each unit.
        folds: At least 2, at most the number of units; no fold is empty.

    >>> deal([5, 1, 1, 1, 2], folds=2).tolist()
    [0, 1, 1, 1, 1]
    """
    size = np.asarray(sizes, dtype=np.int64)
    fold = np.empty(len(size), dtype=np.int64)
    totals = np.zeros(folds, dtype=np.int64)
    for unit in np.argsort(-size, kind="stable"):
        fold[unit] = totals.argmin()
        totals[fold[unit]] += size[unit]
    while _deal_a_pair_again(size, fold, totals):
        pass
    return fold


def _deal_a_pair_again(size: NDArray[np.int64], fold: NDArray[np.int64], totals: NDArray[np.int64]) -> bool:
    """Makes the first pair of folds that can be more equal so; False when there is none."""
    order = totals.argsort(kind="stable")
    for large in order[::-1]:
        for small in order:
            gap = int(totals[large] - totals[small])
            if gap < 2:
                break
            both = np.flatnonzero((fold == large) | (fold == small))
            total = int(totals[large] + totals[small])
            taken = take(size[both].tolist(), (total + 1) // 2, 1, total - 1)
            part = int(size[both][taken].sum())
            if abs(2 * part - total) < gap:
                fold[both] = np.where(taken, large, small)
                totals[large], totals[small] = part, total - part
                return True
    return False


def label_counts(units: Units, labels: Mapping[str, Array]) -> Array:
    """Returns how many clips of each unit have each property that the sides shall share, float64 [U, J], whole numbers.

    The properties: for each target, the label is above 0, and above each further cut between intensities (every
    value that occurs, or quantiles of them where there are many), so that the greatest difference of their shares
    between two sides is the Kolmogorov-Smirnov statistic; and for each pattern of zeros over all targets, the clip
    has it.

    Args:
        units: Clips that stay together.
        labels: Clip id → labels ``[E]``, of the clips of the units and any others, whose values make cuts, too.
    """
    clips = sorted(labels)
    table = np.array([labels[clip] for clip in clips])
    cuts = []
    for column in table.T:
        above = np.unique(column[column > 0])[:-1]  # nothing is above the greatest
        if len(above) >= _MOST_CUTS:
            above = np.unique(np.quantile(column[column > 0], np.arange(1, _MOST_CUTS) / _MOST_CUTS, method="lower"))
        cuts += [column > cut for cut in (0.0, *above)]
    bits = (table > 0) @ (1 << np.arange(table.shape[1]))
    patterns = bits[:, None] == np.unique(bits)
    each = np.concatenate([np.stack(cuts, axis=1), patterns], axis=1).astype(np.float64)
    row = {clip: index for index, clip in enumerate(clips)}
    members = [row[clip] for unit in units for clip in unit]
    starts = np.cumsum([0, *map(len, units[:-1])])
    return np.asarray(np.add.reduceat(each[members], starts, axis=0))


def _even_out_all(side: NDArray[np.int64], sides: int, units: Units, labels: Mapping[str, Array]) -> None:
    """Gives the first ``sides`` sides their share of what ``labels`` hold, one after the other."""
    sizes = np.array([len(unit) for unit in units])
    counts = label_counts(units, labels)
    whole = label_counts([list(labels)], labels)[0]
    for this in range(sides):
        even_out(side, this, sizes, counts, whole * (sizes[side == this].sum() / len(labels)))


def even_out(side: NDArray[np.int64], this: int, sizes: NDArray[np.int64], counts: Array, goal: Array) -> None:
    """Exchanges units between side ``this`` and those with greater numbers until ``this`` is as near to ``goal``.

    As iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML
    PKDD 2011) it works towards the number of clips that a side should have of each label. But it exchanges units of one
    size instead of dealing them one by one, so that the sizes of the sides are kept exactly, units may stay together,
    and the goal may be another than the mean of what is dealt. What falls is the sum of squared differences from the
    goal; of the exchanges that are looked at, those that lower it most are made, until there is none (or, with very
    many kinds of units, none among the most promising). All numbers are whole: every machine finds the same.

    Args:
        side: The side of each unit, changed in place.
        this: The side that shall come near to the goal.
        sizes: Clips of each unit.
        counts: See :func:`label_counts`.
        goal: What the counts of side ``this`` should sum to, ``[J]``.
    """
    free = np.flatnonzero(side >= this)
    known: dict[bytes, int] = {}  # units of one kind change a side in the same way; the first of them stands for all
    rows = np.column_stack([sizes, counts])[free]
    kind = np.array([known.setdefault(row.tobytes(), len(known)) for row in rows])
    first = np.unique(kind, return_index=True)[1]
    size, counts = sizes[free][first], counts[free][first]
    inside = side[free] == this
    here, there = (np.bincount(kind[part], minlength=len(first)) for part in (inside, ~inside))
    off = here @ counts - np.round(goal)
    squares = (counts * counts).sum(axis=1)
    most = _FEW
    while True:
        slope = counts @ (2 * off)
        leave, enter = squares - slope, squares + slope
        gone, came = _least(leave, here > 0, most), _least(enter, there > 0, most)
        change = leave[gone][:, None] + enter[came] - 2 * counts[gone] @ counts[came].T
        change[size[gone][:, None] != size[came]] = np.inf
        exchanged = False
        for row, column in _first_few(change):
            out, into = gone[row], came[column]
            after = off + counts[into] - counts[out]  # of the first few, those that still help after the ones before
            if after @ after >= off @ off or not here[out] or not there[into]:
                continue
            exchanged, off = True, after
            here[[out, into]] += [-1, 1]
            there[[out, into]] += [1, -1]
            leaving, entering = np.flatnonzero(inside & (kind == out))[0], np.flatnonzero(~inside & (kind == into))[0]
            inside[leaving], inside[entering] = False, True
            side[free[leaving]], side[free[entering]] = side[free[entering]], this
        if not exchanged:
            if most >= min(_MANY, len(first)):
                break
            most *= 4


def _first_few(change: Array) -> list[tuple[int, int]]:
    """Returns rows and columns of the least numbers that are below 0, the least first; of equal ones the first."""
    flat = change.ravel()
    if flat.size > _AT_ONCE:
        # By value and not by argpartition, which takes other ones of equal numbers on other machines.
        flat = np.where(flat <= np.partition(flat, _AT_ONCE)[_AT_ONCE], flat, np.inf)
    chosen = np.flatnonzero(flat < 0)
    chosen = chosen[np.argsort(flat[chosen], kind="stable")[:_AT_ONCE]]
    return [divmod(int(index), change.shape[1]) for index in chosen]


def _least(cost: Array, among: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Returns the rows of least cost, at most so many; of equal ones the first."""
    rows = np.flatnonzero(among)
    return rows[np.argsort(cost[rows], kind="stable")[:most]]
