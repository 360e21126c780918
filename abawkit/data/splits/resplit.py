"""Train/valid splits in the workspace: drawn from the official ones, found again, always with their provenance.

What a split's folder holds is in :mod:`abawkit.data.splits.files`, how clips are chosen in
:mod:`abawkit.data.splits.draw`, and from what in :mod:`abawkit.data.splits.pool`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from abawkit.data.labels import load_official
from abawkit.data.splits.draw import deal_out, hold_out
from abawkit.data.splits.files import RECORD, Split, add_test_clips, command_of, load_split, read_record, write_split
from abawkit.data.splits.pool import Pool, open_pool
from abawkit.data.splits.provenance import OFFICIAL, described, record_of
from abawkit.data.splits.ratio import OFFICIAL as OFFICIAL_RATIO
from abawkit.data.splits.ratio import Ratio
from abawkit.errors import AbawkitError, FindingsError, UsageError
from abawkit.layout.folder import ChallengeFolder
from abawkit.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def resplit(
    workspace: Workspace,
    ratio: str = "4:1",
    *,
    seed: int | None = None,
    name: str | None = None,
    exact: bool = False,
    strategy: str = "random",
    groups: Path | None = None,
    free: bool = False,
) -> Split:
    """Returns a split with that ratio, made when it is not there.

    ``2:1`` is the official split, untouched (the paper's name for it; really 1.76:1). Any other ratio keeps every
    official training clip and moves chosen validation clips into training. The random draw orders them by the
    SHA-256 of seed and id: it depends on nothing else, and of two ratios with one seed the larger contains the
    smaller. A split of the same name and content is returned as it is, with test clips that have arrived added.

    Args:
        workspace: The workspace; the challenge folder is only read.
        ratio: Training to validation clips.
        seed: Default: the setting ``split.seed``.
        name: Name of the folder; default ``official``, ``4to1-s42`` or, with what follows, ``4to1-s42-stratified``.
        exact: Take 2:1 as arithmetic and not as the official split.
        strategy: ``random`` or ``stratified``: the labels of both sides as like each other as they can be.
        groups: A CSV of clips and their groups: no group is on both sides, and the ratio is the nearest that the
            groups allow. A clip without a group is a group of its own. A group with an official training clip goes to
            training as a whole, unless ``free``.
        free: Official training clips may be held out, too.

    Raises:
        UsageError: The ratio cannot be reached, or another split has the name.
        FindingsError: The label files or the groups file have errors.
    """
    wanted = Ratio.parse(ratio)
    drawn = wanted != OFFICIAL_RATIO or exact
    if not drawn and (strategy != "random" or groups is not None or free):
        raise UsageError(
            "2:1 is the organisers' own split, in which nothing is drawn",
            expected="no --strategy, --groups or --free with it",
            todo="give --exact to draw two thirds for training, or another --ratio",
        )
    if drawn and name == OFFICIAL:
        raise UsageError("this name is kept for the organisers' split", got=name, todo="give another --name")
    pool = open_pool(workspace, seed, strategy, groups, free)
    if not drawn:
        return _made(workspace, name or OFFICIAL, pool, pool.official.valid.ids, ratio=wanted, drawn=False)
    total = len(pool.labelled)
    wanted.refuse_unless_reachable(total, 0 if free else len(pool.official.train))
    pool.refuse_fewer_units_than(2 if free else 1)
    training, staying = wanted.training_clips(total), total - pool.size
    labels = pool.labels if strategy == "stratified" else None
    held = hold_out(pool.units, training - staying, least=0 if staying else 1, labels=labels)
    name = name or _default_name(wanted, pool.seed) + _suffix(pool, usually_free=False)
    return _made(workspace, name, pool, held, ratio=wanted)


def fold(
    workspace: Workspace,
    folds: int,
    *,
    seed: int | None = None,
    name: str | None = None,
    strategy: str = "random",
    groups: Path | None = None,
    free: bool = True,
) -> list[Split]:
    """Returns as many splits as there are folds, made when they are not there; each holds out another fold.

    Their sizes are as equal as the groups allow. They are never found by their ratio, only by name.

    Args:
        workspace: The workspace; the challenge folder is only read.
        folds: At least 2, at most as many as there are clips or groups.
        seed: Default: the setting ``split.seed``.
        name: What the names begin with; default ``5fold-s42``, so that the splits are ``5fold-s42-1`` and so on.
        strategy: ``random`` or ``stratified``: the labels of the folds as like each other as they can be.
        groups: As in :func:`resplit`.
        free: Every labelled clip is held out exactly once. False: every official validation clip is (but those that
            share a group with an official training clip), and the official training clips are always in training.

    Raises:
        UsageError: There are too few clips or groups, or another split has one of the names.
        FindingsError: The label files or the groups file have errors.
    """
    pool = open_pool(workspace, seed, strategy, groups, free)
    if folds < 2:
        raise UsageError("too few folds", got=str(folds), expected="at least 2")
    pool.refuse_fewer_units_than(folds)
    labels = {clip: pool.labels[clip] for unit in pool.units for clip in unit} if strategy == "stratified" else None
    parts = deal_out(pool.units, folds, labels=labels)
    base = name or f"{folds}fold-s{pool.seed}{_suffix(pool, usually_free=True)}"
    made = []
    for index, held in enumerate(parts, 1):
        # What is always in training is not part of the folds, and makes the ratio another one.
        ratio = Ratio.parse(f"{folds - 1}:1" if free else f"{len(pool.labelled) - len(held)}:{len(held)}")
        part = {"set": base, "index": index, "of": folds}
        made.append(_made(workspace, f"{base}-{index}", pool, held, ratio=ratio, fold=part))
    return made


def find_split(workspace: Workspace, ratio: str, name: str | None = None) -> Split:
    """Returns the split of that name, or else the one with that ratio, with test clips that have arrived added.

    The official split (2:1) is made when it is not there. Folds are found by name only. The challenge folder need not
    be there for any but the official split.

    Raises:
        UsageError: There is none; or several have the ratio, and none of them has the default name.
        FindingsError: Its files were changed by hand, or it was made from other labels than the official ones are now.
    """
    wanted = Ratio.parse(ratio)
    if name is None:
        name = _name_with_ratio(workspace, wanted)
    folder = _folder(workspace, name)
    if not folder.exists() and name == OFFICIAL:
        return resplit(workspace, str(OFFICIAL_RATIO))
    if not folder.exists():
        known = sorted(_records(workspace))
        expected = (
            f"one of: {', '.join(known[:8])}{' …' if known[8:] else ''}" if known else "a split: there are none yet"
        )
        todo = "abawkit resplit list  (abawkit resplit --help tells how to make each kind)"
        raise UsageError("there is no such split", path=folder, expected=expected, todo=todo)
    split = load_split(folder, workspace.task)
    try:
        official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    except AbawkitError:
        return split  # a split stands on its own: the challenge folder may be on another machine
    for side, table in (("train", official.train), ("valid", official.valid)):
        if split.record["parent"][side]["content"] != table.digest:
            raise FindingsError(
                f"the labels in {table.path} are not those that this split was made from",
                path=split.folder,
                todo=f"put the earlier file back, or delete the split and run: {command_of(split.record)}",
            )
    return add_test_clips(split, workspace.task, official)


def list_splits(workspace: Workspace) -> list[Split]:
    """Returns the splits of the workspace by name, folds in their order.

    Raises:
        FindingsError: One of them was changed by hand.
    """
    records = _records(workspace)

    def place(name: str) -> tuple[str, int]:
        part = records[name]["fold"]
        return (part["set"], part["index"]) if part else (name, 0)

    return [load_split(workspace.splits / name, workspace.task) for name in sorted(records, key=place)]


def _made(
    workspace: Workspace,
    name: str,
    pool: Pool,
    held: Sequence[str],
    *,
    ratio: Ratio,
    fold: Mapping[str, Any] | None = None,
    drawn: bool = True,
) -> Split:
    """Returns the split that holds out the clips ``held``, made when it is not there."""
    task, official = workspace.task, pool.official
    out = set(held)
    train = pool.labelled.subset(clip for clip in pool.labelled.ids if clip not in out)
    valid = pool.labelled.subset(clip for clip in pool.labelled.ids if clip in out)
    record = record_of(pool, task, train, valid, ratio=ratio, fold=fold, drawn=drawn)
    folder = _folder(workspace, name)
    if not folder.exists():
        write_split(folder, task, train, valid, official.test_ids, record, pool.groups)
    split = load_split(folder, task)
    keys = ("ratio", "strategy", "keep_train", "fold", "content")
    same = all(split.record[key] == record[key] for key in keys) and (
        (split.groups and split.groups.digest) == (pool.groups and pool.groups.digest)
    )
    if same:
        split = add_test_clips(split, task, official)
    if not same or (official.test_ids and split.test_ids != official.test_ids):
        raise UsageError(
            "there is another split of this name",
            path=folder,
            got=described(split.record, len(split.test_ids)),
            expected=described(record, len(official.test_ids)),
            todo="give another --name, or delete the folder when no run needs it",
        )
    return split


def _records(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Returns name → record of every split; folders without a record are none."""
    found = {path.parent.name: path.parent for path in workspace.splits.glob(f"*/{RECORD}")}
    return {name: read_record(folder) for name, folder in found.items() if _NAME.fullmatch(name)}


def _name_with_ratio(workspace: Workspace, wanted: Ratio) -> str:
    if wanted == OFFICIAL_RATIO:
        return OFFICIAL
    records = _records(workspace).items()
    names = sorted(name for name, record in records if record["ratio"] == str(wanted) and record["fold"] is None)
    if not names:
        raise UsageError(
            f"there is no split with the ratio {wanted} yet",
            path=workspace.splits,
            todo=f"abawkit resplit --ratio {wanted}",
        )
    default = _default_name(wanted, workspace.settings.split.seed)
    if default in names:
        return default
    if len(names) > 1:
        raise UsageError(
            f"several splits have the ratio {wanted}",
            path=workspace.splits,
            got=", ".join(names),
            todo=f"choose one: --split {names[0]}",
        )
    return names[0]


def _default_name(ratio: Ratio, seed: int) -> str:
    return f"{ratio.train}to{ratio.valid}-s{seed}"


def _suffix(pool: Pool, usually_free: bool) -> str:
    """Returns what a default name says besides ratio and seed."""
    words = ["stratified"] if pool.strategy == "stratified" else []
    if pool.free != usually_free:
        words.append("free" if pool.free else "keep-train")
    if pool.groups is not None:
        words.append("groups")
    return "".join(f"-{word}" for word in words)


def _folder(workspace: Workspace, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError("this cannot be a split's name", got=repr(name), expected="letters, digits, '-', '_' and '.'")
    return workspace.splits / name
