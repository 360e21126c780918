"""Which device to compute on: never a silent CPU run on a machine whose GPU torch cannot use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from abawkit.errors import FindingsError, UsageError


@dataclass(frozen=True)
class Gpu:
    """What the driver says about the machine's GPUs; ``names`` is empty when there is none."""

    names: tuple[str, ...]
    driver: str | None


def driver_gpus() -> Gpu:
    """Returns the GPUs that the NVIDIA driver sees, without torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
        return Gpu(tuple(devices), None)
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Gpu((), None)
    rows = [line.split(", ") for line in done.stdout.splitlines() if ", " in line] if done.returncode == 0 else []
    return Gpu(tuple(row[0] for row in rows), rows[0][1] if rows else None)


def share_processor() -> None:
    """Lets torch's threads sleep while one waits for another; without effect where torch is already loaded.

    By default they spin, on the very cores that the decoding processes need. ``OMP_WAIT_POLICY`` is left alone where
    the user has set it.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pick_device(wanted: str) -> str:
    """Returns the device for ``wanted`` (``auto``, ``cpu``, ``cuda``, ``cuda:N``).

    Raises:
        FindingsError: There is a GPU, and this torch cannot use it.
        UsageError: The wanted device does not exist here.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        device = "cuda:0" if wanted in ("auto", "cuda") else wanted
        known = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        if device not in known:
            raise UsageError("no such device", got=wanted, expected=", ".join(["auto", "cpu", *known]))
        return device
    gpu = driver_gpus()
    if gpu.names:
        raise FindingsError(
            "this machine has a GPU that torch cannot use",
            got=f"{', '.join(gpu.names)}, driver {gpu.driver or 'unknown'}, torch {torch.__version__} "
            f"(built for CUDA {torch.version.cuda or 'none: a CPU build'})",
            expected="a torch build for CUDA that the driver supports",
            todo="install such a torch, or say that you want the processor: --device cpu",
        )
    if wanted == "auto":
        return "cpu"
    raise UsageError("no such device", got=wanted, expected="auto or cpu: this machine has no GPU")
