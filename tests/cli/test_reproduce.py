"""``train`` with several systems and seeds, ``reproduce``, ``train --refit``, through the program."""

import json
from pathlib import Path

import pytest

from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit
from tests.known_predictions import give_all_predictions
from tests.random_stores import random_workspace

FEW = "".join(f"{stage}_epochs = 3\n" for stage in ("text", "audio", "vision", "motion", "fusion"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return random_workspace(tmp_path, f"[training]\nbatch_size = 8\nhidden = 8\n{FEW}").root


def test_the_papers_tables_at_80_columns(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    needs = abawkit(root, "reproduce")
    assert needs.exit_code == 2 and "4:1" in needs.stderr
    assert abawkit(root, "resplit", "--ratio", "4:1").exit_code == 0
    shown = abawkit(root, "reproduce", "--seeds", "2")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for system in ("F1", "F2", "F3", "F4", "F5"):
        row = next(line for line in lines if line.strip().startswith(f"{system} "))
        assert "valid" in row and "[" in row and "]" in row, "one line each"
    assert any("Excitement" in line and "motion" in line for line in lines)
    record = json.loads(abawkit(root, "reproduce", "--seeds", "2", "--json").stdout)
    assert len(record["runs"]) == 10 and len(record["table4"]) == 4


def test_several_systems_and_seeds(root: Path) -> None:
    made = abawkit(root, "train", "--system", "F1,F5", "--seeds", "2", "--json")
    assert made.exit_code == 0, made.output
    record = json.loads(made.stdout)
    assert [(one["system"], one["seeds"]) for one in record["systems"]] == [("F1", 2), ("F5", 2)]
    assert sorted({run["seed"] for run in record["runs"]}) == [42, 43]
    assert abawkit(root, "train", "--system", "F1,F9").exit_code == 2


def test_refit_and_what_can_be_done_with_it(root: Path) -> None:
    first = json.loads(abawkit(root, "train", "--system", "F1", "--json").stdout)
    name = Path(first["run"]).name
    made = json.loads(abawkit(root, "train", "--refit", name, "--json").stdout)
    again = Path(made["run"]).name
    assert made["parent"] == name and made["scores"] == {}
    shown = abawkit(root, "runs", "show", again)
    assert "none (parent: " in " ".join(shown.stdout.split())
    assert abawkit(root, "runs", "list").exit_code == 0
    refused = abawkit(root, "evaluate", again)
    assert refused.exit_code == 1 and "trained on all labelled clips" in " ".join(refused.stderr.split())
    give_all_predictions(Workspace.open(root, environ={}))
    written = abawkit(root, "submit", "--run", again, "--out", "all.csv")
    assert written.exit_code == 0, written.output
    assert abawkit(root, "train", "--refit", again).exit_code == 2
