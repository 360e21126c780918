"""Guesses of which clips belong together: by their transcripts, and by a feature store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import MediaError, ModalityMissing, UsageError
from abawkit.extractors.sources import Transcripts
from abawkit.features.store import FeatureStore
from abawkit.fileio import digest
from abawkit.jobs.grouping.clusters import (
    MIN_CLIPS,
    MIN_WORDS,
    Labels,
    cluster_points,
    cluster_texts,
    normalise,
    person_points,
    spread,
)
from abawkit.layout.folder import ChallengeFolder
from abawkit.progress import Progress
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Found:
    """Groups that were guessed.

    Attributes:
        kind: ``proxy_seed`` or ``proxy_person``.
        by: What they were guessed from.
        method: How: parameters and what came out of them, ready for JSON.
        ungrouped: Why clips are in no group → how many.
        of: Clip id → name of its group.
    """

    kind: str
    by: str
    method: Mapping[str, Any]
    ungrouped: Mapping[str, int]
    of: Mapping[str, str]


def by_text(
    workspace: Workspace, folder: ChallengeFolder, ids: Sequence[str], similarity: float, progress: Progress
) -> Found | None:
    """Returns groups of clips with nearly the same words; None when no clip has enough of them.

    Args:
        workspace: The workspace, which says which transcripts are taken.
        folder: The challenge folder.
        ids: The clips.
        similarity: See :func:`~abawkit.jobs.grouping.clusters.cluster_texts`.
        progress: What to report to.
    """
    source = Transcripts.of(workspace.transcripts, workspace.settings.extract.transcripts)
    words, ungrouped = {}, Counter[str]()
    with progress.task("reading transcripts", len(ids)) as task:
        for clip in ids:
            task.advance()
            try:
                words[clip] = normalise(source.read(folder.clip(clip)))
            except ModalityMissing:
                ungrouped["without a transcript of words"] += 1
            except MediaError:
                ungrouped["with a transcript that cannot be read"] += 1
    if not words:
        return None
    with progress.task("comparing transcripts", 1, "step") as task:
        labels = cluster_texts(list(words.values()), similarity=similarity)
        task.advance()
    if (labels < 0).any():
        ungrouped[f"with fewer than {MIN_WORDS} words"] = int((labels < 0).sum())
    if (labels < 0).all():
        return None
    method = {
        "what": "average linkage of TF-IDF word vectors, cut at a mean cosine",
        "similarity": similarity,
        "min_words": MIN_WORDS,
        "texts": digest(*(text for pair in words.items() for text in pair)),
    }
    return Found("proxy_seed", "transcripts", method, ungrouped, _named("seed", list(words), labels))


def by_store(
    store: FeatureStore, ids: Sequence[str], sides: Mapping[str, int], clusters: int | None, progress: Progress
) -> Found:
    """Returns groups of clips that look, sound or move alike.

    Args:
        store: The features.
        ids: The clips.
        sides: Clip id → number of the official side that it is on.
        clusters: How many groups; None: found with the help of the sides.
        progress: What to report to.

    Raises:
        UsageError: Too few clips have features, those of one side only, or fewer than there shall be clusters.
    """
    name = f"{store.spec.modality} features {store.path.name}"
    usable: list[str] = []
    ungrouped: Counter[str] = Counter()

    def frames() -> Iterator[NDArray[np.float32]]:
        with progress.task(f"reading {store.spec.modality}", len(ids)) as task:
            for clip in ids:
                task.advance()
                found = store.frames(clip) if clip in store else ()
                if not len(found):
                    ungrouped[f"without {store.spec.modality} features"] += 1
                elif not np.isfinite(values := spread(np.asarray(found))).all():
                    ungrouped["with features that are not finite"] += 1
                else:
                    usable.append(clip)
                    yield values

    read = frames()
    first = list(islice(read, MIN_CLIPS))
    more = f"abawkit extract --modality {store.spec.modality}"
    if len(first) < MIN_CLIPS:
        raise UsageError(
            "too few clips have such features to tell persons apart",
            path=store.path,
            got=str(len(first)),
            expected=f"at least {MIN_CLIPS}",
            todo=more,
        )
    points, how = person_points(chain(first, read))
    here = np.array([sides[clip] for clip in usable])
    if clusters is None and len(set(here.tolist())) < 2:
        todo = f"{more}; or say how many persons there are: --clusters"
        raise UsageError("all clips with such features are of one official side", path=store.path, todo=todo)
    if clusters is not None and not 1 < clusters <= len(points):
        raise UsageError("this is not a number of persons", got=str(clusters), expected=f"2 to {len(points)}")
    with progress.task("comparing persons", 1, "step") as task:
        found = cluster_points(points, here, clusters=clusters)
        task.advance()
    cut = "at the number of clusters" if clusters else "where F1 is highest, judged by the official split"
    method = {
        "what": f"{how}; Ward's linkage, cut {cut}",
        "clusters": clusters,
        "cut": found.cut,
        "pairs_right": found.right,
        "store": f"{store.spec.modality}/{store.path.name}",
        "signature": store.spec.signature,
        "features": store.content_digest(usable),
    }
    return Found("proxy_person", name, method, ungrouped, _named("person", usable, found.labels))


def _named(what: str, clips: Sequence[str], labels: Labels) -> dict[str, str]:
    """Returns clip → group name: numbered from the largest group, and in the order of their first clips."""
    members: dict[int, list[str]] = {}
    for clip, label in sorted(zip(clips, labels.tolist(), strict=True)):
        if label >= 0:
            members.setdefault(label, []).append(clip)
    order = sorted(members.values(), key=lambda group: (-len(group), group[0]))
    width = max(4, len(str(len(order))))
    return {clip: f"{what}-{number:0{width}d}" for number, group in enumerate(order, 1) for clip in group}
