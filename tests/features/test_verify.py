"""Every code of feature stores is found, and a good store has no findings."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from abawkit.errors import UsageError
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.summary import _summary
from abawkit.features.verify import verify_features, verify_store
from abawkit.features.writer import open_for_writing
from abawkit.findings import CODES, Report
from abawkit.workspace import Workspace

SPEC = FeatureSpec("audio", "lite", 3, "lite-audio/1", dtype="float32", time_source="pts")
SPLITS = {"train": ("00000", "00001", "00002"), "valid": ("00003",), "test": ()}


def clip(number: int, values: object, *, times: object = None, status: Status = Status.PRESENT) -> ClipFeatures:
    frames = np.asarray(values, np.float32).reshape(-1, 3)
    seconds = np.arange(len(frames), dtype=np.float32) if times is None else np.asarray(times, np.float32)
    return ClipFeatures(f"{number:05d}", status, frames, seconds, "source")


def good(number: int, frames: int = 4) -> ClipFeatures:
    return clip(number, np.random.default_rng(number).normal(size=(frames, 3)))


def build(path: Path, *segments: list[ClipFeatures], spec: FeatureSpec = SPEC) -> Path:
    with open_for_writing(path, spec) as writer:
        for clips in segments:
            writer.add(clips)
    return path


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.sorted()]


def test_a_good_store_has_no_findings(tmp_path: Path) -> None:
    path = build(tmp_path / "s", [good(0), good(1)], [good(2), good(3), good(1, 1)])
    report = verify_store(path, SPLITS)
    assert report.ok and codes(report) == []


@pytest.mark.parametrize(
    ("bad", "code", "words"),
    [
        (clip(0, [[1, 2, np.nan], [1, 2, 3]]), "X603", "clip 00000: 1 of 2 frames"),
        (clip(0, [[1, -np.inf, 3]]), "X603", "1 of 1 frames"),
        (clip(0, [[1, 2, 3], [1, 2, 4], [1, 2, 5]], times=[0, 2, 1]), "X604", "decrease"),
        (clip(0, [[1, 2, 3], [1, 2, 4]], times=[0, np.nan]), "X604", "missing"),
        (clip(0, np.zeros((4, 3))), "X605", "all values are zero"),
        (clip(0, [[1, 2, 3]] * 5), "X606", "all 5 frames"),
        (clip(0, [[1, 2, 3], [2, 2, 2], [0, 0, 0], [1, 2, 3]]), "X607", "2 of 4 frames"),
        (clip(0, [[1, 2, -20000]]), "X608", "very large"),
    ],
    ids=["nan", "infinity", "order", "no time", "zero", "frozen", "flat", "large"],
)
def test_values(tmp_path: Path, bad: ClipFeatures, code: str, words: str) -> None:
    report = verify_store(build(tmp_path / "s", [bad, good(1), good(2), good(3)]), SPLITS)
    assert codes(report) == [code] and words in report.findings[0].message
    replaced = build(tmp_path / "t", [bad, good(1), good(2), good(3)], [good(0)])
    assert codes(verify_store(replaced, SPLITS)) == []  # only the newest version counts


def test_a_store_without_times_and_with_single_frames(tmp_path: Path) -> None:
    spec = replace(SPEC, time_source="none", dim=1)
    frames = np.ones((1, 1), np.float32)
    clips = [ClipFeatures(c, Status.PRESENT, frames, np.full(1, np.nan, np.float32), "s") for c in SPLITS["train"]]
    path = build(tmp_path / "s", clips, spec=spec)
    assert codes(verify_store(path, {"train": SPLITS["train"]})) == []


def test_files(tmp_path: Path) -> None:
    path = build(tmp_path / "s", [good(0)], [good(1)], [good(2)], [good(3)])
    with h5py.File(path / "segment-0000.h5", "r+") as file:
        file["frames/values"][1, 1] = 7.0
    (path / "segment-0001.h5").write_bytes(b"damaged")
    (path / "segment-0002.h5").unlink()
    with h5py.File(path / "segment-0003.h5", "r+") as file:
        file["clips/status"][0] = int(Status.MISSING)
    (path / "notes.txt").write_text("x")
    report = verify_store(path, SPLITS)
    assert codes(report) == ["X601", "X601", "X601", "X602", "X614"]
    named = [finding.path.name for finding in report.findings if finding.path is not None]
    assert sorted(named) == ["s", *(f"segment-000{number}.h5" for number in range(4))]
    (path / "store.json").write_text("{}")
    assert codes(verify_store(path, SPLITS)) == ["X601"]
    assert codes(verify_store(tmp_path / "nothing", SPLITS)) == ["X601"]


@pytest.mark.parametrize("table", ["offset", "id", "time"])
def test_tables_that_do_not_fit(tmp_path: Path, table: str) -> None:
    path = build(tmp_path / "s", [good(0), good(1), good(2), good(3)])
    with h5py.File(path / "segment-0000.h5", "r+") as file:
        if table == "offset":
            file["clips/offset"][1] = 99
        elif table == "id":
            file["clips/id"][0] = "00009"
        else:
            del file["frames/time"]
            file["frames/time"] = np.zeros(3, np.float32)
    assert codes(verify_store(path, SPLITS)) == ["X601"]


def test_a_missing_shard(tmp_path: Path) -> None:
    with open_for_writing(tmp_path / "s", SPEC, shard=(1, 2)) as writer:
        writer.add([good(0), good(1)])
        writer.finish()
    report = verify_store(tmp_path / "s", {})
    assert codes(report)[0] == "X601" and "shard 2/2 is missing" in report.findings[0].message
    listed = _summary(tmp_path / "s")
    assert listed.present == 2 and listed.problem is not None and "2/2" in listed.problem


def test_coverage(tmp_path: Path) -> None:
    lacking = clip(1, np.zeros((0, 3)), status=Status.MISSING)
    failed = clip(2, np.zeros((0, 3)), status=Status.FAILED)
    report = verify_store(build(tmp_path / "s", [good(0), lacking, failed, good(9)]), SPLITS)
    assert sorted(codes(report)) == ["X609", "X610", "X611", "X612", "X613"]
    told = {finding.code: finding for finding in report.findings}
    assert told["X609"].message.startswith("1 of 1 valid clips are not in the store") and told["X609"].got == "00003"
    assert told["X612"].got == "train 33.3%, valid 0.0%" and told["X613"].got == "00009"


def test_of_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "abawkit.toml").write_text("")  # no challenge folder: the coverage cannot be checked
    workspace = Workspace.open(tmp_path, environ={})
    with pytest.raises(UsageError, match="there are no feature stores"):
        verify_features(workspace)
    for spec in (SPEC, replace(SPEC, modality="motion")):
        build(workspace.features / spec.modality / spec.folder, [good(0), clip(1, np.zeros((2, 3)))], spec=spec)
    report = verify_features(workspace)
    assert codes(report) == ["X605", "X605"] and report.counts == {"stores": 2}
    assert "not checked: no challenge folder is set" in str(report.about["coverage"])
    assert codes(verify_features(workspace, ["motion"])) == ["X605"]
    json.dumps(report.to_json())


def test_every_code_of_stores_was_seen_above() -> None:
    text = Path(__file__).read_text()
    assert all(f'"{code}"' in text for code in CODES if code.startswith("X"))
