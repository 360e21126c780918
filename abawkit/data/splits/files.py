"""The folder of a split: ``train.csv``, ``valid.csv``, ``test.csv`` (ids only), ``split.json``, perhaps ``groups.csv``.

It is written once, whole or not at all; only clips of the test set that arrive later are added to it. Everything that
was changed by hand since is noticed when it is read.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abawkit.challenge import Task
from abawkit.data.groups import Groups, read_groups, write_groups
from abawkit.data.labels import LabelTable, Official, read_ids, read_labels, write_ids, write_labels
from abawkit.errors import FindingsError, UsageError
from abawkit.fileio import digest, digest_file, digest_json, read_json, storage_errors, write_json
from abawkit.findings import Report

FORMAT = 2
RECORD = "split.json"
GROUPS = "groups.csv"

#: What every report says of a split that nobody drew by subject ids.
NOT_SAFE = "not subject-safe: without subject ids one person's clips can be on both sides, which flatters scores"


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
        groups: The groups of the labelled clips that have one; None: it was drawn without groups.
    """

    name: str
    folder: Path
    ratio: str
    seed: int | None
    train: LabelTable
    valid: LabelTable
    test_ids: tuple[str, ...]
    record: dict[str, Any]
    groups: Groups | None

    @property
    def subject_safe(self) -> bool:
        """Whether no subject can be on both sides."""
        return bool(self.record["subject_safe"])

    @property
    def note(self) -> str:
        """Why it is subject-safe, or that it is not, in words."""
        return str(self.record["note"])

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises: ``split``, ``path`` and the record."""
        return {"split": self.name, "path": str(self.folder), **self.record}


def load_split(folder: Path, task: Task) -> Split:
    """Returns the split in ``folder``.

    Raises:
        UsageError: There is no split.
        FindingsError: Its files were changed by hand or have errors.
    """
    if not (folder / RECORD).is_file():
        raise UsageError("this is not a split", path=folder, expected=f"a folder with {RECORD}")
    record = read_record(folder)
    train = read_labels(folder / "train.csv", task)
    valid = read_labels(folder / "valid.csv", task)
    test_ids = read_ids(folder / "test.csv", task)
    groups = read_groups(folder / GROUPS, task, Report()) if record["groups"] is not None else None
    changed = []
    if record["content"] != content_of(train, valid):
        changed.append("train.csv or valid.csv")
    if content_of_ids(test_ids) not in record["test_content"]:
        changed.append("test.csv")
    if groups is not None and record["groups"]["content"] != groups.digest:
        changed.append(GROUPS)
    if record.get("digest") != _digest_of(record) and record["format"] == FORMAT:
        changed.append(RECORD)
    if changed:
        raise FindingsError(
            f"{' and '.join(changed)} were changed after the split was made",
            path=folder,
            expected=f"the content whose hash is in {RECORD}",
            todo=f"delete the folder and make the split again with: {command_of(record)}",
        )
    shared = (set(train.ids) & set(valid.ids)) | (set(test_ids) & {*train.ids, *valid.ids})
    if shared:
        raise FindingsError(
            f"{len(shared)} clip(s) are on two sides of the split", path=folder, got=", ".join(sorted(shared)[:5])
        )
    return Split(folder.name, folder, record["ratio"], record["seed"], train, valid, test_ids, record, groups)


def write_split(
    folder: Path,
    task: Task,
    train: LabelTable,
    valid: LabelTable,
    test_ids: Sequence[str],
    record: dict[str, Any],
    groups: Groups | None,
) -> None:
    """Writes a whole split: its folder appears at once, or not at all.

    Args:
        folder: The folder; when another process makes it meanwhile, that split stays as it is.
        task: What the challenge is.
        train: Training labels.
        valid: Validation labels.
        test_ids: Ids of the test clips.
        record: What goes into ``split.json``; name and hashes are added.
        groups: The groups of the labelled clips, written to ``groups.csv``.
    """
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.parent / f".tmp-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            write_labels(temporary / "train.csv", task, train.ids, train.values)
            write_labels(temporary / "valid.csv", task, valid.ids, valid.values)
            write_ids(temporary / "test.csv", task, test_ids)
            if groups is not None:
                write_groups(temporary / GROUPS, task, groups.of, groups.kind)
                hashes = {"file": GROUPS, "sha256": digest_file(temporary / GROUPS), "content": groups.digest}
                record = record | {"groups": hashes | record["groups"]}
            _write_record(temporary, {"name": folder.name, **record})
            temporary.rename(folder)
        except OSError:
            if not (folder / RECORD).is_file():  # else another process was faster: its split is compared with ours
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def add_test_clips(split: Split, task: Task, official: Official) -> Split:
    """Returns the split with the test clips that have come since; clips that have gone are not taken out of it."""
    if not set(split.test_ids) < set(official.test_ids):
        return split
    # The record first, admitting both lists: whoever reads in between, or after a kill, finds the two files in accord.
    contents = [*split.record["test_content"], content_of_ids(official.test_ids)]
    counts = {**split.record["counts"], "test": len(official.test_ids)}
    added = {"counts": counts, "test_content": contents, "test_source": official.test_source}
    _write_record(split.folder, split.record | added)
    write_ids(split.folder / "test.csv", task, official.test_ids)
    return load_split(split.folder, task)


def read_record(folder: Path) -> dict[str, Any]:
    """Returns the content of ``split.json``; a record of format 1 gets the keys that it did not have.

    Raises:
        AbawkitError: There is none, or it is no JSON object.
        FindingsError: It is not a split's record.
    """
    record = read_json(folder / RECORD, "a record of `abawkit resplit`")
    if record.get("format") == 1 and isinstance(record.get("strategy"), str):
        # Random splits that kept the official training clips were all that there was besides the official split.
        added = {"keep_train": True, "held_out": 0, "fold": None, "wanted": None}
        record = added | record | {"strategy": record["strategy"].split(",")[0]}
    parent, fold, groups = record.get("parent"), record.get("fold", ""), record.get("groups", "")
    whole = (
        record.get("format") in (1, FORMAT)
        and all(isinstance(record.get(key), str) for key in ("ratio", "ratio_got", "strategy", "note", "content"))
        and all(isinstance(record.get(key), bool) for key in ("subject_safe", "keep_train"))
        and isinstance(record.get("test_content"), list)
        and isinstance(record.get("seed", ""), int | None)
        and _has_numbers(record, "moved", "held_out")
        and _has_numbers(record.get("counts"), "train", "valid", "test")
        and isinstance(parent, dict)
        and all(isinstance(parent.get(side), dict) and "content" in parent[side] for side in ("train", "valid"))
        and (fold is None or (_has_numbers(fold, "index", "of") and isinstance(fold.get("set"), str)))
        and (groups is None or (_has_numbers(groups, "groups", "ungrouped") and {"content", "kind"} <= set(groups)))
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


def command_of(record: dict[str, Any]) -> str:
    """Returns the command that makes such a split again.

    >>> command_of({"ratio": "4:1", "seed": 42, "strategy": "random", "keep_train": True, "fold": None, "groups": None})
    'abawkit resplit --ratio 4:1 --seed 42'
    """
    fold, groups = record["fold"], record["groups"]
    words = [f"abawkit resplit --folds {fold['of']}" if fold else f"abawkit resplit --ratio {record['ratio']}"]
    if record["seed"] is not None:
        words.append(f"--seed {record['seed']}")
    if record["ratio"] == "2:1" and record["seed"] is not None and not fold:
        words.append("--exact")
    if record["strategy"] == "stratified":
        words.append("--strategy stratified")
    if groups:
        words.append(f"--groups {groups.get('source', 'FILE')}")
    if record["keep_train"] == bool(fold):
        words.append("--keep-train" if fold else "--free")
    return " ".join(words)


def content_of(train: LabelTable, valid: LabelTable) -> str:
    """Returns the hash of both sides' clips and labels, in their order."""
    return digest(train.digest, valid.digest)


def content_of_ids(ids: Sequence[str]) -> str:
    """Returns the hash of a list of test clips."""
    return digest("\n".join(ids))


def _digest_of(record: dict[str, Any]) -> str:
    return digest_json({key: value for key, value in record.items() if key != "digest"})


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    write_json(folder / RECORD, record | {"digest": _digest_of(record)})


def _has_numbers(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), int) for key in keys)
