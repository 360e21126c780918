"""``abawkit reproduce``: the paper's systems with several seeds, its Tables 5, 4 and 3 next to the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawkit.errors import UsageError
from abawkit.evaluation.scores import evaluate
from abawkit.metrics import score
from abawkit.progress import SILENT, Progress
from abawkit.runs.run import Run
from abawkit.systems.loader import GROUPS, TABLE_5, find_systems, load_system
from abawkit.training.train import train_many
from abawkit.training.work import Request, prepare
from abawkit.workspace import Workspace

#: Table 4: validation r of each modality alone on the official split, the mean and each target.
TABLE_4: Mapping[str, tuple[float, ...]] = {
    "text": (0.395, 0.484, 0.390, 0.376, 0.426, 0.363, 0.333),
    "audio": (0.350, 0.405, 0.347, 0.320, 0.351, 0.350, 0.328),
    "vision": (0.153, 0.049, 0.214, 0.136, 0.082, 0.203, 0.237),
    "motion": (0.131, -0.007, 0.210, 0.099, 0.046, 0.195, 0.240),
}


@dataclass(frozen=True)
class Cell:
    """One score here and in the paper.

    Attributes:
        mean: Mean over the seeds; nan where there is none.
        deviation: Standard deviation over the seeds (n − 1); nan of one.
        paper: The paper's.
        low: Lower end of the first seed's 95 % interval over clips or groups; nan where none was computed.
        high: Its upper end.
    """

    mean: float
    deviation: float
    paper: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def difference(self) -> float:
        """Here minus paper."""
        return self.mean - self.paper


@dataclass(frozen=True)
class SystemRow:
    """One row of Table 5: a system's scores on validation and, where test labels are known, on test."""

    system: str
    split: str
    valid: Cell
    test: Cell | None


@dataclass(frozen=True)
class ModalityRow:
    """One row of Table 4: a modality alone on the official split, ``mean`` and each target."""

    modality: str
    scores: Mapping[str, Cell]


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        systems: Table 5.
        modalities: Table 4.
        runs: All runs.
        simulated: Whether the features are simulated.
        resampled: What the intervals resample, in words.
    """

    systems: tuple[SystemRow, ...]
    modalities: tuple[ModalityRow, ...]
    runs: tuple[Run, ...]
    simulated: bool
    resampled: str

    def claims(self) -> dict[str, bool]:
        """Returns what the paper claims and whether it came out: claim → yes or no.

        Of means over seeds only; whether a difference is more than chance, ``abawkit runs compare`` says.
        """
        alone = {row.modality: row.scores["mean"].mean for row in self.modalities}
        valid = {row.system: row.valid.mean for row in self.systems}
        test = {row.system: row.test.mean for row in self.systems if row.test is not None}
        order = [alone[modality] for modality in TABLE_4 if modality in alone]
        found = {
            "text above audio above vision above motion": order == sorted(order, reverse=True),
            "fusion (F2) above text alone": valid["F2"] > alone["text"],
        }
        if test:
            found["4:1 not below 2:1 on test (F3 and F1)"] = test["F3"] >= test["F1"]
            found["4:1 not below 2:1 on test (F4 and F2)"] = test["F4"] >= test["F2"]
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {
            "table5": [asdict(row) for row in self.systems],
            "table4": [asdict(row) for row in self.modalities],
            "claims": self.claims(),
            "runs": [run.name for run in self.runs],
            "simulated": self.simulated,
            "resampled": self.resampled,
        }


def reproduce(
    workspace: Workspace,
    *,
    seeds: int = 1,
    labels: Path | None = None,
    features: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> Reproduction:
    """Trains F1 to F5 with so many seeds and returns the paper's Tables 5 and 4 next to the results.

    Finished runs are found again, and stages that systems share are trained once, so that it continues where it was
    interrupted.

    Args:
        workspace: The workspace; it needs the official split and one of 4:1.
        seeds: How many, from the setting ``training.seed`` on.
        labels: Labels of the test clips, where they are known; a simulated workspace has its own.
        features: As :func:`abawkit.training.train.train`.
        progress: What to report to.

    Raises:
        UsageError: A split or features are missing, or the task is not the paper's.
        AbawkitError: A training failed.
    """
    if workspace.task.name != "emi":
        raise UsageError("the paper's systems are for the task emi", got=workspace.task.name)
    if labels is None and workspace.simulated:
        labels = workspace.root / "hidden_test_labels.csv"
    first = workspace.settings.training.seed
    runs = train_many(workspace, TABLE_5, seeds=range(first, first + seeds), features=features, progress=progress)
    rows, resampled = [], ""
    for name in TABLE_5:
        members = [run for run in runs if run.record.system == name]
        paper = load_system(name).paper
        assert paper.valid is not None and paper.test is not None
        valid = [evaluate(workspace, run) for run in members[:1]]
        resampled = valid[0].resampled_by
        scores = [run.metrics.scores["valid"].primary for run in members]
        cell = _cell(scores, paper.valid, valid[0].interval.low, valid[0].interval.high)
        test = None
        if labels is not None:
            found = [evaluate(workspace, run, "test", labels=labels) for run in members]
            ends = found[0].interval
            test = _cell([one.scores.primary for one in found], paper.test, ends.low, ends.high)
        rows.append(SystemRow(name, members[0].record.split or "", cell, test))
    official = [run for run in runs if run.record.system == "F2"]
    modalities = tuple(_alone(workspace, official, modality) for modality in TABLE_4)
    return Reproduction(tuple(rows), modalities, tuple(runs), workspace.simulated, resampled)


@dataclass(frozen=True)
class VariantRow:
    """One row of Table 3: an encoder on one feature.

    Attributes:
        system: Its name.
        title: What it is.
        valid: Its score; None where its features are not there.
        note: What to know about its features: that others stand for them, or how to make them.
    """

    system: str
    title: str
    valid: Cell | None
    note: str


@dataclass(frozen=True)
class Variants:
    """Table 3.

    Attributes:
        rows: Its rows, with two of motion that the paper describes (Sec. 4.3).
        runs: All runs.
        simulated: Whether the features are simulated.
    """

    rows: tuple[VariantRow, ...]
    runs: tuple[Run, ...]
    simulated: bool

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {
            "table3": [asdict(row) for row in self.rows],
            "runs": [run.name for run in self.runs],
            "simulated": self.simulated,
        }


def reproduce_variants(workspace: Workspace, *, seeds: int = 1, progress: Progress = SILENT) -> Variants:
    """Trains Table 3's rows for which there are features, and returns them next to the paper's.

    It continues where it was interrupted. In a simulated workspace the simulated features of a modality stand for all
    of them, and each row says so.

    Args:
        workspace: The workspace; it needs the official split.
        seeds: How many, from the setting ``training.seed`` on.
        progress: What to report to.

    Raises:
        UsageError: The split is missing, there are no features at all, or the task is not the paper's.
        AbawkitError: A training failed.
    """
    if workspace.task.name != "emi":
        raise UsageError("the paper's systems are for the task emi", got=workspace.task.name)
    first, notes = workspace.settings.training.seed, {}
    systems = {found.name: load_system(found.name) for found in find_systems() if found.group == GROUPS["paper/table3"]}
    for name, system in systems.items():
        try:
            work = prepare(Request(workspace, system, None, first, {}))
        except UsageError as error:
            notes[name] = f"not trained: {error.message} ({error.todo})"
        else:
            (slot,) = system.slots
            store = work.sources[slot].store
            notes[name] = f"on simulated features, not {system.slots[slot].features}" if store.spec.simulated else ""
    able = [name for name, note in notes.items() if not note.startswith("not trained")]
    if not able:
        raise UsageError("there are no features for any row of Table 3", todo="abawkit extract")
    runs = train_many(workspace, able, seeds=range(first, first + seeds), progress=progress)
    rows = []
    for name, system in systems.items():
        scores = [run.metrics.scores["valid"].primary for run in runs if run.record.system == name]
        paper = float("nan") if system.paper.valid is None else system.paper.valid
        rows.append(VariantRow(name, system.title, _cell(scores, paper) if scores else None, notes[name]))
    return Variants(tuple(rows), tuple(runs), workspace.simulated)


def _cell(values: Sequence[float], paper: float, low: float = float("nan"), high: float = float("nan")) -> Cell:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Cell(float(np.mean(values)), deviation, paper, low, high)


def _alone(workspace: Workspace, runs: Sequence[Run], modality: str) -> ModalityRow:
    """Returns a modality's row of Table 4, from the columns of its own head in the runs' prediction files."""
    task = workspace.task
    columns = [f"{modality}:{target}" for target in task.targets]
    found = []
    for run in runs:
        made = run.predictions("valid", task)
        found.append(score(task, made.truth_of(made.ids), made.table[columns].to_numpy(np.float64)))
    cells = {"mean": _cell([one.mean_pearson for one in found], TABLE_4[modality][0])}
    for index, target in enumerate(task.targets):
        cells[target] = _cell([float(one.pearson[index]) for one in found], TABLE_4[modality][index + 1])
    return ModalityRow(modality, cells)
