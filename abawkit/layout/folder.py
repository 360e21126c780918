"""Where things lie in a challenge folder, in each of the layouts that organisers and teams use.

Facts: label CSVs ``train_split.csv`` and ``valid_split.csv`` (some teams: ``val_split.csv``); clips in ``raw/``,
``audio/``, ``face_images/``, ``text/`` under the folder itself; test clips under ``test_data/`` or ``test/``, in
a ``test_split.csv``, or as the clips of ``raw/`` that are in neither split. Nothing is ever written here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from abawkit.challenge import Task
from abawkit.errors import AbawkitError, UsageError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".avi", ".webm")
AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

#: Files that operating systems leave in folders; they are not data.
STRAY_FILES = frozenset({"thumbs.db", "desktop.ini", ".ds_store"})

TestSource = Literal["folder", "csv", "subtraction", "none"]

Kind = Literal["video", "audio", "faces", "text", "openface", "vit", "wav2vec2"]
KINDS: tuple[Kind, ...] = ("video", "audio", "faces", "text", "openface", "vit", "wav2vec2")


@dataclass(frozen=True)
class Place:
    """One folder of clip files.

    Attributes:
        kind: What lies there.
        folder: The folder, there or not.
        suffixes: Suffixes of its files, the official one first; empty: one folder per clip.
    """

    kind: Kind
    folder: Path
    suffixes: tuple[str, ...]

    def official(self, clip_id: str) -> Path:
        """Returns where the organisers put the clip's file; ``clip_id`` has to be an official id."""
        return self.folder / (clip_id + (self.suffixes or ("",))[0])


@dataclass(frozen=True)
class Clip:
    """One clip and its files; a file that is not there is None.

    Attributes:
        id: The official id.
        video: ``raw/NNNNN.mp4``.
        audio: ``audio/NNNNN.mp3``.
        faces: The folder ``face_images/NNNNN``; it can be empty.
        text: ``text/NNNNN.txt``; it can be empty.
        openface: ``openface/NNNNN.csv``.
        vit: ``vit/NNNNN.pkl``, features of the organisers.
        wav2vec2: ``wav2vec2/NNNNN.pkl``, features of the organisers.
    """

    id: str
    video: Path | None = None
    audio: Path | None = None
    faces: Path | None = None
    text: Path | None = None
    openface: Path | None = None
    vit: Path | None = None
    wav2vec2: Path | None = None


def is_stray(name: str) -> bool:
    """Whether ``name`` is a file of the operating system (``Thumbs.db``, ``._0.jpg``) or hidden.

    >>> is_stray("Thumbs.db"), is_stray("0.jpg")
    (True, False)
    """
    return name.lower() in STRAY_FILES or name.startswith(".")


class ChallengeFolder:
    """A challenge folder, scanned once; later changes are not seen.

    Attributes:
        root: The folder.
        task: What the challenge is.
        train_csv: The label file of the official training split, None when it is not there.
        valid_csv: The label file of the official validation split, None when it is not there.
        test_csv: A list of test ids made by the team, None when there is none.
        test_root: The folder that holds the test clips' ``raw`` (``test_data`` or ``test``), None when there is none.
    """

    def __init__(self, root: Path, task: Task) -> None:
        self.root = root
        self.task = task
        self._scanned: dict[Path, dict[str, Path]] = {}
        folders = task.folders
        self.train_csv = _first_file(root, folders.train_csv)
        self.valid_csv = _first_file(root, folders.valid_csv)
        self.test_csv = _first_file(root, folders.test_csv)
        tests = [root / name for name in folders.test if (root / name).is_dir()]
        self.test_root = next((test for test in tests if scan(test / folders.video)), next(iter(tests), None))

    @classmethod
    def open(cls, root: Path, task: Task) -> ChallengeFolder:
        """Returns the folder's layout.

        Raises:
            UsageError: ``root`` does not exist, or nothing in it looks like a challenge.
        """
        if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
            raise UsageError(
                "there is no such folder, or it cannot be read",
                path=root,
                expected="the organisers' challenge folder",
                todo="give the folder that holds train_split.csv, or set `data` in abawkit.toml",
            )
        folder = cls(root, task)
        if not folder.looks_right:
            expected = f"{task.folders.train_csv[0]}, {task.folders.valid_csv[0]} and {task.folders.video}/"
            found = [entry.name for entry in scan(root)[:6]]
            raise UsageError(
                "this is not a challenge folder",
                path=root,
                got=", ".join(found) or "an empty folder",
                expected=expected,
                todo="give the folder that holds them, or set `data` in abawkit.toml",
            )
        return folder

    @property
    def looks_right(self) -> bool:
        """Whether at least one label CSV or one clip folder is there."""
        return bool(self.train_csv or self.valid_csv or self.video_ids or self.test_video_ids)

    @property
    def bases(self) -> list[Path]:
        """The folders that hold clip folders: ``root`` and, where there is one, ``test_root``."""
        return [self.root] if self.test_root is None else [self.root, self.test_root]

    def places(self, base: Path) -> list[Place]:
        """Returns the clip folders under ``base``, which is ``root`` or ``test_root``."""
        folders = self.task.folders
        return [
            Place("video", base / folders.video, VIDEO_SUFFIXES),
            Place("audio", base / folders.audio, AUDIO_SUFFIXES),
            Place("faces", base / folders.faces, ()),
            Place("text", base / folders.text, (".txt",)),
            Place("openface", base / folders.openface, (".csv",)),
            Place("vit", base / folders.vit, (".pkl",)),
            Place("wav2vec2", base / folders.wav2vec2, (".pkl",)),
        ]

    @cached_property
    def _files(self) -> dict[Kind, dict[str, Path]]:
        """Kind → clip id → path, the test folder's files over those of the folder itself."""
        found: dict[Kind, dict[str, Path]] = {kind: {} for kind in KINDS}
        tests = set(self.test_video_ids)
        for base in self.bases:
            for place in self.places(base):
                here = self._scan(place)
                if base != self.root and tests:
                    # What another clip has there is not its own: test folders hold leftovers.
                    here = {clip: path for clip, path in here.items() if clip in tests}
                found[place.kind].update(here)
        return found

    def _scan(self, place: Place) -> dict[str, Path]:
        """Returns clip id → path of what is a clip's file or folder by its name; the official suffix wins."""
        if place.folder in self._scanned:
            return self._scanned[place.folder]
        found: dict[str, Path] = {}
        for entry in scan(place.folder):
            if place.suffixes:
                clip, suffix = split_name(entry.name)
                wanted = suffix.lower() in place.suffixes and is_file(entry)
                better = suffix.lower() == place.suffixes[0]
            else:
                clip, wanted, better = entry.name, is_folder(entry), True
            if wanted and self.task.ids.is_id(clip) and (clip not in found or better):
                found[clip] = Path(entry.path)
        self._scanned[place.folder] = found
        return found

    @cached_property
    def video_ids(self) -> list[str]:
        """Ids of the clips in ``raw/`` of the folder itself, sorted."""
        return sorted(self._scan(self.places(self.root)[0]))

    @cached_property
    def test_video_ids(self) -> list[str]:
        """Ids of the clips in the test folder's ``raw/``, sorted; empty when there is no test folder."""
        return [] if self.test_root is None else sorted(self._scan(self.places(self.test_root)[0]))

    def clip(self, clip_id: str) -> Clip:
        """Returns the clip's files.

        Raises:
            UsageError: ``clip_id`` is not an id in its official form.
        """
        if not self.task.ids.is_id(clip_id):
            raise UsageError("this is not a clip id", got=repr(clip_id), expected=self.task.ids.example)
        files = self._files
        return Clip(clip_id, **{kind: files[kind].get(clip_id) for kind in KINDS})

    def ids_in(self, place: Place) -> list[str]:
        """Returns the ids of the clips that have something in one clip folder, sorted."""
        return sorted(self._scan(place))

    def describe(self, source: TestSource) -> dict[str, object]:
        """Returns which of the known layouts this is, ready for JSON.

        Args:
            source: Where the test ids come from.

        ``train_csv``, ``valid_csv``, ``test_csv`` and ``test_folder`` are names (None: not there), ``folders`` says of
        each clip folder by its name whether it is there in the challenge folder itself (``root``) and in the folder of
        the test clips (``test``), and ``words`` says all of it in two lines.
        """
        there = {
            place.folder.name: {
                "root": place.folder.is_dir(),
                "test": self.test_root is not None and (self.test_root / place.folder.name).is_dir(),
            }
            for place in self.places(self.root)
        }
        labels = [path.name for path in (self.train_csv, self.valid_csv) if path is not None]
        video = self.task.folders.video
        test = {
            "folder": f"test clips are those in {self.test_root.name if self.test_root else ''}/{video}",
            "csv": f"test clips are those in {self.test_csv.name if self.test_csv else ''}",
            "subtraction": f"test clips are those in {video} that have no labels",
            "none": "no test clips yet",
        }[source]
        folders = [", ".join(name for name, at in there.items() if at["root"]) or "no clip folders"]
        if self.test_root is not None:
            present = ", ".join(name for name, at in there.items() if at["test"]) or "no clip folders"
            folders.append(f"in {self.test_root.name}: {present}")
        return {
            "train_csv": None if self.train_csv is None else self.train_csv.name,
            "valid_csv": None if self.valid_csv is None else self.valid_csv.name,
            "test_csv": None if self.test_csv is None else self.test_csv.name,
            "test_source": source,
            "test_folder": None if self.test_root is None else self.test_root.name,
            "folders": there,
            "words": [f"{' and '.join(labels) or 'no label files'}; {test}", "; ".join(folders)],
        }

    def test_ids(self, labelled: Iterable[str], listed: Iterable[str] | None = None) -> tuple[list[str], TestSource]:
        """Returns the ids of the test clips, sorted, and how they were found.

        Args:
            labelled: Ids of both official splits.
            listed: Ids of ``test_csv``, where there is one.

        The test folder's ``raw/`` comes first (never ``audio/`` or ``face_images/``, which can hold more ids than
        there are clips), then the team's CSV, then the clips of ``raw/`` that are in neither split.
        """
        if self.test_video_ids:
            return self.test_video_ids, "folder"
        if listed is not None:
            return sorted(set(listed)), "csv"
        rest = sorted(set(self.video_ids) - set(labelled))
        # Without both label files labelled clips would be taken for test clips.
        return (rest, "subtraction") if rest and self.train_csv and self.valid_csv else ([], "none")


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """Returns the folder's entries by name, stray files among them; an empty list when it is not there.

    Raises:
        AbawkitError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise AbawkitError(
            f"the folder cannot be read: {error.strerror}", path=folder, todo="check its permissions"
        ) from error


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """Returns the folder's entries by name, without stray files; an empty list when it is not there.

    Raises:
        AbawkitError: The folder cannot be read.
    """
    return [entry for entry in listing(folder) if not is_stray(entry.name)]


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether ``entry`` is a file or a link to one; a link that leads nowhere or in a circle is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether ``entry`` is a folder or a link to one; a link that leads nowhere or in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def face_images(folder: Path) -> list[Path]:
    """Returns the face crops of one clip in temporal order: stems are numbers without padding, sorted as numbers.

    Files whose stem is not a number, or that are not images by their name, are left out.
    """
    numbered = [
        (int(stem), entry.path)
        for entry in scan(folder)
        for stem, suffix in [split_name(entry.name)]
        if is_face_name(stem, suffix)
    ]
    return [Path(path) for _, path in sorted(numbered)]


def is_face_name(stem: str, suffix: str) -> bool:
    """Whether a file of that name is a face crop: a number and the suffix of an image."""
    return suffix.lower() in IMAGE_SUFFIXES and stem.isascii() and stem.isdigit()


def split_name(name: str) -> tuple[str, str]:
    """Returns stem and suffix of a file name.

    >>> split_name("00000.mp4"), split_name("00000")
    (('00000', '.mp4'), ('00000', ''))
    """
    # pathlib is three times slower, and there are a million face crops.
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if dot else (name, "")


def _first_file(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)
