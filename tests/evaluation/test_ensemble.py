"""Ensembles of run folders: seeds, folds, scores that do not flatter, and what is written."""

import json
from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.errors import UsageError
from abawkit.evaluation.compare import shared_held_out
from abawkit.evaluation.ensemble import ensemble
from abawkit.metrics import score
from abawkit.report.weights import write_weights
from abawkit.training.runs import Run
from abawkit.workspace import Workspace
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run, make_workspace

COUNT = 240


def made_members(root: Path) -> tuple[Workspace, list[Run]]:
    workspace = make_workspace(root)
    ids, truth, rng = clip_ids(100, COUNT), drawn_labels(COUNT), np.random.default_rng(1)
    runs = [
        make_run(workspace, f"{system}-s{seed}", ids, truth, truth + noise * rng.normal(size=truth.shape),
                 system=system, seed=seed, train=clip_ids(0, 50))
        for system, seed, noise in (("F1", 1, 0.5), ("F1", 2, 0.5), ("F3", 1, 2.0), ("F4", 1, 4.0))
    ]  # fmt: skip
    return workspace, runs


def test_seeds_are_one_member_and_the_reported_score_is_the_cross_fitted_one(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    made = ensemble(workspace, runs, method="nnls")
    assert made.config["averaged"]["F1 official"] == ["F1-s1", "F1-s2"] and len(made.metrics["weights"]) == 3
    row = next(one for one in made.metrics["methods"] if one["method"] == "nnls")
    assert made.metrics["scores"]["valid"]["mean_pearson"] == pytest.approx(row["cross_fitted"], abs=1e-3)
    predictions = made.predictions("valid", EMI)
    assert predictions.truth is not None
    assert score(EMI, predictions.truth, predictions.values).primary < row["optimistic"]
    assert [one["method"] for one in made.metrics["methods"]][:3] == ["best", "mean", "zmean"]
    assert set(made.metrics["without"]) == set(made.metrics["weights"])
    assert made.metrics["without"]["F1 official"] < row["cross_fitted"] - 0.1
    assert np.diag(made.metrics["correlations"]) == pytest.approx(np.ones(3))
    assert set(json.loads((made.path / "weights.json").read_text())["members"]) == set(made.metrics["weights"])
    assert write_weights(made, tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")


def test_auto_keeps_one_of_the_table_and_an_ensemble_can_be_a_member(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    inner = ensemble(workspace, runs[:3], method="auto")
    assert inner.metrics["method"] in {one["method"] for one in inner.metrics["methods"]}
    outer = ensemble(workspace, [inner, runs[3]], method="ridge")
    assert inner.name in outer.config["members"] and outer.train_ids == inner.train_ids
    assert shared_held_out([outer]) == tuple(clip_ids(100, COUNT))


def test_what_cannot_be_combined(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    with pytest.raises(UsageError, match="no such method"):
        ensemble(workspace, runs, method="magic")
    with pytest.raises(UsageError, match="not trained on a fold"):
        ensemble(workspace, runs, oof=True)
    ids, truth = clip_ids(100, COUNT), drawn_labels(COUNT)
    knows = make_run(workspace, "knows", ids, truth, truth + 0.1, train=ids)
    with pytest.raises(UsageError, match="share only 0 held-out clips"):
        ensemble(workspace, [runs[0], knows])


def test_out_of_fold_runs_cover_all_clips(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    ids, truth, rng = clip_ids(0, COUNT), drawn_labels(COUNT), np.random.default_rng(1)
    runs = []
    for fold in range(3):
        folder = workspace.splits / f"3fold-s42-{fold + 1}"
        folder.mkdir(parents=True)
        side = {"content": "0"}
        record = {
            "format": 2, "ratio": "2:1", "ratio_got": "2:1", "strategy": "random", "note": "", "content": "0",
            "subject_safe": False, "keep_train": False, "test_content": [], "seed": 42, "moved": 0, "held_out": 0,
            "counts": {"train": 160, "valid": 80, "test": 0}, "parent": {"train": side, "valid": side},
            "groups": None, "fold": {"set": "3fold-s42", "index": fold + 1, "of": 3},
        }  # fmt: skip
        (folder / "split.json").write_text(json.dumps(record))
        held = list(range(fold, COUNT, 3))
        names = [ids[i] for i in held]
        for system, noise in (("F1", 0.5), ("F3", 1.0)):
            values = truth[held] + noise * rng.normal(size=(len(held), 6))
            runs.append(
                make_run(workspace, f"{system}-{fold}", names, truth[held], values, system=system, split=folder.name,
                         train=sorted(set(ids) - set(names)))
            )  # fmt: skip
    with pytest.raises(UsageError, match="no run of fold 3 of 3"):
        ensemble(workspace, runs[:4], oof=True)
    with pytest.raises(UsageError, match="share only 0"):
        ensemble(workspace, runs)
    made = ensemble(workspace, runs, oof=True, method="nnls")
    assert made.valid_ids == tuple(ids) and not made.train_ids and len(made.metrics["weights"]) == 2
