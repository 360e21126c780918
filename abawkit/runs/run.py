"""Run records: what a training, or an ensemble, leaves behind. Reading them needs neither torch nor the model.

``runs/<name>/`` holds ``config.json`` (everything resolved), ``env.json``, ``clips.json`` (the ids it was trained
and validated on), ``history.csv``, ``metrics.json`` (there only when it is finished), ``model.safetensors`` and
``predictions/{valid,test}.csv``. A prediction file has one row per clip: the id, the truth where it is known
(``truth.Joy``), the prediction (``Joy``), which modalities were missing, the number of frames of each, the
prediction of each unimodal head (``text:Joy``) and of the fusion with one modality left out (``without-text:Joy``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.splits.files import NOT_SAFE
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import atomic_path, digest_file, read_json
from abawkit.workspace import Workspace

Side = Literal["valid", "test"]
SIDES: tuple[Side, ...] = ("valid", "test")


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
        row = {clip: index for index, clip in enumerate(self.ids)}
        return self.values[[row[clip] for clip in ids]]

    def truth_of(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Returns the truth of these clips, ``[len(ids), E]``."""
        if self.truth is None:
            raise AbawkitError("these predictions come without the truth")
        row = {clip: index for index, clip in enumerate(self.ids)}
        return self.truth[[row[clip] for clip in ids]]


@dataclass(frozen=True)
class Run:
    """A finished run or ensemble.

    Attributes:
        path: Its folder.
        config: ``config.json``.
        metrics: ``metrics.json``.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Run:
        """Returns the run in folder ``path``.

        Raises:
            AbawkitError: There is none, it is not ours, or it is not finished.
        """
        config = read_json(path / "config.json", "the record of a run")
        for key in ("kind", "system", "split", "seed", "task"):
            if key not in config:
                raise AbawkitError(f"is not the record of a run: it has no {key!r}", path=path / "config.json")
        if not (path / "metrics.json").exists():
            again = "runs import" if config["kind"] == "import" else f"train --system {config['system']}"
            raise AbawkitError("this run is not finished", path=path, todo=f"abawkit {again}  (goes on)")
        return cls(path, config, read_json(path / "metrics.json", "the scores of a run"))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def is_ensemble(self) -> bool:
        """Whether it combines other runs."""
        return bool(self.config["kind"] == "ensemble")

    @property
    def is_scorable(self) -> bool:
        """Whether there are clips that can score it: not of a refit, nor of a run with an unknown split."""
        return bool(self.config.get("scorable", True))

    @property
    def parent(self) -> str | None:
        """Name of the run of which this is a refit on all labelled clips; None: it is none."""
        found = self.config.get("parent")
        return None if found is None else str(found)

    @property
    def simulated(self) -> bool:
        """Whether its features, or those of a member, are simulated."""
        return bool(self.config.get("simulated"))

    @property
    def no_score(self) -> str:
        """Why it has no score, in words; empty when it has one."""
        if self.parent is not None:
            valid = self.metrics["parent"]["scores"]["valid"]
            return f"none (parent: {valid['mean_pearson']:.4f} on {valid['n']} clips)"
        return "" if self.is_scorable else "none (it is not known on which clips it was trained)"

    def history(self, stage: str) -> list[dict[str, Any]]:
        """Returns the epochs of a stage (a modality, or ``fusion``), one row each: epoch, loss, score, lr."""
        rows = pd.read_csv(self.path / "history.csv").query("stage == @stage").to_dict("records")
        return [{str(key): value for key, value in row.items()} for row in rows]

    @property
    def origin(self) -> str:
        """Where an imported run comes from, in words; empty for any other."""
        return str(self.config.get("origin", ""))

    def require_scorable(self, side: Side = "valid") -> None:
        """Raises when no clip of the side can score it: all were trained on, or nobody said which.

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
                f"run {self.name} was imported without saying on which split it was trained: it can predict and be "
                "submitted, but neither be scored nor combined with others, because it may know the clips",
                path=self.path,
                todo="if you know its split, import the file again with --split NAME",
            )

    @property
    def subject_safe(self) -> bool:
        """Whether no subject can be both in its training and among the clips that score it."""
        return bool(self.config.get("subject_safe"))

    @property
    def subject_note(self) -> str:
        """Why it is subject-safe, or that it is not, in words."""
        return str(self.config.get("subject_note", "subject-safe" if self.subject_safe else NOT_SAFE))

    @cached_property
    def _clips(self) -> dict[str, Any]:
        return read_json(self.path / "clips.json", "the clip ids of a run")

    @property
    def train_ids(self) -> frozenset[str]:
        """Clips that it, or a member of it, was trained on."""
        return frozenset(self._clips["train"])

    @property
    def valid_ids(self) -> tuple[str, ...]:
        """Clips that it was validated on."""
        return tuple(self._clips["valid"])

    def predictions(self, side: Side, task: Task) -> Predictions:
        """Returns its predictions.

        Raises:
            AbawkitError: There are none, or the file is damaged.
        """
        path = self.path / "predictions" / f"{side}.csv"
        if not path.exists():
            raise AbawkitError(
                f"run {self.name} has no predictions for the {side} clips",
                path=path,
                todo=f"abawkit extract, then: abawkit predict {self.name} --on {side}",
            )
        return read_predictions(path, task)

    def known_ids(self, side: Side) -> frozenset[str]:
        """Returns the clips that what predicts this side was trained on.

        Both sides of a run have the same. The test predictions of an ensemble can come from refits, or from all runs of
        a fold set together, which know the validation clips.
        """
        return self.train_ids.union(self._clips.get("test_train", ()) if side == "test" else ())

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
        files = [self.path / "predictions" / f"{side}.csv" for side in SIDES]
        return " ".join(f"{path.stem}:{digest_file(path)[:16]}" for path in files if path.exists())

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises for ``train``, ``evaluate`` and ``runs show``."""
        return {
            "run": str(self.path),
            "system": self.config["system"],
            "split": self.config["split"],
            "seed": self.config["seed"],
            "scores": self.metrics["scores"],
            "parent": self.parent,
            "simulated": self.simulated,
            "subject_safe": self.subject_safe,
            "subject_note": self.subject_note,
        }


def list_runs(workspace: Workspace) -> list[Run]:
    """Returns all finished runs and ensembles, oldest first; unfinished ones are left out."""
    finished = [path.parent for path in workspace.runs.glob("*/metrics.json")]
    return [Run.open(path) for path in sorted(finished, key=lambda path: (path / "metrics.json").stat().st_mtime)]


def find_run(workspace: Workspace, name: str) -> Run:
    """Returns the run with this name, the only one whose name begins with it, or the one in the folder ``name``.

    Raises:
        UsageError: There is none, or several.
    """
    found = matching_runs(workspace, name)
    if len(found) > 1:
        raise not_one_run(workspace, name, found)
    return Run.open(found[0])


def matching_runs(workspace: Workspace, name: str) -> list[Path]:
    """Returns the folder of the run with this name, or of all that begin with it, unfinished ones among them.

    Raises:
        UsageError: There is none.
    """
    # A name is looked up in the list, never joined to a path.
    names = sorted(path.parent.name for path in workspace.runs.glob("*/config.json"))
    wanted = Path(name).name
    matching = [known for known in names if known == wanted] or [known for known in names if known.startswith(wanted)]
    if not matching:
        expected = ", ".join(names) or "a run: there are none yet"
        raise UsageError(
            "there is no such run", path=workspace.runs, got=name, expected=expected, todo="abawkit runs list"
        )
    return [workspace.runs / known for known in matching]


def not_one_run(workspace: Workspace, name: str, found: Sequence[Path]) -> UsageError:
    """Returns the error that says that a name could mean several runs."""
    return UsageError(
        "several runs have such a name",
        path=workspace.runs,
        got=name,
        expected=", ".join(path.name for path in found),
        todo="abawkit runs list",
    )


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
        raise AbawkitError("is no prediction file of ours", path=path, got=str(error)[:120]) from error
    return Predictions(tuple(table.index), values, truth, table)
