"""``abawkit submit``: the leaderboard file, checked before it is written, and the record of what made it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.labels import load_official
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.compare import rank
from abawkit.features.summary import challenge_ids
from abawkit.fileio import write_text
from abawkit.findings import Report
from abawkit.layout.folder import ChallengeFolder
from abawkit.progress import SILENT, Progress
from abawkit.runs.run import Ensemble, Run, list_runs
from abawkit.submission.coverage import RunCoverage, run_coverage
from abawkit.submission.form import examine
from abawkit.submission.ledger import count_sent, note_written
from abawkit.submission.record import Form, SubmissionRecord, make_record, record_path
from abawkit.submission.unusual import Earlier, earlier_submissions
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Submission:
    """A written and checked submission.

    Attributes:
        path: The CSV.
        record: What is in the JSON file beside it.
        report: What the check found.
        coverage: What the feature stores have for the clips.
        near: How near each earlier submission is, nearest first.
        sent: How many other entries were sent, and how many may be (None: any number).
    """

    path: Path
    record: SubmissionRecord
    report: Report
    coverage: RunCoverage
    near: tuple[Earlier, ...] = ()
    sent: tuple[int, int | None] = (0, None)

    def to_json(self) -> dict[str, Any]:
        """Returns the submission as a JSON object."""
        earlier = [one.to_json() for one in self.near]
        entries = {"sent": self.sent[0], "allowed": self.sent[1]}
        check = self.report.to_json()
        return {
            "submission": str(self.path),
            **self.record.to_json(),
            "earlier": earlier,
            "entries": entries,
            "check": check,
        }


def submit(
    workspace: Workspace,
    out: Path,
    *,
    run: Run | None = None,
    int_ids: bool = False,
    clip: bool = True,
    decimals: int | None = None,
    force: bool = False,
    accept_coverage: bool = False,
    coverage: RunCoverage | None = None,
    progress: Progress = SILENT,
) -> Submission:
    """Writes the leaderboard CSV from a run's test predictions, checks it, and writes its record beside it.

    Args:
        workspace: The workspace; the test ids come from its challenge folder.
        out: Where to write; relative to the workspace. ``FILE.json`` lies beside it.
        run: Default: the newest ensemble, else the best run on the held-out clips that all runs share.
        int_ids: Write ids as plain integers.
        clip: Bring values into the range of the task; how many were clipped is recorded, and what it does to r.
        decimals: Digits after the point; default: the task's.
        force: Overwrite a file with other content.
        accept_coverage: Write it though the test clips lack more than the validation clips.
        coverage: What the feature stores have, where it is known already.
        progress: What to report to.

    Raises:
        UsageError: No run can be submitted, or ``out`` holds another submission.
        AbawkitError: Test clips are without prediction.
        FindingsError: The file would be refused, or the test clips lack more than the validation clips (see
            :mod:`abawkit.submission.coverage`); nothing is written.
    """
    task = workspace.task
    chosen = run if run is not None else choose_run(workspace, progress=progress)
    ids = load_official(ChallengeFolder.open(workspace.data, task)).test_ids
    if not ids:
        raise UsageError("there are no test clips yet", path=workspace.data, todo="add them, then: abawkit extract")
    predictions = chosen.predictions("test", task)
    absent = sorted(set(ids) - set(predictions.ids))
    if absent:
        again = f"abawkit predict {chosen.name} --on test" if not isinstance(chosen, Ensemble) else "abawkit ensemble"
        raise AbawkitError(
            f"{len(absent)} of {len(ids)} test clips have no prediction",
            path=chosen.path / "predictions" / "test.csv",
            got=", ".join(absent[:5]) + (" …" if len(absent) > 5 else ""),
            todo=f"abawkit extract, then: {again}",
        )
    chosen.refuse_leak(ids, "test")
    coverage = find_coverage(workspace, chosen) if coverage is None else coverage
    if not accept_coverage:
        coverage.refuse_worse()
    low, high = task.value_range
    values = predictions.of(ids)
    outside = int(((values < low) | (values > high)).sum())
    if clip:
        values = np.clip(values, low, high)
    text = render(task, ids, values, int_ids=int_ids, decimals=decimals)
    path = out if out.is_absolute() else workspace.root / out
    if path.exists() and path.read_bytes() != text.encode() and not force:
        raise UsageError(
            "there is another submission in this file", path=path, todo="choose another --out, or give --force"
        )
    found = examine(text.encode(), path, task, ids, int_ids=int_ids)
    found.report.raise_if_bad(f"the submission of {chosen.name} would be refused", "choose another run: --run NAME")
    near = tuple(earlier_submissions(workspace, found, path))
    write_text(path, text)
    record = make_record(
        workspace,
        chosen,
        path,
        ids,
        form=Form(int_ids=int_ids, clip=clip, decimals=task.submission.decimals if decimals is None else decimals),
        clipped=outside if clip else 0,
        coverage=coverage,
        accepted=accept_coverage,
    )
    record.write(record_path(path))
    note_written(workspace, path, chosen.name)
    sent = count_sent(workspace, without=record.sha256)
    return Submission(path, record, found.report, coverage, near, sent)


def find_coverage(workspace: Workspace, run: Run) -> RunCoverage:
    """Returns what the feature stores of the run, or of its members, have for the clips of train, valid and test."""
    return run_coverage(workspace, run, challenge_ids(workspace))


def choose_run(workspace: Workspace, *, progress: Progress = SILENT) -> Run:
    """Returns the newest ensemble, else the best run on the held-out clips that all runs share.

    Raises:
        UsageError: There is no run, or the runs share too few held-out clips.
    """
    runs = [run for run in list_runs(workspace) if run.is_scorable]
    ensembles = [run for run in runs if isinstance(run, Ensemble)]
    if ensembles:
        progress.say(f"takes the newest ensemble, {ensembles[-1].name}")
        return ensembles[-1]
    if not runs:
        raise UsageError("there is no finished run to submit", path=workspace.runs, todo="abawkit train --system F4")
    ranked, shared = rank(runs, workspace.task, min_shared=workspace.settings.submit.min_shared)
    best, value = ranked[0]
    progress.say(f"takes {best.name}: {value:.4f} on the {len(shared)} held-out clips that {len(runs)} run(s) share")
    return best


def render(
    task: Task, ids: Sequence[str], values: NDArray[np.float64], *, int_ids: bool = False, decimals: int | None = None
) -> str:
    """Returns the text of a submission: sorted by id, one row per clip.

    >>> from abawkit.challenge import EMI
    >>> print(render(EMI, ["12660"], np.array([[0.5, 0, 0, 0, 0, 1]]), decimals=2).splitlines()[1])
    12660,0.50,0.00,0.00,0.00,0.00,1.00
    """
    form = task.submission
    digits = form.decimals if decimals is None else decimals
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    if form.header:
        writer.writerow(task.header)
    for row in sorted(range(len(ids)), key=lambda row: ids[row]):
        name = str(int(ids[row])) if int_ids and task.ids.digits is not None else ids[row]
        if form.values == "label":
            cells = [str(int(value >= 0.5)) for value in values[row]]
        else:
            cells = [f"{value:.{digits}f}" for value in values[row]]
        writer.writerow([name, *cells])
    return table.getvalue()
