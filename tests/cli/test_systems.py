"""``abawkit systems``: list, show, check, new."""

import json
from pathlib import Path

from tests.cli.program import run as abawkit
from tests.random_stores import random_workspace


def test_list_is_grouped_and_knows_the_workspace(tmp_path: Path) -> None:
    outside = json.loads(abawkit(tmp_path, "systems", "list", "--json").stdout)
    assert len(outside["systems"]) == 22 and outside["broken"] == {}
    root = random_workspace(tmp_path).root
    made = abawkit(tmp_path, "systems", "new", "mine", "--from", "F5", "--json")
    assert json.loads(made.stdout)["path"] == str(root / "systems" / "mine.toml")
    (root / "systems" / "broken.toml").write_text("slots = 1")
    found = json.loads(abawkit(tmp_path, "systems", "list", "--json").stdout)
    groups = {system["name"]: system["group"] for system in found["systems"]}
    assert groups["F4"] == "The paper's five systems (Table 5)" and groups["mine"] == "This workspace's systems"
    assert groups["table3/text-gte-mlp"] == "The paper's unimodal variants (Table 3)"
    assert list(found["broken"]) == [str(root / "systems" / "broken.toml")]
    listed = abawkit(tmp_path, "systems", "list")
    assert "table3/audio-custom-bilstm-attention" in listed.stdout and "cannot be used" in listed.stderr


def test_show_says_what_is_default_and_what_is_set(tmp_path: Path) -> None:
    shown = abawkit(tmp_path, "systems", "show", "f5", "--set", "training.lr=1e-3").stdout.splitlines()
    assert "lr = 0.001  # set" in shown and "weight_decay = 0.01  # default" in shown and "hidden = 128" in shown
    assert "# training.lr = 1e-3: from --set" in shown
    root = random_workspace(tmp_path, "[fusion]\nhidden = 64\n").root
    shown = abawkit(tmp_path, "systems", "show", "F4").stdout.splitlines()
    assert "hidden = 64  # set" in shown and f"# fusion.hidden = 64: from {root / 'abawkit.toml'}" in shown
    bad = abawkit(tmp_path, "systems", "show", "F4", "--set", "training.lrr=1")
    assert bad.exit_code == 2 and "did you mean lr?" in bad.stderr


def test_check(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[slots.audio]\nencoder = { kind = "tcn" }\n')
    bad.write_text('[slots.audio]\nencoder = { kind = "tcnn" }\n')
    assert json.loads(abawkit(tmp_path, "systems", "check", str(good), "--json").stdout)["ok"] is True
    refused = abawkit(tmp_path, "systems", "check", str(bad))
    assert refused.exit_code == 2 and "did you mean tcn?" in refused.stderr and str(bad) in refused.stderr
    assert abawkit(tmp_path, "systems", "check", str(tmp_path / "none.toml")).exit_code == 2
