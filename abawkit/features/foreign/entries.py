"""Which clip each file or entry of other people's features means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from abawkit.challenge import IdRule
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.foreign.arrays import SUFFIXES, open_data
from abawkit.features.foreign.frames import Frames, frames_of
from abawkit.findings import shown_path
from abawkit.layout.folder import is_file, scan, split_name

DType = Literal["float16", "float32"]

#: Number of clips read to find the number of values per frame and their dtype.
_SAMPLE = 32


@dataclass(frozen=True)
class Entry:
    """What stands for a clip in one of the sources.

    Attributes:
        place: Name of the file, or of the file and the entry in it.
        read: Returns its frames, or raises why it has none.
    """

    place: str
    read: Callable[[], Frames]


@dataclass
class Entries:
    """What the sources hold.

    Attributes:
        clips: Id → its entries; more than one when several files mean the same clip.
        damaged_ids: Kind of damage → number of ids that were fixed.
        no_ids: Names that are not clip ids.
        formats: Suffixes of the files in folders, and formats of the files with many clips.
    """

    clips: dict[str, list[Entry]] = field(default_factory=dict)
    damaged_ids: Counter[str] = field(default_factory=Counter)
    no_ids: list[str] = field(default_factory=list)
    formats: set[str] = field(default_factory=set)

    def add(self, name: object, place: str, rule: IdRule, read: Callable[[], Frames]) -> None:
        """Adds the entry called ``name``, which is read later."""
        try:
            clip, damage = rule.read(str(name))
        except ValueError:
            self.no_ids.append(place)
            return
        if damage and not isinstance(name, int):  # a number cannot have kept its zeros
            self.damaged_ids[damage] += 1
        self.clips.setdefault(clip, []).append(Entry(place, read))


def find_entries(sources: Sequence[Path], rule: IdRule, opened: ExitStack) -> Entries:
    """Returns what the sources hold.

    Args:
        sources: Folders with one file per clip, and files with many clips.
        rule: What a clip id is.
        opened: Files with many clips stay open until it is closed.

    Raises:
        UsageError: A source is not there, or is a file that does not hold many clips.
        AbawkitError: A file with many clips cannot be read.
    """
    found = Entries()
    for source in sources:
        if source.is_dir():
            _scan(source, rule, found)
            continue
        if not source.is_file():
            raise UsageError("there is no such file or folder", path=source, todo="correct --from")
        format_, members = opened.enter_context(open_data(source))
        if not isinstance(members, Mapping):
            raise UsageError(
                "a file with many clips has to be a dictionary, or to have one entry per clip",
                path=source,
                got=f"a file of type {format_} that holds one {type(members).__name__}",
                todo="when there is one file per clip, give their folder: --from FOLDER",
            )
        found.formats.add(f"{format_} of many clips")
        for key in members:
            place = shown_path(Path(f"{source.name}[{str(key)[:40]}]"))
            found.add(key, place, rule, partial(_read_member, members, key))
    return found


def _scan(folder: Path, rule: IdRule, found: Entries) -> None:
    for entry in scan(folder):  # without strays, such as the "._00012.npy" of macOS
        stem, suffix = split_name(entry.name)
        place = shown_path(Path(entry.name))
        if is_file(entry) and suffix.lower() in SUFFIXES:
            found.formats.add(suffix.lower()[1:])
            found.add(stem, place, rule, partial(_read_file, Path(entry.path)))
        else:
            found.no_ids.append(place)


def _read_file(path: Path) -> Frames:
    with open_data(path) as (_, value):
        return frames_of(value)


def _read_member(members: Mapping[Any, Any], key: Any) -> Frames:
    return frames_of(members[key])


def common_form(entries: Mapping[str, Sequence[Entry]], dim: int | None, source: Path) -> tuple[int, DType]:
    """Returns the number of values per frame, and the dtype that keeps them as they are.

    Args:
        entries: Clip → its entries; the first readable clips decide.
        dim: Values per frame, where they are given; otherwise those of most clips are taken.
        source: For messages.

    Raises:
        UsageError: No clip can be read, none has ``dim`` values per frame, or the clips have no common number.
    """
    widths: Counter[int] = Counter()
    kinds: set[str] = set()
    reason = ""
    for clip in entries:
        entry = entries[clip][0]
        try:
            values = entry.read().values
        except AbawkitError as error:
            reason = reason or f"{entry.place}: {error.message}" + (f" ({error.got})" if error.got else "")
            continue
        widths[values.shape[1]] += 1
        kinds.add(values.dtype.name)
        if widths.total() == _SAMPLE:
            break
    ((width, count),) = widths.most_common(1) or [(0, 0)]
    if (2 * count <= widths.total()) if dim is None else not widths[dim]:
        shown = ", ".join(f"{width} ({count} clips)" for width, count in widths.most_common(4))
        raise UsageError(
            "the clips have no common number of values per frame" if widths else "no clip can be read",
            path=source,
            got=shown or reason,
            expected="arrays of shape (T, D) with one D" if dim is None else f"{dim} values per frame",
            todo="give the right number (--dim D), or fix the files",
        )
    return dim or width, "float16" if kinds == {"float16"} else "float32"
