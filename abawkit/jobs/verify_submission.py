"""``abawkit submit --verify``: makes a submission again from its record, models and feature stores, and compares.

Every run behind it predicts the test clips anew and is compared with its saved predictions. An ensemble, and every
ensemble among its members, is then combined anew with the weights and statistics that it saved. What is not as the
record says is named, whether or not it changes a value; what cannot be made again is said, and the rest still compared.
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
from abawkit.evaluation.combine import Fitted
from abawkit.fileio import digest_file, read_json
from abawkit.layout.folder import ChallengeFolder
from abawkit.progress import SILENT, Progress
from abawkit.runs.run import Ensemble, Run
from abawkit.submission.coverage import base_runs
from abawkit.submission.form import examine, read_bytes
from abawkit.submission.record import Change, changes_since, read_record, versions
from abawkit.submission.write import render
from abawkit.workspace import Workspace

Array = NDArray[np.float64]

#: Two predictions that differ by no more are the same: networks compute in float32, whose sums depend on the machine,
#: the number of clips in a batch and the version of torch by about 1e-6. Values of a file may also differ by one in
#: their last digit, which is what rounding makes of a smaller difference.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Apart:
    """How far two tables of the same clips are from each other.

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
        apart: The values of both; None: it could not be made again.
        tolerance: Differences up to this do not count.
        members: Run → its predictions made anew, beside those it saved.
        changes: What is not as it was when the file was written.
        versions: What was then, and is now, of another version: name → both.
    """

    path: Path
    same: bool
    apart: Apart | None
    tolerance: float
    members: Mapping[str, Apart]
    changes: tuple[Change, ...]
    versions: Mapping[str, tuple[str | None, str | None]]

    @property
    def ok(self) -> bool:
        """Whether it was made again, within the tolerance, from what it was made from."""
        return not self.changes and self.apart is not None and self.apart.differ == 0

    def to_json(self) -> dict[str, Any]:
        """Returns ``ok`` and the attributes."""
        return {
            "submission": str(self.path),
            "ok": self.ok,
            "same": self.same,
            "values": None if self.apart is None else self.apart.to_json(),
            "tolerance": self.tolerance,
            "members": {name: apart.to_json() for name, apart in self.members.items()},
            "changes": [change.to_json() for change in self.changes],
            "versions": {name: list(both) for name, both in self.versions.items()},
        }


def verify_submission(workspace: Workspace, path: Path, *, progress: Progress = SILENT) -> Verified:
    """Returns how the submission compares with one that is made again now; nothing is written.

    Args:
        workspace: The workspace that it was made in.
        path: The submission; ``FILE.json`` has to lie beside it.
        progress: What to report to.

    Raises:
        UsageError: There is no such file.
        AbawkitError: There is no record, or it does not say how the file was made.
    """
    task, data = workspace.task, read_bytes(path)
    record = read_record(path)
    form, changes = record.form, []
    file = examine(data, path, task, int_ids=form.int_ids)
    official = load_official(ChallengeFolder.open(workspace.data, task)).test_ids
    ids: Sequence[str] = sorted(file.ids)
    if digest_file(path) != record.sha256:
        changes.append(Change("file", path.name, f"{path.name} was changed after it was written"))
        ids = official  # its own ids may be among what was changed
    if told := _other_clips(file.ids, official):
        changes.append(Change("clips", path.name, told))
    changes += changes_since(workspace, record, ids)
    tolerance = max(TOLERANCE, 1.5 * 10.0**-form.decimals)
    again, apart, members = b"", None, {}
    try:
        run = Run.open(workspace.runs / Path(record.run).name)
        predicted = _predicted(workspace, run, ids, progress)
        made = combined(workspace, run, predicted)
    except AbawkitError as error:
        changes.append(Change("predictions", record.run, f"it cannot be made again: {error}"))
    else:
        members = {name: _beside_saved(workspace, name, values, ids) for name, values in predicted.items()}
        for name, one in members.items():
            if one.differ:
                changes.append(Change("predictions", name, f"{name} predicted anew is not what it saved: {one.words}"))
        made = np.clip(made, *task.value_range) if form.clip else made
        again = render(task, ids, made, int_ids=form.int_ids, decimals=form.decimals).encode()
        other = examine(again, path, task, int_ids=form.int_ids)
        apart = _apart(file.values, other.values, file.ids, other.ids, task, tolerance)
    now = versions()
    differ = {name: (then, now.get(name)) for name, then in record.versions.items() if then != now.get(name)}
    return Verified(path, again == data, apart, tolerance, members, tuple(changes), differ)


def _other_clips(then: Sequence[str], now: Sequence[str]) -> str:
    told = []
    for clips, words in (
        (sorted(set(then) - set(now)), "in the file are no test clips now"),
        (sorted(set(now) - set(then)), "that are test clips now are not in the file"),
    ):
        if clips:
            told.append(f"{len(clips)} clips {words} ({', '.join(clips[:3])}{' …' if clips[3:] else ''})")
    return "; ".join(told)


def _predicted(workspace: Workspace, run: Run, ids: Sequence[str], progress: Progress) -> dict[str, Array]:
    """Returns the predictions ``[N, E]`` of every run behind a submission, made anew by its model."""
    from abawkit.training.batches import load_clips
    from abawkit.training.predict import predict_table, run_stores

    device = pick_device(workspace.settings.training.device)
    made = {}
    for member in base_runs(workspace, run):
        clips = load_clips(run_stores(workspace, member.model), ids)
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
    path = run.path / "weights.json"
    record = read_json(path, "the weights of an ensemble")
    try:
        averaged = run.record.averaged
        members = [
            np.mean([combined(workspace, Run.open(workspace.runs / one), predicted) for one in averaged[name]], axis=0)
            for name in record.pop("members")
        ]
        return Fitted.from_json(record).predict(np.stack(members))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise AbawkitError(
            "is damaged", path=path, got=str(error)[:80], expected="what combines the members"
        ) from error


def _beside_saved(workspace: Workspace, name: str, values: Array, ids: Sequence[str]) -> Apart:
    try:
        saved = Run.open(workspace.runs / name).predictions("test", workspace.task)
    except AbawkitError:
        return Apart(0, 0, float("nan"), "")  # that they are gone or damaged is among the changes
    return _apart(values, saved.values, ids, saved.ids, workspace.task, TOLERANCE)


def _apart(
    one: Array, other: Array, ids: Sequence[str], other_ids: Sequence[str], task: Task, tolerance: float
) -> Apart:
    """Returns how far the values of the clips that both have are from each other."""
    row, place = ({clip: index for index, clip in enumerate(names)} for names in (ids, other_ids))
    shared = [clip for clip in row if clip in place]
    if not shared:
        return Apart(0, 0, float("nan"), "")
    mine, theirs = one[[row[clip] for clip in shared]], other[[place[clip] for clip in shared]]
    apart: Array = np.nan_to_num(np.abs(mine - theirs), nan=np.inf)
    at, target = np.unravel_index(int(apart.argmax()), apart.shape)
    where = "" if apart.max() == 0 else f"{task.targets[target]} of {shared[at]}"
    return Apart(apart.size, int((apart > tolerance).sum()), float(apart.max()), where)
