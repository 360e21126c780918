"""``FILE.json`` beside a submission: everything that is needed to make the file again.

The predictions of a run follow from its model and the features of the test clips; those of an ensemble from its
members' and its weights. The hash of each of these is kept, with that of the split that the run was trained on and the
versions that it was trained with.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abawkit import __version__
from abawkit.challenge import Task
from abawkit.errors import AbawkitError
from abawkit.features.store import FeatureStore
from abawkit.fileio import digest_file
from abawkit.metrics import score
from abawkit.records import Record
from abawkit.runs.records import CLIPS, CONFIG, MODEL, TOOL, WEIGHTS, Environment, Kind, read_environment
from abawkit.runs.run import Ensemble, Run
from abawkit.submission.coverage import CoverageRecord, RunCoverage, base_runs, predicting
from abawkit.workspace import Workspace

_RUN_FILES = (CONFIG, CLIPS, MODEL, WEIGHTS)

Versions = dict[str, str | None]


class Form(Record):
    """How the file was written.

    Attributes:
        int_ids: Ids as plain integers.
        clip: Values were brought into the range of the task.
        decimals: Digits after the point.
    """

    int_ids: bool
    clip: bool
    decimals: int


class ValidScores(Record):
    """The score of the run on its validation clips, as it is and with clipped values; None: it is not defined."""

    n: int
    score: float | None
    score_clipped: float | None


class SplitEntry(Record):
    """The split that a run was trained on.

    Attributes:
        name: Its name; None: it is not known.
        ratio: The ratio that was asked for.
        seed: Seed of the draw.
        content: Hash of its clips and labels; None: it is not known.
        digest: Hash of its record.
    """

    name: str | None
    ratio: str | None = None
    seed: int | None = None
    content: str | None = None
    digest: str | None = None


class RunEntry(Record):
    """One run that predicts the test clips.

    Attributes:
        name: Its name.
        system: Its system.
        split: The split that it was trained on.
        seed: Its seed.
        parent: Of which run it is a refit.
        files: File of the run → SHA-256.
        features: Slot → its feature store, ``modality/folder``.
        signatures: Slot → signature of its features.
        stores: ``modality/folder`` → hash of the test clips' features; None: the store is gone or lacks one of them.
        trained_with: The versions that it was trained with; None: they are not known.
        predictions: Digest of its saved predictions.
    """

    name: str
    system: str
    split: SplitEntry
    seed: int | None
    parent: str | None
    files: dict[str, str]
    features: dict[str, str]
    signatures: dict[str, str]
    stores: dict[str, str | None]
    trained_with: Versions | None
    predictions: str


class EnsembleEntry(Record):
    """One ensemble.

    Attributes:
        name: Its name.
        method: The method that combines the members.
        averaged: Member → the runs that predict the test clips.
        files: File of the ensemble → SHA-256.
        predictions: Digest of its saved predictions.
    """

    name: str
    method: str
    averaged: dict[str, list[str]]
    files: dict[str, str]
    predictions: str


class SubmissionRecord(Record):
    """``FILE.json``.

    Attributes:
        run: The submitted run or ensemble.
        kind: Its kind.
        rows: Number of test clips.
        sha256: Of the file.
        clipped_values: How many values were clipped.
        valid: Its scores on validation; None: no clip can score it.
        subject_safe: Whether the run is.
        subject_note: Why it is, or that it is not, in words.
        runs: Every run that predicts the test clips.
        ensembles: What combines them.
        predictions: Digest of the saved predictions of ``run``.
        versions: The versions that the file was written with.
        tool: The version of abawkit that wrote it.
        date: When (UTC, ISO 8601).
        command: The command.
        form: How the file was written.
        coverage: What the feature stores had for the clips.
        coverage_accepted: Whether ``--accept-coverage`` was given.
    """

    run: str
    kind: Kind
    rows: int
    sha256: str
    clipped_values: int
    valid: ValidScores | None
    subject_safe: bool
    subject_note: str
    runs: list[RunEntry]
    ensembles: list[EnsembleEntry]
    predictions: str
    versions: Versions
    tool: str
    date: str
    command: list[str]
    form: Form
    coverage: CoverageRecord
    coverage_accepted: bool


def versions() -> Versions:
    """Returns the versions of abawkit, python, torch and numpy; None: it is not installed. Torch is not imported."""
    found: Versions = {"abawkit": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def ensembles_of(workspace: Workspace, run: Run) -> list[Ensemble]:
    """Returns the run, if it is an ensemble, and every ensemble among its members, each once.

    Raises:
        AbawkitError: A member is gone.
    """
    if not isinstance(run, Ensemble):
        return []
    found = {run.name: run}
    for name in predicting(run):
        found |= {one.name: one for one in ensembles_of(workspace, Run.open(workspace.runs / name))}
    return list(found.values())


def make_record(
    workspace: Workspace,
    run: Run,
    path: Path,
    ids: Sequence[str],
    *,
    form: Form,
    clipped: int,
    coverage: RunCoverage,
    accepted: bool,
) -> SubmissionRecord:
    """Returns what ``FILE.json`` says of a submission that was just written.

    Args:
        workspace: The workspace.
        run: The submitted run or ensemble.
        path: The submission.
        ids: The test clips.
        form: How it was written.
        clipped: How many values were clipped.
        coverage: What the feature stores have for the clips.
        accepted: Whether ``--accept-coverage`` was given.

    Raises:
        AbawkitError: A member is gone.
    """
    digests: dict[str, str | None] = {}
    return SubmissionRecord(
        run=run.name,
        kind=run.record.kind,
        rows=len(ids),
        sha256=digest_file(path),
        clipped_values=clipped,
        valid=_scores(run, workspace.task) if run.is_scorable else None,
        subject_safe=run.subject_safe,
        subject_note=run.subject_note,
        runs=[_run_entry(workspace, member, ids, digests) for member in base_runs(workspace, run)],
        ensembles=[_ensemble_entry(each) for each in ensembles_of(workspace, run)],
        predictions=run.digest(),
        versions=versions(),
        tool=TOOL,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        form=form,
        coverage=coverage.record,
        coverage_accepted=accepted,
    )


def _scores(run: Run, task: Task) -> ValidScores:
    valid = run.predictions("valid", task)
    truth = valid.truth_of(valid.ids)
    return ValidScores(
        n=len(truth),
        score=score(task, truth, valid.values).primary,
        score_clipped=score(task, truth, np.clip(valid.values, *task.value_range)).primary,
    )


def _run_entry(workspace: Workspace, run: Run, ids: Sequence[str], digests: dict[str, str | None]) -> RunEntry:
    """Returns the entry of a run; ``digests`` keeps the digests of stores that several runs share."""
    trained = read_environment(run.path)
    stores: dict[str, str | None] = {}
    for store in run.model.features.values():
        if store not in digests:
            digests[store] = store_digest(workspace, store, ids)
        stores[store] = digests[store]
    return RunEntry(
        name=run.name,
        system=run.record.system,
        split=_split_entry(run, trained),
        seed=run.record.seed,
        parent=run.parent,
        files=file_hashes(run),
        features=run.model.features,
        signatures=run.model.signatures,
        stores=stores,
        trained_with=None if trained is None else trained.versions,
        predictions=run.digest(),
    )


def _split_entry(run: Run, trained: Environment | None) -> SplitEntry:
    if trained is None:
        return SplitEntry(name=run.record.split)
    kept = {key: trained.split.get(key) for key in ("ratio", "seed", "content", "digest")}
    return SplitEntry(name=run.record.split, **kept)


def _ensemble_entry(run: Ensemble) -> EnsembleEntry:
    return EnsembleEntry(
        name=run.name,
        method=run.metrics.method,
        averaged=run.record.averaged,
        files=file_hashes(run),
        predictions=run.digest(),
    )


def file_hashes(run: Run) -> dict[str, str]:
    """Returns the SHA-256 of each file of a run that its predictions of other clips follow from."""
    return {name: digest_file(run.path / name) for name in _RUN_FILES if (run.path / name).exists()}


def store_digest(workspace: Workspace, store: str, ids: Sequence[str]) -> str | None:
    """Returns the digest of these clips' features in ``modality/folder``; None: it is gone or lacks one of them."""
    try:
        return FeatureStore.open(workspace.features / store).content_digest(ids)
    except AbawkitError:
        return None


def record_path(path: Path) -> Path:
    """Returns where the record of the submission ``path`` lies: ``FILE.json`` beside it."""
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> SubmissionRecord:
    """Returns what is in the JSON file beside a submission.

    Raises:
        AbawkitError: There is none, or a key is missing, unknown or of another type.
    """
    what, todo = "the record of a submission, which says how the file was made", "write it again: abawkit submit"
    return SubmissionRecord.read(record_path(path), what, todo)
