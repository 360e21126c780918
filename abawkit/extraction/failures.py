"""What went wrong with single clips: kept with the clip in its segment, listed in ``features/failures.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from abawkit.errors import AbawkitError, MediaError
from abawkit.features.spec import Status
from abawkit.features.store import FeatureStore
from abawkit.fileio import write_text

COLUMNS = ("clip", "modality", "store", "outcome", "step", "exception", "message", "retry")


@dataclass(frozen=True)
class Note:
    """Why a clip failed or is missing, or what was odd about it.

    Attributes:
        step: ``load`` or ``embed``.
        exception: Name of the exception, empty for a mere warning.
        message: What it said.
        retry: Whether trying again can help without changing the clip.
    """

    step: str
    exception: str
    message: str
    retry: bool = False

    @classmethod
    def of(cls, step: str, error: BaseException) -> Note:
        """Returns the note for an exception; the clip's own bytes do not mend themselves, so no retry for those."""
        message = error.message if isinstance(error, AbawkitError) else str(error)
        if isinstance(error, AbawkitError) and error.got:
            message += f" (got {error.got})"
        return cls(step, type(error).__name__, " ".join(message.split()), not isinstance(error, MediaError))

    def to_text(self) -> str:
        """Returns the note as the store keeps it."""
        return json.dumps([self.step, self.exception, self.message, self.retry], ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Note:
        """Returns the note that :meth:`to_text` wrote."""
        step, exception, message, retry = json.loads(text)
        return cls(step, exception, message, retry)


def write_failures(path: Path, stores: Iterable[FeatureStore]) -> int:
    """Writes every clip that failed, or was kept with a warning, to ``path`` and returns how many rows there are.

    Clips that merely lack a modality are no failures and not listed. Without rows, an old file is removed.
    """
    rows = []
    for store in stores:
        for clip in store.ids:
            text, status = store.note(clip), store.status(clip)
            if not text or status == Status.MISSING:
                continue
            note = Note.from_text(text)
            outcome = "failed" if status == Status.FAILED else "kept"
            retry = "yes" if note.retry else "no"
            place = [store.spec.modality, store.path.name]
            rows.append([clip, *place, outcome, note.step, note.exception, note.message, retry])
    if not rows:
        path.unlink(missing_ok=True)
        return 0
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
    write_text(path, table.getvalue())
    return len(rows)
