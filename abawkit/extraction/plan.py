"""Which clips are still to be extracted, in which segments, and about how much space they will take."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from abawkit.errors import AbawkitError
from abawkit.features.spec import Extractor, Modality, Status
from abawkit.features.store import FeatureStore
from abawkit.layout.folder import Clip
from abawkit.progress import SILENT
from abawkit.workers import in_processes

#: With at least so many clips, sources that are many files each are read in several processes: there can be a million
#: face crops.
_MANY = 4096
#: With at least so many present clips, a store's own mean is taken.
_ENOUGH_TO_JUDGE = 20


@dataclass(frozen=True)
class Plan:
    """The work that is left for one feature.

    Attributes:
        modality: Which modality.
        path: The store's folder, there or not.
        segments: The clips of each segment to come, with the digests of their sources.
        done: Clips whose features are there and current.
        changed: Clips among ``segments`` whose source changed since they were last extracted.
        failed: Clips among the done ones that failed; ``--retry-failed`` tries them again.
        bytes_needed: About how much space the segments to come will take, by the clips that are there.
        todo: Split → clips to extract.
        there: Split → clips that are done.
    """

    modality: Modality
    path: Path
    segments: tuple[tuple[tuple[Clip, str], ...], ...]
    done: int
    changed: int
    failed: int
    bytes_needed: int
    todo: Mapping[str, int]
    there: Mapping[str, int]

    @property
    def clips(self) -> int:
        """Number of clips to extract."""
        return sum(len(segment) for segment in self.segments)

    @property
    def bytes_free(self) -> int:
        """Free bytes where the store lies or will lie."""
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        return shutil.disk_usage(there).free

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--plan --json`` promises."""
        return {
            "modality": self.modality,
            "store": str(self.path),
            "todo": dict(self.todo),
            "done": dict(self.there),
            "changed": self.changed,
            "failed": self.failed,
            "segments": len(self.segments),
            "bytes_needed": self.bytes_needed,
            "bytes_free": self.bytes_free,
        }


def make_plan(
    clips: Mapping[str, Sequence[Clip]],
    extractor: Extractor,
    store: FeatureStore,
    *,
    segment_clips: int,
    retry_failed: bool = False,
    workers: int = 0,
) -> Plan:
    """Returns the work that is left: clips that are new, whose source changed, or that failed and are tried again.

    Args:
        clips: Split → its clips.
        extractor: What makes the feature; here it only reads the sources.
        store: What is there.
        segment_clips: Clips per segment.
        retry_failed: Whether clips that failed are tried again.
        workers: Processes that read the sources when there are very many; 0: one per core.

    Segments follow from the sorted clip list alone, so that neither an interruption nor the number of workers
    changes which clips share a batch.
    """
    everyone = sorted((clip for members in clips.values() for clip in members), key=lambda clip: clip.id)
    if not extractor.workload.many_files:
        workers = 1
    with SILENT.task("read the sources") as bar:
        read = partial(read_source, extractor)
        sources = in_processes(read, everyone, workers=workers, bar=bar, chunk=256, inline_below=_MANY)
        with closing(sources):
            digests = list(sources)
    work: list[tuple[Clip, str]] = []
    changed = failed = 0
    todo, there = dict.fromkeys(clips, 0), dict.fromkeys(clips, 0)
    split_of = {clip.id: split for split, members in clips.items() for clip in members}
    for clip, source in zip(everyone, digests, strict=True):
        if clip.id in store:  # it is done, unless its source changed or it failed and is tried again
            same = store.source(clip.id) == source
            bad = store.status(clip.id) == Status.FAILED
            if same and not (retry_failed and bad):
                there[split_of[clip.id]] += 1
                failed += bad
                continue
            changed += not same
        todo[split_of[clip.id]] += 1
        work.append((clip, source))
    return Plan(
        modality=extractor.spec.modality,
        path=store.path,
        segments=tuple(tuple(work[at : at + segment_clips]) for at in range(0, len(work), segment_clips)),
        done=sum(there.values()),
        changed=changed,
        failed=failed,
        bytes_needed=round(len(work) * _bytes_per_clip(extractor, store)) if work else 0,
        todo=todo,
        there=there,
    )


def read_source(extractor: Extractor, clip: Clip) -> str:
    """Returns the digest of a clip's source.

    Raises:
        AbawkitError: The extractor raised an exception.
    """
    try:
        return extractor.source(clip)
    except AbawkitError:
        raise
    except Exception as error:
        name = extractor.spec.extractor
        raise AbawkitError(
            f"{name} cannot read the source of clip {clip.id}: {type(error).__name__}: {error}"
        ) from error


def _bytes_per_clip(extractor: Extractor, store: FeatureStore) -> float:
    present = [len(store.frames(clip)) for clip in store.ids if store.status(clip) == Status.PRESENT]
    frames = sum(present) / len(present) if len(present) >= _ENOUGH_TO_JUDGE else extractor.workload.frames
    return frames * (store.spec.dim * np.dtype(store.spec.dtype).itemsize + 4)  # 4 for the frame's time
