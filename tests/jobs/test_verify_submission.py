"""A submission is made again from models and stores, byte for byte, and what differs is named."""

import json
from pathlib import Path

import pytest

from abawkit.errors import AbawkitError
from abawkit.jobs.verify_submission import verify_submission
from abawkit.submission.write import submit
from abawkit.training.runs import find_run, list_runs
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit


def test_a_run_and_an_ensemble(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F4")
    made = submit(workspace, Path("a.csv"), run=run, decimals=4, int_ids=True, accept_coverage=True)
    saved = run.path / "predictions" / "test.csv"
    before = saved.read_bytes()
    found = verify_submission(workspace, made.path)
    assert found.same and found.difference == 0 and found.where == "" and found.changed == ()
    assert found.members.keys() == {run.name} and found.members[run.name] < 1e-6
    assert saved.read_bytes() == before
    (ensemble,) = [one for one in list_runs(workspace) if one.is_ensemble]
    made = submit(workspace, Path("b.csv"), run=ensemble, accept_coverage=True)
    found = verify_submission(workspace, made.path)
    assert found.same and found.members.keys() == set(ensemble.config["members"])
    assert max(found.members.values()) < 1e-6


def test_a_changed_file_and_changed_predictions(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F1")
    made = submit(workspace, Path("a.csv"), run=run, accept_coverage=True)
    text = made.path.read_text()
    lines = text.splitlines()
    cells = lines[3].split(",")
    cells[2] = f"{(float(cells[2]) + 0.5) % 1:.6f}"
    made.path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    found = verify_submission(workspace, made.path)
    assert not found.same and found.difference == pytest.approx(0.5) and found.where == f"Amusement of {cells[0]}"
    assert found.changed == ("the file was changed after it was written",)
    result = abawkit(trained_copy, "submit", "--verify", "a.csv")
    assert result.exit_code == 3 and f"Amusement of {cells[0]}" in result.stdout
    made.path.write_text(text)
    result = abawkit(trained_copy, "submit", "--verify", "a.csv", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["same"] is True
    saved = run.path / "predictions" / "test.csv"
    saved.write_text(saved.read_text().replace("0.1", "0.2"))
    found = verify_submission(workspace, made.path)
    assert (
        found.same and len(found.changed) == 1 and found.members[run.name] > 0.01
    )  # it was made again, not read again
    made.path.with_name("a.csv.json").unlink()
    with pytest.raises(AbawkitError, match="no such file"):
        verify_submission(workspace, made.path)
