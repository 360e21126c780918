"""Every problem in a challenge folder, coded (:data:`abawkit.findings.CODES`), found in one pass.

Small checks over the layout: label files and splits, names and links in the folders, missing files, and then each
clip by itself, many at a time. Nothing is written and no deep-learning library is loaded.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from abawkit.challenge import EMI, Task
from abawkit.data.clips import ClipCheck, add_link, check_clip, in_threads, leaves
from abawkit.data.labels import Official, read_ids, read_official
from abawkit.data.layout import (
    KINDS,
    ChallengeFolder,
    Kind,
    Place,
    is_file,
    is_folder,
    is_stray,
    listing,
    scan,
    split_name,
)
from abawkit.errors import UsageError
from abawkit.findings import Report
from abawkit.progress import SILENT, Progress

#: A clip is far longer than the others above this many seconds and this many times the median.
LONG_SECONDS, LONG_TIMES_MEDIAN = 60.0, 10.0

#: Not shipped by the organisers: without the folder there is nothing to say about it.
_OPTIONAL: frozenset[Kind] = frozenset({"openface", "vit", "wav2vec2"})


def validate(
    root: Path, task: Task = EMI, *, media: bool = True, workers: int | None = None, progress: Progress = SILENT
) -> Report:
    """Returns everything that is wrong with a challenge folder, and how many clips and files there are.

    Args:
        root: The challenge folder.
        task: What the challenge is.
        media: Open every video and sound file (their headers; nothing is decoded). False: look at sizes only.
        workers: Files looked at at the same time; default: one per core, at most 8.
        progress: Shows how far it is.

    ``counts`` has ``train``, ``valid`` and ``test`` (clips), and per split and kind of file ``train.video``,
    ``train.audio``, ``train.faces`` and so on (clips that have it).

    Raises:
        UsageError: There is no such folder, or it cannot be read.
    """
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        raise UsageError(
            "there is no such folder, or it cannot be read", path=root, expected="the organisers' challenge folder"
        )
    report = Report()
    folder = ChallengeFolder(root, task)
    if not _check_access(folder, report):
        return report
    if not folder.looks_right:
        expected = f"{task.folders.train_csv[0]}, {task.folders.valid_csv[0]} and {task.folders.video}/"
        report.add("F101", "not a challenge folder: neither label CSVs nor clips", path=root, expected=expected)
        return report
    official = read_official(folder, report)
    splits = {"train": official.train.ids, "valid": official.valid.ids, "test": official.test_ids}
    report.counts.update({name: len(ids) for name, ids in splits.items()})
    _check_splits(folder, official, report)
    _check_names(folder, report)
    _check_missing(folder, official, splits, report)

    ids = sorted({clip for clips in splits.values() for clip in clips})
    with progress.task("checking clips", total=len(ids)) as bar:
        found = in_threads(lambda clip: check_clip(folder.clip(clip), root, media=media), ids, workers, bar)
        checks = dict(zip(ids, found, strict=True))
    for check in checks.values():
        report.extend(check.findings)
    _check_lengths(folder, checks, report)
    for name, members in splits.items():
        for kind in KINDS:
            report.counts[f"{name}.{kind}"] = sum(kind in checks[clip].present for clip in members)
    return report


def _bases(folder: ChallengeFolder) -> list[Path]:
    return [folder.root] if folder.test_root is None else [folder.root, folder.test_root]


def _check_access(folder: ChallengeFolder, report: Report) -> bool:
    """Whether every folder of clips can be read: where one cannot, each of its files would be called missing."""
    for base in _bases(folder):
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
        known = {*official.train.ids, *official.valid.ids, *official.test_ids}
        rest = [clip for clip in folder.video_ids if clip not in known]
        if rest:
            shown = ", ".join(rest[:5]) + (" …" if len(rest) > 5 else "")
            path = root / task.folders.video
            report.add("F106", f"{len(rest)} clip(s) in no split: left aside", path=path, got=shown)
    if task.official_size(counts["train"], counts["valid"]):
        for name, wanted in task.counts.items():
            if counts[name] != wanted and (counts[name] or name != "test"):
                message = f"number of {name} clips differs from the official one"
                report.add("F107", message, path=root, got=str(counts[name]), expected=str(wanted))


def _check_names(folder: ChallengeFolder, report: Report) -> None:
    """Looks at every name in the folders of clips."""
    root = folder.root
    for path in (folder.train_csv, folder.valid_csv, folder.test_csv):
        if path is not None and leaves(path, root):
            add_link(path, report)
    for base in _bases(folder):
        if base != root and leaves(base, root):
            report.add("F113", "a folder that is a link to another place", path=base)
        for entry in listing(base):
            if is_stray(entry.name):
                report.add("F105", "a stray file", path=Path(entry.path))
        for place in folder.places(base):
            if leaves(place.folder, root, base):
                report.add("F113", "a folder that is a link to another place", path=place.folder)
            _check_place(place, folder, report)


def _check_place(place: Place, folder: ChallengeFolder, report: Report) -> None:
    names: dict[str, str] = {}
    expected_kind = f"a file {', '.join(place.suffixes)}" if place.suffixes else "a folder of face crops"
    for entry in listing(place.folder):
        path = Path(entry.path)
        if is_stray(entry.name):
            report.add("F105", "a stray file", path=path)
            continue
        if entry.is_symlink() and leaves(path, folder.root, place.folder):
            add_link(path, report)
        clip, suffix = split_name(entry.name) if place.suffixes else (entry.name, "")
        right_kind = is_file(entry) and suffix.lower() in place.suffixes if place.suffixes else is_folder(entry)
        if not folder.task.ids.is_id(clip):
            expected = _mended(clip, place, folder.task)
            report.add("F104", "no clip id: left aside", path=path, got=repr(entry.name), expected=expected)
        elif not right_kind:
            report.add("F111", "of another kind: left aside", path=path, expected=expected_kind)
        elif clip in names:
            report.add("F112", "two files for one clip", path=path, got=f"{names[clip]} and {entry.name}")
        else:
            names[clip] = entry.name


def _mended(stem: str, place: Place, task: Task) -> str:
    """Returns the file name that was probably meant, else an example."""
    try:
        clip, _ = task.ids.read(stem)
    except ValueError:
        clip = task.ids.example
    return place.official(clip).name


def _check_missing(
    folder: ChallengeFolder, official: Official, splits: dict[str, tuple[str, ...]], report: Report
) -> None:
    """Adds a finding per missing file; one for the whole folder where nothing is in it."""
    task, root = folder.task, folder.root
    test_base = folder.test_root if official.test_source == "folder" and folder.test_root else root
    labelled = tuple(dict.fromkeys(splits["train"] + splits["valid"]))  # a clip in both is missing once
    for base, ids in ((root, labelled), (test_base, splits["test"])):
        for place in folder.places(base):
            code = "T401" if place.kind == "text" else "M301"
            missing = [clip for clip in ids if getattr(folder.clip(clip), place.kind) is None]
            if len(missing) == len(ids) and not scan(place.folder):
                if ids and (place.kind not in _OPTIONAL or place.folder.is_dir()):
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


def _check_lengths(folder: ChallengeFolder, checks: dict[str, ClipCheck], report: Report) -> None:
    seconds = {clip: check.seconds for clip, check in checks.items() if check.seconds is not None}
    if not seconds:
        return
    median = statistics.median(seconds.values())
    for clip, length in seconds.items():
        if length > max(LONG_SECONDS, LONG_TIMES_MEDIAN * median):
            got, expected = f"{length:.1f} s", f"about {median:.1f} s"
            report.add("M307", "far longer than the others", path=folder.clip(clip).video, got=got, expected=expected)
