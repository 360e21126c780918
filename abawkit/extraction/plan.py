"""Which clips are still to be extracted, in which segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from abawkit.data.layout import Clip
from abawkit.features.spec import Extractor, Status
from abawkit.features.store import FeatureStore


@dataclass(frozen=True)
class Plan:
    """The work that is left for one feature.

    Attributes:
        segments: The clips of each segment to come, with the digests of their sources.
        done: Clips whose features are there and current.
        changed: Clips among ``segments`` whose source is another one than when they were last extracted.
    """

    segments: tuple[tuple[tuple[Clip, str], ...], ...]
    done: int
    changed: int

    @property
    def clips(self) -> int:
        """Number of clips to extract."""
        return sum(len(segment) for segment in self.segments)


def make_plan(
    clips: Sequence[Clip],
    extractor: Extractor,
    store: FeatureStore,
    *,
    segment_clips: int,
    retry_failed: bool = False,
) -> Plan:
    """Returns the work that is left: clips that are new, whose source changed, or that failed and are tried again.

    Segments follow from the sorted clip list alone, so that neither an interruption nor the number of workers
    changes which clips share a batch.
    """
    todo: list[tuple[Clip, str]] = []
    done = changed = 0
    for clip in sorted(clips, key=lambda clip: clip.id):
        source = extractor.source(clip)
        if clip.id in store:
            same = store.source(clip.id) == source
            if same and not (retry_failed and store.status(clip.id) == Status.FAILED):
                done += 1
                continue
            changed += not same
        todo.append((clip, source))
    segments = tuple(tuple(todo[at : at + segment_clips]) for at in range(0, len(todo), segment_clips))
    return Plan(segments, done, changed)
