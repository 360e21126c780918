"""A system whose slots are called otherwise than their modalities goes through every later step."""

import json
from pathlib import Path

from abawkit.runs.run import find_run
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit
from tests.known_predictions import give_all_predictions
from tests.random_stores import random_workspace

SYSTEM = """
[slots.speech]
modality = "audio"
encoder = { kind = "mean_std", hidden = 4 }

[slots.words]
modality = "text"
encoder = { kind = "mlp", hidden = 4 }
normalize = true

[fusion]
kind = "concat"
hidden = 4

[training]
epochs = 2
"""


def test_from_training_to_a_verified_submission(tmp_path: Path) -> None:
    root = random_workspace(tmp_path, "[submit]\nmin_shared = 5\n").root
    (root / "systems").mkdir()
    (root / "systems" / "mine.toml").write_text(SYSTEM)
    for seed in ("1", "2"):
        done = abawkit(root, "train", "--system", "mine", "--seed", seed)
        assert done.exit_code == 0, done.output
    run = find_run(Workspace.open(root, environ={}), "mine-official-s1")
    assert run.model.features == {"speech": "audio/random-0", "words": "text/random-0"}
    evaluated = json.loads(abawkit(root, "evaluate", run.name, "--json").stdout)
    assert evaluated["scores"]["valid"]["n"] == 24
    assert abawkit(root, "predict", run.name, "--on", "test").exit_code == 0
    give_all_predictions(Workspace.open(root, environ={}))
    assert abawkit(root, "ensemble", "mine", "--method", "mean").exit_code == 0
    sent = abawkit(root, "submit", "--out", "a.csv", "--run", run.name, "--accept-coverage")
    assert sent.exit_code == 0, sent.output
    record = json.loads((root / "a.csv.json").read_text())
    assert record["runs"][0]["features"] == {"speech": "audio/random-0", "words": "text/random-0"}
    assert abawkit(root, "runs", "list").exit_code == 0 and abawkit(root, "runs", "show", run.name).exit_code == 0
    assert abawkit(root, "train", "--refit", run.name).exit_code == 0
