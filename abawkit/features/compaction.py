"""``abawkit features compact``: many small segments become few full ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abawkit.features.store import FeatureStore
from abawkit.features.writer import open_for_writing
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Compacted:
    """What a compaction did; ``before`` and ``after`` are numbers of segments, the sizes are bytes."""

    path: Path
    before: int
    after: int
    bytes_before: int
    bytes_after: int

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {**vars(self), "path": str(self.path)}


def compact_features(workspace: Workspace, store: FeatureStore, *, progress: Progress = SILENT) -> Compacted:
    """Writes one set of full segments in the place of all and returns what became of them.

    Values, and everything that was trained on them, stay what they are. A reader sees the old segments or the new
    ones at any moment; killed at any moment, the same call does it again.

    Args:
        workspace: The workspace, for the number of clips per segment.
        store: What to compact.
        progress: What to report to.

    Raises:
        AbawkitError: Another process is writing the store, a value is damaged, or the disk is full.
    """
    segment_clips = workspace.settings.extract.segment_clips
    with open_for_writing(store.path, store.spec) as writer:
        before, bytes_before = len(writer.store.segments), _size(store.path)
        with progress.task(f"compact {store.spec.modality}", len(writer.store)) as task:
            writer.compact(segment_clips, task)
        return Compacted(store.path, before, len(writer.store.segments), bytes_before, _size(store.path))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("segment-*.h5"))
