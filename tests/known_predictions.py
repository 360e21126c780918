"""Known predictions in the place of a training's, so that no test depends on which weights one processor comes to."""

import numpy as np

from abawkit.challenge import EMI, SIDES
from abawkit.runs.predictions import read_predictions, write_predictions
from abawkit.runs.run import Ensemble, Run, list_runs
from abawkit.workspace import Workspace


def give_predictions(run: Run) -> None:
    """Overwrites whatever the run predicts with values that its name and the clips determine.

    On clips whose truth is known they are near it; a few are below 0, as a model's are. No column is constant, not even
    when it is cut off at 0 and 1: the first two clips have values between.
    """
    about = f"{run.record.system} {run.record.split} {run.record.seed} {'refit' if run.parent else 'run'}"
    for side in SIDES:
        path = run.path / "predictions" / f"{side}.csv"
        if not path.exists():
            continue
        found = read_predictions(path, EMI)
        table = found.table.copy()
        for column in table.columns:
            if column == "missing" or column.startswith(("truth.", "frames.")):
                continue
            assert np.isfinite(table[column]).all(), "whatever the weights"
            rng = np.random.default_rng(list(f"{about} {side} {column}".encode()))
            near = rng.choice([0, 0, 0, 1 / 3, 2 / 3], len(table))
            if found.truth is not None:
                near = found.truth[:, EMI.targets.index(column.rpartition(":")[2])]
            values = 0.1 + 0.5 * near + rng.normal(0, 0.1, len(table))
            values[:2] = 0.2, 0.3
            table[column] = values
        write_predictions(path, table)


def give_all_predictions(workspace: Workspace) -> None:
    """Does so with every finished run that is not an ensemble."""
    for run in list_runs(workspace):
        if not isinstance(run, Ensemble):
            give_predictions(run)
