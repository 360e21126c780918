"""What ``split.json`` tells of how a split came about, and whether one person can be on both sides of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abawkit import __version__
from abawkit.challenge import Task
from abawkit.data.labels import LabelTable
from abawkit.data.splits.files import FORMAT, NOT_SAFE, command_of, content_of, content_of_ids
from abawkit.data.splits.pool import Pool
from abawkit.data.splits.ratio import Ratio
from abawkit.fileio import digest_file

#: Name and strategy of the organisers' own split.
OFFICIAL = "official"


def record_of(
    pool: Pool,
    task: Task,
    train: LabelTable,
    valid: LabelTable,
    *,
    ratio: Ratio,
    fold: Mapping[str, Any] | None = None,
    drawn: bool = True,
) -> dict[str, Any]:
    """Returns the record of a split, without its name and the hashes of its files.

    Args:
        pool: What it was drawn from.
        task: What the challenge is.
        train: The labels of its training clips.
        valid: The labels of its validation clips.
        ratio: The ratio that was asked for.
        fold: ``set``, ``index`` and ``of`` of one of several folds.
        drawn: False: it is the organisers' own split.
    """
    official = pool.official
    kept = sum(clip in official.train.rows for clip in train.ids)
    asked = ratio.training_clips(len(pool.labelled)) if drawn and fold is None else None
    official_note = "the organisers' split, which they made so that no subject is on both sides"
    safe, note = safety(pool) if drawn else (True, official_note)
    kept = sum(clip in official.train.rows for clip in train.ids)
    return {
        "format": FORMAT,
        "task": task.name,
        "ratio": str(ratio),
        "ratio_got": f"{len(train) / len(valid):.4f}:1",
        "wanted": None if asked is None else {"train": asked, "valid": len(pool.labelled) - asked},
        "counts": {"train": len(train), "valid": len(valid), "test": len(official.test_ids)},
        "moved": len(train) - kept,  # official validation clips that are in training
        "held_out": len(official.train) - kept,  # official training clips that are in validation
        "seed": pool.seed if drawn else None,
        "strategy": pool.strategy if drawn else OFFICIAL,
        "keep_train": not pool.free,
        "fold": None if fold is None else dict(fold),
        "groups": _groups_of(pool),
        "subject_safe": safe,
        "note": note,
        "content": content_of(train, valid),
        "test_content": [content_of_ids(official.test_ids)],
        "test_source": official.test_source,
        "parent": {
            side: {"file": table.path.name, "sha256": digest_file(table.path), "content": table.digest}
            for side, table in (("train", official.train), ("valid", official.valid))
        },
        "tool": f"abawkit {__version__}",
    }


def safety(pool: Pool) -> tuple[bool, str]:
    """Returns whether no subject can be on both sides of what is drawn from the pool, and why, in words."""
    groups = pool.groups
    if groups is None:
        return False, NOT_SAFE
    if groups.proxy:
        return False, (
            f"not subject-safe: the groups are guessed ({groups.kind}) and no subject ids, so one person's clips can "
            "still be on both sides, which flatters scores"
        )
    # The official splits share no subject: a training clip that stays one is safe without a group.
    asked = pool.labelled if pool.free else pool.official.valid
    unknown = sum(clip not in groups.of for clip in asked.ids)
    if unknown:
        return False, (
            f"not subject-safe: {unknown} clip(s) have no subject in {groups.path.name}, so one person's clips can be "
            "on both sides, which flatters scores"
        )
    return True, f"subject-safe: no subject of {groups.path.name} is on both sides"


def described(record: dict[str, Any], tests: int) -> str:
    """Returns a split in a few words, for a message: its sizes and the command that makes it."""
    counts = record["counts"]
    made = "the official split" if record["seed"] is None else f"as made by: {command_of(record)}"
    return f"{counts['train']} + {counts['valid']} + {tests} clips, {made}"


def _groups_of(pool: Pool) -> dict[str, Any] | None:
    if pool.groups is None:
        return None
    return {
        "source": pool.groups.path.name,
        "kind": pool.groups.kind,
        "proxy": pool.groups.proxy,
        "groups": len(pool.groups),
        "ungrouped": len(pool.labelled) - len(pool.groups.of),
        "moved_with_group": pool.moved_with_group,
        "test_clips": pool.test_shared,
        "remarks": list(pool.remarks),
    }
