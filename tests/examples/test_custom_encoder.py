"""The example of an encoder of one's own: a plug-in and a TOML, nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.plugin_package import EXAMPLES, installed
from tests.random_stores import random_workspace

EXAMPLE = EXAMPLES / "custom_encoder"


def abawkit(environ: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "abawkit", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_it_is_trained_and_predicts(tmp_path: Path) -> None:
    environ = installed(EXAMPLE, tmp_path / "site")
    root = random_workspace(tmp_path / "ws", "[training]\nepochs = 3\n").root
    done = abawkit(environ, root, "train", "--system", str(EXAMPLE / "slow_gru.toml"), "--json")
    assert done.returncode == 0, done.stderr
    run = Path(json.loads(done.stdout)["run"])
    encoder = json.loads((run / "config.json").read_text())["definition"]["slots"]["audio"]["encoder"]
    assert encoder == {"kind": "slow_gru", "hidden": 32, "every": 2}
    before = (run / "predictions" / "test.csv").read_bytes()
    (run / "predictions" / "test.csv").unlink()
    assert abawkit(environ, root, "predict", run.name).returncode == 0
    assert (run / "predictions" / "test.csv").read_bytes() == before


def test_without_the_plug_in_its_kind_is_unknown(tmp_path: Path) -> None:
    from abawkit.errors import UsageError
    from abawkit.systems.loader import load_system

    with pytest.raises(UsageError, match="unknown encoder 'slow_gru'"):
        load_system(str(EXAMPLE / "slow_gru.toml"))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise RuntimeError('no licence')", "no licence"),
        ("SlowGru = 3", "expected a frozen dataclass, got int"),
        (
            "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass SlowGru:\n    kind: str = 'other'",
            "its kind is 'other'",
        ),
    ],
)
def test_a_broken_plug_in_is_reported_and_breaks_nothing(tmp_path: Path, module: str, reason: str) -> None:
    environ = installed(EXAMPLE, tmp_path / "site")
    (tmp_path / "site" / "slow_gru.py").write_text(module)
    listed = abawkit(environ, tmp_path, "systems", "list", "--json")
    assert listed.returncode == 0 and reason in str(json.loads(listed.stdout)["broken"])
    assert len(json.loads(listed.stdout)["systems"]) >= 22
    assert abawkit(environ, tmp_path, "--help").returncode == 0
    doctor = abawkit(environ, tmp_path, "doctor", "--json")
    assert reason in doctor.stdout and "Traceback" not in doctor.stderr
