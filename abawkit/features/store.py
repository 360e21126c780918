"""Feature stores: a folder of immutable segment files and a manifest that says which clip is in which.

``features/<modality>/<spec>-<signature>/`` holds ``store.json`` and ``segment-NNNN.h5``. A segment is ragged, not
one group per clip (measured to be eight times slower to read)::

    clips/id        text         [n]
    clips/offset    int64        [n + 1]   clip i owns the frames offset[i] : offset[i + 1]
    clips/status    uint8        [n]       0 present, 1 missing, 2 failed
    clips/source    text         [n]       digest of the source, so that a replaced clip is noticed
    clips/checksum  uint32       [n]       CRC-32 of the clip's values
    clips/note      text         [n]       why it failed, or what was odd (JSON)
    frames/values   float16|32   [ΣT, D]   contiguous, uncompressed, aligned: readers memory-map it
    frames/time     float32      [ΣT]      seconds; NaN where the source has none

A segment is written to a temporary file, synced and renamed, and only then entered in the manifest; a process that
is killed loses at most the segment it was computing. Nothing is rewritten: clips that are added or made again go
into new segments, and the newest segment that has a clip is the one that counts.
:meth:`abawkit.features.writer.StoreWriter.compact` writes one set of full segments in their place, on request. A
missing clip has no frames; what stands in for it is the model's business.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import AbawkitError, UsageError
from abawkit.features.segment import Segment, read_segment
from abawkit.features.spec import MODALITIES, ClipFeatures, FeatureSpec, Modality, Status
from abawkit.fileio import digest, read_json

MANIFEST = "store.json"
#: Raised when the layout of a store changes.
FORMAT = 1
#: What every folder of features says about itself.
NOTE = "Derived from data under the organisers' EULA: do not publish, do not upload, do not commit."


def by_age(name: str) -> tuple[int, str]:
    """Returns what segments are sorted by, the oldest first.

    >>> sorted(["segment-10000.h5", "segment-9999.h5"], key=by_age)
    ['segment-9999.h5', 'segment-10000.h5']
    """
    return len(name), name


class FeatureStore:
    """A feature store, opened for reading.

    Attributes:
        path: Its folder.
        spec: What the features are.
        segments: Name of each segment → ids of its clips.
        shards: How many shards it is made in, and those that are done, while not all of them are; else None.
    """

    def __init__(
        self,
        path: Path,
        spec: FeatureSpec,
        segments: dict[str, list[str]],
        shards: tuple[int, frozenset[int]] | None = None,
    ) -> None:
        self.path = path
        self.spec = spec
        self.segments = segments
        self.shards = shards

    @classmethod
    def open(cls, path: Path) -> FeatureStore:
        """Returns the store in folder ``path``.

        Raises:
            AbawkitError: It is not a feature store, or its manifest does not fit its signature.
        """
        manifest = path / MANIFEST
        record = read_json(manifest, "a feature store")
        try:
            spec = FeatureSpec(**record["spec"])
            segments = {str(name): [str(clip) for clip in clips] for name, clips in record["segments"].items()}
            format_, signature = record["format"], record["signature"]
            parts = record.get("shards")
            shards = None if parts is None else (int(parts["count"]), frozenset(map(int, parts["done"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise AbawkitError("is not the manifest of a feature store", path=manifest, got=str(error)) from error
        if format_ != FORMAT:
            raise AbawkitError(
                "this store was written by another version",
                path=manifest,
                got=f"format {format_}",
                expected=f"format {FORMAT}",
                todo=f"move this folder away, then: {spec.command}",
            )
        if signature != spec.signature:
            raise AbawkitError(
                "the store's signature does not fit its own description: it was edited",
                path=manifest,
                got=str(signature),
                expected=spec.signature,
                todo=f"move this folder away, then: {spec.command}",
            )
        return cls(path, spec, segments, shards)

    def require_whole(self) -> None:
        """Returns when no shard of the store is missing.

        Raises:
            AbawkitError: One is; it is named.
        """
        if self.shards is None:
            return
        count, done = self.shards
        missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in done]
        raise AbawkitError(
            f"these {self.spec.modality} features are not whole: shard {', '.join(missing)} is missing",
            path=self.path,
            got=f"{len(done)} of {count} shards",
            todo=f"{self.spec.command} --shard {missing[0]}; or everything that is left: {self.spec.command}",
        )

    @cached_property
    def _segments(self) -> dict[str, Segment]:
        while True:
            try:
                return {name: read_segment(self.path / name, self.spec) for name in sorted(self.segments, key=by_age)}
            except AbawkitError:
                now = FeatureStore.open(self.path).segments
                if now == self.segments:
                    raise
                self.segments = now  # it was compacted since the manifest was read

    @cached_property
    def _index(self) -> dict[str, tuple[Segment, int]]:
        index: dict[str, tuple[Segment, int]] = {}
        for segment in self._segments.values():
            index.update({clip: (segment, row) for row, clip in enumerate(segment.ids)})
        return index

    @property
    def ids(self) -> list[str]:
        """Ids of all clips that were processed, whatever became of them, sorted."""
        return sorted(self._index)

    def __contains__(self, clip: str) -> bool:
        return clip in self._index

    def __len__(self) -> int:
        return len(self._index)

    def _row(self, clip: str) -> tuple[Segment, int]:
        try:
            return self._index[clip]
        except KeyError:
            raise AbawkitError(
                f"clip {clip} is not in the feature store", path=self.path, todo=self.spec.command
            ) from None

    def status(self, clip: str) -> Status:
        """Returns what became of the clip."""
        segment, row = self._row(clip)
        return Status(int(segment.status[row]))

    def source(self, clip: str) -> str:
        """Returns the digest of the source that the clip's features were made from."""
        segment, row = self._row(clip)
        return segment.source[row]

    def note(self, clip: str) -> str:
        """Returns what was odd about the clip, as JSON; empty when nothing was."""
        segment, row = self._row(clip)
        return segment.note[row]

    def frames(self, clip: str) -> NDArray[np.floating[Any]]:
        """Returns the clip's frames ``[T, D]`` in the store's dtype, memory-mapped; ``[0, D]`` when it has none."""
        segment, row = self._row(clip)
        return segment.values[segment.offset[row] : segment.offset[row + 1]]

    def times(self, clip: str) -> NDArray[np.float32]:
        """Returns the times of the clip's frames, ``float32 [T]`` seconds, NaN where the source has none."""
        segment, row = self._row(clip)
        return segment.time[segment.offset[row] : segment.offset[row + 1]]

    def content_digest(self, clips: Iterable[str]) -> str:
        """Returns a digest of these clips' features: it changes when one of them is made again and differs."""
        parts = []
        for clip in clips:
            segment, row = self._row(clip)
            parts.append(f"{clip} {segment.status[row]} {segment.checksum[row]}")
        return digest(self.spec.signature, *parts)

    def segment_of(self, clip: str) -> str:
        """Returns the name of the segment file that has the clip's newest version."""
        segment, _ = self._row(clip)
        return next(name for name, other in self._segments.items() if other is segment)

    def features(self, clip: str) -> ClipFeatures:
        """Returns everything that is kept of the clip.

        Raises:
            AbawkitError: It is not in the store, or its values are not those that were written.
        """
        segment, row = self._row(clip)
        values = self.frames(clip)
        if zlib.crc32(np.ascontiguousarray(values).data) != segment.checksum[row]:
            path = self.path / self.segment_of(clip)
            todo = f"delete this file, then: {self.spec.command}"
            raise AbawkitError(f"the values of clip {clip} are damaged", path=path, todo=todo)
        return ClipFeatures(clip, self.status(clip), values, self.times(clip), segment.source[row], segment.note[row])

    def verify(self) -> None:
        """Compares every clip's values with its checksum.

        Raises:
            AbawkitError: A clip's values are not those that were written.
        """
        for clip in self.ids:
            self.features(clip)


def store_manifests(features: Path) -> list[Path]:
    """Returns the manifests of all stores below the folder ``features``, by modality and name."""
    return [manifest for modality in MODALITIES for manifest in sorted((features / modality).glob(f"*/{MANIFEST}"))]


def list_stores(features: Path) -> list[FeatureStore]:
    """Returns all stores below the folder ``features``, by modality and name."""
    return [FeatureStore.open(manifest.parent) for manifest in store_manifests(features)]


def choose_store(features: Path, modality: Modality, *, lite: bool, wanted: str | None = None) -> FeatureStore:
    """Returns the modality's store that a system should read.

    Args:
        features: The workspace's ``features`` folder.
        modality: Which modality.
        lite: Whether the workspace's preset is ``lite``; stores of the other preset are not candidates, imported ones
            always are.
        wanted: Folder name, spec name or signature of the store to take.

    Raises:
        UsageError: There is none, or several and none is named.
    """
    stores = [store for store in list_stores(features) if store.spec.modality == modality]
    if wanted is not None:
        chosen = [s for s in stores if wanted in (s.path.name, s.spec.name, s.spec.signature)]
    else:
        chosen = [s for s in stores if s.spec.imported or (s.spec.name == "lite") == lite]
    if len(chosen) == 1:
        chosen[0].require_whole()
        return chosen[0]
    names = ", ".join(store.path.name for store in stores) or "none"
    if not chosen:
        todo = f"abawkit extract --modality {modality}, or: abawkit features import --modality {modality} --from PATH"
        if stores and wanted is None:
            todo += f"; or take what is there: --features {modality}={stores[0].path.name}"
        raise UsageError(
            f"there are no {modality} features" + (f" named {wanted}" if wanted else " of the workspace's preset"),
            path=features / modality,
            got=names,
            todo=todo,
        )
    raise UsageError(
        f"there are several stores of {modality} features",
        path=features / modality,
        got=names,
        todo=f"say which: --features {modality}={chosen[0].path.name}",
    )
