"""Ctrl-C and the scheduler's signals in every long command: the right exit code, and the same command continues."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abawkit.data.splits.resplit import resplit
from abawkit.runs.run import list_runs
from abawkit.workspace import Workspace


def interrupt(folder: Path, arguments: list[str], ready: str, number: int, environ: dict[str, str]) -> tuple[int, str]:
    """Starts the command, sends the signal once a file matching ``ready`` is there, returns exit code and stderr."""
    command = [sys.executable, "-m", "abawkit", *arguments]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | environ,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell without job control lets what it starts in the background ignore Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(folder.glob(ready)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to the whole group
    else:
        process.send_signal(number)
    try:
        _, stderr = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, stderr


CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_extract(fresh: Path, number: int) -> None:
    ready = "features/audio/*/store.json"  # it is there before the first clip
    arguments = ["extract", "-m", "audio", "-m", "vision", "-m", "motion", "--workers", "2"]
    code, stderr = interrupt(fresh, arguments, ready, number, {})
    assert code == CODES[number] and "Traceback" not in stderr and "run the same command again" in stderr
    done = subprocess.run([sys.executable, "-m", "abawkit", *arguments], cwd=fresh, capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("number", "seeds"), [(signal.SIGINT, "1"), (signal.SIGUSR1, "1"), (signal.SIGINT, "2"), (signal.SIGTERM, "2")]
)
def test_train(extracted_copy: Path, number: int, seeds: str) -> None:
    workspace = Workspace.open(extracted_copy, environ={})
    resplit(workspace, "4:1")
    environ = {"ABAWKIT_TRAINING_AUDIO_EPOCHS": "2000", "ABAWKIT_TRAINING_PATIENCE": "2000"}
    environ |= {"ABAWKIT_TRAINING_TEXT_EPOCHS": "2", "ABAWKIT_TRAINING_CHECKPOINT_SECONDS": "0"}
    code, stderr = interrupt(extracted_copy, ["train", "--seeds", seeds], "stages/audio-*/state.pt", number, environ)
    assert code == CODES[number] and "Traceback" not in stderr and "run the same command again" in stderr
    assert not list_runs(workspace)


def test_demo(tmp_path: Path) -> None:
    code, stderr = interrupt(tmp_path, ["demo", "d"], "d/challenge/raw/0000*.mp4", signal.SIGINT, {})
    assert code == 130 and "Traceback" not in stderr


def test_a_reader_that_goes_away_is_no_error(predicted: Path) -> None:
    command = f"{sys.executable} -m abawkit validate --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], cwd=predicted, capture_output=True, text=True, check=False)
    assert done.stdout == "{" and done.stderr == ""


def test_a_folder_that_cannot_be_written_to(fresh: Path) -> None:
    """A file in the place of a folder stops even the superuser, whom permissions do not."""
    (fresh / "features").write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-m", "abawkit", "extract", "-m", "text"],
        cwd=fresh,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert "features" in done.stderr
