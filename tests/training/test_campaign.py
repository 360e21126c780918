"""Trainings side by side: how many at once, and what happens when one of them ends badly."""

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from abawkit.errors import AbawkitError
from abawkit.runs.run import list_runs
from abawkit.systems.loader import load_system
from abawkit.training import campaign
from abawkit.training.campaign import MEMORY, WORTHWHILE
from abawkit.training.train import train_many
from abawkit.training.work import Request, prepare
from abawkit.workspace import Workspace
from tests.random_stores import random_workspace

SMALL: dict[str, Any] = {"training.hidden": 4, "training.motion_hidden": 4, "training.fusion_hidden": 4}
SMALL |= {"training.epochs": 2, "training.motion_epochs": 2}


def opened(root: Path, **more: Any) -> Workspace:
    if not (root / "abawkit.toml").exists():
        random_workspace(root)
    return Workspace.open(root, environ={}, overrides=SMALL | {key.replace("__", "."): v for key, v in more.items()})


def test_how_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))

    def workers(wanted: int, seconds: float, jobs: int = 9, free: int = 1 << 40, device: str = "cpu") -> int:
        monkeypatch.setattr(campaign, "_free_memory", lambda: free)
        monkeypatch.setattr("abawkit.training.work.pick_device", lambda wanted: device)
        request = Request(opened(tmp_path, training__workers=wanted), load_system("F1"), None, 1, {})
        one = campaign._Job(request, "text", frozenset(), seconds / jobs)
        return campaign._workers([prepare(request)], [one] * jobs)

    assert workers(0, WORTHWHILE * 2) == min(cores, 9)
    assert workers(0, WORTHWHILE / 2) == 1, "their start would take longer"
    assert workers(4, WORTHWHILE / 2) == 4, "as it was asked for"
    assert workers(4, 1e3, jobs=3) == 3 and workers(4, 1e3, jobs=1) == 1
    assert workers(4, 1e3, free=2 * MEMORY) == 2 and workers(4, 1e3, free=MEMORY // 2) == 1
    assert workers(4, 1e3, device="cuda:0") == 1 and workers(1, 1e3) == 1


def test_an_error_in_one_of_them_is_the_errors_own(tmp_path: Path) -> None:
    workspace = opened(tmp_path, training__workers=2, training__lr=1e30)
    with pytest.raises(AbawkitError, match="is not finite in epoch"):
        train_many(workspace, ["F1"], seeds=[1, 2])
    assert not multiprocessing.active_children() and not list_runs(workspace)


def test_a_process_that_is_killed_ends_all_with_words(tmp_path: Path) -> None:
    workspace = opened(tmp_path, training__workers=2, training__epochs=5000, training__patience=5000)

    def kill() -> None:
        while not list(workspace.stages.glob("*/history.csv")):
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(AbawkitError, match="a worker process died") as caught:
        train_many(workspace, ["F1"], seeds=[1, 2])
    killer.join()
    assert "training.workers=1" in (caught.value.todo or "") and not multiprocessing.active_children()
