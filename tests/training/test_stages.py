"""Training: faithful, shared, interruptible, repeatable."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from abawkit.data.splits.resplit import resplit
from abawkit.errors import AbawkitError, UsageError
from abawkit.extraction.pipeline import extract
from abawkit.metrics import score
from abawkit.progress import SILENT
from abawkit.runs.run import Run, find_run, list_runs
from abawkit.training.predict import predict
from abawkit.training.train import train
from abawkit.workspace import Workspace

VALID = "predictions/valid.csv"


def comparable(run: Run) -> dict[str, Any]:
    """Everything of a run that has to be the same again."""
    files = {name: (run.path / name).read_bytes() for name in (VALID, "predictions/test.csv", "history.csv")}
    return {"metrics": run.metrics, "model": (run.path / "model.safetensors").read_bytes(), **files}


def test_a_run_has_everything_that_later_steps_need(trained: Path) -> None:
    workspace = Workspace.open(trained, environ={})
    run = find_run(workspace, "F4")
    names = {path.name for path in run.path.iterdir() if not path.name.startswith((".lock", "events.out.tfevents"))}
    assert names == {
        *("config.json", "env.json", "clips.json", "history.csv", "metrics.json", "model.safetensors", "train.log"),
        "predictions",
    }
    table = pd.read_csv(run.path / VALID, dtype={"Filename": str}, keep_default_na=False)
    assert list(table.columns[:13]) == [
        "Filename",
        *[f"truth.{t}" for t in workspace.task.targets],
        *workspace.task.targets,
    ]
    for column in ("missing", "frames.audio", "text:Joy", "without-motion:Joy"):
        assert column in table.columns
    assert len(table) == len(run.valid_ids) == 12 and len(run.train_ids) == 48
    assert not run.train_ids & set(run.valid_ids)
    truth, prediction = (table[[f"{p}{t}" for t in workspace.task.targets]].to_numpy(float) for p in ("truth.", ""))
    again = score(workspace.task, truth, prediction).to_json()
    assert run.metrics.scores["valid"].pearson == pytest.approx(json.loads(json.dumps(again))["pearson"], nan_ok=True)
    missing = table["missing"].str.contains("text")
    assert missing.any() == bool((table["frames.text"] == 0).any())
    history = pd.read_csv(run.path / "history.csv")
    assert list(dict.fromkeys(history["stage"])) == ["text", "audio", "vision", "motion", "fusion"]


def test_the_same_command_finds_the_finished_run(trained: Path) -> None:
    workspace = Workspace.open(trained, environ={})
    run = find_run(workspace, "F1")
    before = (run.path / "metrics.json").stat().st_mtime_ns
    assert train(workspace, "F1").path == run.path
    assert (run.path / "metrics.json").stat().st_mtime_ns == before


def test_two_trainings_with_one_seed_are_identical(trained: Path, trained_copy: Path) -> None:
    for folder in ("runs", "stages"):
        shutil.rmtree(trained_copy / folder)
    torch.rand(7)  # whatever the process drew before does not matter
    np.random.default_rng().random(3)
    again = train(Workspace.open(trained_copy, environ={}), "F4")
    first = find_run(Workspace.open(trained, environ={}), "F4")
    assert again.name == first.name
    assert comparable(again) == comparable(first)
    other = train(Workspace.open(trained_copy, environ={}), "F4", seed=7)
    assert comparable(other)[VALID] != comparable(first)[VALID]


def test_training_leaves_torch_as_it_was(trained_copy: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(Workspace.open(trained_copy, environ={}), "F5")
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_systems_share_their_stages(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    before = {path: path.stat().st_mtime_ns for path in workspace.stages.glob("*/stage.json")}
    assert len(before) == 3 + 4  # F1 on the official split, F4 on 4:1
    train(workspace, "F5")  # official split: text, audio and vision are F1's
    train(workspace, "F3")  # 4:1: F4's
    train(workspace, "F2")  # official split: only motion is new
    after = {path: path.stat().st_mtime_ns for path in workspace.stages.glob("*/stage.json")}
    assert {path: after[path] for path in before} == before and len(after) == len(before) + 1


def test_frozen_encoders_stay_as_their_stage_left_them(trained_copy: Path) -> None:
    from safetensors.torch import load_file

    workspace = Workspace.open(trained_copy, environ={})
    frozen, tuned = (load_file(train(workspace, name).path / "model.safetensors") for name in ("F5", "F2"))

    def moved(weights: dict[str, torch.Tensor], modality: str) -> bool:
        own = {k.removeprefix(f"{modality}_encoder."): v for k, v in weights.items() if k.startswith(f"{modality}_enc")}
        assert own
        return any(not torch.equal(v, weights[f"stage.{modality}.{modality}_encoder.{k}"]) for k, v in own.items())

    assert [moved(frozen, m) for m in ("text", "audio", "vision")] == [False] * 3
    assert [moved(tuned, m) for m in ("text", "audio", "vision", "motion")] == [True, True, True, False]
    assert frozen["fusion_head.mlp.2.weight"].shape[0] == 128


def test_a_killed_training_goes_on_to_the_same_result(trained: Path, extracted_copy: Path) -> None:
    """A sample of the proof in soak/: kill -9 after some epochs, run again, compare bit for bit."""
    workspace = Workspace.open(extracted_copy, environ={})
    resplit(workspace, "4:1")
    environ = os.environ | {"ABAWKIT_TRAINING_CHECKPOINT_SECONDS": "0"}
    command = [sys.executable, "-m", "abawkit", "train", "--system", "F4"]
    process = subprocess.Popen(
        command, cwd=extracted_copy, env=environ, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while (
        not list(workspace.stages.glob("audio-*/state.pt")) and time.monotonic() < deadline and process.poll() is None
    ):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(workspace.stages.glob("text-*/stage.json")) and not list_runs(workspace)
    first = find_run(Workspace.open(trained, environ={}), "F4")
    assert comparable(train(workspace, "F4")) == comparable(first)


def test_a_state_that_is_not_ours_is_refused(extracted_copy: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (extracted_copy / "executed",))

    workspace = Workspace.open(extracted_copy, environ={}, overrides={"training.checkpoint_seconds": 0})
    train(workspace, "F1")
    (done,) = workspace.stages.glob("text-*/stage.json")
    done.unlink()
    torch.save({"model": Evil()}, done.parent / "state.pt")
    shutil.rmtree(workspace.runs)
    with pytest.raises(AbawkitError, match=r"state\.pt: this is not a training state of ours") as caught:
        train(workspace, "F1")
    assert caught.value.todo and not (extracted_copy / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"PK garbage", b"\x80\x04."])
def test_a_checkpoint_that_is_not_ours_is_refused(trained_copy: Path, content: bytes) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F4")
    (run.path / "model.safetensors").write_bytes(content)
    with pytest.raises(AbawkitError, match=r"model\.safetensors: this model file is not ours"):
        predict(workspace, run)


def test_another_runs_model_is_refused(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    one, two = find_run(workspace, "F1"), find_run(workspace, "F4")
    shutil.copy(one.path / "model.safetensors", two.path / "model.safetensors")
    with pytest.raises(AbawkitError, match="does not fit its record"):
        predict(workspace, two)


def test_a_store_of_another_signature_is_refused(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F4")
    config = run.path / "config.json"
    record = json.loads(config.read_text())
    record["signatures"]["audio"] = "0123456789ab"
    config.write_text(json.dumps(record))
    with pytest.raises(AbawkitError, match="not those that the run was trained on"):
        predict(workspace, Run.open(run.path))


def test_predicting_again_gives_the_same_file(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F4")
    for side in ("valid", "test"):
        before = (run.path / "predictions" / f"{side}.csv").read_bytes()
        (run.path / "predictions" / f"{side}.csv").unlink()
        predict(workspace, run, side)
        assert (run.path / "predictions" / f"{side}.csv").read_bytes() == before


def test_what_is_missing_is_said_with_the_command(fresh: Path, extracted_copy: Path) -> None:
    with pytest.raises(UsageError, match=r"abawkit resplit --ratio 4:1"):
        train(Workspace.open(extracted_copy, environ={}), "F4")
    workspace = Workspace.open(fresh, environ={})
    with pytest.raises(UsageError, match=r"abawkit extract --modality text"):
        train(workspace, "F1")
    with pytest.raises(UsageError, match="unknown system"):
        train(workspace, "F9")


def test_clips_without_features_are_named(extracted_copy: Path) -> None:
    workspace = Workspace.open(extracted_copy, environ={})
    (store,) = (workspace.features / "vision").iterdir()
    record = json.loads((store / "store.json").read_text())
    last = sorted(record["segments"])[0]
    del record["segments"][last]
    (store / "store.json").write_text(json.dumps(record))
    with pytest.raises(AbawkitError, match=r"of 60 clips have no vision features") as caught:
        train(workspace, "F1")
    assert caught.value.todo == "abawkit extract --modality vision"


def test_lite_features_are_not_for_the_official_data(extracted_copy: Path) -> None:
    from dataclasses import replace

    from abawkit.challenge import EMI

    task = replace(EMI, counts={"train": 36, "valid": 24, "test": 12})
    workspace = Workspace.open(extracted_copy, environ={}, task=task)
    with pytest.raises(UsageError, match="too weak for the leaderboard"):
        train(workspace, "F1")
    assert train(workspace, "F1", allow_lite=True).record.system == "F1"


def test_overrides_are_recorded_and_make_another_run(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={}, overrides={"training.lr": 3e-3})
    run = train(workspace, "F1")
    assert run.model.definition["training"]["lr"] == 3e-3
    assert run.name != find_run(Workspace.open(trained_copy, environ={}), run.name).path.parent.name
    assert len([r for r in list_runs(workspace) if r.record.system == "F1"]) == 2


class Heard:
    """A progress that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.task = SILENT.task

    def say(self, message: str) -> None:
        self.said.append(message)


def test_test_clips_that_come_later(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={}, overrides={"extract.workers": 1})
    extract(workspace, modalities=["text", "audio", "vision"], splits=["train", "valid"])
    heard = Heard()
    run = train(workspace, "F1", progress=heard)
    assert not (run.path / "predictions" / "test.csv").exists()
    assert any(f"abawkit predict {run.name} --on test" in line for line in heard.said)
    with pytest.raises(AbawkitError, match="12 of 12 clips have no text features"):
        predict(workspace, run)
    extract(workspace, modalities=["text", "audio", "vision"])
    assert len(predict(workspace, run).ids) == 12
    assert train(workspace, "F1").path == run.path  # test clips invalidate nothing


def test_a_run_without_its_last_file_is_finished_again(trained: Path, trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F4")
    for name in ("metrics.json", "predictions/test.csv"):
        (run.path / name).unlink()
    with pytest.raises(AbawkitError, match="not finished"):
        find_run(workspace, "F4")
    assert comparable(train(workspace, "F4")) == comparable(find_run(Workspace.open(trained, environ={}), "F4"))


def test_the_encoders_rate_in_fusion_is_a_share_of_the_base_rate(trained_copy: Path) -> None:
    """With a share of 0 the encoders of a tuned system stay as their stages left them, decay included."""
    from safetensors.torch import load_file

    overrides = {"training.encoder_lr_scale": 0.0}
    run = train(Workspace.open(trained_copy, environ={}, overrides=overrides), "F1")
    weights = load_file(run.path / "model.safetensors")
    for name, value in weights.items():
        if name.startswith("audio_encoder."):
            assert torch.equal(value, weights[f"stage.audio.{name}"])
    base = find_run(Workspace.open(trained_copy, environ={}), "F4").model.definition["training"]
    assert base["encoder_lr_scale"] == 0.05
