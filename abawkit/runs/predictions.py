"""The prediction files of a run: ``predictions/valid.csv`` and ``predictions/test.csv``.

A file has one row per clip: the id, the truth where it is known (``truth.Joy``), the prediction (``Joy``), which
modalities were missing (``missing``), the number of frames of each (``frames.text``), the prediction of each unimodal
head (``text:Joy``) and of the fusion with one modality left out (``without-text:Joy``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.errors import AbawkitError
from abawkit.fileio import atomic_path


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run for some clips.

    Attributes:
        ids: N clip ids.
        values: ``float64 [N, E]``.
        truth: ``float64 [N, E]``, None where it is not known.
        table: Everything in the file, indexed by id.
    """

    ids: tuple[str, ...]
    values: NDArray[np.float64]
    truth: NDArray[np.float64] | None
    table: pd.DataFrame

    def of(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Returns the predictions of these clips, ``[len(ids), E]``, joined by id."""
        return self.values[self._rows(ids)]

    def truth_of(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Returns the truth of these clips, ``[len(ids), E]``."""
        if self.truth is None:
            raise AbawkitError("these predictions come without the truth")
        return self.truth[self._rows(ids)]

    def _rows(self, ids: Sequence[str]) -> list[int]:
        row = {clip: index for index, clip in enumerate(self.ids)}
        return [row[clip] for clip in ids]


def write_predictions(path: Path, table: pd.DataFrame) -> None:
    """Writes a prediction table indexed by clip id, atomically, with floats that read back as they were."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, lineterminator="\n")


def read_predictions(path: Path, task: Task) -> Predictions:
    """Returns the predictions in a file that :func:`write_predictions` wrote.

    Raises:
        AbawkitError: The file is not one.
    """
    try:
        # As text first: Python's own conversion reads a float back as it was, whatever the pandas.
        table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index(task.id_column)
        table = table.astype({column: np.float64 for column in table.columns if column != "missing"})
        if not table.index.is_unique:
            raise ValueError("duplicate clip ids")
        values = table[list(task.targets)].to_numpy(np.float64)
        known = [f"truth.{target}" for target in task.targets]
        truth = table[known].to_numpy(np.float64) if set(known) <= set(table.columns) else None
    except (OSError, KeyError, ValueError) as error:
        raise AbawkitError(
            "is not a prediction file",
            path=path,
            got=str(error)[:120],
            expected=f"a table with the columns {task.id_column}, {', '.join(task.targets)}",
            todo="make it again: abawkit predict RUN",
        ) from error
    return Predictions(tuple(table.index), values, truth, table)
