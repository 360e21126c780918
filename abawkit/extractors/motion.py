"""Motion: OpenFace's 23-d sequences (the paper's), from its CSVs or its program, or statistics of optical flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import MediaError, ModalityMissing
from abawkit.extractors import finished
from abawkit.extractors.lite import LiteMotion
from abawkit.extractors.openface import COLUMNS, OpenFaceTable, read_openface
from abawkit.extractors.openface_binary import LEAST_SECONDS, OpenFaceBinary, find_openface, run_openface
from abawkit.extractors.sources import media_source
from abawkit.features.spec import Extractor, FeatureSpec, Loaded, Workload
from abawkit.fileio import digest
from abawkit.layout.folder import Clip
from abawkit.media.video import frame_times
from abawkit.settings import ExtractSettings

_LICENCE = "OpenFace: academic or non-profit organisation noncommercial research use only"

#: Fewer rows than this share of the video's frames are worth a warning.
_FEW_ROWS = 0.9

Embedded = tuple[NDArray[np.floating[Any]], NDArray[np.float32]]


def motion_extractor(settings: ExtractSettings) -> Extractor:
    """Returns the extractor of motion that the settings mean: OpenFace's CSVs, its program, or optical flow.

    Raises:
        UsageError: OpenFace's program is not there.
    """
    if settings.motion == "flow":
        return FlowMotion()
    if settings.openface_bin is None:
        return OpenFaceMotion(confidence=settings.motion_confidence)
    return OpenFaceProgram(
        find_openface(settings.openface_bin),
        confidence=settings.motion_confidence,
        seconds_per_second=settings.openface_timeout,
    )


class FlowMotion(LiteMotion):
    """Eight statistics of the optical flow, as :class:`abawkit.extractors.lite.LiteMotion` makes them."""

    @property
    def spec(self) -> FeatureSpec:
        """``flow``: the same values as the preset ``lite`` has, under the name of what they are."""
        return replace(super().spec, name="flow")


@dataclass(frozen=True)
class OpenFaceMotion:
    """Action units and head pose per frame, 23-d, from ``openface/NNNNN.csv`` (paper, Sec. 4.3).

    Values are raw, as in the paper: positions are in millimetres and do not fit float16 well, so the store has
    float32. OpenFace derives its timestamps from the header's frame rate, so each row takes the time of
    the frame of that number in the clip's video; where there is none, its own are kept, with a warning.

    Attributes:
        confidence: Append OpenFace's confidence as a 24th value (0 where a file has none).
    """

    confidence: bool = False
    workload = Workload(frames=200)

    @property
    def spec(self) -> FeatureSpec:
        """``openface``: 23 values per frame."""
        return _spec("openface", "openface-csv/2", {"source": "csv"}, confidence=self.confidence)

    def source(self, clip: Clip) -> str:
        """Returns a digest of names, sizes and modification times of the CSV and of the video that has the times."""
        return digest(media_source(clip.openface), media_source(clip.video)) if clip.openface is not None else ""

    def load(self, clip: Clip) -> Loaded:
        """Returns the frames in which OpenFace found the face.

        Raises:
            ModalityMissing: There is no CSV, or OpenFace found no face in any frame.
            MediaError: The CSV cannot be read.
        """
        if clip.openface is None:
            raise ModalityMissing("there is no OpenFace CSV", todo=f"put it at openface/{clip.id}.csv")
        table = read_openface(clip.openface)
        seconds: NDArray[np.float32] | None = None
        warnings: tuple[str, ...] = ()
        if clip.video is None:
            warnings = ("there is no video: the times are OpenFace's own, from the frame rate in its header",)
        else:
            try:
                seconds, warnings = frame_times(clip.video)
            except MediaError as error:
                why = f"the video {error.message}: the times are OpenFace's own, from the frame rate in its header"
                warnings = (why,)
        return _loaded(table, seconds, warnings, clip, confidence=self.confidence)

    def embed(self, batch: Sequence[Loaded]) -> list[Embedded]:
        """Returns the values and times as they were loaded."""
        return [finished(loaded) for loaded in batch]


@dataclass(frozen=True)
class OpenFaceProgram:
    """The same values from OpenFace's ``FeatureExtraction``, which is run on every clip.

    Attributes:
        binary: The program.
        confidence: Append OpenFace's confidence as a 24th value.
        seconds_per_second: How long it may take for a second of video.
        least_seconds: How long it may take for any clip.
    """

    binary: OpenFaceBinary
    confidence: bool = False
    seconds_per_second: float = 30.0
    least_seconds: float = LEAST_SECONDS
    workload = Workload(frames=200)

    @property
    def spec(self) -> FeatureSpec:
        """``openface-program``: 23 values per frame; the program and its models are part of the signature."""
        made_by = {"source": "program", "program": self.binary.sha256, "models": self.binary.models}
        return _spec("openface-program", "openface-program/1", made_by, confidence=self.confidence)

    def source(self, clip: Clip) -> str:
        """Returns a digest of the video's name, size and modification time."""
        return media_source(clip.video)

    def load(self, clip: Clip) -> Loaded:
        """Returns the frames in which OpenFace found the face.

        Raises:
            ModalityMissing: There is no video, or OpenFace found no face in any frame.
            MediaError: The video cannot be decoded, or OpenFace wrote no usable CSV.
            AbawkitError: OpenFace crashed, failed or took too long.
        """
        if clip.video is None:
            raise ModalityMissing("there is no video")
        seconds, warnings = frame_times(clip.video)
        limit = max(self.least_seconds, self.seconds_per_second * float(seconds[-1]))
        table = run_openface(self.binary, clip.video, frames=len(seconds), limit=limit)
        return _loaded(table, seconds, warnings, clip, confidence=self.confidence)

    def embed(self, batch: Sequence[Loaded]) -> list[Embedded]:
        """Returns the values and times as they were loaded."""
        return [finished(loaded) for loaded in batch]


def _spec(name: str, extractor: str, made_by: Mapping[str, str], *, confidence: bool) -> FeatureSpec:
    columns = [*COLUMNS, *(["confidence"] if confidence else [])]
    return FeatureSpec(
        modality="motion",
        name=name,
        dim=len(columns),
        extractor=extractor,
        preprocessing={
            **made_by,
            "columns": columns,
            "rows": "success == 1",
            "face": "most rows with success, then confidence",
        },
        dtype="float32",
        time_source="pts",
        licence=_LICENCE,
    )


def _loaded(
    table: OpenFaceTable,
    seconds: NDArray[np.float32] | None,
    warnings: Sequence[str],
    clip: Clip,
    *,
    confidence: bool,
) -> Loaded:
    if len(table.values) == 0:
        raise ModalityMissing("OpenFace found no face in any frame", path=clip.openface or clip.video)
    notes = [*table.warnings, *warnings]
    times = table.times if seconds is None else _timed(table, seconds, notes)
    values, facts = table.values, {"success": table.success}
    if np.isfinite(table.confidence).all():
        facts["confidence"] = float(table.confidence.mean())
    if confidence:
        values = np.column_stack([values, np.nan_to_num(table.confidence)])
    return Loaded(values, times=times, warnings=tuple(notes), facts=facts)


def _timed(table: OpenFaceTable, seconds: NDArray[np.float32], warnings: list[str]) -> NDArray[np.float32]:
    """Returns each row's time by the video's frames; frames beyond the last one continue at the mean interval."""
    if table.frames is None:
        warnings.append("without frame numbers: the times are OpenFace's own, from the frame rate in its header")
        return table.times
    last = int(table.frames.max()) + 1
    if last > len(seconds):
        warnings.append(f"OpenFace's last frame is number {last}, {len(seconds)} frames of the video can be decoded")
    elif table.rows < _FEW_ROWS * len(seconds):
        warnings.append(f"OpenFace has {table.rows} rows, the video {len(seconds)} frames")
    step = float(seconds[-1]) / max(1, len(seconds) - 1)
    beyond = np.maximum(0, table.frames - len(seconds) + 1)
    times = seconds[np.minimum(table.frames, len(seconds) - 1)] + step * beyond
    return times.astype(np.float32)
