"""A workspace of runs with drawn predictions of validation and test clips, made without media, models or training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawkit.challenge import EMI
from abawkit.metrics import score
from abawkit.runs.predictions import write_predictions
from abawkit.runs.records import ClipIds, ParentScores, RunMetrics, SideScores
from abawkit.runs.run import Run
from abawkit.workspace import Workspace
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run

VALID, TEST = 400, 300
VALID_IDS, TEST_IDS = clip_ids(100, VALID), clip_ids(12660, TEST)
TRUTH = drawn_labels(VALID)
HIDDEN = drawn_labels(TEST, 1)


def entry_workspace(root: Path, config: str = "") -> Workspace:
    """Returns a workspace whose challenge folder has labels and a list of test clips."""
    challenge = root / "challenge"
    challenge.mkdir(parents=True)
    for name, ids, values in (("train", clip_ids(0, 100), drawn_labels(100, 2)), ("valid", VALID_IDS, TRUTH)):
        rows = [",".join((clip, *map(repr, map(float, row)))) for clip, row in zip(ids, values, strict=True)]
        (challenge / f"{name}_split.csv").write_text("\n".join([",".join(EMI.header), *rows]) + "\n")
    (challenge / "test_split.csv").write_text("\n".join([EMI.id_column, *TEST_IDS]) + "\n")
    (root / "abawkit.toml").write_text(f'data = "challenge"\n{config}')
    return Workspace.open(root, environ={})


def predicted(truth: NDArray[np.float64], seed: int, noise: float, shared: float = 0.0) -> NDArray[np.float64]:
    """Returns predictions within (0, 1): truth and noise, of which the share ``shared`` is that of all with it."""
    own = np.random.default_rng([seed, len(truth)]).normal(size=truth.shape)
    common = np.random.default_rng([999, len(truth)]).normal(size=truth.shape)
    return 0.4 + 0.05 * (truth + noise * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own))


def make_entry(
    workspace: Workspace,
    name: str,
    *,
    noise: float = 2.0,
    seed: int = 1,
    shared: float = 0.0,
    rows: slice = slice(None),
    system: str = "F3",
    split: str = "official",
    number: int = 42,
    test: NDArray[np.float64] | None = None,
) -> Run:
    """Makes a run, validated on the clips ``rows`` and trained on the other validation clips, and returns it."""
    ids = VALID_IDS[rows]
    valid = predicted(TRUTH, seed, noise, shared)[rows]
    train = sorted({*clip_ids(0, 100), *VALID_IDS} - set(ids))
    run = make_run(workspace, name, ids, TRUTH[rows], valid, system=system, split=split, seed=number, train=train)
    write_test(run, predicted(HIDDEN, seed, noise, shared) if test is None else test)
    return run


def make_refit(workspace: Workspace, parent: Run, test: NDArray[np.float64], number: int = 42) -> Run:
    """Makes a refit of the run and returns it."""
    path = workspace.runs / f"refit-{parent.name}"
    path.mkdir()
    parent.record.model_copy(update={"parent": parent.name, "scorable": False, "seed": number}).write(path)
    ClipIds(train=tuple(VALID_IDS), valid=()).write(path)
    scores = SideScores.of(score(EMI, TRUTH, predicted(TRUTH, 1, 2.0)))
    RunMetrics(scores={}, parent=ParentScores(run=parent.name, scores={"valid": scores})).write(path)
    run = Run.open(path)
    write_test(run, test)
    return run


def write_test(run: Run, values: NDArray[np.float64], ids: Sequence[str] = tuple(TEST_IDS)) -> None:
    """Writes predictions of test clips into the run."""
    table = pd.DataFrame(values, columns=list(EMI.targets), index=pd.Index(list(ids), name=EMI.id_column))
    write_predictions(run.path / "predictions" / "test.csv", table)
