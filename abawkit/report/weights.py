"""The figure of ``abawkit ensemble --plot``: the weight of each member, per target."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abawkit.fileio import atomic_path
from abawkit.report.drawing import minus, new_figure, settle, style
from abawkit.runs.run import Ensemble


def write_weights(made: Ensemble, path: Path) -> Path:
    """Returns ``path``, where the heat map of an ensemble's weights was written atomically, as PNG.

    Raises:
        AbawkitError: The file cannot be written.
    """
    weights = made.metrics.weights
    names, targets = list(weights), list(next(iter(weights.values())))
    matrix = np.array([[weights[name][target] for target in targets] for name in names])
    limit = float(np.abs(matrix).max())
    title = f"{made.name}: weights by {made.metrics.method}"
    source = (
        "Weights of the members, standardised per target; their absolute values sum to 1 per target. "
        f"Fitted on {made.metrics.scores['valid'].n:,} shared held-out clips."
    )
    with style():
        figure = new_figure(1.6 + 0.4 * len(names), title, source)
        axes = figure.subplots()
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        for row, column in np.ndindex(matrix.shape):
            value = float(matrix[row, column])
            dark = abs(value) > 0.6 * limit
            text = minus(f"{value:.2f}")
            axes.text(column, row, text, ha="center", va="center", color="white" if dark else "#222222")
        axes.set_xticks(range(len(targets)), [target.replace(" ", "\n") for target in targets])
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        figure.colorbar(image, ax=axes, label="weight", pad=0.02, aspect=30)
        settle(figure)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")
    return path
