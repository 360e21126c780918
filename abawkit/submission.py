"""``abawkit submit`` and ``abawkit check``: the leaderboard file, and everything a platform could refuse it for."""

from __future__ import annotations

import csv
import datetime
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit import __version__
from abawkit.challenge import Task
from abawkit.data.labels import load_official
from abawkit.data.layout import ChallengeFolder
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.compare import rank
from abawkit.fileio import digest_file, write_json, write_text
from abawkit.findings import Report
from abawkit.metrics import score
from abawkit.progress import SILENT, Progress
from abawkit.training.runs import Run, list_runs
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Submission:
    """A written and checked submission.

    Attributes:
        path: The CSV.
        record: What is in the JSON file beside it.
        report: What the check found.
    """

    path: Path
    record: dict[str, Any]
    report: Report

    def to_json(self) -> dict[str, Any]:
        """Returns the submission as a JSON object."""
        return {"submission": str(self.path), **self.record, "check": self.report.to_json()}


def submit(
    workspace: Workspace,
    out: Path,
    *,
    run: Run | None = None,
    int_ids: bool = False,
    clip: bool = True,
    decimals: int | None = None,
    force: bool = False,
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
        progress: What to report to.

    Raises:
        UsageError: There is no run to submit, or ``out`` holds another submission.
        AbawkitError: Test clips are without prediction.
        FindingsError: The file would be refused; nothing is written.
    """
    task = workspace.task
    chosen = run if run is not None else choose_run(workspace, progress=progress)
    ids = known_test_ids(workspace.data, task)
    if ids is None:
        raise UsageError("there are no test clips yet", path=workspace.data, todo="add them, then: abawkit extract")
    predictions = chosen.predictions("test", task)
    absent = sorted(set(ids) - set(predictions.ids))
    if absent:
        again = f"abawkit predict {chosen.name} --on test" if not chosen.is_ensemble else "abawkit ensemble"
        raise AbawkitError(
            f"{len(absent)} of {len(ids)} test clips have no prediction",
            path=chosen.path / "predictions" / "test.csv",
            got=", ".join(absent[:5]) + (" …" if len(absent) > 5 else ""),
            todo=f"abawkit extract, then: {again}",
        )
    chosen.refuse_leak(ids)
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
    report = check_bytes(text.encode(), path, task, ids)
    report.raise_if_bad(f"the submission of {chosen.name} would be refused", "choose another run: --run NAME")
    write_text(path, text)
    record = _record(workspace, chosen, path, len(ids), outside if clip else 0)
    write_json(path.with_name(path.name + ".json"), record)
    return Submission(path, record, report)


def choose_run(workspace: Workspace, *, progress: Progress = SILENT) -> Run:
    """Returns the newest ensemble, else the best run on the held-out clips that all runs share.

    Raises:
        UsageError: There is no run, or the runs share too few held-out clips.
    """
    runs = list_runs(workspace)
    ensembles = [run for run in runs if run.is_ensemble]
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


def _record(workspace: Workspace, run: Run, path: Path, rows: int, clipped: int) -> dict[str, Any]:
    task = workspace.task
    valid = run.predictions("valid", task)
    truth = valid.truth_of(valid.ids)
    names = list(run.config.get("members", {run.name: None}))
    members = [Run.open(workspace.runs / name) for name in names]
    return {
        "run": run.name,
        "kind": run.config["kind"],
        "rows": rows,
        "sha256": digest_file(path),
        "clipped_values": clipped,
        "valid": {
            "n": len(truth),
            "score": score(task, truth, valid.values).primary,
            "score_clipped": score(task, truth, np.clip(valid.values, *task.value_range)).primary,
        },
        "subject_safe": run.subject_safe,
        "subject_note": run.subject_note,
        "runs": [
            {
                "name": member.name,
                "system": member.config["system"],
                "split": member.config["split"],
                "seed": member.config["seed"],
                "signatures": member.config.get("signatures"),
                "predictions": member.digest(),
            }
            for member in members
        ],
        "predictions": run.digest(),
        "tool": f"abawkit {__version__}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def known_test_ids(data: Path, task: Task) -> tuple[str, ...] | None:
    """Returns the ids of the test clips in the challenge folder, None while there are none.

    Raises:
        UsageError: It is no challenge folder.
        FindingsError: Its label files have errors.
    """
    return tuple(load_official(ChallengeFolder.open(data, task)).test_ids) or None


def check(path: Path, task: Task, ids: Sequence[str] | None = None) -> Report:
    """Returns everything that is wrong with a submission file.

    Args:
        path: The file.
        task: The challenge track, for header, ids and range.
        ids: The test ids; None: they are not known, and only the form is checked.

    Raises:
        UsageError: There is no such file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "the submission cannot be read", path=path, got=error.strerror, todo="give its path"
        ) from error
    return check_bytes(data, path, task, ids)


def check_bytes(data: bytes, path: Path, task: Task, ids: Sequence[str] | None = None) -> Report:
    """Returns everything that is wrong with a submission of this content, as :func:`check`; ``path`` is its name."""
    report = Report()
    if not data.strip():
        report.add("S512", "the file is empty", path=path)
        return report
    if data.startswith(b"\xef\xbb\xbf"):
        report.add("S502", "the file begins with a byte-order mark", path=path, line=1)
        data = data[3:]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        report.add("S513", "the file is not UTF-8 text", path=path, line=line, got=repr(data[error.start : error.end]))
        return report
    rows = [(line, cells) for line, cells in _rows(text, report, path) if cells]
    if task.submission.header and rows:
        _check_header(rows.pop(0), task, report, path)
    values = _check_rows(rows, task, report, path, None if ids is None else set(ids))
    report.counts = {"rows": len(rows), "clips": len(values)}
    _check_ids(rows, values, task, report, path, ids)
    _check_columns(values, task, report, path)
    return report


def _rows(text: str, report: Report, path: Path) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        for cells in reader:
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        report.add("S511", f"the row cannot be read: {error}", path=path, line=reader.line_num)
    return rows


def _check_header(row: tuple[int, list[str]], task: Task, report: Report, path: Path) -> None:
    line, cells = row
    if tuple(cells) == task.header:
        return
    got, expected = ",".join(cells), ",".join(task.header)
    if len(cells) == 1 and any(mark in cells[0] for mark in ";\t"):
        report.add("S503", "the columns are not separated by commas", path=path, line=line, got=got, expected=expected)
    else:
        report.add("S501", "wrong header or order of columns", path=path, line=line, got=got, expected=expected)


def _check_rows(
    rows: Sequence[tuple[int, list[str]]], task: Task, report: Report, path: Path, known: set[str] | None
) -> dict[str, list[float]]:
    """Returns clip id → values of the rows whose values are numbers."""
    width = len(task.header)
    first: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    for line, cells in rows:
        if len(cells) != width:
            report.add(
                "S511",
                "wrong number of columns",
                path=path,
                line=line,
                got=f"{len(cells)}: {','.join(cells)[:60]}",
                expected=str(width),
            )
            if len(cells) < width:
                continue
        clip = _read_id(cells[0], task)
        if clip is None:
            report.add("S504", "not a clip id", path=path, line=line, got=repr(cells[0]), expected=task.ids.example)
        elif clip in first:
            report.add("S505", f"clip {clip} is there twice", path=path, line=line, got=f"first in line {first[clip]}")
        elif known is not None and clip not in known:
            report.add("S507", f"clip {clip} is not in the test set", path=path, line=line)
        numbers = [
            _read_value(cell, target, task, report, path, line)
            for target, cell in zip(task.targets, cells[1:], strict=False)
        ]
        if clip is not None:
            first.setdefault(clip, line)
            values.setdefault(clip, numbers)
    return values


def _read_id(text: str, task: Task) -> str | None:
    if task.ids.is_id(text):
        return text
    digits = task.ids.digits
    if digits is not None and text.isascii() and text.isdigit() and str(int(text)) == text and len(text) < digits:
        return text.zfill(digits)  # a plain integer, which leaderboards accept
    return None


def _read_value(cell: str, target: str, task: Task, report: Report, path: Path, line: int) -> float:
    low, high = task.value_range
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    # float() also reads "1_0", " 1" and "１", which platforms may not.
    if not math.isfinite(value) or "_" in cell or cell != cell.strip() or not cell.isascii():
        report.add(
            "S508",
            f"{target} is not a finite number",
            path=path,
            line=line,
            got=repr(cell),
            expected="such as 0.123456",
        )
        return math.nan
    wanted = f"in [{low:g}, {high:g}]"
    if task.submission.values == "label" and value not in (0.0, 1.0):
        report.add("S509", f"{target} is no label", path=path, line=line, got=cell, expected="0 or 1")
    elif not low <= value <= high:
        report.add("S509", f"{target} is out of range", path=path, line=line, got=cell, expected=wanted)
    return value


def _check_ids(
    rows: Sequence[tuple[int, list[str]]],
    values: dict[str, list[float]],
    task: Task,
    report: Report,
    path: Path,
    ids: Sequence[str] | None,
) -> None:
    if ids is None:
        report.add("S514", "the test ids are not known here: only the form was checked", path=path)
        official = task.counts.get("test")
        if official is not None and len(rows) != official:
            message = "the number of rows is not that of the official test set"
            report.add("S516", message, path=path, got=str(len(rows)), expected=str(official))
        return
    if len(rows) != len(ids):
        report.add("S515", "wrong number of rows", path=path, got=str(len(rows)), expected=str(len(ids)))
    for clip in sorted(set(ids) - set(values)):
        report.add("S506", f"test clip {clip} is missing", path=path, expected=clip)


def _check_columns(values: dict[str, list[float]], task: Task, report: Report, path: Path) -> None:
    whole = np.array([row for row in values.values() if len(row) == len(task.targets)], dtype=np.float64)
    if len(whole) < 2 or task.submission.values == "label":
        return
    for index, target in enumerate(task.targets):
        column = whole[np.isfinite(whole[:, index]), index]
        if len(column) > 1 and (column == column[0]).all():
            report.add("S510", f"every value of {target} is the same", path=path, got=f"{column[0]:g}")
