"""Train/valid splits in the workspace: made from the official ones, with provenance, checked when they are read.

A split is a folder ``splits/<name>/`` with ``train.csv``, ``valid.csv``, ``test.csv`` (ids only) and
``split.json``. It is written once; only clips of the test set that arrive later are added to it.
"""

from __future__ import annotations

import math
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawkit import __version__
from abawkit.challenge import Task
from abawkit.data.labels import LabelTable, Official, load_official, read_ids, read_labels, write_ids, write_labels
from abawkit.data.layout import ChallengeFolder
from abawkit.errors import AbawkitError, FindingsError, UsageError
from abawkit.fileio import digest, digest_file, read_json, storage_errors, write_json
from abawkit.workspace import Workspace

FORMAT = 1
OFFICIAL = "official"
RECORD = "split.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Ratio:
    """Training clips to validation clips, in lowest terms."""

    train: int
    valid: int

    @classmethod
    def parse(cls, text: str) -> Ratio:
        """Returns the ratio that ``text`` means.

        Raises:
            UsageError: ``text`` is not two whole numbers above zero with a colon between them.

        >>> str(Ratio.parse("4:1")), str(Ratio.parse("80:20"))
        ('4:1', '4:1')
        """
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*:\s*([0-9]{1,6})\s*", text)
        train, valid = (int(match[1]), int(match[2])) if match else (0, 0)
        if not train or not valid:
            raise UsageError(
                "this is not a ratio",
                got=repr(text),
                expected="training clips to validation clips, such as 4:1",
            )
        common = math.gcd(train, valid)
        return cls(train // common, valid // common)

    def __str__(self) -> str:
        return f"{self.train}:{self.valid}"

    def training_clips(self, total: int) -> int:
        """Returns how many of ``total`` clips are for training, rounded half up.

        >>> Ratio(4, 1).training_clips(12660)
        10128
        """
        whole = self.train + self.valid
        return (2 * total * self.train + whole) // (2 * whole)


OFFICIAL_RATIO = Ratio(2, 1)
_USUAL = (Ratio(3, 1), Ratio(4, 1), Ratio(5, 1), Ratio(9, 1))


@dataclass(frozen=True)
class Split:
    """A split that was read and checked.

    Attributes:
        name: The folder's name.
        folder: Where it lies.
        ratio: The ratio that was asked for; ``2:1`` is the official split.
        seed: The seed of the draw; None: nothing was drawn.
        train: Training labels, the official training clips first.
        valid: Validation labels.
        test_ids: Ids of the test clips, sorted; empty while they are not there.
        record: The content of ``split.json``.
    """

    name: str
    folder: Path
    ratio: str
    seed: int | None
    train: LabelTable
    valid: LabelTable
    test_ids: tuple[str, ...]
    record: dict[str, Any]


def resplit(
    workspace: Workspace, ratio: str = "4:1", *, seed: int | None = None, name: str | None = None, exact: bool = False
) -> Split:
    """Returns a split with that ratio, made when it is not there.

    ``2:1`` is the official split, untouched (the paper's name for it; really 1.76:1). Any other ratio keeps every
    official training clip and moves randomly chosen validation clips into training. The draw orders them by the
    SHA-256 of seed and id: it depends on nothing else, and of two ratios with one seed the larger contains the
    smaller. A split of the same name and content is returned as it is, with test clips that have arrived added.

    Args:
        workspace: The workspace; the challenge folder is only read.
        ratio: Training to validation clips.
        seed: Default: the setting ``split.seed``.
        name: Name of the folder; default ``official`` or ``4to1-s42``.
        exact: Take 2:1 as arithmetic and not as the official split.

    Raises:
        UsageError: The ratio cannot be reached, or another split has the name.
        FindingsError: The label files have errors.
    """
    wanted = Ratio.parse(ratio)
    seed = workspace.settings.split.seed if seed is None else seed
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    drawn = wanted != OFFICIAL_RATIO or exact
    train, valid = _move(official, wanted, seed) if drawn else (official.train, official.valid)
    name = name or (_default_name(wanted, seed) if drawn else OFFICIAL)
    if drawn and name == OFFICIAL:
        raise UsageError("this name is kept for the organisers' split", got=name, todo="give another --name")
    folder = _folder(workspace, name)
    if not folder.exists():
        record = _record(workspace.task, official, train, valid, wanted, seed if drawn else None)
        _write(folder, workspace.task, train, valid, official.test_ids, record)
    split = load_split(folder, workspace.task)
    same = split.record["content"] == _content(train, valid) and split.ratio == str(wanted)
    if same:
        split = _with_late_test_clips(split, workspace.task, official)
    if not same or (official.test_ids and split.test_ids != official.test_ids):
        raise UsageError(
            "there is another split of this name",
            path=folder,
            got=f"ratio {split.ratio}, seed {split.seed}, {_sizes(split.train, split.valid, split.test_ids)}",
            expected=f"ratio {wanted}, seed {seed}, {_sizes(train, valid, official.test_ids)}",
            todo="give another --name, or delete the folder when no run needs it",
        )
    return split


def load_split(folder: Path, task: Task) -> Split:
    """Returns the split in ``folder``.

    Raises:
        UsageError: There is no split.
        FindingsError: Its files were changed by hand or have errors.
    """
    if not (folder / RECORD).is_file():
        raise UsageError("this is not a split", path=folder, expected=f"a folder with {RECORD}")
    record = _read_record(folder)
    train = read_labels(folder / "train.csv", task)
    valid = read_labels(folder / "valid.csv", task)
    test_ids = read_ids(folder / "test.csv", task)
    changed = []
    if record["content"] != _content(train, valid):
        changed.append("train.csv or valid.csv")
    if _test_content(test_ids) not in record["test_content"]:
        changed.append("test.csv")
    if changed:
        raise FindingsError(
            f"{' and '.join(changed)} were changed after the split was made",
            path=folder,
            expected=f"the content whose hash is in {RECORD}",
            todo="delete the folder and make the split again with: abawkit resplit",
        )
    shared = (set(train.ids) & set(valid.ids)) | (set(test_ids) & {*train.ids, *valid.ids})
    if shared:
        raise FindingsError(
            f"{len(shared)} clip(s) are on two sides of the split", path=folder, got=", ".join(sorted(shared)[:5])
        )
    return Split(folder.name, folder, record["ratio"], record["seed"], train, valid, test_ids, record)


def find_split(workspace: Workspace, ratio: str, name: str | None = None) -> Split:
    """Returns the split of that name, or else the one with that ratio, with test clips that have arrived added.

    The official split (2:1) is made when it is not there. The challenge folder need not be there for the others.

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
        known = ", ".join(sorted(_records(workspace))) or "none yet"
        todo = f"abawkit resplit --ratio {wanted} --name {name}"
        raise UsageError("there is no such split", path=folder, expected=f"one of: {known}", todo=todo)
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
                todo=f"put the earlier file back, or delete the split and run: abawkit resplit --ratio {split.ratio}",
            )
    return _with_late_test_clips(split, workspace.task, official)


def list_splits(workspace: Workspace) -> list[Split]:
    """Returns the splits of the workspace by name.

    Raises:
        FindingsError: One of them was changed by hand.
    """
    return [load_split(workspace.splits / name, workspace.task) for name in sorted(_records(workspace))]


def _move(official: Official, ratio: Ratio, seed: int) -> tuple[LabelTable, LabelTable]:
    train, valid = official.train, official.valid
    total = len(train) + len(valid)
    moved = ratio.training_clips(total) - len(train)
    if not 0 <= moved < len(valid):
        reachable = [str(usual) for usual in _USUAL if len(train) <= usual.training_clips(total) < total]
        usual = [str(OFFICIAL_RATIO), *reachable]
        why = "training clips would have to leave" if moved < 0 else "no clip would be left for validation"
        raise UsageError(
            f"this ratio cannot be reached: {why}",
            got=f"{ratio} of {len(train)} + {len(valid)} clips",
            expected=f"a ratio above {len(train)}:{len(valid)}, such as {', '.join(usual)} (2:1 is the official split)",
            todo=f"abawkit resplit --ratio {usual[-1] if moved >= 0 else usual[0]}",
        )
    order = sorted(valid.ids, key=lambda clip: digest(str(seed), clip))
    chosen = set(order[:moved])
    added = valid.subset(clip for clip in valid.ids if clip in chosen)
    rest = valid.subset(clip for clip in valid.ids if clip not in chosen)
    return LabelTable(train.path, train.ids + added.ids, np.concatenate([train.values, added.values])), rest


def _record(
    task: Task, official: Official, train: LabelTable, valid: LabelTable, ratio: Ratio, seed: int | None
) -> dict[str, Any]:
    if seed is None:
        strategy, note = "official", "the organisers' split, which they made so that no subject is on both sides"
    else:
        strategy = "random, official training clips kept"
        note = "not subject-safe: without subject ids one person's clips can be on both sides, which flatters scores"
    return {
        "format": FORMAT,
        "task": task.name,
        "ratio": str(ratio),
        "ratio_got": f"{len(train) / len(valid):.4f}:1",
        "counts": {"train": len(train), "valid": len(valid), "test": len(official.test_ids)},
        "moved": len(train) - len(official.train),
        "seed": seed,
        "strategy": strategy,
        "groups": None,
        "subject_safe": seed is None,
        "note": note,
        "content": _content(train, valid),
        "test_content": [_test_content(official.test_ids)],
        "test_source": official.test_source,
        "parent": {
            side: {"file": table.path.name, "sha256": digest_file(table.path), "content": table.digest}
            for side, table in (("train", official.train), ("valid", official.valid))
        },
        "tool": f"abawkit {__version__}",
    }


def _write(
    folder: Path, task: Task, train: LabelTable, valid: LabelTable, test_ids: Sequence[str], record: dict[str, Any]
) -> None:
    """Writes a whole split: its folder appears at once, or not at all."""
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.parent / f".tmp-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            write_labels(temporary / "train.csv", task, train.ids, train.values)
            write_labels(temporary / "valid.csv", task, valid.ids, valid.values)
            write_ids(temporary / "test.csv", task, test_ids)
            write_json(temporary / RECORD, {"name": folder.name, **record})
            temporary.rename(folder)
        except OSError:
            if not (folder / RECORD).is_file():  # else another process was faster: its split is compared with ours
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _with_late_test_clips(split: Split, task: Task, official: Official) -> Split:
    """Returns the split with the test clips that have come since; clips that have gone are not taken out of it."""
    if not set(split.test_ids) < set(official.test_ids):
        return split
    # The record first, admitting both lists: whoever reads in between, or after a kill, finds the two files in accord.
    contents = [*split.record["test_content"], _test_content(official.test_ids)]
    counts = {**split.record["counts"], "test": len(official.test_ids)}
    added = {"counts": counts, "test_content": contents, "test_source": official.test_source}
    write_json(split.folder / RECORD, split.record | added)
    write_ids(split.folder / "test.csv", task, official.test_ids)
    return load_split(split.folder, task)


def _read_record(folder: Path) -> dict[str, Any]:
    record = read_json(folder / RECORD, "a record of `abawkit resplit`")
    parent = record.get("parent")
    whole = (
        record.get("format") == FORMAT
        and all(isinstance(record.get(key), str) for key in ("ratio", "content"))
        and isinstance(record.get("test_content"), list)
        and isinstance(record.get("seed", ""), int | None)
        and isinstance(record.get("counts"), dict)
        and isinstance(parent, dict)
        and all(isinstance(parent.get(side), dict) and "content" in parent[side] for side in ("train", "valid"))
    )
    if not whole:
        raise FindingsError(
            "this is not a split's record, or one of another version",
            path=folder / RECORD,
            got=f"format {record.get('format')!r}",
            expected=f"format {FORMAT}, as `abawkit resplit` writes it",
            todo="delete the folder and make the split again with: abawkit resplit",
        )
    return record


def _records(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Returns name → record of every split; folders without a record are none."""
    found = {path.parent.name: path.parent for path in workspace.splits.glob(f"*/{RECORD}")}
    return {name: _read_record(folder) for name, folder in found.items() if _NAME.fullmatch(name)}


def _name_with_ratio(workspace: Workspace, wanted: Ratio) -> str:
    if wanted == OFFICIAL_RATIO:
        return OFFICIAL
    names = sorted(name for name, record in _records(workspace).items() if record["ratio"] == str(wanted))
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


def _folder(workspace: Workspace, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError("this cannot be a split's name", got=repr(name), expected="letters, digits, '-', '_' and '.'")
    return workspace.splits / name


def _content(train: LabelTable, valid: LabelTable) -> str:
    return digest(train.digest, valid.digest)


def _test_content(ids: Sequence[str]) -> str:
    return digest("\n".join(ids))


def _sizes(train: LabelTable, valid: LabelTable, test_ids: Sequence[str]) -> str:
    return f"{len(train)} + {len(valid)} + {len(test_ids)} clips"
