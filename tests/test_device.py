"""Never a silent CPU run on a machine whose GPU torch cannot use."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from abawkit.device import driver_gpus, pick_device, share_processor
from abawkit.errors import FindingsError, UsageError

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use this machine's GPU")


@pytest.fixture
def with_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program on the PATH that answers as the driver's does on a machine with a GPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.65.06'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_without_a_gpu() -> None:
    if driver_gpus().names:
        pytest.skip("this machine has a GPU")
    assert pick_device("auto") == pick_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="no such device"):
        pick_device("cuda")


@pytest.mark.usefixtures("with_gpu")
def test_a_gpu_that_torch_cannot_use() -> None:
    with pytest.raises(FindingsError, match="a GPU that torch cannot use") as caught:
        pick_device("auto")
    assert caught.value.exit_code == 3
    assert "NVIDIA H200, driver 580.65.06" in str(caught.value) and torch.__version__ in str(caught.value)
    assert pick_device("cpu") == "cpu"


@pytest.mark.usefixtures("with_gpu")
def test_the_commands_exit_with_3(extracted_copy: Path) -> None:
    for arguments in (["doctor"], ["train", "--system", "F1"]):
        command = [sys.executable, "-m", "abawkit", *arguments, "--json"]
        done = subprocess.run(command, cwd=extracted_copy, capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
        assert "580.65.06" in done.stdout and json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize(("before", "expected"), [(None, "passive"), ("active", "active")])
def test_torch_shares_the_processor(before: str | None, expected: str) -> None:
    code = "import os; from abawkit.device import share_processor; share_processor(); print(os.environ[{!r}])"
    environ = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environ |= {} if before is None else {"OMP_WAIT_POLICY": before}
    told = subprocess.run([sys.executable, "-c", code.format("OMP_WAIT_POLICY")], env=environ, capture_output=True)
    assert told.stdout.decode().strip() == expected


def test_a_loaded_torch_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    share_processor()
    assert "OMP_WAIT_POLICY" not in os.environ
