"""What a feature is (:class:`FeatureSpec`) and who makes it (the :class:`Extractor` protocol)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from abawkit.fileio import digest_json
from abawkit.layout.folder import Clip

Modality = Literal["text", "audio", "vision", "motion"]
MODALITIES: tuple[Modality, ...] = ("text", "audio", "vision", "motion")
#: What the extractor's name of simulated features begins with.
SIMULATED = "simulate/"
#: What the extractor's name of features of an installed extractor begins with; the name of its entry point follows.
PLUGIN = "plugin/"


class Status(IntEnum):
    """What became of a clip in a feature store."""

    PRESENT = 0
    MISSING = 1
    FAILED = 2


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that the values of a feature depend on, besides the clip's own bytes.

    Attributes:
        modality: ``text``, ``audio``, ``vision`` or ``motion``.
        name: Short name for people and folder names (``lite``, ``gte-base``).
        dim: Values per frame.
        extractor: The code that makes it, with its version (``lite-audio/1``): a change of what it computes
            changes this text.
        model: Model id or local folder; None for features without a model.
        revision: The model's pinned revision.
        weights: SHA-256 over the model's weight files.
        processor: Backend of the preprocessing (``pil``, ``torchaudio`` …), which changes values.
        preprocessing: Every setting of the preprocessing (sample rate, window, crop, frames per second …).
        precision: Floating-point type of the computation.
        dtype: Floating-point type in the store.
        time_source: Where frame times come from: ``pts`` (presentation timestamps), ``index`` (frame number times
            a fixed step) or ``none`` (the store holds NaN).
        licence: Licence of the model.
    """

    modality: Modality
    name: str
    dim: int
    extractor: str
    model: str | None = None
    revision: str | None = None
    weights: str | None = None
    processor: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    dtype: Literal["float16", "float32"] = "float16"
    time_source: Literal["pts", "index", "none"] = "none"
    licence: str | None = None

    @property
    def signature(self) -> str:
        """Twelve hexadecimal digits that change with anything that can change a value."""
        record = self.to_json()
        # A model folder that was moved is still the same model: its weights hash says so.
        for key in ("name", "licence", *(("model", "revision") if self.weights else ())):
            record.pop(key)
        return digest_json(record)[:12]

    @property
    def folder(self) -> str:
        """Name of the store's folder: ``<name>-<signature>``."""
        return f"{self.name}-{self.signature}"

    @property
    def imported(self) -> bool:
        """Whether these are features that others made (``abawkit features import``)."""
        return self.extractor.startswith("import/")

    @property
    def simulated(self) -> bool:
        """Whether these features were drawn from random numbers (``abawkit simulate``)."""
        return self.extractor.startswith(SIMULATED)

    @property
    def command(self) -> str:
        """What to type to make the feature, or to make it again."""
        if self.simulated:
            return "abawkit simulate DIR"
        if self.imported:
            return f"abawkit features import --modality {self.modality} --name {self.name} --from PATH"
        if self.extractor.startswith(PLUGIN):
            return f"abawkit extract --extractor {self.extractor.split('/')[1]}"
        return f"abawkit extract --modality {self.modality}"

    def to_json(self) -> dict[str, Any]:
        """Returns the spec as a JSON object."""
        return asdict(self)


@dataclass
class Loaded:
    """A decoded clip on its way from a worker process to the model.

    Attributes:
        data: What the model takes: waveform ``float32 [N]``, frames ``uint8 [T, H, W, 3]``, or finished features
            ``float32 [T, D]`` of an extractor without a model. Text travels in ``text``.
        times: Frame times in seconds, ``float32 [T]``, where the loader knows them (else None).
        text: The transcript, for text extractors.
        warnings: What was odd about the clip and did not stop it (a decode error after 28 of 50 frames).
        facts: Numbers about the clip that are kept with it (``face_share``: share of the frames that have a face).
    """

    data: NDArray[Any]
    times: NDArray[np.float32] | None = None
    text: str | None = None
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass
class ClipFeatures:
    """The features of one clip: one row of a segment.

    Attributes:
        clip: Clip id.
        status: Present, missing or failed; only a present clip has frames.
        values: ``[T, D]``; ``[0, D]`` for a missing or failed clip.
        times: ``float32 [T]`` seconds; NaN where the source has none.
        source: Digest of the source bytes (empty where there is no source).
        note: What was odd: why it failed or is missing, or the loader's warnings (a JSON object; empty: nothing).
    """

    clip: str
    status: Status
    values: NDArray[np.floating[Any]]
    times: NDArray[np.float32]
    source: str
    note: str = ""


@dataclass(frozen=True)
class Workload:
    """What the clips of an extractor cost, which decides how they are worked on; the values do not depend on it.

    Attributes:
        frames: Frames of a clip of the challenge's mean length (6.9 s). The space that a store will take is estimated
            from it until the store has clips of its own.
        in_workers: Whether ``load`` runs in worker processes; False where it costs less than sending its result.
        group_clips: Most clips that are given to ``embed`` at once.
        many_files: Whether ``source`` reads a folder with many files for each clip; with thousands of clips it is then
            called in several processes.
    """

    frames: float = 100
    in_workers: bool = True
    group_clips: int = 32
    many_files: bool = False


class Extractor(Protocol):
    """Makes one feature. ``load`` runs in worker processes, ``embed`` where the model is.

    An extractor can be pickled until ``embed`` is first called: it opens its model there, not before.
    """

    @property
    def spec(self) -> FeatureSpec:
        """What it makes."""

    @property
    def workload(self) -> Workload:
        """What its clips cost."""

    def source(self, clip: Clip) -> str:
        """Returns a digest of the clip's source bytes; an empty text when the clip has no source.

        It is called for every clip on every run, so it may use names, sizes and modification times of media
        files, and the content of small ones.
        """

    def load(self, clip: Clip) -> Loaded:
        """Returns the decoded clip.

        Raises:
            ModalityMissing: The clip has no such modality (recorded as missing).
            MediaError: The clip's file cannot be decoded (recorded as failed).
        """

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns values ``[T, D]`` and times ``[T]`` for each clip of the batch, in order.

        The values of a clip depend on its neighbours in the batch by less than 1e-5. It may add warnings to a clip.
        """
