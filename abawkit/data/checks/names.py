"""Names in a challenge folder: what is not a clip, dangerous, doubled, of the wrong kind, or a link elsewhere."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from abawkit.challenge import Task
from abawkit.findings import Report
from abawkit.layout.folder import ChallengeFolder, Place, is_file, is_folder, is_stray, listing, split_name

#: What a shell takes for something else than a letter, or Windows does not allow in a name.
_SPECIAL = frozenset("`$&|;<>*?\"'\\!(){}[]#~:")

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)

#: Unicode categories of characters that cannot be seen: control, direction marks, line and paragraph ends.
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})


def danger(name: str) -> str | None:
    """Returns why the name of a file is dangerous in a shell or on another system, None when it is not.

    Spaces within a name are common, and not counted.

    >>> danger("00000.mp4"), danger("-rf.mp4"), danger("$(reboot).mp4")
    (None, "begins with '-', like an option", "holds '$', which a shell does not take for a letter")
    """
    if name.startswith("-"):
        return "begins with '-', like an option"
    for letter in name:
        if "\ud800" <= letter <= "\udfff":
            return "holds bytes that are not UTF-8"
        if unicodedata.category(letter) in _UNSEEN:
            return f"holds a character that cannot be seen, {letter!a}"
        if letter in _SPECIAL:
            return f"holds {letter!r}, which a shell does not take for a letter"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space, or ends with a dot"
    return "is the name of a device on Windows" if _DEVICES.match(name) else None


def leaves(path: Path, *inside: Path) -> bool:
    """Whether ``path`` is a link that leads out of all the folders ``inside``."""
    try:
        if not path.is_symlink():
            return False
        target = path.resolve()
        return not any(target.is_relative_to(folder.resolve()) for folder in inside)
    except (OSError, RuntimeError):  # a circle leads nowhere
        return False


def add_link(path: Path, report: Report, more: str = "") -> None:
    """Adds the finding for a link that leaves the challenge folder; ``more`` is a text after the message."""
    message = f"a link that leaves the challenge folder; validation does not look behind it{more}"
    report.add("F108", message, path=path, got=ascii(str(path.readlink())))


def add_danger(path: Path, why: str, report: Report, more: str = "") -> None:
    """Adds the finding for a dangerous name; ``more`` is a text after the message."""
    report.add("F114", f"a dangerous name: it {why}; left aside{more}", path=path, got=ascii(path.name))


def check_names(folder: ChallengeFolder, report: Report) -> None:
    """Looks at every name in the challenge folder but those within the folders of face crops."""
    root, task = folder.root, folder.task
    for csv in (folder.train_csv, folder.valid_csv, folder.test_csv):
        if csv is not None and leaves(csv, root):
            add_link(csv, report)
    for taken, names in (
        (folder.train_csv, task.folders.train_csv),
        (folder.valid_csv, task.folders.valid_csv),
        (folder.test_root, task.folders.test),
    ):
        for name in names:
            if taken is not None and name != taken.name and (root / name).exists():
                message = f"there is {taken.name} besides, which is taken; this one is left aside"
                report.add("F115", message, path=root / name)
    for base in folder.bases:
        if base != root and leaves(base, root):
            report.add("F113", "a folder that is a link to another place", path=base)
        for entry in listing(base):
            if (why := danger(entry.name)) is not None:
                add_danger(Path(entry.path), why, report)
            elif is_stray(entry.name):
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
        clip, suffix = split_name(entry.name) if place.suffixes else (entry.name, "")
        if entry.is_symlink() and leaves(path, folder.root, place.folder):
            add_link(path, report)
        right_kind = is_file(entry) and suffix.lower() in place.suffixes if place.suffixes else is_folder(entry)
        if right_kind and folder.task.ids.is_id(clip):
            if clip in names:
                report.add("F112", "two files for one clip", path=path, got=f"{names[clip]} and {entry.name}")
            names.setdefault(clip, entry.name)
        elif (why := danger(entry.name)) is not None:
            add_danger(path, why, report)
        elif is_stray(entry.name):
            report.add("F105", "a stray file", path=path)
        elif folder.task.ids.is_id(clip):
            report.add("F111", "of another kind: left aside", path=path, expected=expected_kind)
        else:
            expected = _mended(clip, place, folder.task)
            report.add("F104", "no clip id: left aside", path=path, got=repr(entry.name), expected=expected)


def _mended(stem: str, place: Place, task: Task) -> str:
    """Returns the file name that was probably meant, else an example."""
    try:
        clip, _ = task.ids.read(stem)
    except ValueError:
        clip = task.ids.example
    return place.official(clip).name
