"""What feature stores there are and what is in them: ``abawkit features list`` and ``show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawkit.data.labels import load_official
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import FeatureSpec, Status
from abawkit.features.store import MANIFEST, FeatureStore, store_manifests
from abawkit.layout.folder import ChallengeFolder
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class StoreSummary:
    """What is in one store.

    Attributes:
        path: Its folder.
        spec: What the features are; None when the store cannot be read.
        clips: Number of clips that were processed.
        present: Clips with frames.
        missing: Clips that lack the modality.
        failed: Clips that could not be read.
        frames: Frames of all clips.
        segments: Number of segment files.
        bytes: Size of all files.
        problem: Why it cannot be read, or is not whole; None when all is well.
    """

    path: Path
    spec: FeatureSpec | None = None
    clips: int = 0
    present: int = 0
    missing: int = 0
    failed: int = 0
    frames: int = 0
    segments: int = 0
    bytes: int = 0
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        spec = None if self.spec is None else {**self.spec.to_json(), "signature": self.spec.signature}
        return {**asdict(self), "path": str(self.path), "spec": spec}


@dataclass(frozen=True)
class Coverage:
    """What a store has for the clips of one split.

    Attributes:
        clips: Clips of the split.
        present: With frames.
        missing: Lacking the modality.
        failed: That could not be read.
        absent: That are not in the store at all.
        frames: Least, median, mean and largest number of frames of the present clips; None without any.
    """

    clips: int
    present: int
    missing: int
    failed: int
    absent: int
    frames: tuple[int, float, float, int] | None


@dataclass(frozen=True)
class ClipSummary:
    """One clip in a store.

    Attributes:
        clip: Its id.
        status: ``present``, ``missing`` or ``failed``.
        shape: ``(T, D)``.
        dtype: As it is stored.
        segment: The file that it is in.
        first_time: Time of the first frame (seconds); None where the store has no times.
        last_time: Time of the last frame (seconds).
        values: Least, mean, largest value and standard deviation; None without frames.
        zero_frames: Frames that are all zero.
        source: Digest of what it was made from.
        note: What was odd, as JSON; empty: nothing.
    """

    clip: str
    status: str
    shape: tuple[int, int]
    dtype: str
    segment: str
    first_time: float | None
    last_time: float | None
    values: tuple[float, float, float, float] | None
    zero_frames: int
    source: str
    note: str


def challenge_ids(workspace: Workspace) -> dict[str, tuple[str, ...]]:
    """Returns the clip ids of ``train``, ``valid`` and ``test``; those of ``test`` are empty while they are not known.

    Raises:
        UsageError: There is no challenge folder.
        FindingsError: A label file has errors.
    """
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    return {"train": official.train.ids, "valid": official.valid.ids, "test": official.test_ids}


def find_store(features: Path, wanted: str) -> FeatureStore:
    """Returns the store that is meant.

    Args:
        features: The workspace's ``features`` folder.
        wanted: A folder, a folder's name, ``modality/folder``, the features' name, a signature, or a modality.

    Raises:
        UsageError: There is none, or several.
    """
    if (Path(wanted) / MANIFEST).is_file():
        return FeatureStore.open(Path(wanted))
    folders = [manifest.parent for manifest in store_manifests(features)]
    known = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    found = []
    for folder in folders:
        name, _, signature = folder.name.rpartition("-")
        modality = folder.parent.name
        if wanted in (folder.name, f"{modality}/{folder.name}", name, f"{modality}/{name}", signature, modality):
            found.append(folder)
    if len(found) == 1:
        return FeatureStore.open(found[0])
    several = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in found)
    raise UsageError(
        "there are several such feature stores" if found else "there is no such feature store",
        path=features,
        got=f"{wanted}: {several}" if found else wanted,
        expected=", ".join(known) or "none: there are no stores yet",
        todo="say which; see: abawkit features list" if known else "abawkit extract, or: abawkit features import",
    )


def list_features(features: Path) -> list[StoreSummary]:
    """Returns a summary of every store below the folder ``features``; of a damaged one, what is wrong with it."""
    return [_summary(manifest.parent) for manifest in store_manifests(features)]


def _summary(path: Path) -> StoreSummary:
    spec = None
    try:
        store = FeatureStore.open(path)
        spec = store.spec
        found = coverage(store, {"all": store.ids})["all"]
    except AbawkitError as error:
        return StoreSummary(path, spec, problem=error.message)
    return StoreSummary(
        path=path,
        spec=spec,
        clips=found.clips,
        present=found.present,
        missing=found.missing,
        failed=found.failed,
        frames=sum(len(store.frames(clip)) for clip in store.ids),
        segments=len(store.segments),
        bytes=sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
        problem=what_is_missing(store),
    )


def what_is_missing(store: FeatureStore) -> str | None:
    """Returns which shards the store lacks, in words; None when it is whole."""
    try:
        store.require_whole()
    except AbawkitError as error:
        return error.message
    return None


def coverage(store: FeatureStore, splits: Mapping[str, Sequence[str]]) -> dict[str, Coverage]:
    """Returns, for each split, what the store has for its clips."""
    found = {}
    for split, ids in splits.items():
        status = [store.status(clip) for clip in ids if clip in store]
        lengths = [len(store.frames(clip)) for clip in ids if clip in store and store.status(clip) == Status.PRESENT]
        found[split] = Coverage(
            clips=len(ids),
            present=status.count(Status.PRESENT),
            missing=status.count(Status.MISSING),
            failed=status.count(Status.FAILED),
            absent=len(ids) - len(status),
            frames=_spread(lengths),
        )
    return found


def _spread(lengths: list[int]) -> tuple[int, float, float, int] | None:
    if not lengths:
        return None
    return min(lengths), float(np.median(lengths)), float(np.mean(lengths)), max(lengths)


def show_clip(store: FeatureStore, clip: str) -> ClipSummary:
    """Returns what the store has for the clip.

    Raises:
        AbawkitError: It is not in the store, or its values are not those that were written.
    """
    features = store.features(clip)
    values, times = np.asarray(features.values, np.float64), features.times
    timed = len(times) and bool(np.isfinite(times).all())
    return ClipSummary(
        clip=clip,
        status=features.status.name.lower(),
        shape=(len(values), store.spec.dim),
        dtype=store.spec.dtype,
        segment=store.segment_of(clip),
        first_time=float(times[0]) if timed else None,
        last_time=float(times[-1]) if timed else None,
        values=(float(values.min()), float(values.mean()), float(values.max()), float(values.std()))
        if values.size
        else None,
        zero_frames=int((~values.any(axis=1)).sum()),
        source=features.source,
        note=features.note,
    )
