"""``FILE.json`` beside a submission: everything that is needed to make the file again, and what has changed since.

The predictions of a run follow from its model and the features of the test clips; those of an ensemble from its
members' and its weights. The hash of each of these is kept, with that of the split that the run was trained on and the
versions that it was trained with.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawkit import __version__
from abawkit.challenge import Task
from abawkit.data.splits.files import load_split
from abawkit.errors import AbawkitError
from abawkit.features.store import FeatureStore
from abawkit.fileio import digest_file, read_json
from abawkit.metrics import score
from abawkit.runs.run import Run
from abawkit.submission.coverage import base_runs, predicting
from abawkit.workspace import Workspace

_VERSIONS = ("abawkit", "python", "torch", "numpy")
_RUN_FILES = ("config.json", "clips.json", "model.safetensors", "weights.json")


@dataclass(frozen=True)
class Change:
    """Something that is not as it was when a submission was written.

    Attributes:
        kind: ``file``, ``clips``, ``run``, ``model``, ``weights``, ``split``, ``store``, ``saved`` (predictions of the
            run's folder) or ``predictions`` (made anew).
        name: Which file, run, split or store.
        message: What changed, in one sentence.
    """

    kind: str
    name: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Returns the attributes."""
        return asdict(self)


def versions() -> dict[str, str | None]:
    """Returns the versions of abawkit, python, torch and numpy; torch is asked for, not imported. None: not there."""
    found: dict[str, str | None] = {"abawkit": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def ensembles_of(workspace: Workspace, run: Run) -> list[Run]:
    """Returns the run, if it is an ensemble, and every ensemble among its members, each once.

    Raises:
        AbawkitError: A member is gone.
    """
    if not run.is_ensemble:
        return []
    found = {run.name: run}
    for name in predicting(run):
        found |= {one.name: one for one in ensembles_of(workspace, Run.open(workspace.runs / name))}
    return list(found.values())


def make_record(workspace: Workspace, run: Run, path: Path, ids: Sequence[str], clipped: int) -> dict[str, Any]:
    """Returns what ``FILE.json`` says of a submission that was just written, but for its form and its coverage.

    Args:
        workspace: The workspace.
        run: The submitted run or ensemble.
        path: The submission.
        ids: The test clips.
        clipped: How many values were clipped.

    What the file can be made from again is under ``runs``, one entry per run that predicts: the hashes of its files
    and of its split (``content``: of its clips and labels), ``stores`` (hashes of the features of these clips; None: a
    store is gone or lacks one of them), the versions that it was trained with (None: that is not known) and its saved
    predictions; and under ``ensembles``: what combines them. ``versions`` are those now.

    Raises:
        AbawkitError: A member is gone.
    """
    digests: dict[str, str | None] = {}
    return {
        "run": run.name,
        "kind": run.config["kind"],
        "rows": len(ids),
        "sha256": digest_file(path),
        "clipped_values": clipped,
        "valid": _scores(run, workspace.task) if run.is_scorable else None,
        "subject_safe": run.subject_safe,
        "subject_note": run.subject_note,
        "runs": [_of_run(workspace, member, ids, digests) for member in base_runs(workspace, run)],
        "ensembles": [
            {
                "name": each.name,
                "method": each.metrics.get("method"),
                "averaged": each.config.get("averaged"),
                "files": _files(each),
                "predictions": each.digest(),
            }
            for each in ensembles_of(workspace, run)
        ],
        "predictions": run.digest(),
        "versions": versions(),
        "tool": f"abawkit {__version__}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _scores(run: Run, task: Task) -> dict[str, Any]:
    valid = run.predictions("valid", task)
    truth = valid.truth_of(valid.ids)
    return {
        "n": len(truth),
        "score": score(task, truth, valid.values).primary,
        "score_clipped": score(task, truth, np.clip(valid.values, *task.value_range)).primary,
    }


def _of_run(workspace: Workspace, run: Run, ids: Sequence[str], digests: dict[str, str | None]) -> dict[str, Any]:
    environment = run.path / "env.json"
    trained = read_json(environment, "what a run was trained with") if environment.exists() else None
    split = {"name": run.config["split"]}
    if trained is not None:
        kept = trained.get("split") or {}
        split |= {key: kept.get(key) for key in ("ratio", "seed", "content", "digest")}
    stores = {}
    for modality, folder in (run.config.get("features") or {}).items():
        store = f"{modality}/{folder}"
        if store not in digests:
            digests[store] = store_digest(workspace, store, ids)
        stores[store] = digests[store]
    return {
        "name": run.name,
        "system": run.config["system"],
        "split": split,
        "seed": run.config["seed"],
        "parent": run.parent,
        "files": _files(run),
        "features": run.config.get("features"),
        "signatures": run.config.get("signatures"),
        "stores": stores,
        "trained_with": None if trained is None else {name: trained.get(name) for name in _VERSIONS},
        "predictions": run.digest(),
    }


def _files(run: Run) -> dict[str, str]:
    return {name: digest_file(run.path / name) for name in _RUN_FILES if (run.path / name).exists()}


def store_digest(workspace: Workspace, store: str, ids: Sequence[str]) -> str | None:
    """Returns the digest of these clips' features in ``modality/folder``; None: it is gone or lacks one of them."""
    try:
        return FeatureStore.open(workspace.features / store).content_digest(ids)
    except AbawkitError:
        return None


def read_record(path: Path) -> dict[str, Any]:
    """Returns what is in the JSON file beside a submission.

    Raises:
        AbawkitError: There is none, or it does not say how the file was made.
    """
    beside = path.with_name(path.name + ".json")
    record = read_json(beside, "the record of a submission")
    form, parts = record.get("form"), [record.get("runs"), record.get("ensembles")]
    whole = (
        isinstance(form, dict)
        and isinstance(form.get("decimals"), int)
        and {"int_ids", "clip"} <= form.keys()
        and isinstance(record.get("run"), str)
        and isinstance(record.get("versions"), dict)
        and "sha256" in record
        and all(isinstance(part, list) and all(isinstance(entry, dict) for entry in part) for part in parts)
        and all({"name", "files", "predictions"} <= entry.keys() for entry in (*record["runs"], *record["ensembles"]))
        and all({"split", "stores", "signatures"} <= entry.keys() for entry in record["runs"])
    )
    if not whole:
        raise AbawkitError("does not say how the file was made", path=beside, todo="write it anew: abawkit submit")
    return record


def changes_since(workspace: Workspace, record: dict[str, Any], ids: Sequence[str]) -> list[Change]:
    """Returns what is not as the record says: runs, models, weights, splits, stores and saved predictions.

    Args:
        workspace: The workspace.
        record: ``FILE.json``.
        ids: The clips of the submission.
    """
    found: dict[Change, None] = {}
    for entry in (*record["ensembles"], *record["runs"]):
        name = Path(str(entry["name"])).name
        try:
            run = Run.open(workspace.runs / name)
        except AbawkitError as error:
            found[Change("run", name, f"run {name} cannot be read: {error.message}")] = None
            continue
        now = _files(run)
        for file in sorted(entry["files"].keys() | now.keys()):
            if entry["files"].get(file) != now.get(file):
                kind = {"model.safetensors": "model", "weights.json": "weights"}.get(file, "run")
                how = "is gone" if file not in now else "is another one than when the submission was written"
                found[Change(kind, name, f"{file} of {name} {how}")] = None
        if run.digest() != entry["predictions"]:
            message = f"the saved predictions of {name} are not those that the submission was made from"
            found[Change("saved", name, message)] = None
        content, split = entry.get("split", {}).get("content"), str(entry.get("split", {}).get("name"))
        if content is not None and (message := _split_change(workspace, split, content)):
            found[Change("split", split, message)] = None
        for store, digest in entry.get("stores", {}).items():
            signature = entry["signatures"][store.partition("/")[0]]
            if message := _store_change(workspace, store, digest, signature, ids):
                found[Change("store", store, message)] = None
    return list(found)


def _split_change(workspace: Workspace, name: str, content: str) -> str:
    try:
        now = load_split(workspace.splits / Path(name).name, workspace.task).record["content"]
    except AbawkitError as error:
        return f"split {name}: {error.message}"
    return "" if now == content else f"split {name} has other clips or labels than when its runs were trained"


def _store_change(workspace: Workspace, store: str, digest: str | None, signature: str, ids: Sequence[str]) -> str:
    try:
        opened = FeatureStore.open(workspace.features / store)
        if opened.spec.signature != signature:
            return f"the features {store} have another signature: {opened.spec.signature}, it was {signature}"
        # Where the digest was not known when the submission was written, it is none of its differences.
        if digest is not None and opened.content_digest(ids) != digest:
            return f"the features of the test clips in {store} are not those that the submission was made from"
    except AbawkitError as error:
        return f"the features {store}: {error.message}"
    return ""
