"""kill -9 at random moments, again and again: the result equals the uninterrupted one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from abawkit.data.splits import resplit
from abawkit.features.store import FeatureStore, list_stores
from abawkit.training.runs import find_run
from abawkit.training.stages import train
from abawkit.workspace import Workspace

pytestmark = pytest.mark.soak

KILLS = 30


def kill_until_done(folder: Path, arguments: list[str], environ: dict[str, str], rng: random.Random) -> int:
    """Runs the command, killing it at random moments, at most KILLS times; returns how often it was killed."""
    command = [sys.executable, "-m", "abawkit", *arguments]
    for kills in range(KILLS + 1):
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environ, stderr=subprocess.DEVNULL, start_new_session=True
        )
        patience = rng.uniform(1.0, 9.0) if kills < KILLS else 600.0
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < patience:
            time.sleep(0.01)
        if process.poll() is not None:
            assert process.returncode == 0
            return kills
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise AssertionError("it did not end")


def same(ours: FeatureStore, theirs: FeatureStore) -> None:
    assert ours.ids == theirs.ids
    ours.verify()
    for clip in ours.ids:
        np.testing.assert_array_equal(ours.frames(clip), theirs.frames(clip))
        np.testing.assert_array_equal(ours.times(clip), theirs.times(clip))
        assert (ours.status(clip), ours.note(clip)) == (theirs.status(clip), theirs.note(clip))


def test_extraction(extracted: Path, fresh: Path) -> None:
    rng, kills = random.Random(1), 0
    environ = {"ABAWKIT_EXTRACT_SEGMENT_CLIPS": "4"}
    while kills < KILLS:
        for store in list_stores(fresh / "features"):
            for path in store.path.iterdir():
                path.unlink()
        kills += kill_until_done(fresh, ["extract", "--workers", "2"], environ, rng)
        for store in list_stores(fresh / "features"):
            same(store, FeatureStore.open(extracted / "features" / store.spec.modality / store.path.name))
    print(f"{kills} kills")


def test_training(extracted_copy: Path, tmp_path: Path) -> None:
    import shutil

    workspace = Workspace.open(
        extracted_copy, environ={}, overrides={"training.patience": 60, "training.audio_epochs": 60}
    )
    resplit(workspace, "4:1")
    run = train(workspace, "F4")
    names = ("predictions/valid.csv", "predictions/test.csv", "history.csv", "metrics.json", "model.safetensors")
    expected = {name: (run.path / name).read_bytes() for name in names}
    environ = {
        "ABAWKIT_TRAINING_PATIENCE": "60",
        "ABAWKIT_TRAINING_AUDIO_EPOCHS": "60",
        "ABAWKIT_TRAINING_CHECKPOINT_SECONDS": "0",
    }
    rng, kills = random.Random(2), 0
    while kills < KILLS:
        shutil.rmtree(workspace.runs)
        shutil.rmtree(workspace.stages)
        kills += kill_until_done(extracted_copy, ["train", "--system", "F4"], environ, rng)
        again = find_run(workspace, "F4")
        assert again.name == run.name
        for name in names:
            assert (again.path / name).read_bytes() == expected[name], name
    print(f"{kills} kills")
