"""The runs of a workspace: what a training, an import or an ensemble leaves behind. Reading them needs no torch.

``runs/<name>/`` holds ``config.json`` (everything resolved), ``env.json``, ``clips.json`` (the ids it was trained
and validated on), ``history.csv``, ``metrics.json`` (there only when it is finished), ``model.safetensors`` and
``predictions/{valid,test}.csv`` (:mod:`abawkit.runs.predictions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from abawkit.challenge import SIDES, Side, Task
from abawkit.data.splits.files import NOT_SAFE
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import digest_file
from abawkit.runs.predictions import Predictions, read_predictions
from abawkit.runs.records import (
    CONFIG,
    METRICS,
    ClipIds,
    EnsembleMetrics,
    EnsembleRecord,
    ModelRecord,
    RunMetrics,
    RunRecord,
    read_clips,
    read_config,
    read_ensemble_metrics,
    read_metrics,
)
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its folder.
        record: What it is and what it was made from.
        metrics: Its scores.
    """

    path: Path
    record: RunRecord
    metrics: RunMetrics

    @staticmethod
    def open(path: Path) -> Run:
        """Returns the run in folder ``path``; of an ensemble an :class:`Ensemble`.

        Raises:
            AbawkitError: There is none, a record is damaged, or it is not finished.
        """
        record = read_config(path)
        if not (path / METRICS).exists():
            command = "runs import" if record.kind == "import" else f"train --system {record.system}"
            raise AbawkitError("this run is not finished", path=path, todo=f"abawkit {command}  (it continues)")
        if isinstance(record, EnsembleRecord):
            return Ensemble(path, record, read_ensemble_metrics(path))
        return Run(path, record, read_metrics(path))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def model(self) -> ModelRecord:
        """Its record, with features and encoders.

        Raises:
            UsageError: It is an ensemble, which has no model of its own.
        """
        if not isinstance(self.record, ModelRecord):
            todo = "predict with its members, then: abawkit ensemble"
            raise UsageError("an ensemble has no model of its own", got=self.name, todo=todo)
        return self.record

    @property
    def no_score(self) -> str:
        """Why it has no score, in words; empty when it has one."""
        if self.metrics.parent is not None:
            valid = self.metrics.parent.scores["valid"]
            return f"none (parent: {valid.primary:.4f} on {valid.n} clips)"
        return "" if self.is_scorable else "none (it is not known on which clips it was trained)"

    def history(self, stage: str) -> list[dict[str, Any]]:
        """Returns the epochs of a stage (a modality, or ``fusion``), one row each: epoch, loss, score, lr."""
        rows = pd.read_csv(self.path / "history.csv").query("stage == @stage").to_dict("records")
        return [{str(key): value for key, value in row.items()} for row in rows]

    def require_scorable(self, side: Side = "valid") -> None:
        """Raises when no clip of the side can score it: all were trained on, or it is not known which.

        Raises:
            AbawkitError: It is a refit on all labelled clips and validation clips are meant, or it was imported without
                a split.
        """
        if self.parent is not None and side == "valid":
            raise AbawkitError(
                f"run {self.name} was trained on all labelled clips: none is left to score or to rank it on",
                got=f"its score: {self.no_score}",
                todo=f"score its parent instead: {self.parent}; or, once there are labels of the test clips: "
                "--on test --labels FILE",
            )
        if self.parent is None and not self.is_scorable:
            raise AbawkitError(
                f"run {self.name} was imported without the name of the split that it was trained on: it can predict "
                "and be submitted, but not be scored or combined with others, because it may know the clips",
                path=self.path,
                todo="if you know its split, import the file again with --split NAME",
            )

    @property
    def parent(self) -> str | None:
        """Name of the run of which this is a refit on all labelled clips; None: it is not a refit."""
        return self.record.parent

    @property
    def is_scorable(self) -> bool:
        """Whether there are clips that can score it: not of a refit, nor of a run with an unknown split."""
        return self.record.scorable

    @property
    def subject_safe(self) -> bool:
        """Whether no subject can be both in its training and among the clips that score it."""
        return self.record.subject_safe

    @property
    def subject_note(self) -> str:
        """Why it is subject-safe, or that it is not, in words."""
        return self.record.subject_note or ("subject-safe" if self.subject_safe else NOT_SAFE)

    @cached_property
    def _clips(self) -> ClipIds:
        return read_clips(self.path)

    @property
    def train_ids(self) -> frozenset[str]:
        """Clips that it, or a member of it, was trained on."""
        return frozenset(self._clips.train)

    @property
    def valid_ids(self) -> tuple[str, ...]:
        """Clips that it was validated on."""
        return self._clips.valid

    def has_predicted(self, side: Side) -> bool:
        """Returns whether it has predictions for the clips of this side."""
        return self._file(side).exists()

    def _file(self, side: Side) -> Path:
        return self.path / "predictions" / f"{side}.csv"

    def predictions(self, side: Side, task: Task) -> Predictions:
        """Returns its predictions.

        Raises:
            AbawkitError: There are none, or the file is damaged.
        """
        if not self.has_predicted(side):
            raise AbawkitError(
                f"run {self.name} has no predictions for the {side} clips",
                path=self._file(side),
                todo=f"abawkit extract, then: abawkit predict {self.name} --on {side}",
            )
        return read_predictions(self._file(side), task)

    def known_ids(self, side: Side) -> frozenset[str]:
        """Returns the clips that what predicts this side was trained on.

        Both sides of a run have the same. The test predictions of an ensemble can come from refits, or from all runs of
        a fold set, which know the validation clips.
        """
        return self.train_ids.union(self._clips.test_train if side == "test" else ())

    def refuse_leak(self, ids: Iterable[str], side: Side = "valid") -> None:
        """Raises when one of ``ids`` was trained on by what predicts this side: a score on it would flatter.

        Raises:
            AbawkitError: Some of the clips were trained on; the message names how many and which.
        """
        leaked = sorted(self.known_ids(side).intersection(ids))
        if leaked:
            raise AbawkitError(
                f"run {self.name} was trained on {len(leaked)} of these clips, so they cannot score it",
                got=", ".join(leaked[:8]) + (" …" if len(leaked) > 8 else ""),
                todo="score it on clips that it has not seen",
            )

    def digest(self) -> str:
        """Returns a digest of its predictions, by which a submission names it."""
        return " ".join(f"{side}:{digest_file(self._file(side))[:16]}" for side in SIDES if self.has_predicted(side))

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises for ``train``, ``evaluate`` and ``runs show``."""
        return {
            "run": str(self.path),
            "system": self.record.system,
            "split": self.record.split,
            "seed": self.record.seed,
            "scores": self.metrics.to_json()["scores"],
            "parent": self.parent,
            "simulated": self.record.simulated,
            "subject_safe": self.subject_safe,
            "subject_note": self.subject_note,
        }


@dataclass(frozen=True)
class Ensemble(Run):
    """A run that combines others."""

    record: EnsembleRecord
    metrics: EnsembleMetrics


def open_ensemble(path: Path) -> Ensemble:
    """Returns the ensemble in folder ``path``.

    Raises:
        AbawkitError: As :meth:`Run.open`, or it is another kind of run.
    """
    run = Run.open(path)
    if not isinstance(run, Ensemble):
        raise AbawkitError("is not an ensemble", path=path, got=run.record.kind, todo="abawkit runs list")
    return run


def list_runs(workspace: Workspace) -> list[Run]:
    """Returns all finished runs and ensembles, oldest first; unfinished ones are left out."""
    finished = [path.parent for path in workspace.runs.glob(f"*/{METRICS}")]
    return [Run.open(path) for path in sorted(finished, key=lambda path: (path / METRICS).stat().st_mtime)]


def find_run(workspace: Workspace, name: str) -> Run:
    """Returns the run with this name, the only one whose name begins with it, or the one in the folder ``name``.

    Raises:
        UsageError: There is none, or several.
    """
    return Run.open(find_folder(workspace, name))


def find_folder(workspace: Workspace, name: str) -> Path:
    """Returns the folder of the one run, finished or not, that ``name`` means (see :func:`find_folders`).

    Raises:
        UsageError: There is none, or several.
    """
    found = find_folders(workspace, name)
    if len(found) > 1:
        raise several_runs(workspace, name, found)
    return found[0]


def find_folders(workspace: Workspace, name: str) -> list[Path]:
    """Returns the folder of the run with this name, or of all that begin with it, unfinished ones among them.

    Raises:
        UsageError: There is none.
    """
    # A name is searched for in the list, never joined to a path.
    names = sorted(path.parent.name for path in workspace.runs.glob(f"*/{CONFIG}"))
    wanted = Path(name).name
    found = [known for known in names if known == wanted]
    if wanted and not found:
        found = [known for known in names if known.startswith(wanted)]
    if not found:
        expected = ", ".join(names) or "a run: there are none yet"
        raise UsageError(
            "there is no such run", path=workspace.runs, got=name, expected=expected, todo="abawkit runs list"
        )
    return [workspace.runs / known for known in found]


def several_runs(workspace: Workspace, name: str, found: Sequence[Path]) -> UsageError:
    """Returns the error that says that a name could mean several runs."""
    return UsageError(
        "several runs have such a name",
        path=workspace.runs,
        got=name,
        expected=", ".join(path.name for path in found),
        todo="abawkit runs list",
    )
