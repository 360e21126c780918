"""Motion as OpenFace saw it: the paper's 23-d sequences, read from the CSVs that OpenFace wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.data.layout import Clip
from abawkit.errors import ModalityMissing
from abawkit.extractors import finished
from abawkit.extractors.openface import COLUMNS, read_openface
from abawkit.extractors.sources import media_source
from abawkit.features.spec import FeatureSpec, Loaded


@dataclass(frozen=True)
class OpenFaceMotion:
    """Action units and head pose per frame, 23-d, from ``openface/NNNNN.csv`` (paper, Sec. 4.3).

    Values are raw, as in the paper: positions are in millimetres and do not fit float16 well, so the store has
    float32. OpenFace derives its timestamps from the header's frame rate, so they are no presentation timestamps.
    """

    @property
    def spec(self) -> FeatureSpec:
        """``openface``: 23 values per frame."""
        return FeatureSpec(
            modality="motion",
            name="openface",
            dim=len(COLUMNS),
            extractor="openface/1",
            preprocessing={"columns": list(COLUMNS), "rows": "success == 1", "face": "most rows with success"},
            dtype="float32",
            time_source="index",
        )

    def source(self, clip: Clip) -> str:
        """Returns a digest of the CSV's name, size and modification time."""
        return media_source(clip.openface)

    def load(self, clip: Clip) -> Loaded:
        """Returns the frames in which OpenFace found the face.

        Raises:
            ModalityMissing: There is no CSV, or OpenFace found no face in any frame.
            MediaError: The CSV cannot be read.
        """
        if clip.openface is None:
            raise ModalityMissing("there is no OpenFace CSV", todo=f"put it at openface/{clip.id}.csv")
        table = read_openface(clip.openface)
        if len(table.values) == 0:
            raise ModalityMissing("OpenFace found no face in any frame", path=clip.openface)
        return Loaded(table.values, times=table.times, warnings=table.warnings)

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns the values and times as they were loaded."""
        return [finished(loaded) for loaded in batch]
