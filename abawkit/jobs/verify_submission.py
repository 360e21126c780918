"""``abawkit submit --verify``: makes a submission again from its record, models and feature stores, and compares.

Every run behind it predicts the test clips again and is compared with its saved predictions. An ensemble, and every
ensemble among its members, is then combined again with the weights and statistics that it saved. Every change since
the record was written is named, whether or not it changes a value; what cannot be made again is named as well, and the
rest is still compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.labels import load_official
from abawkit.device import pick_device
from abawkit.errors import AbawkitError
from abawkit.evaluation.combine import Fitted, WeightsRecord
from abawkit.fileio import digest_file
from abawkit.layout.folder import ChallengeFolder
from abawkit.progress import SILENT, Progress
from abawkit.runs.records import WEIGHTS
from abawkit.runs.run import Ensemble, Run
from abawkit.submission.changes import Change, changes_since
from abawkit.submission.coverage import base_runs
from abawkit.submission.form import examine, read_bytes
from abawkit.submission.record import SubmissionRecord, read_record, versions
from abawkit.submission.write import render
from abawkit.workspace import Workspace

Array = NDArray[np.float64]

#: Two predictions that differ by no more are the same: networks compute in float32, whose sums depend on the machine,
#: the number of clips in a batch and the version of torch by about 1e-6. Values of a file may also differ by one in
#: their last digit, which is what rounding makes of a smaller difference.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How two tables of the same clips agree.

    Attributes:
        values: How many values were compared.
        differ: How many of them differ by more than the tolerance; a value that is not finite always does.
        largest: Largest difference; nan where nothing was compared.
        where: The target and clip of that difference; empty where there is none.
    """

    values: int
    differ: int
    largest: float
    where: str

    @property
    def words(self) -> str:
        """The differences, in words."""
        return f"{self.differ:,} of {self.values:,} values differ, by {self.largest:.2g} at most ({self.where})"

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes."""
        return asdict(self)


@dataclass(frozen=True)
class Verified:
    """How a submission compares with the one that was made again.

    Attributes:
        path: The submission.
        same: Whether both are the same byte for byte.
        values: How the values of both agree; None: it could not be made again.
        tolerance: Differences up to this do not count.
        members: Run → how its predictions, made again, agree with those it saved.
        changes: What is not as it was when the file was written.
        versions: What was then, and is now, of another version: name → both.
    """

    path: Path
    same: bool
    values: Agreement | None
    tolerance: float
    members: Mapping[str, Agreement]
    changes: tuple[Change, ...]
    versions: Mapping[str, tuple[str | None, str | None]]

    @property
    def ok(self) -> bool:
        """Whether it was made again, within the tolerance, from what it was made from."""
        return not self.changes and self.values is not None and self.values.differ == 0

    def to_json(self) -> dict[str, Any]:
        """Returns ``ok`` and the attributes."""
        return {
            "submission": str(self.path),
            "ok": self.ok,
            "same": self.same,
            "values": None if self.values is None else self.values.to_json(),
            "tolerance": self.tolerance,
            "members": {name: one.to_json() for name, one in self.members.items()},
            "changes": [change.to_json() for change in self.changes],
            "versions": {name: list(both) for name, both in self.versions.items()},
        }


def verify_submission(workspace: Workspace, path: Path, *, progress: Progress = SILENT) -> Verified:
    """Returns how the submission compares with one that is made again now; nothing is written.

    Args:
        workspace: The workspace that it was made in.
        path: The submission; ``FILE.json`` must be next to it.
        progress: What to report to.

    Raises:
        UsageError: The file does not exist.
        AbawkitError: There is no record next to it, or the record is damaged.
    """
    task, data = workspace.task, read_bytes(path)
    record = read_record(path)
    form = record.form
    file = examine(data, path, task, int_ids=form.int_ids)
    official = load_official(ChallengeFolder.open(workspace.data, task)).test_ids
    changes = _file_changes(path, record, file.ids, official)
    # The ids of a file that was changed may be among what was changed.
    ids: Sequence[str] = official if any(change.kind == "file" for change in changes) else sorted(file.ids)
    changes += changes_since(workspace, record, ids)
    tolerance = max(TOLERANCE, 1.5 * 10.0**-form.decimals)
    again, values, members = b"", None, {}
    try:
        run = Run.open(workspace.runs / Path(record.run).name)
        predicted = _predicted(workspace, run, ids, progress)
        made = combined(workspace, run, predicted)
    except AbawkitError as error:
        changes.append(Change("predictions", record.run, f"it cannot be made again: {error}"))
    else:
        members = {name: _with_saved(workspace, name, one, ids) for name, one in predicted.items()}
        for name, one in members.items():
            if one.differ:
                message = f"the model of {name} no longer predicts what it saved: {one.words}"
                changes.append(Change("predictions", name, message))
        made = np.clip(made, *task.value_range) if form.clip else made
        again = render(task, ids, made, int_ids=form.int_ids, decimals=form.decimals).encode()
        other = examine(again, path, task, int_ids=form.int_ids)
        values = _agreement(file.values, other.values, file.ids, other.ids, task, tolerance)
    now = versions()
    differ = {name: (then, now.get(name)) for name, then in record.versions.items() if then != now.get(name)}
    return Verified(path, again == data, values, tolerance, members, tuple(changes), differ)


def _file_changes(path: Path, record: SubmissionRecord, ids: Sequence[str], official: Sequence[str]) -> list[Change]:
    """Returns whether the file was changed, and which of its clips are not the test clips of now."""
    changes = []
    if digest_file(path) != record.sha256:
        changes.append(Change("file", path.name, f"{path.name} was changed after it was written"))
    differences = []
    for clips, words in (
        (sorted(set(ids) - set(official)), "in the file are not test clips now"),
        (sorted(set(official) - set(ids)), "that are test clips now are not in the file"),
    ):
        if clips:
            differences.append(f"{len(clips)} clips {words} ({', '.join(clips[:3])}{' …' if clips[3:] else ''})")
    return changes + ([Change("clips", path.name, "; ".join(differences))] if differences else [])


def _predicted(workspace: Workspace, run: Run, ids: Sequence[str], progress: Progress) -> dict[str, Array]:
    """Returns the predictions ``[N, E]`` of every run behind a submission, made again by its model."""
    from abawkit.training.batches import load_clips
    from abawkit.training.predict import predict_table, run_sources

    device = pick_device(workspace.settings.training.device)
    made = {}
    for member in base_runs(workspace, run):
        clips = load_clips(run_sources(workspace, member.model), ids)
        with progress.task(f"predict {member.name}", len(clips)) as bar:
            table = predict_table(member.path, member.model, clips, workspace.task, device)
            bar.advance(len(clips))
        made[member.name] = table.loc[list(ids), list(workspace.task.targets)].to_numpy(np.float64)
    return made


def combined(workspace: Workspace, run: Run, predicted: Mapping[str, Array]) -> Array:
    """Returns the predictions ``[N, E]`` of a run, or of an ensemble with the weights and statistics that it saved.

    Args:
        workspace: The workspace.
        run: The run or ensemble.
        predicted: Run → its predictions ``[N, E]``, for every run behind it.

    Raises:
        AbawkitError: A member is gone, or what combines them is damaged.
    """
    if not isinstance(run, Ensemble):
        return predicted[run.name]
    path = run.path / WEIGHTS
    todo = "make the ensemble again: abawkit ensemble"
    record = WeightsRecord.read(path, "the weights of an ensemble", todo)
    members = []
    for name in record.members:
        if name not in run.record.averaged:
            raise AbawkitError("names an unknown member", path=path, got=name, todo=todo)
        runs = [Run.open(workspace.runs / each) for each in run.record.averaged[name]]
        members.append(np.mean([combined(workspace, each, predicted) for each in runs], axis=0))
    try:
        return Fitted.from_record(record).predict(np.stack(members))
    except ValueError as error:
        raise AbawkitError("is damaged", path=path, got=str(error)[:80], todo=todo) from error


def _with_saved(workspace: Workspace, name: str, values: Array, ids: Sequence[str]) -> Agreement:
    try:
        saved = Run.open(workspace.runs / name).predictions("test", workspace.task)
    except AbawkitError:
        return Agreement(0, 0, float("nan"), "")  # :func:`changes_since` has named it
    return _agreement(values, saved.values, ids, saved.ids, workspace.task, TOLERANCE)


def _agreement(
    one: Array, other: Array, ids: Sequence[str], other_ids: Sequence[str], task: Task, tolerance: float
) -> Agreement:
    """Returns how the values of the clips that both have agree."""
    row, place = ({clip: index for index, clip in enumerate(names)} for names in (ids, other_ids))
    shared = [clip for clip in row if clip in place]
    if not shared:
        return Agreement(0, 0, float("nan"), "")
    first, second = one[[row[clip] for clip in shared]], other[[place[clip] for clip in shared]]
    differences: Array = np.nan_to_num(np.abs(first - second), nan=np.inf)
    at, target = np.unravel_index(int(differences.argmax()), differences.shape)
    where = "" if differences.max() == 0 else f"{task.targets[target]} of {shared[at]}"
    return Agreement(differences.size, int((differences > tolerance).sum()), float(differences.max()), where)
