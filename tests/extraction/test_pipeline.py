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

from abawkit.errors import AbawkitError, Damage, MediaError, ModalityMissing, UsageError
from abawkit.extraction.pipeline import extract, plan_extraction
from abawkit.extraction.report import Extraction, StoreReport
from abawkit.extraction.request import ExtractRequest
from abawkit.extraction.select import Shard, select_clips
from abawkit.features.spec import ClipFeatures, FeatureSpec, Loaded, Status, Workload
from abawkit.features.store import FeatureStore, choose_store, list_stores
from abawkit.features.writer import open_for_writing
from abawkit.layout.folder import Clip
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
    workload = Workload(in_workers=False)

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
    done = extract(workspace, modalities=["text"], splits=["train"], extractors=[Odd()])
    (store,) = list_stores(workspace.features)
    status = [store.status(f"{number:05d}") for number in range(8)]
    assert status == [Status.MISSING, *[Status.FAILED] * 5, Status.PRESENT, Status.PRESENT]
    assert store.frames("00007").tolist() == [[7.0, 7.0]]
    assert done.failures is not None
    rows = {row["clip"]: row for row in csv.DictReader(done.failures.read_text().splitlines())}
    assert rows["00006"]["outcome"] == "kept" and rows["00006"]["message"] == "odd"
    assert "ZeroDivisionError" in rows["00002"]["message"] and rows["00003"]["step"] == "embed"
    assert "not finite" in rows["00004"]["message"] and "no frames" in rows["00005"]["message"]


DAMAGED = FeatureSpec("audio", "damaged", 2, "damaged/1")


@dataclass(frozen=True)
class Damaged:
    """An extractor whose clip 3 decodes in part only."""

    spec: FeatureSpec = DAMAGED
    workload = Workload()

    def source(self, clip: Clip) -> str:
        return clip.id

    def load(self, clip: Clip) -> Loaded:
        warnings = ("only odd", Damage("half is gone")) if clip.id == "00003" else ("only odd",)
        return Loaded(np.ones((1, 2), np.float32), warnings=warnings)

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[Any], NDArray[np.float32]]]:
        return [(loaded.data, np.zeros(1, np.float32)) for loaded in batch]


def test_damage_is_kept_or_fails_by_policy_and_never_in_one_store(fresh: Path) -> None:
    arguments: dict[str, Any] = {"modalities": ["audio"], "splits": ["train"], "extractors": [Damaged()]}
    kept = extract(Workspace.open(fresh, environ={}), **arguments)
    strict = Workspace.open(fresh, environ={}, overrides={"extract.on_damage": "fail"})
    failed = extract(strict, **arguments)
    assert (kept.failed, failed.failed) == (0, 1) and kept.stores[0].path != failed.stores[0].path
    store = FeatureStore.open(failed.stores[0].path)
    assert store.status("00003") == Status.FAILED and "half is gone" in store.note("00003")
    assert failed.failures is not None
    rows = list(csv.DictReader(failed.failures.read_text().splitlines()))
    assert {row["outcome"] for row in rows if row["clip"] == "00003"} == {"kept", "failed"}


def test_some_clips_only(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    done = extract(workspace, modalities=["text"], only=["00007", "00002", "00040"])
    assert [store.clips for store in done.stores] == [3]
    done = extract(workspace, modalities=["text"], limit=5)
    (store,) = list_stores(workspace.features)
    assert done.stores[0].extracted == 4 and store.ids == [
        "00000",
        "00001",
        "00002",
        "00003",
        "00004",
        "00007",
        "00040",
    ]
    with pytest.raises(UsageError, match="not clips of the chosen splits"):
        extract(workspace, splits=["train"], only=["00040"])


def test_the_plan_is_what_is_done_then(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    (plan,) = plan_extraction(workspace, ExtractRequest(modalities=["audio"]))
    assert (plan.todo, plan.done, plan.clips) == ({"train": 36, "valid": 24, "test": 12}, 0, 72)
    assert not workspace.features.exists(), "a plan writes nothing"
    extract(workspace, modalities=["audio"], splits=["train"])
    (plan,) = plan_extraction(workspace, ExtractRequest(modalities=["audio"]))
    assert (plan.todo, plan.there) == ({"train": 0, "valid": 24, "test": 12}, {"train": 36, "valid": 0, "test": 0})
    before = sum(path.stat().st_size for path in plan.path.glob("*.h5"))
    extract(workspace, modalities=["audio"])
    grown = sum(path.stat().st_size for path in plan.path.glob("*.h5")) - before
    assert 0.5 < plan.bytes_needed / grown < 2
    assert plan.bytes_free > 0 and plan.to_json()["bytes_needed"] == plan.bytes_needed


@pytest.mark.parametrize(
    ("allowed", "bad"), [("1%", ["b", "c"]), ("0", ["a", "b", "c"]), ("2", ["c"]), ("2.5%", ["c"]), ("100%", [])]
)
def test_how_many_failures_are_too_many(allowed: str, bad: list[str]) -> None:
    def store(name: str, failed: int) -> StoreReport:
        return StoreReport("text", Path(name), "", 100, 0, 0, failed, 0, 0)

    done = Extraction((store("a", 1), store("b", 2), store("c", 3)), None)
    assert [report.path.name for report in done.too_many(allowed)] == bad


def test_a_damaged_store_of_another_modality_stops_nothing(extracted_copy: Path) -> None:
    workspace = Workspace.open(extracted_copy, environ={})
    (manifest,) = workspace.features.glob("vision/*/store.json")
    manifest.write_text("{")
    done = extract(workspace, modalities=["text"])
    assert done.stores[0].extracted == 0


def test_shards_fill_one_store_and_a_missing_one_is_named(extracted: Path, fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    (reference,) = [s for s in list_stores(extracted / "features") if s.spec.modality == "audio"]
    first = extract(workspace, modalities=["audio"], shard=Shard(1, 3)).stores[0]
    extract(workspace, modalities=["audio"], shard=Shard(3, 3))
    with pytest.raises(AbawkitError, match=r"not whole: shard 2/3 is missing") as caught:
        choose_store(workspace.features, "audio", lite=True)
    assert "--shard 2/3" in str(caught.value)
    with pytest.raises(UsageError, match="made in 3 shards"):
        extract(workspace, modalities=["audio"], shard=Shard(1, 2))
    again = extract(workspace, modalities=["audio"], shard=Shard(1, 3)).stores[0]
    assert (first.extracted, again.extracted) == (24, 0)
    extract(workspace, modalities=["audio"], shard=Shard(2, 3))
    whole = choose_store(workspace.features, "audio", lite=True)
    assert whole.ids == reference.ids and whole.shards is None
    for clip in whole.ids:
        np.testing.assert_allclose(
            whole.frames(clip).astype(np.float32), reference.frames(clip).astype(np.float32), atol=1e-3
        )
        assert whole.status(clip) == reference.status(clip)


def test_without_shards_the_rest_is_done(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    extract(workspace, modalities=["text"], shard=Shard(2, 4))
    assert extract(workspace, modalities=["text"], splits=["train"]).stores[0].extracted < 36
    with pytest.raises(AbawkitError, match="shard 1/4, 3/4, 4/4 is missing"):
        choose_store(workspace.features, "text", lite=True)
    extract(workspace, modalities=["text"])
    assert len(choose_store(workspace.features, "text", lite=True)) == 72


def test_every_clip_is_in_one_shard_and_the_work_is_even(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    parts = [select_clips(workspace, shard=Shard(number, 5)) for number in range(1, 6)]
    ids = [sorted(clip.id for members in part.values() for clip in members) for part in parts]
    assert sorted(clip for part in ids for clip in part) == [f"{number:05d}" for number in range(72)]
    sizes = [sum(c.video.stat().st_size for members in part.values() for c in members if c.video) for part in parts]
    assert max(sizes) < 2 * min(sizes)  # two clips are ten times as long as the others


def test_shards_and_the_whole_do_not_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_for_writing(path, ODD, shard=(1, 2)) as one, open_for_writing(path, ODD, shard=(2, 2)) as other:
        with pytest.raises(AbawkitError, match="another process is writing shard 1/2"):
            with open_for_writing(path, ODD, shard=(1, 2)):
                pass
        with pytest.raises(AbawkitError, match="another process is writing a shard"):
            with open_for_writing(path, ODD):
                pass
        rows = [
            ClipFeatures(f"{k:05d}", Status.PRESENT, np.ones((1, 2)), np.zeros(1, np.float32), "") for k in range(4)
        ]
        one.add(rows[:1])
        other.add(rows[1:2])
        one.add(rows[2:3])
        one.finish()
        other.add(rows[3:])
    assert FeatureStore.open(path).ids == [f"{k:05d}" for k in range(4)]
    assert FeatureStore.open(path).shards == (2, frozenset({1}))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="not a shard"):
        Shard.parse(text)


def test_a_modality_that_no_clip_has_gets_no_store(fresh: Path) -> None:
    """The preset paper takes motion from openface/, which is not there."""
    workspace = Workspace.open(fresh, environ={}, overrides={"extract.preset": "paper"})
    done = extract(workspace, modalities=["motion"])
    assert done.stores == () and not list_stores(workspace.features)
    with pytest.raises(UsageError, match="no motion features"):
        choose_store(workspace.features, "motion", lite=False)


@dataclass(frozen=True)
class OnlyOne:
    """An extractor for which a single clip has a source."""

    spec: FeatureSpec = DAMAGED
    workload = Workload()

    def source(self, clip: Clip) -> str:
        return "there" if clip.id == "00009" else ""

    def load(self, clip: Clip) -> Loaded:
        if clip.id != "00009":
            raise ModalityMissing("there is none")
        return Loaded(np.ones((1, 2), np.float32))

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[Any], NDArray[np.float32]]]:
        return [(loaded.data, np.zeros(1, np.float32)) for loaded in batch]


def test_a_shard_without_such_clips_is_a_shard_all_the_same(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    empty = next(
        k for k in (1, 2) if "00009" not in {c.id for c in select_clips(workspace, shard=Shard(k, 2))["train"]}
    )
    for number in (empty, 3 - empty):
        extract(workspace, modalities=["audio"], shard=Shard(number, 2), extractors=[OnlyOne()])
    (store,) = list_stores(workspace.features)
    assert store.shards is None and len(store) == 72
