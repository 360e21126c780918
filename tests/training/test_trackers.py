"""Trackers: what they are told, and that neither their absence nor their failure changes a training."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from abawkit.errors import Stopped, UsageError
from abawkit.runs.run import Run
from abawkit.training.trackers import TRACKERS, Tracker, Tracking, chosen_trackers
from abawkit.training.train import train
from abawkit.workspace import Workspace
from tests.random_stores import random_workspace

FEW = {"training.text_epochs": 3, "training.audio_epochs": 1, "training.vision_epochs": 1, "training.fusion_epochs": 3}
FEW |= {"training.hidden": 4, "training.fusion_hidden": 4, "training.batch_size": 16, "training.checkpoint_seconds": 0}


class Notebook:
    """Writes down what it is told, and fails or is interrupted when it is asked to."""

    def __init__(self, trouble: Exception | None = None, at: int = 4) -> None:
        self.rows: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.ended = 0
        self._trouble, self._at = trouble, at

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.config = {"folder": folder.name, **config}

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))
        if self._trouble is not None and len(self.rows) == self._at:
            raise self._trouble

    def end(self) -> None:
        self.ended += 1


class Kept:
    """A progress that keeps what is said."""

    from abawkit.progress import SILENT

    task = SILENT.task

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def train_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    root = random_workspace(tmp_path).root

    def run(*trackers: Tracker, kept: Kept | None = None) -> Run:
        mine = {f"mine-{number}": tracker for number, tracker in enumerate(trackers)}
        monkeypatch.setattr("abawkit.training.train_run.chosen_trackers", lambda names, online: mine)
        return train(Workspace.open(root, environ={}, overrides=FEW), "F1", progress=kept or Kept())

    return run


def history(run: Run) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in pd.read_csv(run.path / "history.csv").to_dict("records")]


def test_a_tracker_that_fails_is_told_of_once_and_the_others_go_on(train_with: Any) -> None:
    broken, whole, kept = Notebook(OSError("no\nspace")), Notebook(), Kept()
    run = train_with(broken, whole, kept=kept)
    assert [said for said in kept.said if "mine" in said] == [
        "mine-0 failed, the training continues without it (OSError: no space)"
    ]
    assert len(broken.rows) == 4 and broken.ended == 0
    assert [(row["stage"], row["epoch"]) for row in whole.rows] == [
        (row["stage"], row["epoch"]) for row in history(run)
    ]
    assert len(whole.rows) == 8 and whole.ended == 1
    assert whole.config["folder"] == run.name and whole.config["lr"] == 2e-4 and whole.config["system"] == "F1"
    assert not {clip for clip in run.train_ids if clip in json.dumps([whole.config, whole.rows], default=str)}


@pytest.mark.parametrize("at", [2, 4, 7, 8])
def test_a_training_that_goes_on_tells_every_epoch_once(train_with: Any, at: int) -> None:
    before, after = Notebook(Stopped("SIGTERM"), at), Notebook()
    with pytest.raises(Stopped):
        train_with(before)
    assert before.ended == 1
    run = train_with(after)
    assert [{**row, "epoch": int(row["epoch"])} for row in after.rows] == history(run)


def test_one_that_is_not_installed_names_its_extra() -> None:
    with pytest.raises(UsageError, match="tracker nowhere is not installed") as caught:
        chosen_trackers(("auto", "nowhere"))
    assert caught.value.todo and "pip install 'abawkit[nowhere]'" in caught.value.todo
    assert chosen_trackers(()) == {}
    assert list(chosen_trackers(("auto",))) == ["tensorboard"] * (find_spec("tensorboard") is not None)


def test_one_that_cannot_begin_is_left_out() -> None:
    class Shut(Notebook):
        def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
            raise PermissionError("not yours")

    shut, kept = Shut(), Kept()
    tracking = Tracking({"shut": shut}, kept)
    tracking.begin(Path("run"), {})
    tracking.rows([{"stage": "text", "epoch": 1, "loss": 0.5, "score": 0.1, "lr": 0.1}])
    tracking.end()
    assert not shut.rows and not shut.ended and len(kept.said) == 1


def needs(name: str) -> Any:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed: pip install 'abawkit[{name}]'")


#: Ten epochs of a run, of which the first process is killed without a chance to end anything.
_CHILD = """
import os, sys, warnings
from pathlib import Path
from abawkit.training.trackers import chosen_trackers, tracked

folder, name, epochs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
nan = float("nan")
rows = [{"stage": "text", "epoch": n, "loss": 1 / n, "score": n / 10, "lr": 0.1} for n in range(1, 6)]
rows += [{"stage": "fusion", "epoch": n, "loss": 2 / n, "score": nan, "lr": 0.1} for n in range(1, 6)]

class Loud:
    def say(self, message): sys.exit(message)

with tracked(chosen_trackers((name,)), folder, {"lr": 0.1, "system": "F1"}, Loud()) as tracking:
    tracking.rows(rows[:epochs])
    if epochs < 10:
        os._exit(9)
"""


def tracked_twice(tmp_path: Path, name: str) -> Path:
    """Returns the run's folder after an interrupted and a whole training; nothing may have left the machine."""
    folder = tmp_path / "runs" / "F1-official-s1-abc"
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        there = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "TRACKIO_"))}
        environ |= {key: there for key in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "WANDB_BASE_URL")}
        environ |= {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_TOKEN": "hf_nobody", "WANDB_API_KEY": "0" * 40}
        for epochs in (7, 10):
            child = [sys.executable, "-c", _CHILD, str(folder), name, str(epochs)]
            done = subprocess.run(child, env=environ, capture_output=True, text=True, timeout=120)
            assert done.returncode == (9 if epochs < 10 else 0), done.stderr
            assert done.stdout == "", "stdout is for results"
        proxy.settimeout(0.2)
        with pytest.raises(TimeoutError):
            proxy.accept()
    return folder


@needs("tensorboard")
def test_tensorboard_has_every_epoch_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tracked_twice(tmp_path, "tensorboard")
    assert len(list(folder.iterdir())) == 1
    read = EventAccumulator(str(folder), purge_orphaned_data=False)
    read.Reload()
    assert [(e.step, round(e.value, 6)) for e in read.Scalars("text/score")] == [(n, n / 10) for n in range(1, 6)]
    assert [e.step for e in read.Scalars("fusion/loss")] == [1, 2, 3, 4, 5]
    assert set(read.Tags()["scalars"]) == {*(f"text/{c}" for c in ("loss", "score", "lr")), "fusion/loss", "fusion/lr"}


@needs("wandb")
def test_weights_and_biases_stays_offline(tmp_path: Path) -> None:
    folder = tracked_twice(tmp_path, "wandb")
    (made,) = folder.glob("wandb/offline-run-*")
    data = next(made.glob("*.wandb")).read_bytes()
    assert b"fusion/loss" in data and str(tmp_path).encode() not in data
    told = {stage: set(re.findall(stage + rb"/epoch\x82\x01\x01(.)", data)) for stage in (b"text", b"fusion")}
    assert told == {stage: {b"1", b"2", b"3", b"4", b"5"} for stage in (b"text", b"fusion")}


@needs("trackio")
def test_trackio_has_every_epoch_once(tmp_path: Path) -> None:
    folder = tracked_twice(tmp_path, "trackio")
    import sqlite3

    with sqlite3.connect(tmp_path / "trackio" / "abawkit.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    assert [(name, step) for name, step, _ in rows] == [(folder.name, step) for step in range(10)]
    assert json.loads(rows[9][2])["fusion/loss"] == 0.4


def test_the_setting_takes_the_names_of_the_trackers() -> None:
    from abawkit.settings import TrainingSettings

    for name in TRACKERS:
        assert TrainingSettings.model_validate({"trackers": f"auto, {name}"}).trackers == ("auto", name)
        assert TrainingSettings.model_validate({"trackers": [name]}).trackers == (name,)
    assert TrainingSettings.model_validate({"trackers": "none"}).trackers == ()
    with pytest.raises(ValueError, match="tensorboard"):
        TrainingSettings.model_validate({"trackers": "mlflow"})
