"""The figure of ``abawkit evaluate --plot``: predicted intensity against the mean label."""

from __future__ import annotations

from pathlib import Path

from abawkit.evaluation.scores import Evaluation
from abawkit.fileio import atomic_path
from abawkit.report.drawing import COLOURS, FAINT, minus, new_figure, settle, style


def write_calibration(found: Evaluation, path: Path) -> Path:
    """Returns ``path``, where the calibration plot was written atomically, as PNG.

    Raises:
        AbawkitError: The file cannot be written.
    """
    curves = [curve for curve in found.calibration if len(curve.bins) > 1]
    slopes = {curve.target: curve.slope for curve in curves}
    title = "No prediction varies"
    if slopes:
        worst = max(slopes, key=lambda target: abs(slopes[target] - 1))
        title = f"{found.run.name}: farthest from calibrated is {worst}, slope {minus(f'{slopes[worst]:.2f}')}"
    source = (
        "Clips in up to ten bins of about equally many, by prediction; points: mean label with its 95 % bootstrap "
        f"interval, resampled {found.resampled_by}. Grey: perfect calibration. Slope: of truth on prediction. "
        f"{found.scores.n:,} {found.on} clips."
    )
    columns = min(3, len(found.task.targets))
    rows = -(-len(found.task.targets) // columns)
    low, high = found.task.value_range
    with style():
        figure = new_figure(1.3 + 2.1 * rows, title, source)
        grid = figure.subplots(rows, columns, squeeze=False)
        for index, curve in enumerate(found.calibration):
            axes = grid[index // columns, index % columns]
            x = [each.prediction for each in curve.bins]
            y = [each.truth.value for each in curve.bins]
            ends = [(each.truth.low, each.truth.high) for each in curve.bins]
            axes.axline((0, 0), slope=1, color="#AAAAAA", linewidth=1.0)
            axes.vlines(x, [end[0] for end in ends], [end[1] for end in ends], colors=COLOURS["train"], linewidth=1.2)
            axes.plot(x, y, "o-", color=COLOURS["train"], markersize=3.5, linewidth=0.8)
            axes.set_title(curve.target, fontweight="bold")
            axes.annotate(
                f"slope {minus(f'{curve.slope:.2f}')}",
                (0.97, 0.05),
                xycoords="axes fraction",
                ha="right",
                fontsize=8,
                color=FAINT,
            )
            # The labels are sparse: the axes end where the bins do, alike in both directions.
            values = [value for value in (*x, *y, *(end for pair in ends for end in pair)) if value == value]
            first, last = min(values, default=low), max(values, default=high)
            margin = 0.06 * (last - first)
            axes.set(xlim=(first - margin, last + margin), ylim=(first - margin, last + margin))
            axes.grid(visible=True, axis="both")
            if index % columns == 0:
                axes.set_ylabel("mean label")
            if index >= len(found.task.targets) - columns:
                axes.set_xlabel("mean prediction")
        for axes in grid.flat[len(found.task.targets) :]:
            axes.set_visible(False)
        settle(figure)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")
    return path
