"""Fold training, out-of-fold ensembles and refits as a person types them, through real training of a few epochs.

What the runs then predict is drawn, so that the ensembles do not depend on the weights.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.jobs.verify_submission import combined
from abawkit.metrics import score
from abawkit.runs.run import Run, list_runs
from tests.cli.program import run
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run, make_workspace
from tests.known_predictions import give_all_predictions, give_predictions
from tests.random_stores import TEST, TRAIN, VALID, random_workspace

CONFIG = """
[training]
text_epochs = 2
audio_epochs = 2
vision_epochs = 2
motion_epochs = 2
fusion_epochs = 2
hidden = 8
motion_hidden = 4
fusion_hidden = 8
"""


def record(folder: Path, *arguments: str) -> dict[str, Any]:
    result = run(folder, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_fold_set_is_trained_and_combined_out_of_fold(tmp_path: Path) -> None:
    workspace = random_workspace(tmp_path, CONFIG)
    in_turn = ("--set", "training.workers=1")  # without processes, whose start takes seconds
    result = run(tmp_path, "train", "--system", "F1", "--fold", "all")
    assert result.exit_code == 2 and "abawkit resplit --folds" in result.stderr
    result = run(tmp_path, "resplit", "--folds", "3")
    assert "abawkit train --system F4 --fold all --split 3fold-s42" in result.stdout
    one = record(tmp_path, "train", "--system", "F1", "--fold", "2", "--split", "3fold-s42")
    assert one["split"] == "3fold-s42-2"
    result = run(tmp_path, "ensemble", "--oof")
    assert result.exit_code == 2 and "at least two runs on folds" in result.stderr
    before = {path: path.stat().st_mtime_ns for path in Path(one["run"]).rglob("*") if path.is_file()}
    made = record(tmp_path, "train", "--system", "F1", "--fold", "all", "--seeds", "2", *in_turn)
    assert [(each["split"], each["seed"]) for each in made["runs"]] == [
        (f"3fold-s42-{index}", seed) for index in (1, 2, 3) for seed in (42, 43)
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the finished run is found again"
    assert [(each["split"], each["seeds"]) for each in made["systems"]] == [(f"3fold-s42-{i}", 2) for i in (1, 2, 3)]
    made = record(tmp_path, "train", "--system", "F1,F2", "--fold", "all", *in_turn)
    assert [each["system"] for each in made["runs"]] == ["F1"] * 3 + ["F2"] * 3

    give_all_predictions(workspace)
    found = record(tmp_path, "ensemble", "--oof", "--method", "zmean")
    assert list(found["members"]) == ["F1 3fold-s42", "F2 3fold-s42"]
    ensemble = Run.open(Path(found["run"]))
    assert len(ensemble.valid_ids) == TRAIN + VALID and not ensemble.train_ids
    runs = {name: Run.open(workspace.runs / name) for name in ensemble.record.members}
    for system, expected in found["members"].items():
        held = [each for each in runs.values() if f"{each.record.system} 3fold-s42" == system]
        assert len(held) == (6 if system.startswith("F1") else 3)
        truth, values = [], []
        for index in (1, 2, 3):
            seeds = [each for each in held if each.record.split.endswith(f"-{index}")]
            tables = [each.predictions("valid", EMI) for each in seeds]
            assert all(not each.train_ids & set(tables[0].ids) for each in seeds)
            values.append(np.mean([table.of(tables[0].ids) for table in tables], axis=0))
            truth.append(tables[0].truth_of(tables[0].ids))
        assert score(EMI, np.concatenate(truth), np.concatenate(values)).mean_pearson == pytest.approx(expected)
    test = ensemble.predictions("test", EMI)
    weights = json.loads((ensemble.path / "weights.json").read_text())
    standard = np.zeros((TEST, 6))
    for place, name in enumerate(weights["members"]):
        mean = np.mean([runs[each].predictions("test", EMI).of(test.ids) for each in ensemble.record.averaged[name]], 0)
        standard += (mean - np.array(weights["mean"][place])) / np.array(weights["std"][place]) / 2
    assert [np.corrcoef(a, b)[0, 1] for a, b in zip(standard.T, test.values.T, strict=True)] == pytest.approx([1.0] * 6)
    plain = run(tmp_path, "ensemble")
    assert plain.exit_code == 2 and "--oof" in plain.stderr


def test_a_refit_predicts_the_test_clips_in_its_parents_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    workspace = random_workspace(tmp_path, CONFIG + "[submit]\nmin_shared = 20\n")
    for system in ("F1", "F2"):
        record(tmp_path, "train", "--system", system)
    give_all_predictions(workspace)
    plain = record(tmp_path, "ensemble", "--method", "nnls")
    result = run(tmp_path, "ensemble", "--with-refits")
    assert result.exit_code == 2 and "abawkit train --refit F1" in result.stderr
    assert run(tmp_path, "train", "--refit", "F2", "--fold", "all").exit_code == 2
    parent = Path(record(tmp_path, "train", "--refit", "F2")["parent"])
    refit = next(each for each in list_runs(workspace) if each.parent is not None)
    give_predictions(refit)
    result = run(tmp_path, "ensemble", "--method", "nnls", "--with-refits")
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert f"{refit.name} predicts the test clips in the place of {parent}" in told
    assert "without a refit, these predict the test clips themselves: F1-official" in " ".join(result.stderr.split())
    found = record(tmp_path, "ensemble", "--method", "nnls", "--with-refits")
    assert found["refits"] == {str(parent): refit.name} and found["run"] != plain["run"]
    for key in ("scores", "weights", "methods", "correlations", "without"):
        assert found[key] == plain[key], f"{key} are the parents'"
    made, other = Run.open(Path(found["run"])), Run.open(Path(plain["run"]))
    assert made.train_ids == other.train_ids
    assert made.predictions("valid", EMI).table.equals(other.predictions("valid", EMI).table)
    assert not np.allclose(made.predictions("test", EMI).values, other.predictions("test", EMI).values)
    assert refit.name in made.record.members and str(parent) in made.record.members
    names = made.record.members
    tests = {name: Run.open(workspace.runs / name).predictions("test", EMI) for name in names}
    ids = made.predictions("test", EMI).ids
    again = combined(workspace, made, {name: one.of(ids) for name, one in tests.items()})
    assert again == pytest.approx(made.predictions("test", EMI).values), "its record says how to make it again"
    first = next(each.name for each in list_runs(workspace) if each.record.system == "F1")
    assert record(tmp_path, "ensemble", first, refit.name, "--method", "nnls")["run"] == found["run"]
    both = record(tmp_path, "ensemble", first, str(parent), refit.name, "--method", "nnls")
    assert both["run"] == found["run"], "a parent and its refit are one member"

    leaked = tmp_path / "labels.csv"
    leaked.write_text((workspace.data / "valid_split.csv").read_text())
    (made.path / "predictions" / "test.csv").write_bytes((made.path / "predictions" / "valid.csv").read_bytes())
    (other.path / "predictions" / "test.csv").write_bytes((other.path / "predictions" / "valid.csv").read_bytes())
    result = run(tmp_path, "evaluate", made.name, "--on", "test", "--labels", "labels.csv")
    assert result.exit_code == 1 and f"trained on {VALID} of these clips" in result.stderr
    assert run(tmp_path, "evaluate", other.name, "--on", "test", "--labels", "labels.csv").exit_code == 0
    (refit.path / "predictions" / "test.csv").unlink()
    result = run(tmp_path, "ensemble", first, refit.name)
    assert result.exit_code == 1 and f"abawkit predict {refit.name} --on test" in " ".join(result.stderr.split())


def test_the_tables_fit_eighty_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    workspace = make_workspace(tmp_path)
    ids, truth, rng = clip_ids(100, 120), drawn_labels(120), np.random.default_rng(1)
    for seed in range(10):
        values = truth + (1 + seed) * rng.normal(size=truth.shape)
        make_run(workspace, f"F{seed}-official-s42-1a2b3c4d", ids, truth, values, system=f"F{seed}")
    result = run(tmp_path, "ensemble", "--folds", "4")
    assert result.exit_code == 0 and max(map(len, result.stdout.splitlines())) <= 80
    assert "cross-fitted with 4 folds by clip" in result.stdout and "10 F9-official-s42-1a2b3c4d" in result.stdout
    found = record(tmp_path, "ensemble", "--folds", "4")
    lines = result.stdout.split("correlate with one another")[1].splitlines()
    last = next(line for line in lines if line.startswith(" 10 "))
    shown = [float(text.replace("−", "-")) for text in last.split()[1:]]
    assert shown == pytest.approx(found["correlations"][9][:9], abs=0.0051)
    assert run(tmp_path, "ensemble", "--folds", "1").exit_code == 2
    assert record(tmp_path, "ensemble", "--folds", "3")["folds"] == 3
