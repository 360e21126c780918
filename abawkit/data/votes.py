"""Labels as votes: whether those of a file can be what a few raters voted for."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import Task
from abawkit.data.raters import fewest_raters
from abawkit.findings import Report

#: Labels that were computed in float32, or written with one or two digits, may differ by so much from k/N.
EXACT = 1e-6

_ROUNDED_DIGITS = 3


def tolerance(text: str) -> float:
    """Returns by how much a label may differ from k/N, by how it is written.

    Half a unit of the last digit, and at least a millionth. A number of one or two digits after the point counts as
    exact: within half a hundredth nearly every number is a share of some twenty votes.

    >>> tolerance("0.333"), tolerance("0.33"), tolerance("0.3333333333333333"), tolerance("3.33e-1")
    (0.0005, 1e-06, 1e-06, 0.0005)
    """
    exponent = Decimal(text.strip()).as_tuple().exponent
    digits = -exponent if isinstance(exponent, int) else 0
    return max(EXACT, 0.5 * 10.0**-digits) if digits >= _ROUNDED_DIGITS else EXACT


def check_votes(
    path: Path, task: Task, rows: Sequence[tuple[int, Sequence[str]]], values: NDArray[np.float64], report: Report
) -> None:
    """Adds one finding for all rows that are not shares of votes, and one for all that sum to more than 1.

    Args:
        path: The label file.
        task: What the challenge is; where its labels are not votes nothing is looked at.
        rows: Per good row its line in the file and its labels as they are written.
        values: The same labels as numbers, float64 [N, E].
        report: Takes the findings.
    """
    if task.most_raters is None or not rows:
        return
    wide = np.array([[tolerance(cell) for cell in cells] for _, cells in rows])
    odd = np.flatnonzero(fewest_raters(values, wide, task.most_raters) == 0)
    if len(odd):
        line, cells = rows[int(odd[0])]
        message = f"{_rows(len(odd))} with labels that are not shares k/N of the votes of N raters, the first here"
        expected = f"one N of at most {task.most_raters} for all labels of a clip"
        report.add("L214", message, path=path, line=line, got=",".join(cells)[:80], expected=expected)
    sums = values.sum(axis=1)
    over = np.flatnonzero(sums > 1 + wide.sum(axis=1))
    if len(over):
        line, _ = rows[int(over[0])]
        message = f"{_rows(len(over))} with labels that sum to more than 1, the first here"
        report.add("L215", message, path=path, line=line, got=f"{sums[over[0]]:.4g}", expected="at most 1")


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
