"""The example of a system of one's own is trained as it is, but for its epochs."""

from pathlib import Path

import numpy as np

from abawkit.systems.loader import load_system
from abawkit.training.checkpoint import load_weights
from abawkit.training.train import train
from abawkit.workspace import Workspace
from tests.examples.plugin_package import EXAMPLES
from tests.random_stores import random_workspace

EXAMPLE = str(EXAMPLES / "custom_system.toml")


def test_it_is_trained_at_once_with_auxiliary_heads(tmp_path: Path) -> None:
    root = random_workspace(tmp_path).root
    workspace = Workspace.open(root, environ={}, overrides={"training.epochs": 3})
    run = train(workspace, EXAMPLE)
    assert list(run.metrics.stages) == ["joint"] and len(run.history("joint")) == 3
    system = load_system(EXAMPLE)
    assert system.training.ema == 0.99 and [term.on for term in system.loss("joint")][2:] == ["text", "audio"]
    weights = load_weights(run.path / "model.safetensors")
    assert {"text_head.1.weight", "audio_head.1.weight", "audio_token", "text_token"} <= set(weights)
    table = run.predictions("valid", workspace.task).table
    assert np.isfinite(table[["Joy", "text:Joy", "audio:Joy", "without-text:Joy"]].to_numpy()).all()
