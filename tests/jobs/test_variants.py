"""``reproduce --table 3``: rows that have features are trained, the others say how to make theirs."""

import json
from pathlib import Path

import pytest

from abawkit.errors import UsageError
from abawkit.features.spec import ClipFeatures, FeatureSpec
from abawkit.features.store import FeatureStore
from abawkit.features.writer import open_for_writing
from abawkit.jobs.reproduce import reproduce_variants
from abawkit.jobs.simulation.simulate import simulate
from abawkit.systems.loader import load_system
from abawkit.training.train import train
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit
from tests.random_stores import random_workspace

SMALL = {"training.epochs": 1, "training.motion_epochs": 1, "training.hidden": 4, "training.motion_hidden": 4}
SETS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


def test_simulated_features_stand_for_all_and_it_is_said(tmp_path: Path) -> None:
    simulate(tmp_path / "sim", clips=60)
    done = abawkit(tmp_path / "sim", "reproduce", "--table", "3", "--json", *SETS)
    found = json.loads(done.stdout)
    assert found["simulated"] is True and len(found["table3"]) == 17
    for row in found["table3"]:
        assert row["valid"] is not None and "on simulated features, not " in row["note"]
    papers = [row["valid"]["paper"] for row in found["table3"] if row["system"] == "table3/audio-wav2vec2-lstm"]
    assert papers == [0.3088]
    shown = abawkit(tmp_path / "sim", "reproduce", "--table", "3", *SETS)
    assert "stands for wav2vec2" in " ".join(shown.stdout.split()) and "audio-wav2vec2-lstm" in shown.stdout
    assert abawkit(tmp_path / "sim", "reproduce", "--table", "3", "--labels", "x.csv").exit_code == 2
    assert abawkit(tmp_path / "sim", "reproduce", "--table", "6").exit_code == 2


def test_a_row_without_its_features_says_the_command(tmp_path: Path) -> None:
    root = random_workspace(tmp_path).root
    workspace = Workspace.open(root, environ={}, overrides=SMALL)
    with pytest.raises(UsageError, match="no features for any row"):
        reproduce_variants(workspace)
    with pytest.raises(UsageError, match="needs the vision features dinov2-base-full-frame") as caught:
        train(workspace, "table3/vision-dinov2-frame-gru")
    assert (caught.value.todo or "").startswith("abawkit extract --modality vision --faces full-frame")
    store = FeatureStore.open(workspace.features / "motion" / "random-0")
    spec = FeatureSpec("motion", "openface", store.spec.dim, "random/openface")
    made: list[ClipFeatures] = [store.features(clip) for clip in store.ids]
    with open_for_writing(workspace.features / "motion" / "openface-0", spec) as writer:
        writer.add(made)
    found = reproduce_variants(workspace)
    trained = [row for row in found.rows if row.valid is not None]
    assert [row.system for row in trained] == ["table3/motion-openface-attention"] and not found.simulated
    others = {row.system: row.note for row in found.rows if row.valid is None}
    assert len(others) == 16 and all("not trained" in note for note in others.values())
    for name, note in others.items():
        (slot,) = load_system(name).slots.values()
        assert slot.extract is not None and slot.extract in note
