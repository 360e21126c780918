"""``abawkit features verify``: everything that is wrong with a feature store, coded and collected."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abawkit.errors import AbawkitError, UsageError
from abawkit.features.segment import Segment, read_segment
from abawkit.features.spec import FeatureSpec, Status
from abawkit.features.store import MANIFEST, FeatureStore, by_age, store_manifests
from abawkit.features.summary import challenge_ids, coverage, find_store
from abawkit.findings import Report
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace

#: Larger values are not features of any model or measurement that is in use (OpenFace's poses are millimetres).
_PLAUSIBLE = 1e4
#: Shares of clips with features that differ by more than this between splits are reported.
_UNEVEN = 0.05


def verify_features(
    workspace: Workspace, stores: Sequence[str] | None = None, *, progress: Progress = SILENT
) -> Report:
    """Returns everything that is wrong with the feature stores; every value is read.

    Args:
        workspace: The workspace.
        stores: Which (see :func:`abawkit.features.summary.find_store`); default: all.
        progress: What to report to.

    Raises:
        UsageError: There is no such store, or none at all.
    """
    report = Report()
    try:
        splits: dict[str, tuple[str, ...]] = challenge_ids(workspace)
    except AbawkitError as error:
        splits = {}
        report.about["coverage"] = f"not checked: {error.message}"
    if stores is None:
        paths = [manifest.parent for manifest in store_manifests(workspace.features)]
    else:
        paths = [find_store(workspace.features, wanted).path for wanted in stores]
    if not paths:
        raise UsageError("there are no feature stores", path=workspace.features, todo="abawkit extract")
    for path in paths:
        report.extend(verify_store(path, splits, progress=progress).findings)
    report.counts["stores"] = len(paths)
    return report


def verify_store(path: Path, splits: Mapping[str, Sequence[str]], *, progress: Progress = SILENT) -> Report:
    """Returns everything that is wrong with the store in the folder ``path``.

    Args:
        path: The folder.
        splits: Split → ids of the challenge's clips, for the coverage.
        progress: What to report to.
    """
    report = Report()
    try:
        store = FeatureStore.open(path)
    except AbawkitError as error:
        _add(report, error, path)
        return report
    try:
        store.require_whole()
    except AbawkitError as error:
        _add(report, error, path)
    segments: dict[str, Segment] = {}
    for name in sorted(store.segments, key=by_age):
        try:
            segments[name] = read_segment(path / name, store.spec)
        except AbawkitError as error:
            _add(report, error, path / name)
            continue
        if wrong := _wrong_tables(segments[name], store.segments[name]):
            report.add("X601", wrong, path=path / name)
            del segments[name]
    newest = {clip: name for name, segment in segments.items() for clip in segment.ids}
    with progress.task(f"verify {path.name}"[:40], len(newest)) as task:
        for name, segment in segments.items():
            for row, clip in enumerate(segment.ids):
                if newest[clip] == name:
                    _check_clip(report, path / name, segment, row, store.spec)
                    task.advance(1, clip)
    if len(segments) == len(store.segments):
        _check_coverage(report, store, splits)
    kept = {MANIFEST, ".lock", *store.segments}
    if strays := sorted(entry.name for entry in path.iterdir() if entry.name not in kept):
        report.add("X614", "files that belong to no segment", path=path, got=", ".join(map(repr, strays[:5])))
    return report


def _add(report: Report, error: AbawkitError, path: Path) -> None:
    report.add("X601", error.message, path=Path(error.path or path), got=error.got, expected=error.expected)


def _wrong_tables(segment: Segment, listed: Sequence[str]) -> str | None:
    lengths = np.diff(segment.offset)
    present = segment.status == Status.PRESENT
    if list(segment.ids) != list(listed):
        return "the segment's clips are not those that the manifest lists"
    if segment.offset[0] != 0 or (lengths < 0).any() or len(segment.time) != len(segment.values):
        return "tables that do not fit each other"
    if not np.isin(segment.status, list(Status)).all() or (lengths[~present] > 0).any() or (lengths[present] < 1).any():
        return "present clips without frames, or frames of clips that are not present"
    return None


def _check_clip(report: Report, path: Path, segment: Segment, row: int, spec: FeatureSpec) -> None:
    clip = segment.ids[row]
    frames = slice(segment.offset[row], segment.offset[row + 1])
    stored = np.ascontiguousarray(segment.values[frames])
    if zlib.crc32(stored.data) != segment.checksum[row]:
        report.add("X602", f"the values of clip {clip} are not those that were written", path=path)
        return
    if not len(stored):
        return
    values = stored.astype(np.float32, copy=False)
    low, high = values.min(axis=1), values.max(axis=1)  # NaN and infinity come through
    if bad := int((~np.isfinite(low) | ~np.isfinite(high)).sum()):
        report.add("X603", f"clip {clip}: {bad} of {len(values)} frames have values that are not finite", path=path)
        return
    flat = (low == high) & (spec.dim > 1)
    if not low.any() and not high.any():
        report.add("X605", f"clip {clip}: all values are zero", path=path, got=f"{len(values)} frames")
    elif len(values) > 1 and (values[0] == values[-1]).all() and (values == values[0]).all():
        report.add("X606", f"clip {clip}: all {len(values)} frames are the same", path=path)
    elif flat.any():
        message = f"clip {clip}: {int(flat.sum())} of {len(values)} frames are of one value throughout"
        report.add("X607", message, path=path, got=f"the first is frame {int(flat.argmax())}")
    largest = float(max(abs(low.min()), abs(high.max())))
    if largest > _PLAUSIBLE:
        expected = f"at most {_PLAUSIBLE:g}"
        report.add("X608", f"clip {clip}: a very large value", path=path, got=f"{largest:g}", expected=expected)
    times = segment.time[frames]
    if spec.time_source != "none" and not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
        report.add("X604", f"clip {clip}: the times of its frames decrease, or some are missing", path=path)


def _check_coverage(report: Report, store: FeatureStore, splits: Mapping[str, Sequence[str]]) -> None:
    shares = {}
    for split, found in coverage(store, splits).items():
        if found.clips:
            shares[split] = found.present / found.clips
        of = f"of {found.clips} {split} clips"
        if found.absent:
            absent = [clip for clip in splits[split] if clip not in store]
            message, got = f"{found.absent} {of} are not in the store", ", ".join(absent[:5])
            report.add("X609", f"{message}; to add them: {store.spec.command}", path=store.path, got=got)
        if found.missing:
            report.add("X610", f"{found.missing} {of} lack the modality", path=store.path)
        if found.failed:
            report.add("X611", f"{found.failed} {of} failed: see failures.csv", path=store.path)
    if shares and max(shares.values()) - min(shares.values()) > _UNEVEN:
        got = ", ".join(f"{split} {share:.1%}" for split, share in shares.items())
        report.add("X612", "the splits differ in how many clips have features", path=store.path, got=got)
    known = {clip for ids in splits.values() for clip in ids}
    if known and (others := [clip for clip in store.ids if clip not in known]):
        report.add("X613", f"{len(others)} clips are in no split", path=store.path, got=", ".join(others[:5]))
