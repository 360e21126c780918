"""The leaderboard file is written right, and from the right run."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.challenge import EMI
from abawkit.errors import AbawkitError, FindingsError, UsageError
from abawkit.runs.predictions import write_predictions
from abawkit.runs.run import Ensemble, find_run, list_runs
from abawkit.submission.write import choose_run, render, submit
from abawkit.workspace import Workspace
from tests.submission.broken import text_of


@given(st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=3, max_size=8), st.booleans())
@settings(max_examples=30, deadline=None)
def test_what_is_rendered_reads_back(values: list[list[float]], int_ids: bool) -> None:
    ids = [f"{number:05d}" for number in range(7, 7 + len(values))][::-1]
    rows = list(csv.reader(io.StringIO(render(EMI, ids, np.array(values), int_ids=int_ids))))
    assert rows[0] == list(EMI.header)
    assert [row[0] for row in rows[1:]] == [str(int(i)) if int_ids else i for i in sorted(ids)]
    read = {row[0].zfill(5): [float(cell) for cell in row[1:]] for row in rows[1:]}
    for clip, row in zip(ids, values, strict=True):
        np.testing.assert_allclose(read[clip], row, atol=5.01e-7)


def test_submitting(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    made = submit(workspace, Path("submissions/team.csv"))
    assert made.path == predicted_copy / "submissions" / "team.csv" and made.report.ok
    (newest,) = [run for run in list_runs(workspace) if isinstance(run, Ensemble)]
    assert made.record.run == newest.name  # without --run: the newest ensemble
    record = json.loads((predicted_copy / "submissions" / "team.csv.json").read_text())
    assert {run["system"] for run in record["runs"]} == {"F1", "F4"} and record["rows"] == 12
    rows = list(csv.reader(made.path.read_text().splitlines()))
    ids = sorted(path.stem for path in (workspace.data / "test_data" / "raw").glob("*.mp4"))
    assert [row[0] for row in rows[1:]] == ids
    predictions = newest.predictions("test", EMI)
    expected = np.clip(predictions.of(ids), 0, 1)
    np.testing.assert_allclose(np.array([row[1:] for row in rows[1:]], float), expected, atol=5.01e-7)
    clipped = int(((predictions.values < 0) | (predictions.values > 1)).sum())
    assert record["clipped_values"] == clipped
    submit(workspace, Path("submissions/team.csv"))  # the same content again does no harm
    with pytest.raises(UsageError, match="another submission in this file"):
        submit(workspace, Path("submissions/team.csv"), run=find_run(workspace, "F1"))
    submit(workspace, Path("submissions/team.csv"), run=find_run(workspace, "F1"), force=True)


def test_a_file_that_would_be_refused_is_not_written(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    run = find_run(workspace, "F1")
    path = run.path / "predictions" / "test.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    column = rows[0].index("Joy")
    for row in rows[1:]:
        row[column] = "0.25"
    path.write_text(text_of(rows))
    with pytest.raises(FindingsError, match=r"S510.*every value of Joy is the same"):
        submit(workspace, Path("submissions/x.csv"), run=run)
    assert not (predicted_copy / "submissions" / "x.csv").exists()


def test_test_clips_without_prediction_are_named(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    run = find_run(workspace, "F4")
    path = run.path / "predictions" / "test.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(AbawkitError, match="2 of 12 test clips have no prediction") as caught:
        submit(workspace, Path("x.csv"), run=run)
    assert caught.value.todo and f"abawkit predict {run.name} --on test" in caught.value.todo


def test_without_an_ensemble_the_best_run_on_shared_clips(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    for run in list_runs(workspace):
        if isinstance(run, Ensemble):
            shutil.rmtree(run.path)
    best = max(list_runs(workspace), key=lambda run: _shared_score(workspace, run.name))
    assert choose_run(workspace).name == best.name
    strict = Workspace.open(predicted_copy, environ={}, overrides={"submit.min_shared": 50})
    with pytest.raises(UsageError, match="too few to say which is best"):
        choose_run(strict)
    shutil.rmtree(workspace.runs)
    with pytest.raises(UsageError, match="no finished run"):
        choose_run(workspace)


def _shared_score(workspace: Workspace, name: str) -> float:
    from abawkit.evaluation.compare import shared_held_out
    from abawkit.metrics import score

    runs = list_runs(workspace)
    predictions = find_run(workspace, name).predictions("valid", EMI)
    shared = shared_held_out(runs)
    return score(EMI, predictions.truth_of(shared), predictions.of(shared)).primary


def test_decimals_and_clipping(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    run = find_run(workspace, "F4")
    table = run.predictions("test", EMI).table
    table.loc[table.index[:3], "Joy"] = [-0.25, 0.0, 1.5]
    write_predictions(run.path / "predictions" / "test.csv", table)
    outside = int(((table[list(EMI.targets)] < 0) | (table[list(EMI.targets)] > 1)).sum().sum())
    made = submit(workspace, Path("three.csv"), run=run, decimals=3, int_ids=True)
    second = made.path.read_text().splitlines()[1].split(",")
    assert second[0] == str(int(run.predictions("test", EMI).ids[0])) and len(second[1]) == 5
    assert made.record.clipped_values == outside >= 2
    with pytest.raises(FindingsError, match="S509"):
        submit(workspace, Path("raw.csv"), run=run, clip=False)
    wide = replace(EMI, value_range=(-9.0, 9.0))
    assert submit(replace(workspace, task=wide), Path("wide.csv"), run=run).record.clipped_values == 0
