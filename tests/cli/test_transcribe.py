"""The command ``transcribe``, as a person types it, and every way in which it refuses."""

import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abawkit.fileio import locked
from abawkit.workspace import Workspace
from tests import tiny_models
from tests.cli.program import run

HEADER = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy\n"
CONFIG = """data = "challenge"
[extract]
preset = "lite"
device = "cpu"
workers = 1
whisper_no_speech = 1
whisper_log_probability = -99
whisper_compression = 99
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.whisper(tmp_path_factory.mktemp("models") / "whisper-tiny"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two clips to train on (a hum, silence), one to validate (a transcript), one to test (broken)."""
    data = tmp_path / "work" / "challenge"
    for folder in ("audio", "text", "test_data/raw", "test_data/audio"):
        (data / folder).mkdir(parents=True)
    (data / "train_split.csv").write_text(HEADER + "00000,0.5,0,0,0,0,0.5\n00001,0,0.5,0,0,0,0\n")
    (data / "valid_split.csv").write_text(HEADER + "00002,0,0,0.5,0,0,0\n")
    hum = (8000 * np.sin(np.arange(32000) * 0.05)).astype("<i2")
    for number, samples in ((0, hum), (1, hum * 0)):
        with wave.open(str(data / "audio" / f"{number:05d}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
    (data / "text" / "00002.txt").write_text("oh no\n")
    (data / "test_data" / "raw" / "00003.mp4").write_bytes(b"no film")
    (tmp_path / "work" / "abawkit.toml").write_text(CONFIG)
    return tmp_path / "work"


def as_json(root: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = run(root, "transcribe", *arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def test_what_a_person_sees(root: Path, model: str) -> None:
    result = run(root, "transcribe", "--model", model, "--max-failures", "1", "--export", "out", "--timestamps")
    assert result.exit_code == 0, result.output
    for text in ("spoken", "silence 1", "in text/", "failed 00003", "T405", "3 transcripts in out; 1 clips have none"):
        assert text in result.output
    assert "abawkit extract -m text" in result.output and "--overwrite" in result.output
    assert sorted(path.name for path in (root / "out").iterdir()) == [
        "00000.json",
        "00000.txt",
        "00001.json",
        "00001.txt",
        "00002.txt",
    ]
    record = json.loads((root / "out" / "00000.json").read_text())
    assert record["segments"][0].keys() == {"start", "end", "text"}


def test_json(root: Path, model: str) -> None:
    code, record = as_json(root, "--model", model, "--split", "train", "--language", "german", "--export", "out")
    assert code == 0
    assert record["outcomes"] == {"spoken": 1, "empty": 1} and record["reasons"] == {"silence": 1}
    assert record["exported"] == {"path": "out", "written": 2, "without": 0}
    assert [finding["code"] for finding in record["findings"]] == ["T405", "T401"]
    (part,) = (root / "transcripts").glob("*/part-*")
    lines = [json.loads(line) for line in part.read_text().splitlines()[1:]]
    assert [line["made_by"]["language"] for line in lines] == ["de", "de"] and lines[0]["language"] == "de"
    code, record = as_json(root, "--model", model, "--split", "train", "--language", "de")
    assert (code, record["transcribed"]) == (0, 0)


def test_more_failures_than_allowed(root: Path, model: str) -> None:
    code, record = as_json(root, "--model", model, "--split", "test")
    assert (code, record["ok"], list(record["failures"])) == (4, False, ["00003"])
    assert record["error"] == "1 of 1 clips could not be transcribed" and record["todo"]
    result = run(root, "transcribe", "--model", model)
    assert result.exit_code == 4 and "1 of 4 clips could not be transcribed" in result.output
    assert "--max-failures 1" in result.output
    assert run(root, "transcribe", "--model", model, "--max-failures", "50%").exit_code == 0


def test_only_and_overwrite(root: Path, model: str) -> None:
    shutil.copy(root / "challenge" / "audio" / "00000.wav", root / "challenge" / "audio" / "00002.wav")
    (root / "some.txt").write_text("00002\n0\n")
    code, record = as_json(
        root, "--model", model, "--only", "some.txt", "--overwrite", "--batch", "2", "--workers", "2"
    )
    assert (code, record["clips"], record["transcribed"], record["in_folder"]) == (0, 2, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--model", "no/where"], 1, "not on this machine"),
        (["--model", "./nowhere"], 1, "no such model folder"),
        (["--split", "dev"], 2, "unknown split"),
        (["--only", "abc"], 2, "not a clip id"),
        (["--only", "00009"], 2, "not clips of the chosen splits"),
        (["--timestamps"], 2, "--export"),
        (["--device", "tpu"], 2, "no such device"),
        (["--batch", "0"], 2, "batch"),
        (["--max-failures", "few"], 2, "max_failures"),
        (["--set", "extract.whisper_no_speech=2"], 2, "whisper_no_speech"),
        (["--set", "extract.whisper=2"], 2, "unknown setting"),
    ],
)
def test_refusals(root: Path, arguments: list[str], code: int, text: str) -> None:
    result = run(root, "transcribe", *arguments)
    assert result.exit_code == code, result.output
    assert text in result.output and "Traceback" not in result.output
    assert not list(root.glob("transcripts/*/part-*"))


def test_models_that_cannot_be_used(root: Path, model: str, tmp_path: Path) -> None:
    bert = tiny_models.bert(tmp_path / "bert")
    assert "this is not a Whisper model" in run(root, "transcribe", "--model", str(bert)).output
    result = run(root, "transcribe", "--model", model, "--language", "klingon")
    assert result.exit_code == 2 and "does not know this language" in result.output
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\0" * 64)
    result = run(root, "transcribe", "--model", str(broken))
    assert result.exit_code == 1 and "cannot be loaded" in result.output
    pickled = shutil.copytree(model, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "can run code" in run(root, "transcribe", "--model", str(pickled)).output
    assert not list(root.glob("transcripts/*/part-*")), "nothing was recorded"


def test_export_into_the_data_folder_is_refused(root: Path, model: str) -> None:
    result = run(root, "transcribe", "--model", model, "--split", "train", "--export", "challenge/text")
    assert result.exit_code == 2 and "never written to" in result.output
    assert [path.name for path in (root / "challenge" / "text").iterdir()] == ["00002.txt"]


def test_a_second_process_and_a_damaged_part(root: Path, model: str) -> None:
    assert run(root, "transcribe", "--model", model, "--split", "train").exit_code == 0
    (folder,) = Workspace.open(root, environ={}).transcripts.iterdir()
    with locked(folder, "transcribing"):
        result = run(root, "transcribe", "--model", model)
    assert result.exit_code == 1 and "another process is transcribing here" in result.output
    part = folder / "part-00000.jsonl"
    part.write_text(part.read_text()[:-30])
    for command in (["transcribe", "--model", model], ["extract", "-m", "text"]):
        result = run(root, *command)
        assert result.exit_code == 1 and "damaged" in result.output and "part-00000.jsonl:3" in result.output
    part.unlink()
    assert run(root, "transcribe", "--model", model, "--split", "train").exit_code == 0


def test_no_workspace(tmp_path: Path) -> None:
    assert run(tmp_path, "transcribe").exit_code == 2
    assert "Example: abawkit transcribe" in run(tmp_path, "transcribe", "--help").output
