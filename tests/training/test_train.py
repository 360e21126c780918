"""Several systems and seeds, refits, and the policies for clips that lack a modality."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from abawkit.data.labels import write_labels
from abawkit.data.splits.resplit import find_split, resplit
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.scores import evaluate
from abawkit.evaluation.seeds import over_seeds
from abawkit.features.spec import Status
from abawkit.features.store import choose_store
from abawkit.fileio import digest_json
from abawkit.jobs.reproduce import TABLE_4, reproduce
from abawkit.metrics import score
from abawkit.models.network import Network
from abawkit.optim.losses import CccMse
from abawkit.optim.optimizer import adamw, parameter_groups
from abawkit.optim.schedules import Plateau, Replay
from abawkit.progress import SILENT
from abawkit.runs.run import Run, list_runs
from abawkit.systems.loader import load_system
from abawkit.systems.schema import System
from abawkit.training.checkpoint import load_weights
from abawkit.training.loop import fit
from abawkit.training.placement import InPlace
from abawkit.training.predict import predict
from abawkit.training.stage import slot_stage
from abawkit.training.train import refit, train, train_many
from abawkit.training.train_run import deterministic
from abawkit.training.work import Request, prepare
from abawkit.workspace import Workspace
from tests.random_stores import TRAIN, VALID, random_workspace

FEW: dict[str, Any] = {f"training.{stage}_epochs": 4 for stage in ("text", "audio", "vision", "motion", "fusion")}
FEW |= {"training.hidden": 8, "training.motion_hidden": 4, "training.fusion_hidden": 8, "training.batch_size": 8}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return opened(random_workspace(tmp_path).root)


def opened(root: Path, **more: Any) -> Workspace:
    given = {key.replace("__", "."): value for key, value in more.items()}
    return Workspace.open(root, environ={}, overrides={**FEW, **given})


def files(run: Run) -> dict[str, bytes]:
    names = ("model.safetensors", "predictions/valid.csv", "predictions/test.csv", "history.csv", "metrics.json")
    return {name: (run.path / name).read_bytes() for name in names}


def test_short_names_and_paths_are_recorded_and_followed(workspace: Workspace) -> None:
    values: dict[str, Any] = {
        "training.lr": 1e-3, "training.encoder_lr_scale": 0.1, "training.weight_decay": 0.02,
        "training.clip_norm": 0.5, "training.patience": 2, "training.fusion_patience": 3, "training.dropout": 0.2,
        "training.modality_dropout": 0.1, "training.alpha": 0.5, "training.min_delta": 1e-3,
        "training.lr_factor": 0.25, "training.frozen_encoders": True, "training.missing": "learned",
        "training.hidden": 7, "training.motion_hidden": 3, "training.fusion_hidden": 5, "training.batch_size": 9,
        "training.text_epochs": 1, "training.audio_epochs": 2, "training.vision_epochs": 1,
        "training.motion_epochs": 2, "training.fusion_epochs": 1, "slots.audio.encoder.dropout": 0.3,
    }  # fmt: skip
    run = train(Workspace.open(workspace.root, environ={}, overrides=values), "F2")
    system = System.model_validate(run.model.definition)
    how, fusion = system.training, system.fusion
    assert fusion is not None
    assert (how.lr, how.encoder_lr_scale, how.weight_decay, how.clip_norm) == (1e-3, 0.1, 0.02, 0.5)
    assert (how.patience, system.patience("fusion"), how.min_delta, how.batch_size) == (2, 3, 1e-3, 9)
    assert how.loss[0] == CccMse(alpha=0.5) and how.schedule == Plateau(factor=0.25) and how.head_dropout == 0.2
    assert [slot.encoder.hidden for slot in system.slots.values()] == [7, 7, 7, 3]
    assert [slot.encoder.dropout for slot in system.slots.values()] == [0.2, 0.3, 0.2, 0.2]
    assert all(slot.frozen for slot in system.slots.values())
    assert (fusion.kind.hidden, fusion.kind.dropout, fusion.modality_dropout, fusion.missing) == (5, 0.2, 0.1, "token")
    assert [len(run.history(stage)) for stage in ("text", "audio", "vision", "motion", "fusion")] == [1, 2, 1, 2, 1]


def test_trainings_side_by_side_equal_each_alone(tmp_path: Path) -> None:
    together = opened(random_workspace(tmp_path / "a").root, training__workers=2)
    alone = opened(random_workspace(tmp_path / "b").root, training__workers=1)
    runs = train_many(together, ["F1", "F2"], seeds=[5, 6, 7])
    assert [(run.record.system, run.record.seed) for run in runs] == [
        (system, seed) for system in ("F1", "F2") for seed in (5, 6, 7)
    ]
    for run in runs:
        assert files(train(alone, run.record.system, seed=run.record.seed)) == files(run)
    one, two = over_seeds(runs)
    scores = [run.metrics.scores["valid"].mean_pearson for run in runs[:3]]
    assert (one.system, one.seeds, one.clips) == ("F1", 3, VALID)
    assert one.mean == pytest.approx(np.mean(scores)) and one.deviation == pytest.approx(np.std(scores, ddof=1))
    assert two.stages["text"] == pytest.approx(one.stages["text"]), "the same stage"


def test_systems_share_their_stages(workspace: Workspace) -> None:
    train_many(workspace, ["F1", "F2", "F5"], seeds=[1])
    names = sorted(path.name.split("-")[0] for path in workspace.stages.iterdir())
    assert names == ["audio", "motion", "text", "vision"]


def test_nothing_is_trained_when_a_split_is_missing(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="4:1"):
        train_many(workspace, ["F1", "F4"], seeds=[1])
    assert not workspace.runs.exists() and not workspace.stages.exists()


def test_nothing_is_trained_when_one_of_the_systems_lacks_the_modality(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="F1 has no such modality"):
        train_many(workspace, ["F2", "F1"], seeds=[1], features={"motion": "random-0"})
    assert not workspace.runs.exists() and not workspace.stages.exists()


def test_refit_replays_the_parent_on_all_labelled_clips(workspace: Workspace) -> None:
    parent = train(opened(workspace.root, training__audio_epochs=9, training__patience=1), "F2")
    made = refit(workspace, parent)
    assert made.name.startswith("refit-F2-") and made.parent == parent.name
    assert made.train_ids == parent.train_ids | set(parent.valid_ids) and made.valid_ids == ()
    for stage, summary in parent.metrics.stages.items():
        rates = [row["lr"] for row in parent.history(stage)][: summary.best_epoch]
        assert [row["lr"] for row in made.history(stage)] == rates, stage
        assert made.metrics.stages[stage].to_json() == {
            "epochs": len(rates),
            "best_epoch": len(rates),
            "best_score": None,
        }
    assert made.metrics.scores == {} and made.no_score.startswith("none (parent: ")
    assert f"on {VALID} clips" in made.no_score
    assert len(made.predictions("test", workspace.task).ids) == len(parent.predictions("test", workspace.task).ids)
    assert not np.allclose(
        made.predictions("test", workspace.task).values, parent.predictions("test", workspace.task).values
    )
    assert predict(workspace, made, "valid").truth is None, "predicted, never scored"
    with pytest.raises(AbawkitError, match="trained on all labelled clips"):
        made.require_scorable()
    test = made.predictions("test", workspace.task)
    labels = np.random.default_rng(0).choice([0, 0.25, 0.5], test.values.shape)
    write_labels(workspace.root / "revealed.csv", workspace.task, test.ids, labels)
    scored = evaluate(workspace, made, "test", labels=workspace.root / "revealed.csv")
    expected = score(workspace.task, labels, test.values)
    assert scored.scores.mean_pearson == pytest.approx(expected.mean_pearson), "it knows no test clip"
    with pytest.raises(UsageError, match="only a run that was trained here"):
        refit(workspace, made)
    assert {run.name for run in list_runs(workspace)} == {parent.name, made.name}


def test_one_training_uses_several_processes_for_its_stages(tmp_path: Path) -> None:
    alone, apart = (train(opened(random_workspace(tmp_path / str(n)).root, training__workers=n), "F2") for n in (1, 2))
    assert files(apart) == files(alone)
    assert (apart.path / "train.log").read_text() == (alone.path / "train.log").read_text()


def test_a_replay_of_the_rates_on_the_same_clips_is_the_stage(workspace: Workspace) -> None:
    """The replay itself: the parent's rates and epochs on the parent's clips give the parent's stage."""
    opened_ = opened(workspace.root, training__lr=3e-3)
    request = Request(opened_, load_system("F1", opened_.settings.system), None, 7, {})
    work = prepare(request)
    with deterministic():
        stage = slot_stage(work, "text", SILENT)
        rates = tuple(row["lr"] for row in stage.history)[: stage.summary.best_epoch]
        signature = digest_json(work.stage_record("text"))
        plan = replace(work.plan("text", int(signature[:12], 16)), schedule=Replay(rates), epochs=len(rates))
        torch.manual_seed(plan.seed)
        network = Network(work.system.network("text", work.inputs, 6))
        optimizer = adamw(parameter_groups(network, lr=3e-3), work.system.training.weight_decay)
        fit(
            network,
            optimizer,
            InPlace(work.train_clips(["text"])),
            None,
            plan,
            work.task,
            state=workspace.root / "none.pt",
            on_epoch=lambda _: None,
            progress=SILENT,
        )
    for name, value in network.state_dict().items():
        assert torch.equal(value, stage.weights[name]), name


def test_clips_that_lack_a_modality(workspace: Workspace) -> None:
    split = find_split(workspace, "2:1", None)
    stores = {m: choose_store(workspace.features, m, lite=False) for m in ("audio", "vision", "motion")}
    lacking = {
        side: {c for c in table.ids if any(s.status(c) != Status.PRESENT for s in stores.values())}
        for side, table in (("train", split.train), ("valid", split.valid))
    }
    assert lacking["train"] and lacking["valid"]
    zero = train(workspace, "F2")
    dropped = train(opened(workspace.root, fusion__missing="drop"), "F2")
    learned = train(opened(workspace.root, fusion__missing="token"), "F2")
    assert zero.record.missing.to_json() == {"policy": "zero", "dropped": {}}
    assert dropped.record.missing.dropped == {side: len(clips) for side, clips in lacking.items()}
    assert dropped.train_ids == set(split.train.ids) - lacking["train"]
    assert set(dropped.valid_ids) == set(split.valid.ids) - lacking["valid"]
    assert "left out" in (dropped.path / "train.log").read_text()
    assert zero.metrics.scores["valid"].n == VALID and len(zero.train_ids) == TRAIN
    token = load_weights(learned.path / "model.safetensors")["audio_token"]
    assert token.shape == (12,) and float(token.abs().max()) > 0
    assert "audio_token" not in load_weights(zero.path / "model.safetensors")
    again = predict(workspace, learned, "valid")
    stored = pd.read_csv(learned.path / "predictions/valid.csv", dtype={"Filename": str}).set_index("Filename")
    np.testing.assert_allclose(again.values, stored[list(workspace.task.targets)].to_numpy(), atol=1e-7)


def test_reproduce_shows_what_was_trained(workspace: Workspace) -> None:
    resplit(workspace, "4:1")
    found = reproduce(workspace, seeds=2)
    assert [row.system for row in found.systems] == ["F1", "F2", "F3", "F4", "F5"]
    assert [row.valid.paper for row in found.systems] == [0.4373, 0.4386, 0.4717, 0.4722, 0.44]
    f2 = [run for run in found.runs if run.record.system == "F2"]
    scores = [run.metrics.scores["valid"].mean_pearson for run in f2]
    assert found.systems[1].valid.mean == pytest.approx(np.mean(scores))
    for row in found.modalities:
        assert row.scores["mean"].paper == TABLE_4[row.modality][0]
        best = [run.metrics.stages[row.modality].best_score for run in f2]
        assert row.scores["mean"].mean == pytest.approx(np.mean(best), abs=1e-6), row.modality
    assert set(found.claims()) == {"text above audio above vision above motion", "fusion (F2) above text alone"}
    before = {path: path.stat().st_mtime_ns for path in workspace.runs.rglob("*.safetensors")}
    json.dumps(reproduce(workspace, seeds=2).to_json())
    assert {path: path.stat().st_mtime_ns for path in workspace.runs.rglob("*.safetensors")} == before
