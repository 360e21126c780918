"""``abawkit features import``: features that others made become a feature store of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import IdRule
from abawkit.errors import AbawkitError, ModalityMissing, UsageError
from abawkit.extraction.failures import Note, list_failures, too_many
from abawkit.features.foreign.entries import DType, Entries, Entry, common_form, find_entries
from abawkit.features.spec import MODALITIES, ClipFeatures, FeatureSpec, Modality, Status
from abawkit.features.store import MANIFEST, FeatureStore
from abawkit.features.summary import Coverage, challenge_ids, coverage
from abawkit.features.writer import StoreWriter, open_for_writing
from abawkit.fileio import digest
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace

_EXTRACTOR = "import/1"
_STEP = "import"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_ZEROS = {False: "missing", True: "values"}
#: Files read at a time: reading and hashing leave other threads alone.
_READERS = 4


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        store: The store, as it is now.
        splits: What it has for the clips of each split.
        added: Clips that were not in the store before and had an entry.
        changed: Clips whose values are others than before.
        unchanged: Clips whose values were there already.
        kept: Clips of an earlier import without an entry now.
        all_zero: Entries that are all zero: missing, unless zeros are values.
        not_clips: Ids in the sources that are not clips of the challenge: left out.
        no_ids: Names in the sources that are not clip ids: left out.
        mended: Kind of damage → number of ids that were fixed.
        remarks: What had to be done to get frames → for how many clips.
        failures: The list of failed clips, when there is one.
    """

    store: FeatureStore
    splits: Mapping[str, Coverage]
    added: int
    changed: int
    unchanged: int
    kept: int
    all_zero: int
    not_clips: tuple[str, ...]
    no_ids: tuple[str, ...]
    mended: Mapping[str, int]
    remarks: Mapping[str, int]
    failures: Path | None

    @property
    def failed(self) -> int:
        """Number of clips that failed."""
        return sum(split.failed for split in self.splits.values())

    def too_many_failed(self, allowed: str) -> bool:
        """Whether more clips failed than ``allowed``: a number, or a share such as ``1%``."""
        return too_many(self.failed, sum(split.clips for split in self.splits.values()), allowed)

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        own = {key: value for key, value in vars(self).items() if key not in ("store", "splits", "failures")}
        return {
            "modality": self.store.spec.modality,
            "path": str(self.store.path),
            "signature": self.store.spec.signature,
            "dim": self.store.spec.dim,
            "dtype": self.store.spec.dtype,
            "splits": {name: vars(split) for name, split in self.splits.items()},
            **own,
            "failures": None if self.failures is None else str(self.failures),
        }


def import_features(
    workspace: Workspace,
    modality: Modality,
    sources: Sequence[Path],
    *,
    name: str | None = None,
    dim: int | None = None,
    dtype: DType | None = None,
    zeros_are_values: bool = False,
    progress: Progress = SILENT,
) -> Imported:
    """Writes features that others made into a store of their own, or adds to it, and returns what it now has.

    Args:
        workspace: The workspace; its label files say which clips there are.
        modality: What the features are of.
        sources: Folders with one file per clip (``.pkl``, ``.npy``, ``.npz``, ``.pt``, ``.h5``, named by clip id),
            files with a dictionary of all clips, ``.npz`` and HDF5 files with one entry per clip. All
            are one set of features.
        name: What to call the features; default: the name of the first source.
        dim: Values per frame; default: what most of the first clips have.
        dtype: In the store; default: ``float16`` when the sources are, else ``float32``.
        zeros_are_values: Keep clips that are all zero; otherwise they are missing, as teams write missing clips so.
        progress: What to report to.

    A clip whose values are unfit is failed, with the reason; one without an entry is missing, unless an earlier
    import had it. Nothing in the sources is ever run. The same call again adds what is new or has changed.

    Raises:
        UsageError: The arguments contradict each other, or nothing in the sources is a clip of the challenge.
        AbawkitError: A source cannot be read, or the disk is full.
    """
    if modality not in MODALITIES:
        raise UsageError("unknown modality", got=str(modality), expected=", ".join(MODALITIES))
    if not sources:
        raise UsageError("nothing to import", expected="--from FOLDER or --from FILE")
    name = _name_of(sources[0]) if name is None else name
    splits = challenge_ids(workspace)
    wanted = {clip for ids in splits.values() for clip in ids}
    with ExitStack() as opened:
        found = find_entries(sources, workspace.task.ids, opened)
        entries = {clip: found.clips[clip] for clip in sorted(wanted & set(found.clips))}
        if not entries:
            raise _nothing(sources, found, workspace.task.ids)
        spec = _same_name(workspace.features / modality, name, zeros_are_values, dim, dtype)
        if spec is None:
            dim, found_dtype = common_form(entries, dim, sources[0])
            dtype = dtype or found_dtype
            spec = _spec(modality, name, sources, found.formats, dim, dtype, zeros_are_values)
        path = workspace.features / modality / spec.folder
        with open_for_writing(path, spec) as writer:
            done = _import(writer, sorted(wanted), entries, workspace.settings.extract.segment_clips, progress)
    store = FeatureStore.open(path)
    return Imported(
        store=store,
        splits=coverage(store, splits),
        added=done.added,
        changed=done.changed,
        unchanged=done.unchanged,
        kept=done.kept,
        all_zero=done.all_zero,
        not_clips=tuple(sorted(set(found.clips) - wanted)),
        no_ids=tuple(found.no_ids),
        mended=dict(found.damaged_ids),
        remarks=dict(done.remarks),
        failures=list_failures(workspace.features, progress),
    )


def _nothing(sources: Sequence[Path], found: Entries, rule: IdRule) -> UsageError:
    got = ", ".join(repr(name)[:40] for name in found.no_ids[:4]) or "nothing"
    if found.clips:
        got = f"ids that are not clips of this challenge, such as {', '.join(sorted(found.clips)[:4])}"
    return UsageError(
        "nothing here is a clip of the challenge",
        path=sources[0],
        got=got,
        expected=f"files or entries named by clip id, such as {rule.example}.npy",
        todo="give the folder that holds them, or the one file that holds all: --from PATH",
    )


def _name_of(source: Path) -> str:
    stem = source.absolute().name if source.is_dir() else source.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:48] or "import"


def _same_name(
    folder: Path, name: str, zeros_are_values: bool, dim: int | None, dtype: DType | None
) -> FeatureSpec | None:
    """Returns the spec of the import of that name that is there already; None when there is none.

    Raises:
        UsageError: It was imported in another way, or the name cannot be the name of a folder.
    """
    if _NAME.fullmatch(name) is None or name == "lite":
        expected = "at most 48 letters, digits, dots, hyphens and underscores, and not lite"
        raise UsageError("this cannot be the name of features", got=repr(name), expected=expected, todo="give --name")
    for manifest in sorted(folder.glob(f"{name}-*/{MANIFEST}")):
        spec = FeatureStore.open(manifest.parent).spec
        if not spec.imported or spec.name != name:
            continue
        there = {"zeros": spec.preprocessing.get("zeros"), "dim": spec.dim, "dtype": spec.dtype}
        asked = {"zeros": _ZEROS[zeros_are_values], "dim": dim or spec.dim, "dtype": dtype or spec.dtype}
        if there != asked:
            raise UsageError(
                "there is an import of that name, made in another way",
                path=manifest.parent,
                got=", ".join(f"{key} {value}" for key, value in asked.items()),
                expected=", ".join(f"{key} {value}" for key, value in there.items()),
                todo="give the same options to add to it, or another name: --name NAME",
            )
        return spec
    return None


def _spec(
    modality: Modality,
    name: str,
    sources: Sequence[Path],
    formats: Collection[str],
    dim: int,
    dtype: DType,
    zeros_are_values: bool,
) -> FeatureSpec:
    return FeatureSpec(
        modality=modality,
        name=name,
        dim=dim,
        extractor=_EXTRACTOR,
        preprocessing={
            "name": name,
            # The last names only: a full path can say who works where.
            "from": list(dict.fromkeys(source.absolute().name for source in sources)),
            "format": sorted(formats),
            "zeros": _ZEROS[zeros_are_values],
        },
        precision="unknown",
        dtype=dtype,
    )


@dataclass
class _Done:
    """Counts of what was imported."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    kept: int = 0
    all_zero: int = 0
    remarks: Counter[str] = field(default_factory=Counter)


def _import(
    writer: StoreWriter,
    wanted: Sequence[str],
    entries: Mapping[str, Sequence[Entry]],
    segment_clips: int,
    progress: Progress,
) -> _Done:
    done = _Done()
    spec = writer.spec
    before = {clip: writer.store.source(clip) for clip in writer.store.ids}
    waiting: list[ClipFeatures] = []
    with progress.task(f"import {spec.modality}", len(wanted)) as task:
        for clip, read in _read_all(wanted, entries, spec):
            task.advance(1, clip)
            if read is None:
                done.kept += bool(before.get(clip))
                if clip not in before:
                    nothing = ModalityMissing("nothing was imported for this clip")
                    waiting.append(_without(spec, clip, "", nothing))
            else:
                done.all_zero += read.all_zero
                done.remarks.update(read.remarks)
                was = before.get(clip, "")  # a clip that was missing for want of a file has an empty source
                done.unchanged += was == read.features.source
                done.added += not was
                if was != read.features.source:
                    done.changed += bool(was)
                    waiting.append(read.features)
            if len(waiting) == segment_clips:
                writer.add(waiting)
                waiting.clear()
        if waiting:
            writer.add(waiting)
    return done


@dataclass(frozen=True)
class _Read:
    """A clip that was read: what becomes of it in the store, and what was odd about it."""

    features: ClipFeatures
    remarks: tuple[str, ...] = ()
    all_zero: bool = False


def _read_all(
    wanted: Sequence[str], entries: Mapping[str, Sequence[Entry]], spec: FeatureSpec
) -> Iterator[tuple[str, _Read | None]]:
    """Yields each clip, and what was read for it (None: there is no entry), in order; a few are read ahead."""

    def read(clip: str) -> _Read | None:
        return _read_clip(clip, entries[clip], spec) if clip in entries else None

    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(wanted), 4 * _READERS):
            group = wanted[start : start + 4 * _READERS]
            yield from zip(group, pool.map(read, group), strict=True)


def _read_clip(clip: str, entries: Sequence[Entry], spec: FeatureSpec) -> _Read:
    try:
        first, *others = [entry.read() for entry in entries]
        values = first.values
        source = _digest(values)
        if any(_digest(other.values) != source for other in others):
            got = ", ".join(entry.place for entry in entries)
            raise AbawkitError("several entries mean this clip, and they differ", got=got)
        if not len(values):
            return _Read(_without(spec, clip, source, ModalityMissing("no frames")))
        all_zero = not values.any()
        if all_zero and spec.preprocessing["zeros"] == _ZEROS[False]:
            missing = _without(spec, clip, source, ModalityMissing("all values are zero"))
            return _Read(missing, first.remarks, all_zero=True)
        stored = _fitting(values, spec)
    except Exception as error:  # any exception is this clip's failure
        reason = Note.of(_STEP, error)
        return _Read(_without(spec, clip, digest("failed", reason.message), error))
    times = np.full(len(stored), np.nan, np.float32)
    note = Note(_STEP, "", "; ".join(first.remarks)).to_text() if first.remarks else ""
    features = ClipFeatures(clip, Status.PRESENT, stored, times, source, note)
    return _Read(features, first.remarks, all_zero)


def _fitting(values: NDArray[Any], spec: FeatureSpec) -> NDArray[Any]:
    if values.shape[1] != spec.dim:
        raise AbawkitError(f"frames of another width than {spec.dim} values", got=f"{values.shape[1]} values")
    with np.errstate(over="ignore"):
        stored = values.astype(spec.dtype)
    if not np.isfinite(stored).all():
        largest = f"{float(np.abs(values).max()):g}"
        raise AbawkitError(f"values too large for {spec.dtype}", got=largest, todo="import with --dtype float32")
    return stored


def _digest(values: NDArray[Any]) -> str:
    # Of the values, not of the file: the same features saved in another way are not a change.
    return digest(values.dtype.str, str(values.shape), np.ascontiguousarray(values).tobytes())


def _without(spec: FeatureSpec, clip: str, source: str, error: Exception) -> ClipFeatures:
    status = Status.MISSING if isinstance(error, ModalityMissing) else Status.FAILED
    reason = Note.of(_STEP, error)
    nothing, no_times = np.zeros((0, spec.dim), dtype=spec.dtype), np.zeros(0, np.float32)
    # Trying again helps only with other files, which the next import notices by itself.
    return ClipFeatures(clip, status, nothing, no_times, source, replace(reason, retry=False).to_text())
