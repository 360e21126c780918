"""``abawkit submit --verify``: makes a submission again from its record, models and feature stores, and compares.

A single run predicts anew. Of an ensemble, every member predicts anew and is compared with its saved predictions; the
members are combined as the ensemble saved it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.labels import load_official
from abawkit.data.layout import ChallengeFolder
from abawkit.device import pick_device
from abawkit.errors import AbawkitError
from abawkit.fileio import digest_file, read_json
from abawkit.progress import SILENT, Progress
from abawkit.submission.coverage import base_runs
from abawkit.submission.form import examine, read_bytes
from abawkit.submission.write import render
from abawkit.training.runs import Run
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Verified:
    """How a submission compares with the one that was made again.

    Attributes:
        path: The submission.
        same: Whether both are the same byte for byte.
        difference: Largest difference between two values of both; nan where no clip is in both.
        where: The clip and target of that difference; empty where there is none.
        members: Run → largest difference between its predictions made anew and those it saved.
        changed: What is not as it was when the file was written, one sentence each.
    """

    path: Path
    same: bool
    difference: float
    where: str
    members: Mapping[str, float]
    changed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes."""
        return asdict(self)


def verify_submission(workspace: Workspace, path: Path, *, progress: Progress = SILENT) -> Verified:
    """Returns how the submission compares with one that is made again now; nothing is written.

    Args:
        workspace: The workspace that it was made in.
        path: The submission; ``FILE.json`` has to lie beside it.
        progress: What to report to.

    Raises:
        UsageError: There is no such file.
        AbawkitError: There is no record, or a run, a model, a store or a clip that it needs is gone.
    """
    from abawkit.training.batches import load_clips
    from abawkit.training.predict import predict_table, run_stores

    task, data = workspace.task, read_bytes(path)
    beside = path.with_name(path.name + ".json")
    record = read_json(beside, "the record of a submission")
    if not {"run", "form", "sha256", "predictions"} <= record.keys():
        raise AbawkitError("does not say how the file was made", path=beside, todo="write it anew: abawkit submit")
    run = Run.open(workspace.runs / Path(str(record["run"])).name)
    changed = []
    if digest_file(path) != record["sha256"]:
        changed.append("the file was changed after it was written")
    if run.digest() != record["predictions"]:
        changed.append(f"the saved predictions of {run.name} are not those that the file was made from")
    ids = load_official(ChallengeFolder.open(workspace.data, task)).test_ids
    device = pick_device(workspace.settings.training.device)
    values = run.predictions("test", task).of(ids) if run.is_ensemble else np.empty((0, len(task.targets)))
    members = {}
    for member in base_runs(workspace, run):
        clips = load_clips(run_stores(workspace, member.config), ids, device=device)
        with progress.task(f"predict {member.name}", len(clips)) as bar:
            table = predict_table(member.path, member.config, clips, task, device)
            bar.advance(len(clips))
        anew = table.loc[list(ids), list(task.targets)].to_numpy(np.float64)
        members[member.name] = float(np.abs(anew - member.predictions("test", task).of(ids)).max())
        if not run.is_ensemble:
            values = anew
    form = record["form"]
    if form["clip"]:
        values = np.clip(values, *task.value_range)
    again = render(task, ids, values, int_ids=form["int_ids"], decimals=form["decimals"]).encode()
    difference, where = _largest(data, again, path, task, int_ids=form["int_ids"])
    return Verified(path, again == data, difference, where, members, tuple(changed))


def _largest(data: bytes, again: bytes, path: Path, task: Task, *, int_ids: bool) -> tuple[float, str]:
    one, other = (examine(each, path, task, int_ids=int_ids) for each in (data, again))
    row = {clip: index for index, clip in enumerate(one.ids)}
    shared = [clip for clip in other.ids if clip in row]
    if not shared:
        return float("nan"), ""
    place = {clip: index for index, clip in enumerate(other.ids)}
    mine, theirs = one.values[[row[clip] for clip in shared]], other.values[[place[clip] for clip in shared]]
    apart: NDArray[np.float64] = np.nan_to_num(np.abs(mine - theirs), nan=np.inf)
    at, target = np.unravel_index(int(apart.argmax()), apart.shape)
    return float(apart.max()), "" if apart.max() == 0 else f"{task.targets[target]} of {shared[at]}"
