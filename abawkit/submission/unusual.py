"""What is unusual about a submission that no platform would refuse: values unlike validation's, or sent before."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.labels import read_labels
from abawkit.errors import AbawkitError
from abawkit.fileio import digest_file, read_json
from abawkit.layout.folder import ChallengeFolder
from abawkit.metrics import pearson
from abawkit.submission.form import Submitted, examine, read_bytes
from abawkit.submission.ledger import NAME, read_ledger
from abawkit.workspace import Workspace

#: From this mean r on, a submission counts as nearly the same as an earlier one.
NEARLY_THE_SAME = 0.98

#: Fewest clips on both sides for a comparison of spreads and shares.
_ENOUGH = 100


@dataclass(frozen=True)
class Reference:
    """What the values of a submission are compared with.

    Attributes:
        values: ``float64 [N, E]``.
        words: What they are.
        labels: They are labels, which spread wider than predictions and are 0 far more often.
    """

    values: NDArray[np.float64]
    words: str
    labels: bool


@dataclass(frozen=True)
class Earlier:
    """How similar an earlier submission is.

    Attributes:
        path: Its file.
        r: Mean Pearson r over the targets, on the clips that both have; nan where it is not defined.
        same: Whether all values are the same.
        problem: Why it was not compared; empty: it was.
        sent: Whether it was sent.
        score: Its leaderboard score; empty: not known.
    """

    path: Path
    r: float = float("nan")
    same: bool = False
    problem: str = ""
    sent: bool = False
    score: str = ""

    @property
    def near(self) -> bool:
        """Whether it is nearly the same."""
        return self.r >= NEARLY_THE_SAME

    @property
    def words(self) -> str:
        """How similar it is, in words."""
        sent = (f" (sent; it scored {self.score})" if self.score else " (sent)") if self.sent else ""
        if self.problem:
            return f"{self.path.name}{sent}: {self.problem}"
        if self.same:
            return f"the same values as {self.path.name}{sent}: the entry would teach nothing new"
        if self.near:
            return f"nearly the same as {self.path.name}{sent}, r {self.r:.3f}: the entry would teach little"
        return f"{self.path.name}{sent}: mean r {self.r:.3f} with this file"

    def to_json(self) -> dict[str, object]:
        """Returns ``file``, ``r``, ``same``, ``problem``, ``sent`` and ``score``."""
        ledger = {"problem": self.problem or None, "sent": self.sent, "score": self.score or None}
        return {"file": str(self.path), "r": self.r, "same": self.same, **ledger}


def find_reference(workspace: Workspace, path: Path, folder: ChallengeFolder | None) -> Reference | None:
    """Returns what the values are compared with; None: there is nothing.

    Args:
        workspace: The workspace.
        path: The submission. The validation predictions of the run that ``FILE.json`` names come first.
        folder: The challenge folder, whose validation labels come second. None: it is not known.

    Raises:
        AbawkitError: The record, the predictions or the labels are damaged.
    """
    record = path.with_name(path.name + ".json")
    if record.exists():
        # Only this key: the file may come from another tool or version, and all that is wanted is a reference.
        name = Path(str(read_json(record, "the record of a submission").get("run", ""))).name
        predictions = workspace.runs / name / "predictions" / "valid.csv"
        if name and predictions.exists():
            values = np.clip(_targets(predictions, workspace.task), *workspace.task.value_range)
            return Reference(values, f"the validation predictions of {name}", labels=False)
    if folder is None or folder.valid_csv is None:
        return None
    return Reference(_labels(folder.valid_csv, workspace.task), "the official validation labels", labels=True)


def _labels(path: Path, task: Task) -> NDArray[np.float64]:
    low, high = task.value_range
    read = _read_perfect(read_bytes(path), task) if task.submission.header else None
    if read is not None and ((read[1] >= low) & (read[1] <= high)).all():
        return read[1]
    return read_labels(path, task).values  # raises, and lists what is wrong with them


def _targets(path: Path, task: Task) -> NDArray[np.float64]:
    # Without pandas: its import takes as long as the whole check.
    with path.open(newline="", encoding="utf-8") as file:
        try:
            rows = [[float(row[target]) for target in task.targets] for row in csv.DictReader(file)]
        except (KeyError, ValueError, TypeError) as error:
            todo = "make the predictions again: abawkit predict RUN --on valid"
            raise AbawkitError("is not a prediction file", path=path, got=str(error)[:80], todo=todo) from error
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(task.targets))


def compare_values(found: Submitted, reference: Reference, task: Task, path: Path) -> None:
    """Adds S519 to the report for every target whose mean, spread or share of zeros is unlike the reference's.

    The mean may differ by half a standard deviation of the reference, and always by four standard errors. With
    100 clips on both sides the spread may differ by a factor of 2 and the share of zeros by .2; labels bound both from
    above only, because good predictions spread less and are seldom exactly 0.

    Args:
        found: The submission; its report is added to.
        reference: What it is compared with.
        task: The challenge track.
        path: The submission's name.
    """
    values = found.values[np.isfinite(found.values).all(axis=1)]
    n, m = len(values), len(reference.values)
    if task.submission.values == "label" or n < 2 or m < 2:
        return
    for index, target in enumerate(task.targets):
        mine, other = values[:, index], reference.values[:, index]
        spread = float(other.std())
        odd = []
        noise = 4 * float(mine.var() / n + other.var() / m) ** 0.5
        if abs(mine.mean() - other.mean()) > max(0.5 * spread, noise):
            odd.append(("mean", mine.mean(), other.mean()))
        if min(n, m) >= _ENOUGH:
            ratio = float(mine.std()) / spread if spread > 0 else 1.0
            if ratio > 2 or (ratio < 0.5 and not reference.labels):
                odd.append(("standard deviation", mine.std(), spread))
            more = float((mine == 0).mean() - (other == 0).mean())
            if more > 0.2 or (more < -0.2 and not reference.labels):
                odd.append(("share of zeros", (mine == 0).mean(), (other == 0).mean()))
        for what, got, expected in odd:
            message = f"the {what} of {target} is unlike that of {reference.words}"
            found.report.add("S519", message, path=path, got=f"{got:.3f}", expected=f"about {expected:.3f}")


def compare_earlier(found: Submitted, others: Sequence[Path], task: Task, path: Path) -> list[Earlier]:
    """Returns how similar each other submission is, the most similar first; S520 is added where it is nearly the same.

    Args:
        found: The submission; its report is added to.
        others: Files of earlier submissions; ``path`` itself is left out.
        task: The challenge track.
        path: The submission's name.
    """
    row = {clip: index for index, clip in enumerate(found.ids)}
    near = []
    for other in sorted(others):
        if other.resolve() == path.resolve():
            continue
        ids, values = read_values(other, task)
        place = np.array([row.get(clip, -1) for clip in ids], dtype=np.intp)
        shared = place >= 0
        if shared.sum() < 2:
            near.append(Earlier(other, problem="it has other clips" if ids else "it is not a submission"))
            continue
        a, b = found.values[place[shared]], values[shared]
        same = len(row) == len(ids) == len(a) and bool((a == b).all())
        usable = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
        each = pearson(a[usable], b[usable])
        r = float(each[np.isfinite(each)].mean()) if np.isfinite(each).any() else float("nan")
        near.append(Earlier(other, r, same))
        if same:
            found.report.add("S520", f"it has the same values as {other.name}", path=path)
        elif near[-1].near:
            message = f"it is nearly the same as {other.name}"
            found.report.add("S520", message, path=path, got=f"mean r {r:.3f}", expected=f"below {NEARLY_THE_SAME}")
    return sorted(near, key=lambda one: (one.problem != "", -one.r if one.r == one.r else 2.0))


def read_values(path: Path, task: Task) -> tuple[Sequence[str], NDArray[np.float64]]:
    """Returns clip ids, and their values ``float64 [N, E]``; none when it is not a submission."""
    data = read_bytes(path)
    perfect = _read_perfect(data, task)
    if perfect is not None:
        return perfect
    found = examine(data, path, task)
    return found.ids, found.values


def _read_perfect(data: bytes, task: Task) -> tuple[Sequence[str], NDArray[np.float64]] | None:
    """Returns what :func:`read_values` does of a file in perfect form, many times faster; None of any other."""
    width, is_id = len(task.header), re.compile(task.ids.pattern).fullmatch
    try:
        lines = data.decode().splitlines()
        if task.submission.header and lines.pop(0) != ",".join(task.header):
            return None
        if not lines or any(line.count(",") != width - 1 for line in lines):
            return None
        cells = ",".join(lines).split(",")
        ids = cells[::width]
        del cells[::width]
        values = np.array(list(map(float, cells))).reshape(len(ids), width - 1)
    except (ValueError, IndexError):
        return None
    return (ids, values) if all(map(is_id, ids)) and len(set(ids)) == len(ids) else None


def earlier_files(workspace: Workspace) -> list[Path]:
    """Returns the CSVs in ``submissions/``, without corrected copies of others, and what else the ledger names."""
    known = [path for path in workspace.submissions.glob("*.csv") if not path.name.endswith(".fixed.csv")]
    known += [workspace.root / entry.file for entry in read_ledger(workspace)]
    return sorted({path.resolve(): path for path in reversed(known) if path.is_file() and path.name != NAME}.values())


def earlier_submissions(workspace: Workspace, found: Submitted, path: Path) -> list[Earlier]:
    """Returns what :func:`compare_earlier` does of all earlier submissions of the workspace, and which were sent.

    Args:
        workspace: The workspace.
        found: The submission; its report is added to.
        path: The submission's name.
    """
    sent = {entry.sha256: entry for entry in read_ledger(workspace) if entry.sent}
    made = []
    for one in compare_earlier(found, earlier_files(workspace), workspace.task, path):
        entry = sent.get(digest_file(one.path)) if sent else None
        made.append(one if entry is None else replace(one, sent=True, score=entry.score))
    return made
