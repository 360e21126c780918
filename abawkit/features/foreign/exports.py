"""``abawkit features export``: one file per clip, as other people's scripts read them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import Status
from abawkit.features.store import NOTE, FeatureStore
from abawkit.fileio import atomic_path, locked, read_json, storage_errors, write_json, write_text
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace

Format = Literal["npy", "pkl"]

RECORD = "export.json"
_NOTICE = "EULA-NOTE.txt"


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes:
        path: The folder.
        written: Files with a clip's frames.
        zeros: Files with one frame of zeros, for clips without frames.
        left_out: Clips without frames, for which nothing was written.
        removed: Files of an earlier export that are not part of this one.
    """

    path: Path
    written: int
    zeros: int
    left_out: tuple[str, ...]
    removed: int

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {**vars(self), "path": str(self.path), "left_out": list(self.left_out)}


def export_features(
    workspace: Workspace,
    store: FeatureStore,
    to: Path,
    *,
    format: Format = "npy",
    missing: Literal["skip", "zeros"] = "skip",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Export:
    """Writes one file per clip, ``NNNNN.npy`` or ``NNNNN.pkl``, and returns what was written.

    A file holds one plain array ``[T, D]`` in the store's dtype; the pickles are of protocol 4.

    Args:
        workspace: The workspace, whose challenge folder and features are never written into.
        store: What to export.
        to: A new or empty folder.
        format: ``npy`` or ``pkl``.
        missing: For clips without frames: no file (``skip``), or one frame of zeros.
        overwrite: ``to`` may hold an earlier export: its files are replaced, and removed where they are not part of
            this one. No other file is touched.
        progress: What to report to.

    Raises:
        UsageError: The folder holds something else, or lies where nothing is written.
        AbawkitError: The store is damaged, or the disk is full.
    """
    if format not in ("npy", "pkl") or missing not in ("skip", "zeros"):
        raise UsageError("unknown form of export", got=f"{format}, {missing}", expected="npy or pkl; skip or zeros")
    for clip in store.ids:
        if not workspace.task.ids.is_id(clip):  # a store can come from anywhere
            raise AbawkitError("the store holds something that is not a clip id", path=store.path, got=repr(clip)[:80])
    store.require_whole()
    before = _refuse(workspace, to, overwrite=overwrite)
    files: list[str] = []
    zeros, left_out = 0, []
    with locked(to, "exporting"), storage_errors(to):
        write_text(to / _NOTICE, f"{NOTE}\n\nThe features of {store.spec.modality} '{store.path.name}'.\n")
        record = {"kind": "export", "note": NOTE, "spec": store.spec.to_json(), "store": store.path.name}
        # First the names, so that what a killed export left is known to the next.
        write_json(to / RECORD, record | {"files": sorted({*before, *(f"{clip}.{format}" for clip in store.ids)})})
        with progress.task(f"export {store.spec.modality}", len(store)) as task:
            for clip in store.ids:
                task.advance(1, clip)
                features = store.features(clip)
                values = np.array(features.values)
                if features.status != Status.PRESENT:
                    if missing == "skip":
                        left_out.append(clip)
                        continue
                    values = np.zeros((1, store.spec.dim), dtype=store.spec.dtype)
                    zeros += 1
                files.append(f"{clip}.{format}")
                with atomic_path(to / files[-1]) as temporary:
                    temporary.write_bytes(_file(values, format))
        removed = _remove(to, set(before) - set(files))
        write_json(to / RECORD, record | {"files": files})
    return Export(to, len(files) - zeros, zeros, tuple(left_out), removed)


def _file(values: np.ndarray[Any, Any], format: Format) -> bytes:
    if format == "pkl":
        return pickle.dumps(values, protocol=4)
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def _refuse(workspace: Workspace, to: Path, *, overwrite: bool) -> list[str]:
    """Returns the names of an earlier export's files.

    Raises:
        UsageError: ``to`` is not a place for an export.
    """
    place = to.resolve()
    never = {workspace.features: "the workspace's feature stores"}
    if workspace.settings.data is not None:
        never[workspace.data] = "the challenge folder, which is never written to"
    for folder, what in never.items():
        if place.is_relative_to(folder.resolve()):
            raise UsageError(f"this lies in {what}", path=to, todo="give another folder: --to DIR")
    if to.exists() and not to.is_dir():
        raise UsageError("this is not a folder", path=to, todo="give a new or empty folder: --to DIR")
    others = sorted(entry.name for entry in to.iterdir() if entry.name != ".lock") if to.exists() else []
    if not others:
        return []
    todo = "give a new or empty folder: --to DIR"
    if RECORD not in others:
        raise UsageError("the folder is not empty", path=to, got=", ".join(map(repr, others[:4])), todo=todo)
    if not overwrite:
        raise UsageError("there is an export here", path=to, todo=f"{todo}, or replace this one: --overwrite")
    record = read_json(to / RECORD, "the record of an export")
    files = record.get("files")
    if record.get("kind") != "export" or not isinstance(files, list):
        raise AbawkitError("is not the record of an export", path=to / RECORD, todo=todo)
    ids = workspace.task.ids
    return [str(name) for name in files if ids.is_id(str(name).removesuffix(".npy").removesuffix(".pkl"))]


def _remove(folder: Path, names: Collection[str]) -> int:
    removed = 0
    for name in sorted(names):
        if (folder / name).is_file():
            (folder / name).unlink()
            removed += 1
    return removed
