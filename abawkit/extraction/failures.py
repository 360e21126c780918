"""What went wrong with single clips: kept with the clip in its segment, listed in ``features/failures.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from abawkit.errors import AbawkitError, MediaError
from abawkit.features.spec import Status
from abawkit.features.store import FeatureStore, store_manifests
from abawkit.fileio import json_ready, locked, write_text
from abawkit.progress import Progress

#: How long to wait for another extraction of the workspace that is writing the list, which takes a moment (seconds).
_PATIENCE = 30.0

COLUMNS = ("clip", "modality", "store", "outcome", "step", "exception", "message", "retry")


@dataclass(frozen=True)
class Note:
    """Why a clip failed or is missing, or what was odd about it.

    Attributes:
        step: ``load`` or ``embed``.
        exception: Name of the exception, empty for a warning.
        message: What it said.
        retry: Whether trying again can help without changing the clip.
        facts: Numbers about the clip (see :class:`abawkit.features.spec.Loaded`); a note can have these alone.
    """

    step: str
    exception: str
    message: str
    retry: bool = False
    facts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, step: str, error: BaseException) -> Note:
        """Returns the note for an exception; a clip that cannot be decoded fails again, so it is not worth a retry."""
        message = error.message if isinstance(error, AbawkitError) else str(error)
        if isinstance(error, AbawkitError) and error.line:
            message = f"line {error.line}: {message}"
        if isinstance(error, AbawkitError) and error.got:
            message += f" (got {error.got})"
        return cls(step, type(error).__name__, " ".join(message.split()), not isinstance(error, MediaError))

    def to_text(self) -> str:
        """Returns the note as the store keeps it."""
        parts = [self.step, self.exception, self.message, self.retry, *([self.facts] if self.facts else [])]
        return json.dumps(json_ready(parts), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Note:
        """Returns the note that :meth:`to_text` wrote."""
        return cls(*json.loads(text))


def too_many(failed: int, clips: int, allowed: str) -> bool:
    """Whether more clips failed than ``allowed``: a number, or a share of the clips.

    >>> too_many(2, 100, "1%"), too_many(2, 100, "2")
    (True, False)
    """
    share, percent, _ = allowed.partition("%")
    return failed > (float(share) / 100 * clips if percent else float(share))


def list_failures(features: Path, progress: Progress, opened: Mapping[Path, FeatureStore] | None = None) -> Path | None:
    """Writes every clip that failed, or was kept with a warning, to ``failures.csv`` and returns its path.

    Args:
        features: The workspace's ``features`` folder.
        progress: What to report to.
        opened: Folder → store, of those that were opened since they were last written.

    The list is of all stores below the folder ``features``; a store that cannot be read is reported and left out.
    Clips that only lack a modality are not listed. Without rows, an old file is removed, and None is returned.
    Temporary files of a process that was killed while it wrote the list are removed.

    Raises:
        AbawkitError: The folder cannot be written to.
    """
    rows: list[list[str]] = []
    if not features.is_dir():
        return None
    for manifest in store_manifests(features):
        try:
            rows += _rows((opened or {}).get(manifest.parent) or FeatureStore.open(manifest.parent))
        except AbawkitError as error:
            progress.say(f"the failures of a damaged store are not listed: {manifest.parent}: {error.message}")
    path = features / "failures.csv"
    with locked(features, "listing failures", wait=_PATIENCE):
        for left in features.glob(".tmp-*"):
            left.unlink()
        if not rows:
            path.unlink(missing_ok=True)
            return None
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
        write_text(path, table.getvalue())
    return path


def _rows(store: FeatureStore) -> list[list[str]]:
    rows = []
    for clip in store.ids:
        text, status = store.note(clip), store.status(clip)
        if not text or status == Status.MISSING:
            continue
        note = Note.from_text(text)
        if status == Status.PRESENT and (not note.message or note.step == "import"):
            continue  # facts alone, or how the frames lay in the file: nothing is wrong with them
        outcome = "failed" if status == Status.FAILED else "kept"
        retry = "yes" if note.retry else "no"
        place = [store.spec.modality, store.path.name]
        rows.append([clip, *place, outcome, note.step, note.exception, note.message, retry])
    return rows
