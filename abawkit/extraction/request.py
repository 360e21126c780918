"""What an extraction is asked for: which features of which clips."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from abawkit.extraction.select import Shard, select_clips
from abawkit.features.spec import Extractor
from abawkit.layout.folder import Clip
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class ExtractRequest:
    """Which features of which clips to extract; the default is all features of the preset, of all clips.

    Attributes:
        modalities: Which of ``text``, ``audio``, ``vision``, ``motion``; None: all, or those of ``extractors``.
        splits: ``train``, ``valid``, ``test``; None: all that are there.
        only: Ids of the clips; None: all of the splits.
        limit: At most so many clips, the first by id.
        shard: One part of the clips. Other processes can do the other shards at the same time; the store counts as
            complete when all of them are done.
        retry_failed: Try failed clips again.
        extractors: Extractors that run instead of the preset's: names of installed ones
            (:mod:`abawkit.extractors.installed`), or extractors themselves.
    """

    modalities: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    only: Collection[str] | None = None
    limit: int | None = None
    shard: Shard | None = None
    retry_failed: bool = False
    extractors: Sequence[str | Extractor] = ()

    @property
    def all_clips(self) -> bool:
        """Whether all clips are wanted, or all of one shard."""
        return not (self.splits or self.only or self.limit)

    def select(self, workspace: Workspace, everyone: Mapping[str, Sequence[Clip]]) -> dict[str, list[Clip]]:
        """Returns split → the clips that are wanted.

        Args:
            workspace: The workspace.
            everyone: Split → all its clips.

        Raises:
            UsageError: A split or clip is unknown.
        """
        return select_clips(workspace, self.splits, self.only, self.limit, self.shard, everyone=everyone)
