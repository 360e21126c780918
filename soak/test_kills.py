"""kill -9 at random moments, again and again: the result equals the uninterrupted one."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abawkit.data.splits.resplit import resplit
from abawkit.runs.run import find_run
from abawkit.training.train import train
from abawkit.workspace import Workspace
from tests import tiny_models
from tests.kills import Job, kill_to_the_same_end, uninterrupted

pytestmark = pytest.mark.soak

EXTRACTION_KILLS, WORKER_KILLS, TRANSCRIPTION_KILLS, TRAINING_KILLS = 50, 30, 10, 30


@pytest.mark.parametrize("preset", ["lite", "paper"])
def test_extraction(fresh: Path, tmp_path: Path, preset: str) -> None:
    """With signal processing alone, and with models: real ones, but for their size and weights."""
    settings = {"segment_clips": "1", "preset": preset, "device": "cpu"}
    wanted = ["--modality", "text", "--modality", "audio", "--modality", "vision"] if preset == "paper" else []
    if preset == "paper":
        settings |= {
            "text_model": str(tiny_models.bert(tmp_path / "bert")),
            "audio_model": str(tiny_models.wav2vec2(tmp_path / "wav2vec2", layers=12)),
            "vision_model": str(tiny_models.dinov2(tmp_path / "dinov2")),
        }
    environ = {f"ABAWKIT_EXTRACT_{name.upper()}": value for name, value in settings.items()}
    job = Job(("extract", "--workers", "2", *wanted), "features", "*/*/segment-*.h5", environ)
    tally = kill_to_the_same_end(job, fresh, EXTRACTION_KILLS, random.Random(1))
    print(tally)
    assert preset == "lite" or (tally.phases["embedding"] and tally.phases["loading the model"])
    assert len(tally.quarters) == 4 and len(tally.phases) >= 6
    assert tally.phases.total() == EXTRACTION_KILLS and tally.ends <= 2


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The decoding processes that it has just now."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def test_workers_of_an_extraction(fresh: Path, tmp_path: Path) -> None:
    """A worker is killed, as by a system without memory: the command ends at once, with words, and continues."""
    model = str(tiny_models.dinov2(tmp_path / "dinov2"))
    settings = {"segment_clips": "1", "device": "cpu", "faces": "full-frame", "vision_model": model}
    environ = {f"ABAWKIT_EXTRACT_{name.upper()}": value for name, value in settings.items()}
    job = Job(("extract", "--workers", "2", "--modality", "vision"), "features", "*/*/segment-*.h5", environ)
    pace = uninterrupted(job, fresh)
    rng, kills, longest = random.Random(4), 0, 0.0
    while kills < WORKER_KILLS:
        process = job.start(fresh)
        while process.poll() is None and len(workers_of(process)) < 2:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, min(2.0, 2 * (pace.count * pace.step + 0.5) * rng.random())))
        if not (there := workers_of(process)):
            process.wait(timeout=60)
            shutil.rmtree(fresh / job.output, ignore_errors=True)
            continue
        os.kill(rng.choice(there), signal.SIGKILL)
        killed = time.monotonic()
        code, told = process.wait(timeout=30), (fresh / "told.txt").read_text()
        longest = max(longest, time.monotonic() - killed)
        assert (code, "a worker process died" in told) in ((1, True), (0, False)), (
            told
        )  # 0: it had nothing left to send
        assert "Traceback" not in told
        kills += code
    assert job.start(fresh).wait(timeout=600) == 0
    assert job.result(fresh) == pace.result
    print(f"{kills} workers killed; the command ended within {longest:.1f} s")


def test_transcription(fresh: Path, tmp_path: Path) -> None:
    model = tiny_models.whisper(tmp_path / "whisper-tiny")
    anything = {"NO_SPEECH": "1", "LOG_PROBABILITY": "-99", "COMPRESSION": "99"}  # random words pass
    environ = {f"ABAWKIT_EXTRACT_WHISPER_{name}": value for name, value in anything.items()}
    arguments = ("transcribe", "--overwrite", "--model", str(model), "--workers", "1", "--device", "cpu")
    job = Job(arguments, "transcripts", "*/part-*.jsonl", environ)
    tally = kill_to_the_same_end(job, fresh, TRANSCRIPTION_KILLS, random.Random(3))
    print(tally)
    assert len(tally.quarters) >= 3 and len(tally.phases) >= 3


def kill_until_done(folder: Path, arguments: list[str], environ: dict[str, str], rng: random.Random) -> int:
    """Runs the command, killing it at random moments, at most TRAINING_KILLS times; returns how often."""
    command = [sys.executable, "-m", "abawkit", *arguments]
    for kills in range(TRAINING_KILLS + 1):
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environ, stderr=subprocess.DEVNULL, start_new_session=True
        )
        patience = rng.uniform(1.0, 9.0) if kills < TRAINING_KILLS else 600.0
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < patience:
            time.sleep(0.01)
        if process.poll() is not None:
            assert process.returncode == 0
            return kills
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise AssertionError("it did not end")


def test_training(extracted_copy: Path) -> None:
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
    while kills < TRAINING_KILLS:
        shutil.rmtree(workspace.runs)
        shutil.rmtree(workspace.stages)
        kills += kill_until_done(extracted_copy, ["train", "--system", "F4"], environ, rng)
        again = find_run(workspace, "F4")
        assert again.name == run.name
        for name in names:
            assert (again.path / name).read_bytes() == expected[name], name
    print(f"{kills} kills")
