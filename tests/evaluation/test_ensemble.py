"""Ensembles of run folders: seeds, folds, scores that do not flatter, and what is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from abawkit.challenge import EMI
from abawkit.data.groups import write_groups
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.compare import shared_held_out
from abawkit.evaluation.crossfit import assign_folds, compare_methods
from abawkit.evaluation.ensemble import ensemble
from abawkit.evaluation.members import find_members
from abawkit.metrics import score
from abawkit.report.weights import write_weights
from abawkit.runs.predictions import write_predictions
from abawkit.runs.run import Run
from abawkit.workspace import Workspace
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_fold, make_run, make_workspace

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
    assert made.record.averaged["F1 official"] == ["F1-s1", "F1-s2"] and len(made.metrics.weights) == 3
    row = next(one for one in made.metrics.methods if one.method == "nnls")
    assert made.metrics.scores["valid"].mean_pearson == pytest.approx(row.cross_fitted, abs=1e-3)
    predictions = made.predictions("valid", EMI)
    assert predictions.truth is not None
    assert score(EMI, predictions.truth, predictions.values).primary < row.optimistic
    assert [one.method for one in made.metrics.methods][:3] == ["best", "mean", "zmean"]
    assert set(made.metrics.without) == set(made.metrics.weights)
    assert made.metrics.without["F1 official"] < row.cross_fitted - 0.1
    assert np.diag(made.metrics.correlations) == pytest.approx(np.ones(3))
    assert set(json.loads((made.path / "weights.json").read_text())["members"]) == set(made.metrics.weights)
    assert write_weights(made, tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")


def test_auto_keeps_one_of_the_table_and_an_ensemble_can_be_a_member(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    inner = ensemble(workspace, runs[:3], method="auto")
    assert inner.metrics.method in {one.method for one in inner.metrics.methods}
    outer = ensemble(workspace, [inner, runs[3]], method="ridge")
    assert inner.name in outer.record.members and outer.train_ids == inner.train_ids
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
        split = make_fold(workspace, "3fold-s42", fold + 1, 3)
        held = list(range(fold, COUNT, 3))
        names = [ids[i] for i in held]
        for system, noise in (("F1", 0.5), ("F3", 1.0)):
            values = truth[held] + noise * rng.normal(size=(len(held), 6))
            runs.append(
                make_run(workspace, f"{system}-{fold}", names, truth[held], values, system=system, split=split,
                         train=sorted(set(ids) - set(names)))
            )  # fmt: skip
    with pytest.raises(UsageError, match="no run of fold 3 of 3"):
        ensemble(workspace, runs[:4], oof=True)
    with pytest.raises(UsageError, match="share only 0"):
        ensemble(workspace, runs)
    with pytest.raises(UsageError, match=r"share only 0[\s\S]*--oof"):
        ensemble(workspace)
    made = ensemble(workspace, runs, oof=True, method="nnls")
    assert made.valid_ids == tuple(ids) and not made.train_ids and len(made.metrics.weights) == 2
    assert made.known_ids("test") == frozenset(ids), "every clip trained most of what predicts the test clips"
    others = [
        make_run(workspace, f"F{i}-x", ids, truth, truth + rng.normal(size=truth.shape), system=f"F{i}") for i in (1, 2)
    ]
    assert list(ensemble(workspace).record.members) == [run.name for run in others], "those on folds are left out"
    assert set(ensemble(workspace, oof=True).record.members) == {run.name for run in runs}
    path = runs[0].path / "clips.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"valid": list(runs[0].valid_ids[1:])}))
    runs[0] = Run.open(runs[0].path)
    assert set(ids) - set(ensemble(workspace, runs, oof=True, method="ridge").valid_ids) == {ids[0]}


def changed(run: Run, **config: Any) -> Run:
    path = run.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return Run.open(run.path)


def with_test(run: Run, seed: int) -> Run:
    ids, values = clip_ids(900, 30), np.random.default_rng(seed).random((30, 6))
    table = pd.DataFrame(values, index=pd.Index(ids, name=EMI.id_column), columns=list(EMI.targets))
    write_predictions(run.path / "predictions" / "test.csv", table.sample(frac=1, random_state=seed))  # in any order
    return run


def test_runs_of_one_system_that_differ_in_more_than_the_seed_are_no_seeds(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    other = changed(runs[1], definition={"hyperparameters": {"lr": 0.1}})
    names = [member.name for member in find_members(workspace, [runs[0], other, runs[2]])[0]]
    assert names == ["F1-s1", "F1-s2", "F3-s1"]
    ids, truth = clip_ids(100, COUNT), drawn_labels(COUNT)
    third = changed(
        make_run(workspace, "F1-s3", ids, truth, truth + 0.1, system="F1", seed=3),
        definition=other.model.definition,
    )
    fourth = make_run(workspace, "F1-s4", ids, truth, truth + 0.1, system="F1", seed=4)
    names = [member.name for member in find_members(workspace, [runs[0], other, third, fourth])[0]]
    assert names == ["F1-s1 and 1 more", "F1-s2 and 1 more"]


def test_the_prediction_of_seeds_is_their_mean_joined_by_clip(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    path = runs[1].path / "predictions" / "valid.csv"
    table = pd.read_csv(path, dtype={EMI.id_column: str}).set_index(EMI.id_column)
    write_predictions(path, table.iloc[::-1])
    (member, other), shared = find_members(workspace, [runs[0], runs[1], runs[2]])
    expected = (runs[0].predictions("valid", EMI).of(shared) + table.loc[shared, list(EMI.targets)].to_numpy()) / 2
    assert member.of(shared) == pytest.approx(expected) and member.truth_of(shared) == pytest.approx(
        drawn_labels(COUNT)
    )
    assert other.of(shared[::-1]) == pytest.approx(runs[2].predictions("valid", EMI).values[::-1])


def test_members_with_other_labels_of_the_same_clips_are_not_combined(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    ids, truth = clip_ids(100, COUNT), drawn_labels(COUNT, 8)
    other = make_run(workspace, "F5", ids, truth, truth + 0.1, system="F5")
    with pytest.raises(AbawkitError, match="different labels of the same clips"):
        ensemble(workspace, [*runs, other])


def test_a_member_that_always_says_the_same_is_refused(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    truth = drawn_labels(COUNT)
    values = truth + np.random.default_rng(3).normal(size=truth.shape)
    values[:, 2] = 0.1
    flat = make_run(workspace, "F5", clip_ids(100, COUNT), truth, values, system="F5")
    with pytest.raises(AbawkitError, match="F5 cannot be a member: its prediction of Determination is constant"):
        ensemble(workspace, [*runs, flat])


def test_clips_of_a_group_are_in_one_fold_of_the_cross_fitting(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    ids, truth = clip_ids(100, COUNT), drawn_labels(COUNT)
    keys = [f"p{number // 12}" for number in range(COUNT)]
    write_groups(tmp_path / "groups.csv", EMI, dict(zip(ids, keys, strict=True)), "subject")
    made = ensemble(workspace, runs, method="nnls", folds=4, groups=tmp_path / "groups.csv")
    values = np.stack([member.of(ids) for member in find_members(workspace, runs)[0]])
    expected = compare_methods(values, truth, assign_folds(COUNT, 4, groups=keys), groups=keys)
    assert [one.cross_fitted for one in made.metrics.methods] == pytest.approx([one.score for one in expected])
    assert made.metrics.by_group and made.metrics.folds == 4


def test_refits_that_cannot_stand_for_their_parents(tmp_path: Path) -> None:
    workspace, runs = made_members(tmp_path)
    runs = [with_test(run, seed) for seed, run in enumerate(runs)]
    ids, truth = clip_ids(100, COUNT), drawn_labels(COUNT)

    def refit(name: str, parent: str) -> Run:
        made = make_run(workspace, name, (), truth[:0], truth[:0], system="F1", train=[*clip_ids(0, 50), *ids])
        return changed(made, parent=parent, scorable=False)

    first = refit("refit-a", "F1-s1")
    with pytest.raises(AbawkitError, match="refit-a has no predictions for the test clips"):
        ensemble(workspace, [first, runs[2]])
    with_test(first, 9)
    with pytest.raises(UsageError, match="two refits of F1-s1"):
        ensemble(workspace, [first, with_test(refit("refit-b", "F1-s1"), 8), runs[2]])
    with pytest.raises(AbawkitError, match="its parent is gone"):
        ensemble(workspace, [with_test(refit("refit-c", "gone"), 8), runs[2]])
    with pytest.raises(UsageError, match="at least two runs"):
        ensemble(workspace, [first, runs[0]])
    made = ensemble(workspace, [first, *runs], method="best")
    assert made.record.refits == {"F1-s1": "refit-a"} and made.record.averaged["F1 official"] == [
        "refit-a",
        "F1-s2",
    ]
    ids = clip_ids(900, 30)
    each = [run.predictions("test", EMI).of(ids) for run in (first, runs[1])]
    expected, found = np.mean(each, axis=0), made.predictions("test", EMI).of(ids)
    assert [np.corrcoef(a, b)[0, 1] for a, b in zip(expected.T, found.T, strict=True)] == pytest.approx([1.0] * 6)
    assert made.train_ids == frozenset(clip_ids(0, 50)) and made.known_ids("test") >= set(made.valid_ids)
    made.refuse_leak(made.valid_ids)
    with pytest.raises(AbawkitError, match=f"trained on {COUNT} of these clips"):
        made.refuse_leak(made.valid_ids, "test")
    outer = ensemble(workspace, [made, runs[2]])
    assert outer.known_ids("test") >= set(made.valid_ids), "what a member's refits know, the outer ensemble knows"
    assert outer.train_ids.isdisjoint(made.valid_ids)
