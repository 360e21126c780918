"""Every problem in a challenge folder, coded (:data:`abawkit.findings.CODES`), found in one pass.

Small checks over the layout: label files and splits, names and links in the folders, missing files, then each clip by
itself, many at a time, and last what needs all clips. Nothing is written and no deep-learning library is
loaded.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from abawkit.challenge import EMI, Task
from abawkit.data.checks.clip_files import ClipCheck, check_clip
from abawkit.data.checks.identical import check_identical
from abawkit.data.checks.names import check_names
from abawkit.data.labels import Official, read_ids, read_official
from abawkit.errors import UsageError
from abawkit.findings import DEPTHS, Depth, Report, matching_codes, shown_path
from abawkit.layout.folder import KINDS, ChallengeFolder, Clip, Kind, scan
from abawkit.progress import SILENT, Progress
from abawkit.workers import in_processes

#: A clip is far longer than the others above this many seconds and this many times the median.
LONG_SECONDS, LONG_TIMES_MEDIAN = 60.0, 10.0

#: Not shipped by the organisers: without the folder there is nothing to say about it.
_OPTIONAL: frozenset[Kind] = frozenset({"openface", "vit", "wav2vec2"})

#: Clips that one process does as fast as several, which take a second to start; clips that go to a process at a time.
_INLINE: Mapping[Depth, int] = {"quick": 4096, "default": 256, "deep": 16}
_CHUNK: Mapping[Depth, int] = {"quick": 256, "default": 32, "deep": 2}


def validate(
    root: Path,
    task: Task = EMI,
    *,
    level: Depth = "default",
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Returns everything that is wrong with a challenge folder, and how many clips and files there are.

    Args:
        root: The challenge folder.
        task: What the challenge is.
        level: ``quick``: names and label files. ``default``: opens every file, and reads the headers of video, sound
            and pictures. ``deep``: decodes everything.
        select: Codes, or their beginnings, of the findings that are wanted; none: all.
        ignore: Codes, or their beginnings, of findings that are not wanted. ``left_out`` counts what was left out.
        workers: Processes; default: one per core, at most 8.
        progress: Shows how far it is.

    ``counts`` has ``train``, ``valid`` and ``test`` (clips), and per split and kind of file ``train.video``,
    ``train.audio``, ``train.faces`` and so on (clips that have it; with ``quick`` by its name, else also not empty).
    ``about`` has ``root``, ``task``, ``level`` and ``layout`` (see :meth:`ChallengeFolder.describe`).

    Raises:
        UsageError: There is no such folder, it cannot be read, or there is no such level or code.
    """
    select, ignore = tuple(select), tuple(ignore)
    matching_codes([*select, *ignore])
    if level not in DEPTHS:
        raise UsageError("validation has no such level", got=repr(level), expected=", ".join(DEPTHS))
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        raise UsageError(
            "there is no such folder, or it cannot be read", path=root, expected="the organisers' challenge folder"
        )
    report = Report(about={"root": shown_path(root), "task": task.name, "level": level})
    _examine(ChallengeFolder(root, task), level, report, workers, progress)
    report.leave_out(select, ignore)
    return report


def _examine(folder: ChallengeFolder, level: Depth, report: Report, workers: int | None, progress: Progress) -> None:
    root, task = folder.root, folder.task
    if not _check_access(folder, report):
        return
    if not folder.looks_right:
        expected = f"{task.folders.train_csv[0]}, {task.folders.valid_csv[0]} and {task.folders.video}/"
        report.add("F101", "not a challenge folder: neither label CSVs nor clips", path=root, expected=expected)
        return
    official = read_official(folder, report)
    report.about["layout"] = folder.describe(official.test_source)
    splits = {"train": official.train.ids, "valid": official.valid.ids, "test": official.test_ids}
    report.counts.update({name: len(ids) for name, ids in splits.items()})
    _check_splits(folder, official, report)
    check_names(folder, report)
    split_of = {clip: name for name, ids in reversed(splits.items()) for clip in ids}
    clips = {clip: folder.clip(clip) for clip in sorted(split_of)}
    _check_missing(folder, official, splits, clips, report)

    checks: dict[str, ClipCheck] = {}
    with progress.task("checking clips", total=len(clips)) as bar:
        check = partial(check_clip, root=root, depth=level)
        inline, chunk = _INLINE[level], _CHUNK[level]
        done = in_processes(check, list(clips.values()), workers=workers, bar=bar, chunk=chunk, inline_below=inline)
        for clip, found in zip(clips, done, strict=True):
            checks[clip] = found
            report.extend(found.findings)
    prints = {clip: found.prints for clip, found in checks.items()}
    check_identical(clips, prints, split_of, report, workers=workers, progress=progress)
    _check_lengths(clips, checks, report)
    for name, members in splits.items():
        for kind in KINDS:
            report.counts[f"{name}.{kind}"] = sum(kind in checks[clip].present for clip in members)


def _check_access(folder: ChallengeFolder, report: Report) -> bool:
    """Whether every folder of clips can be read: where one cannot, each of its files would be called missing."""
    for base in folder.bases:
        for path in (base, *(place.folder for place in folder.places(base))):
            if os.access(path, os.F_OK) and not os.access(path, os.R_OK | os.X_OK):
                report.add("F109", "the folder cannot be read", path=path, expected="read permission")
    return report.ok


def _check_splits(folder: ChallengeFolder, official: Official, report: Report) -> None:
    root, task = folder.root, folder.task
    counts = {"train": len(official.train), "valid": len(official.valid), "test": len(official.test_ids)}
    if official.test_source == "none":
        expected = f"{task.folders.test[0]}/{task.folders.video}, or {task.folders.test_csv[0]}"
        report.add("F103", "no test clips yet", path=root, expected=expected)
    elif official.test_source == "folder" and folder.test_csv is not None:
        listed = set(read_ids(folder.test_csv, task, Report()))
        if listed != set(official.test_ids):
            both = len(listed & set(official.test_ids))
            got, expected = f"{len(listed)} clips listed, {both} of them there", f"the {counts['test']} clips there"
            message = "not the clips of the test folder, which are taken"
            report.add("F110", message, path=folder.test_csv, got=got, expected=expected)
    if counts["train"] and counts["valid"]:
        _check_extra(folder, official, report)
    if task.official_size(counts["train"], counts["valid"]):
        for name, wanted in task.counts.items():
            if counts[name] != wanted and (counts[name] or name != "test"):
                message = f"number of {name} clips differs from the official one"
                report.add("F107", message, path=root, got=str(counts[name]), expected=str(wanted))


def _check_extra(folder: ChallengeFolder, official: Official, report: Report) -> None:
    """Adds a finding per folder that has files of clips in no split; a clip is named where its video is, else each."""
    known = {*official.listed, *official.test_ids}
    for base in folder.bases:
        own = known
        if base != folder.root and official.test_source == "folder":
            own = set(official.test_ids)
        named: set[str] = set()
        for place in folder.places(base):
            rest = [clip for clip in folder.ids_in(place) if clip not in own and clip not in named]
            if rest:
                shown = ", ".join(rest[:5]) + (" …" if len(rest) > 5 else "")
                no_split = "in no split" if own is known else "that are not test clips"
                report.add("F106", f"{len(rest)} clip(s) {no_split}: left aside", path=place.folder, got=shown)
            if place.kind == "video":
                named = set(rest)


def _check_missing(
    folder: ChallengeFolder,
    official: Official,
    splits: Mapping[str, tuple[str, ...]],
    clips: Mapping[str, Clip],
    report: Report,
) -> None:
    """Adds a finding per missing file; one for the whole folder where nothing is in it."""
    task, root = folder.task, folder.root
    # A clip in two splits is missing once.
    groups = {root: dict.fromkeys(splits["train"] + splits["valid"])}
    test_base = folder.test_root if official.test_source == "folder" and folder.test_root else root
    groups.setdefault(test_base, {}).update(dict.fromkeys(splits["test"]))
    for base, ids in groups.items():
        for place in folder.places(base):
            if place.kind in _OPTIONAL and not place.folder.is_dir():
                continue
            code = "T401" if place.kind == "text" else "M301"
            missing = [clip for clip in ids if getattr(clips[clip], place.kind) is None]
            if missing and len(missing) == len(ids) and not scan(place.folder):
                message = f"none of {len(ids)} clips has {_WHAT[place.kind]}"
                report.add(code, message, path=place.folder, expected=place.official(task.ids.example).name)
            else:
                for clip in missing:
                    report.add(code, f"the clip has no {_NAME[place.kind]}", path=place.official(clip), got=clip)


_WHAT: dict[Kind, str] = {
    "video": "a video",
    "audio": "a sound file",
    "faces": "a folder of face crops",
    "text": "a transcript (not shipped: teams write them with a speech recogniser)",
    "openface": "an OpenFace file",
    "vit": "a file of ViT features",
    "wav2vec2": "a file of wav2vec2 features",
}
_NAME: dict[Kind, str] = {kind: what.split(" ", 1)[1].split(" (")[0] for kind, what in _WHAT.items()}


def _check_lengths(clips: Mapping[str, Clip], checks: Mapping[str, ClipCheck], report: Report) -> None:
    seconds = {clip: check.seconds for clip, check in checks.items() if check.seconds is not None}
    if not seconds:
        return
    median = statistics.median(seconds.values())
    for clip, length in seconds.items():
        if length > max(LONG_SECONDS, LONG_TIMES_MEDIAN * median):
            got, expected = f"{length:.1f} s", f"about {median:.1f} s"
            report.add("M307", "far longer than the others", path=clips[clip].video, got=got, expected=expected)
