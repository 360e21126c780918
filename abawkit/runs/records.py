"""The JSON files of a run folder: ``config.json``, ``metrics.json``, ``clips.json`` and ``env.json``.

A run is one of three kinds: ``run`` (trained here), ``import`` (a checkpoint of the authors' script) or ``ensemble``.
Each has its own keys; what they share is in :class:`RunRecord` and :class:`RunMetrics`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from abawkit import __version__
from abawkit.challenge import Side
from abawkit.errors import AbawkitError
from abawkit.fileio import read_json
from abawkit.metrics import Scores
from abawkit.records import Names, Record

CONFIG, METRICS, CLIPS, ENVIRONMENT = "config.json", "metrics.json", "clips.json", "env.json"
MODEL, WEIGHTS = "model.safetensors", "weights.json"
TOOL = f"abawkit {__version__}"

Kind = Literal["run", "import", "ensemble"]

_TODO = "remove the run with: abawkit runs rm NAME, and make it again"


class _RunFile(Record):
    """A record with its own name in the folder of a run."""

    NAME: ClassVar[str]

    def write(self, path: Path) -> None:
        """Writes the record into the run's folder ``path``."""
        super().write(path / self.NAME)


class RunRecord(_RunFile):
    """``config.json``: what a run is and what it was made from. These are the keys of every kind.

    Attributes:
        kind: ``run``, ``import`` or ``ensemble``.
        format: Version of the record.
        task: Name of the challenge track.
        system: Name of the system; ``ensemble`` and ``imported`` for those.
        split: Name of the split; None: it is not known (of an import).
        seed: Seed of the training; None: there is none.
        subject_safe: Whether no subject can be both in its training and among the clips that score it.
        subject_note: Why it is, or that it is not, in words.
        simulated: Whether its features, or those of a member, are simulated.
        parent: Name of the run of which it is a refit on all labelled clips; None: it is not a refit.
        scorable: Whether there are clips that can score it: not of a refit, nor of an import without a split.
        origin: Where an import comes from, in words.
        tool: The version of abawkit that made it.
    """

    NAME = CONFIG

    kind: Kind
    format: int
    task: str
    system: str
    split: str | None
    seed: int | None
    subject_safe: bool
    subject_note: str = ""
    simulated: bool = False
    parent: str | None = None
    scorable: bool = True
    origin: str = ""
    tool: str = ""

    def identity(self) -> dict[str, Any]:
        """Returns what a run's name is a hash of: all of the record but the words of ``subject_note``."""
        return self.model_dump(exclude_unset=True, exclude={"subject_note"})


class ModelRecord(RunRecord):
    """The record of a run that has a model of its own.

    Attributes:
        ratio: The ratio of its split.
        definition: The system (:meth:`abawkit.systems.schema.System.to_json`, which alone can read it).
        inputs: Slot → values per frame.
        features: Slot → its feature store, ``<modality>/<folder>``.
        signatures: Slot → signature of its features.
        heads: Slots with a stage of their own, whose heads are kept; None: all.
    """

    ratio: str
    definition: dict[str, Any]
    inputs: dict[str, int]
    features: dict[str, str]
    signatures: dict[str, str]
    heads: list[str] | None = None


class MissingRecord(Record):
    """How missing modalities were handled.

    Attributes:
        policy: ``zero``, ``token`` or ``drop``.
        dropped: Side → number of clips that were left out.
    """

    policy: str
    dropped: dict[str, int]


class TrainedRecord(ModelRecord):
    """The record of a training.

    Attributes:
        stages: Slot → signature of its stage checkpoint.
        missing: How missing modalities were handled.
    """

    kind: Literal["run"]
    split: str
    seed: int
    stages: dict[str, str]
    missing: MissingRecord


class ImportRecord(ModelRecord):
    """The record of an import.

    Attributes:
        files: Name of a checkpoint file → its SHA-256.
    """

    kind: Literal["import"]
    files: dict[str, str]


class GroupsRecord(Record):
    """The groups of clips, each of which is held out as a whole.

    Attributes:
        path: The groups file.
        kind: What a group is.
        proxy: Whether it was guessed.
        digest: Hash of the groups.
    """

    path: str
    kind: str
    proxy: bool
    digest: str


class EnsembleRecord(RunRecord):
    """The record of an ensemble.

    Attributes:
        method: The method that was asked for.
        folds: Folds of the cross-fitting that were asked for.
        groups: The groups by which the folds were made; None: by clip.
        oof: Whether the runs are those of fold sets.
        members: Name of a run → digest of its predictions.
        averaged: Member → the runs that predict the test clips, whose predictions are averaged.
        refits: Run → the refit that predicts the test clips in its place.
    """

    kind: Literal["ensemble"]
    method: str
    folds: int
    groups: GroupsRecord | None
    oof: bool
    members: dict[str, str]
    averaged: dict[str, list[str]]
    refits: dict[str, str] = Field(default_factory=dict)


class SideScores(Record):
    """The scores of a run on its validation clips; the keys are those of :meth:`abawkit.metrics.Scores.to_json`."""

    n: int
    mean_pearson: float | None
    pearson: dict[str, float | None]
    mean_ccc: float | None
    ccc: dict[str, float | None]
    mse: dict[str, float | None]
    left_out: Names
    remark: str
    macro_f1: float | None = None
    f1: dict[str, float | None] | None = None

    @classmethod
    def of(cls, scores: Scores) -> Self:
        """Returns the record of these scores."""
        return cls.model_validate(scores.to_json())

    @property
    def primary(self) -> float:
        """The leaderboard's score, as :attr:`abawkit.metrics.Scores.primary`; nan where it is not defined."""
        found = self.mean_pearson if self.f1 is None else self.macro_f1
        return float("nan") if found is None else found


class StageSummary(Record):
    """How one stage was trained.

    Attributes:
        epochs: Number of epochs.
        best_epoch: The epoch whose state was kept, counted from 1.
        best_score: Its score on the validation clips; None: of a refit.
    """

    epochs: int
    best_epoch: int
    best_score: float | None


class ParentScores(Record):
    """The scores of the run that was refitted."""

    run: str
    scores: dict[Side, SideScores]


class CheckpointClaims(Record):
    """What an imported checkpoint file records of itself; None: it does not."""

    epoch: float | None
    best_pearson: float | None


class RunMetrics(_RunFile):
    """``metrics.json``: the scores of a run. With this file, a run is finished.

    Attributes:
        scores: Side → scores; empty where no clip can score it.
        stages: Stage (a modality, or ``fusion``) → how it was trained.
        parent: Of a refit, the scores of its parent.
        files: Of an import, file → what it records of itself.
    """

    NAME = METRICS

    scores: dict[Side, SideScores]
    stages: dict[str, StageSummary] = Field(default_factory=dict)
    parent: ParentScores | None = None
    files: dict[str, CheckpointClaims] = Field(default_factory=dict)


class MethodScores(Record):
    """How well one method combines the members (:class:`abawkit.evaluation.crossfit.Result`)."""

    method: str
    cross_fitted: float | None
    per_target: dict[str, float | None]
    optimistic: float | None
    behind_best: float | None
    standard_error: float | None


class EnsembleMetrics(RunMetrics):
    """``metrics.json`` of an ensemble.

    Attributes:
        members: Member → its score on the shared held-out clips.
        method: The method that combines them.
        methods: How well each method does, the simplest first.
        folds: Folds of the cross-fitting.
        by_group: Whether whole groups were held out.
        weights: Member → target → weight.
        correlations: Of the members with one another, mean over the targets, ``[M, M]``.
        without: Member → score of the ensemble without it; empty of a single member.
    """

    members: dict[str, float | None]
    method: str
    methods: list[MethodScores]
    folds: int
    by_group: bool
    weights: dict[str, dict[str, float]]
    correlations: list[list[float]]
    without: dict[str, float | None]


class ClipIds(_RunFile):
    """``clips.json``: the clips that a run has seen.

    Attributes:
        train: That it, or a member of it, was trained on.
        valid: That it was validated on.
        test_train: Of an ensemble, the clips that what predicts the test clips was trained on.
    """

    NAME = CLIPS

    train: Names
    valid: Names
    test_train: Names = ()


class Environment(_RunFile):
    """``env.json``: what a training ran on.

    Attributes:
        abawkit: Version.
        python: Version.
        torch: Version.
        numpy: Version.
        platform: Operating system and processor.
        device: The device that was trained on.
        device_name: Its name.
        threads: How many threads the training had.
        features: Modality → hash of the feature store's content.
        split: The record of the split, ``split.json``.
        command: The command.
        free_disk_bytes: What was left on the disk of the run's folder.
    """

    NAME = ENVIRONMENT

    abawkit: str
    python: str
    torch: str
    numpy: str
    platform: str
    device: str
    device_name: str
    threads: int
    features: dict[str, str]
    split: dict[str, Any]
    command: list[str]
    free_disk_bytes: int

    @property
    def versions(self) -> dict[str, str | None]:
        """Versions of abawkit, python, torch and numpy."""
        return {"abawkit": self.abawkit, "python": self.python, "torch": self.torch, "numpy": self.numpy}


_KINDS: dict[str, type[TrainedRecord | ImportRecord | EnsembleRecord]] = {
    "run": TrainedRecord,
    "import": ImportRecord,
    "ensemble": EnsembleRecord,
}


def read_config(folder: Path) -> TrainedRecord | ImportRecord | EnsembleRecord:
    """Returns what ``config.json`` in the folder of a run says.

    Raises:
        AbawkitError: There is none, or a key is missing, unknown or of another type.
    """
    path, what = folder / CONFIG, "the record of a run"
    found = read_json(path, what)
    kind = found.get("kind")
    if kind not in _KINDS:
        message = "is not the record of a run" if kind is None else "this kind of run is not known"
        raise AbawkitError(message, path=path, got=repr(kind)[:80], expected=f"kind: {', '.join(_KINDS)}", todo=_TODO)
    return _KINDS[kind].parse(found, path, what, _TODO)


def read_metrics(folder: Path) -> RunMetrics:
    """Returns what ``metrics.json`` in the folder of a trained or imported run says (see :func:`read_config`)."""
    return RunMetrics.read(folder / METRICS, "the scores of a run", _TODO)


def read_ensemble_metrics(folder: Path) -> EnsembleMetrics:
    """Returns what ``metrics.json`` in the folder of an ensemble says (see :func:`read_config`)."""
    return EnsembleMetrics.read(folder / METRICS, "the scores of an ensemble", _TODO)


def read_environment(folder: Path) -> Environment | None:
    """Returns what ``env.json`` in the folder of a run says (see :func:`read_config`); None: there is none."""
    path = folder / ENVIRONMENT
    return Environment.read(path, "what a run was trained with", _TODO) if path.exists() else None


def read_clips(folder: Path) -> ClipIds:
    """Returns what ``clips.json`` in the folder of a run says (see :func:`read_config`)."""
    return ClipIds.read(folder / CLIPS, "the clip ids of a run", _TODO)
