"""Which clips an extraction is about: splits, single ids, a limit, one shard of several."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abawkit.data.labels import load_official
from abawkit.errors import UsageError
from abawkit.layout.folder import ChallengeFolder, Clip
from abawkit.workspace import Workspace

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Shard:
    """One of several parts of the clips, which run as jobs of their own.

    Attributes:
        number: Which one, from 1.
        count: How many there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Returns the shard that ``text`` means.

        Raises:
            UsageError: It is not two whole numbers with a slash between them, the first not above the second.

        >>> str(Shard.parse("2/8"))
        '2/8'
        """
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text.strip())
        number, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= count:
            raise UsageError("this is not a shard", got=repr(text), expected="number/count, such as 1/4 for the first")
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, clips: Sequence[Clip]) -> set[str]:
        """Returns the ids of the clips that are in this shard."""
        dealt = sorted(clips, key=lambda clip: (-_size(clip), clip.id))
        return {clip.id for clip in dealt[self.number - 1 :: self.count]}


def _size(clip: Clip) -> int:
    path = clip.video or clip.audio
    try:
        return 0 if path is None else path.stat().st_size
    except OSError:
        return 0


def official_clips(workspace: Workspace) -> dict[str, list[Clip]]:
    """Returns ``train``, ``valid`` and ``test`` → their clips.

    Raises:
        UsageError: There is no challenge folder.
    """
    folder = ChallengeFolder.open(workspace.data, workspace.task)
    official = load_official(folder)
    ids = zip(SPLITS, (official.train.ids, official.valid.ids, official.test_ids), strict=True)
    return {name: [folder.clip(clip) for clip in members] for name, members in ids}


def select_clips(
    workspace: Workspace,
    splits: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    limit: int | None = None,
    shard: Shard | None = None,
    *,
    everyone: Mapping[str, Sequence[Clip]] | None = None,
) -> dict[str, list[Clip]]:
    """Returns split → those of its clips that are wanted.

    Args:
        workspace: The workspace.
        splits: ``train``, ``valid``, ``test``; default: all.
        only: Ids of the clips; default: all.
        limit: At most so many clips, the first by id.
        shard: One part of the clips: they are sorted by the size of their video or sound and dealt in turn, so that
            every shard has about the same work.
        everyone: What :func:`official_clips` returned; default: it is called.

    Raises:
        UsageError: There is no challenge folder, or a split or clip is unknown.
    """
    everyone = official_clips(workspace) if everyone is None else everyone
    members_of = {name: everyone[name] for name in chosen("split", splits, SPLITS)}
    there = {clip.id for members in members_of.values() for clip in members}
    if unknown := sorted(set(only or ()) - there):
        raise UsageError("these are not clips of the chosen splits", got=", ".join(unknown[:5]), path=workspace.data)
    if shard is not None:
        there &= shard.of([clip for members in members_of.values() for clip in members])
        only = None if only is None else set(only) & there
    kept = set(sorted(there if only is None else set(only))[:limit])
    return {name: [clip for clip in members if clip.id in kept] for name, members in members_of.items()}


def chosen(what: str, wanted: Sequence[Any] | None, known: Sequence[Any]) -> list[Any]:
    """Returns those of ``known`` that are ``wanted`` (None or nothing: all), in the order of ``known``.

    Raises:
        UsageError: One is not known.
    """
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"unknown {what}", got=str(name), expected=", ".join(known))
    return [name for name in known if not wanted or name in wanted]
