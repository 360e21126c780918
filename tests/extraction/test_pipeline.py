"""Extraction: what it stores, what it records of bad clips, and that interruptions and workers change nothing."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from abawkit.data.layout import Clip
from abawkit.errors import AbawkitError, MediaError, ModalityMissing, UsageError
from abawkit.extraction.pipeline import extract
from abawkit.features.spec import Extractor, FeatureSpec, Loaded, Modality, Status
from abawkit.features.store import FeatureStore, list_stores
from abawkit.workspace import Workspace


def same(a: FeatureStore, b: FeatureStore) -> None:
    assert a.ids == b.ids and a.spec.signature == b.spec.signature
    for clip in a.ids:
        np.testing.assert_array_equal(a.frames(clip), b.frames(clip))
        np.testing.assert_array_equal(a.times(clip), b.times(clip))
        assert (a.status(clip), a.source(clip), a.note(clip)) == (b.status(clip), b.source(clip), b.note(clip))


def test_every_clip_is_in_every_store(extracted: Path) -> None:
    stores = list_stores(extracted / "features")
    assert [store.spec.modality for store in stores] == ["text", "audio", "vision", "motion"]
    for store in stores:
        assert len(store) == 36 + 24 + 12
        store.verify()
        for clip in store.ids:
            frames = np.asarray(store.frames(clip), np.float32)
            assert (len(frames) > 0) == (store.status(clip) == Status.PRESENT)
            assert np.isfinite(frames).all()
    text = stores[0]
    assert any(text.status(clip) == Status.MISSING for clip in text.ids)


def test_running_again_does_nothing(extracted_copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in extracted_copy.rglob("*.h5")}
    done = extract(Workspace.open(extracted_copy, environ={}))
    assert all(store.extracted == 0 for store in done.stores)
    assert {path: path.stat().st_mtime_ns for path in extracted_copy.rglob("*.h5")} == before


def test_a_killed_extraction_goes_on_to_the_same_store(extracted: Path, fresh: Path) -> None:
    """A sample of the proof in soak/: kill -9 at some moment, run again, compare with the uninterrupted store."""
    root = fresh
    command = [
        sys.executable,
        "-m",
        "abawkit",
        "extract",
        "--modality",
        "text",
        "--modality",
        "audio",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(root.glob("features/audio/*/segment-0000.h5")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in root.rglob("segment-*.h5")}
    assert finished
    done = extract(Workspace.open(root, environ={}, overrides={"extract.workers": 2}), modalities=["text", "audio"])
    assert sum(store.extracted for store in done.stores) < 2 * 72  # what was finished was not done again
    for path, when in finished.items():
        assert path.stat().st_mtime_ns == when
    for modality in ("text", "audio"):
        (ours,) = (root / "features" / modality).iterdir()
        same(FeatureStore.open(ours), FeatureStore.open(extracted / "features" / modality / ours.name))


def test_a_clip_whose_source_changed_is_made_anew(challenge_copy: Callable[[], Path]) -> None:
    root = challenge_copy()
    workspace = Workspace.open(root, environ={})
    extract(workspace, modalities=["text"])
    text = root / "challenge" / "text" / "00003.txt"
    text.parent.mkdir(exist_ok=True)
    text.write_text("something else entirely")
    done = extract(workspace, modalities=["text"])
    assert [store.extracted for store in done.stores] == [1]
    text.unlink()
    extract(workspace, modalities=["text"])
    (store,) = list_stores(workspace.features)
    assert store.status("00003") == Status.MISSING and len(store.frames("00003")) == 0


def test_an_unreadable_clip_is_recorded_and_the_others_are_done(challenge_copy: Callable[[], Path]) -> None:
    root = challenge_copy()
    workspace = Workspace.open(root, environ={}, overrides={"extract.workers": 1})
    video = root / "challenge" / "raw" / "00004.mp4"
    video.write_bytes(video.read_bytes()[:700])
    (root / "challenge" / "audio" / "00005.mp3").write_bytes(b"")
    done = extract(workspace, modalities=["motion", "audio"])
    assert {store.modality: store.failed for store in done.stores} == {"motion": 1, "audio": 1}
    assert done.failures is not None
    rows = list(csv.DictReader(done.failures.read_text().splitlines()))
    failed = {row["clip"]: row for row in rows if row["outcome"] == "failed"}
    assert set(failed) == {"00004", "00005"}
    assert failed["00004"]["exception"] == "MediaError" and failed["00004"]["retry"] == "no"
    # Failed clips are not tried again by themselves, but with --retry-failed.
    assert sum(store.extracted for store in extract(workspace, modalities=["motion"]).stores) == 0
    assert sum(store.extracted for store in extract(workspace, modalities=["motion"], retry_failed=True).stores) == 1


def test_nothing_is_written_into_the_data_folder(challenge_copy: Callable[[], Path]) -> None:
    root = challenge_copy()
    before = sorted((path, path.stat().st_mtime_ns) for path in (root / "challenge").rglob("*"))
    extract(Workspace.open(root, environ={}), modalities=["text", "vision"])
    assert sorted((path, path.stat().st_mtime_ns) for path in (root / "challenge").rglob("*")) == before


def test_only_the_split_that_was_asked_for(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    done = extract(workspace, modalities=["text"], splits=["valid"])
    assert [store.clips for store in done.stores] == [24]
    # Test clips that come later go into new segments; nothing is rewritten.
    first = {path: path.stat().st_mtime_ns for path in fresh.rglob("segment-*.h5")}
    extract(workspace, modalities=["text"])
    assert {path: path.stat().st_mtime_ns for path in first} == first
    (store,) = list_stores(workspace.features)
    assert len(store) == 72


def test_unknown_names_are_refused(extracted: Path) -> None:
    workspace = Workspace.open(extracted, environ={})
    with pytest.raises(UsageError, match="unknown modality"):
        extract(workspace, modalities=["smell"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="unknown split"):
        extract(workspace, splits=["dev"])


def test_the_preset_paper_says_which_model_is_missing(extracted: Path) -> None:
    workspace = Workspace.open(extracted, environ={}, overrides={"extract.preset": "paper"})
    with pytest.raises(AbawkitError, match="thenlper/gte-base") as caught:
        extract(workspace, modalities=["text"])
    assert caught.value.exit_code == 1 and "--preset lite" in str(caught.value)


ODD = FeatureSpec("text", "odd", 2, "odd/1")


@dataclass(frozen=True)
class Odd:
    """A real extractor with every kind of bad behaviour, chosen by the clip's number."""

    spec: FeatureSpec = ODD

    def source(self, clip: Clip) -> str:
        return clip.id

    def load(self, clip: Clip) -> Loaded:
        kind = int(clip.id)
        if kind == 0:
            raise ModalityMissing("there is none")
        if kind == 1:
            raise MediaError("broken")
        if kind == 2:
            raise ZeroDivisionError("a defect")
        return Loaded(np.full((1, 2), kind, dtype=np.float32), warnings=("odd",) if kind == 6 else ())

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[Any], NDArray[np.float32]]]:
        if any(loaded.data[0, 0] == 3 for loaded in batch):
            raise RuntimeError("the model cannot take one of them")
        made = []
        for loaded in batch:
            values = loaded.data
            if values[0, 0] == 4:
                values = np.full((1, 2), 1e9, dtype=np.float32)  # infinite in float16
            if values[0, 0] == 5:
                values = np.zeros((0, 2), dtype=np.float32)
            made.append((values, np.zeros(len(values), np.float32)))
        return made


def test_one_bad_clip_never_spoils_its_neighbours(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    extractors: dict[Modality, Extractor] = {"text": Odd()}
    done = extract(workspace, modalities=["text"], splits=["train"], extractors=extractors)
    (store,) = list_stores(workspace.features)
    status = [store.status(f"{number:05d}") for number in range(8)]
    assert status == [Status.MISSING, *[Status.FAILED] * 5, Status.PRESENT, Status.PRESENT]
    assert store.frames("00007").tolist() == [[7.0, 7.0]]
    assert done.failures is not None
    rows = {row["clip"]: row for row in csv.DictReader(done.failures.read_text().splitlines())}
    assert rows["00006"]["outcome"] == "kept" and rows["00006"]["message"] == "odd"
    assert "ZeroDivisionError" in rows["00002"]["message"] and rows["00003"]["step"] == "embed"
    assert "not finite" in rows["00004"]["message"] and "no frames" in rows["00005"]["message"]
