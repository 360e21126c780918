import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.errors import AbawkitError, UsageError
from abawkit.features.segment import read_segment
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.store import FeatureStore, choose_store, list_stores
from abawkit.features.writer import open_for_writing
from abawkit.progress import SILENT

SPEC = FeatureSpec("audio", "lite", 3, "lite-audio/1", time_source="index")


def clip(number: int, frames: int, *, status: Status = Status.PRESENT, seed: int = 0, note: str = "") -> ClipFeatures:
    rng = np.random.default_rng([seed, number])
    times = np.arange(frames, dtype=np.float32) / 50
    return ClipFeatures(f"{number:05d}", status, rng.normal(size=(frames, 3)), times, f"source-{number}", note)


def build(path: Path, *segments: list[ClipFeatures], spec: FeatureSpec = SPEC) -> FeatureStore:
    with open_for_writing(path, spec) as writer:
        for clips in segments:
            writer.add(clips)
    return FeatureStore.open(path)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.sampled_from(["float16", "float32"]))
@settings(max_examples=25, deadline=None)
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], dtype: str) -> None:
    spec = replace(SPEC, dtype=dtype)
    clips = [clip(i, n, status=Status.PRESENT if n else Status.MISSING, note="ü" * i) for i, n in enumerate(lengths)]
    store = build(tmp_path_factory.mktemp("store"), clips, spec=spec)
    assert store.ids == [c.clip for c in clips]
    for made in clips:
        np.testing.assert_array_equal(store.frames(made.clip), made.values.astype(dtype))
        np.testing.assert_array_equal(store.times(made.clip), made.times)
        assert (store.status(made.clip), store.source(made.clip), store.note(made.clip)) == (
            made.status,
            made.source,
            made.note,
        )
    store.verify()


def test_frames_can_be_given_to_torch_without_a_copy(tmp_path: Path) -> None:
    store = build(tmp_path / "s", [clip(0, 5), clip(1, 3)])
    frames = store.frames("00001")
    assert isinstance(frames.base, np.memmap)
    tensor = torch.from_numpy(frames)  # a read-only map would warn, and warnings are errors here
    assert tensor.shape == (3, 3) and tensor.dtype == torch.float16


def test_the_newest_segment_counts(tmp_path: Path) -> None:
    store = build(tmp_path / "s", [clip(0, 5), clip(1, 3)], [clip(0, 2, seed=9)])
    assert len(store.frames("00000")) == 2 and len(store.frames("00001")) == 3 and len(store) == 2


def test_a_segment_that_was_renamed_but_not_entered_is_adopted(tmp_path: Path) -> None:
    build(tmp_path / "s", [clip(0, 5)])
    manifest = (tmp_path / "s" / "store.json").read_bytes()
    build(tmp_path / "s", [clip(1, 4)])
    (tmp_path / "s" / "store.json").write_bytes(manifest)  # as a process killed between rename and manifest leaves it
    (tmp_path / "s" / ".tmp-half.h5").write_bytes(b"half")
    assert FeatureStore.open(tmp_path / "s").ids == ["00000"]
    assert build(tmp_path / "s").ids == ["00000", "00001"]
    assert not list((tmp_path / "s").glob(".tmp-*"))


def test_another_signature_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "s", [clip(0, 5)])
    with (
        pytest.raises(AbawkitError, match="another feature"),
        open_for_writing(tmp_path / "s", replace(SPEC, preprocessing={"hop": 10})),
    ):
        pass
    other = replace(SPEC, extractor="lite-audio/2")
    with pytest.raises(AbawkitError, match="another feature"):
        read_segment(tmp_path / "s" / "segment-0000.h5", other)


@pytest.mark.parametrize(
    "change", [{"dim": 4}, {"extractor": "x/2"}, {"preprocessing": {"a": 1}}, {"dtype": "float32"}]
)
def test_the_signature_sees_every_change(change: dict[str, object]) -> None:
    assert replace(SPEC, **change).signature != SPEC.signature


def test_a_moved_model_folder_is_the_same_model() -> None:
    spec = replace(SPEC, model="/a/b", weights="1234")
    assert replace(spec, model="/c").signature == spec.signature
    assert replace(spec, weights="5678").signature != spec.signature


def test_a_missing_segment_is_an_error_by_name(tmp_path: Path) -> None:
    store = build(tmp_path / "s", [clip(0, 5)])
    (tmp_path / "s" / "segment-0000.h5").unlink()
    with pytest.raises(AbawkitError, match=r"segment-0000\.h5: a segment of the feature store is missing"):
        FeatureStore.open(store.path).ids  # noqa: B018


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_damaged_segment_is_an_error(tmp_path: Path, keep: int) -> None:
    store = build(tmp_path / "s", [clip(i, 500) for i in range(3)])
    path = tmp_path / "s" / "segment-0000.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(AbawkitError, match="damaged"):
        FeatureStore.open(store.path).frames("00000")


def test_flipped_values_are_found(tmp_path: Path) -> None:
    store = build(tmp_path / "s", [clip(0, 500), clip(1, 3)])
    with h5py.File(tmp_path / "s" / "segment-0000.h5", "r+") as file:
        file["frames/values"][7, 1] = 3.0
    with pytest.raises(AbawkitError, match="clip 00000 are damaged"):
        FeatureStore.open(store.path).verify()


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "s", [clip(0, 5)])
    manifest = tmp_path / "s" / "store.json"
    manifest.write_text(manifest.read_text().replace('"dim": 3', '"dim": 4'))
    with pytest.raises(AbawkitError, match="it was edited"):
        FeatureStore.open(tmp_path / "s")
    manifest.write_text("{}")
    with pytest.raises(AbawkitError, match="not the manifest"):
        FeatureStore.open(tmp_path / "s")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        open_for_writing(tmp_path / "s", SPEC),
        pytest.raises(AbawkitError, match="another process is writing these audio features"),
        open_for_writing(tmp_path / "s", SPEC),
    ):
        pass


def test_choosing_a_store(tmp_path: Path) -> None:
    features = tmp_path / "features"
    with pytest.raises(UsageError, match="there are no audio features"):
        choose_store(features, "audio", lite=True)
    other = replace(SPEC, name="wav2vec2", extractor="w/1")
    for spec in (SPEC, other):
        build(features / "audio" / spec.folder, [clip(0, 2)], spec=spec)
    assert choose_store(features, "audio", lite=True).spec.name == "lite"
    assert choose_store(features, "audio", lite=False).spec.name == "wav2vec2"
    assert choose_store(features, "audio", lite=False, wanted="lite").spec.name == "lite"
    second = replace(other, preprocessing={"layer": 9})
    build(features / "audio" / second.folder, [clip(0, 2)], spec=second)
    with pytest.raises(UsageError, match="several stores"):
        choose_store(features, "audio", lite=False)
    assert len(list_stores(features)) == 3


def test_the_content_digest_sees_values_not_files(tmp_path: Path) -> None:
    one = build(tmp_path / "a", [clip(0, 5), clip(1, 3)])
    two = build(tmp_path / "b", [clip(0, 5)], [clip(1, 3)], [clip(2, 1)])
    assert one.content_digest(["00000", "00001"]) == two.content_digest(["00000", "00001"])
    three = build(tmp_path / "c", [clip(0, 5), clip(1, 3, seed=1)])
    assert one.content_digest(["00000", "00001"]) != three.content_digest(["00000", "00001"])


def compact(path: Path, segment_clips: int = 4) -> bool:
    store = FeatureStore.open(path)
    with open_for_writing(path, store.spec) as writer, SILENT.task("compact") as task:
        return writer.compact(segment_clips, task)


def many(path: Path) -> FeatureStore:
    """A store of 10 clips in 5 segments, with two clips made twice, one missing and one failed."""
    failed = replace(clip(8, 0, status=Status.FAILED, note='["load", "E", "why", true]'))
    return build(
        path,
        [clip(1, 3), clip(5, 2)],
        [clip(0, 4), clip(9, 1)],
        [clip(5, 6, seed=1), clip(2, 2)],
        [clip(3, 0, status=Status.MISSING), clip(4, 1), clip(6, 9), failed],
        [clip(7, 3), clip(1, 1, seed=2)],
    )


def everything(store: FeatureStore) -> list[object]:
    found: list[object] = []
    for one in store.ids:
        kept = store.features(one)
        found.append((one, kept.status, kept.values.tobytes(), kept.times.tobytes(), kept.source, kept.note))
    return found


def test_compacting_changes_the_files_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = many(path)
    kept, digest = everything(before), before.content_digest(before.ids)
    waiting = FeatureStore.open(path)  # knows the old segments and has not read them yet
    assert compact(path)
    after = FeatureStore.open(path)
    assert [len(members) for members in after.segments.values()] == [4, 4, 2]
    assert {file.name for file in path.glob("segment-*")} == set(after.segments)
    assert not (path / ".compact").exists() and "retired" not in (path / "store.json").read_text()
    assert everything(after) == kept and after.content_digest(after.ids) == digest
    assert everything(before) == kept  # what is open stays
    assert everything(waiting) == kept
    names = set(after.segments)
    assert not compact(path) and set(FeatureStore.open(path).segments) == names
    assert build(path, [clip(11, 2)]).ids == [*after.ids, "00011"]


def test_a_damaged_value_is_not_compacted_away(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = many(path)
    names = sorted(store.segments)
    with h5py.File(path / names[0], "r+") as file:
        file["frames/values"][0, 0] = 3.0  # of the first version of clip 1, which no longer counts
    with h5py.File(path / names[1], "r+") as file:
        file["frames/values"][0, 0] = 3.0
    with pytest.raises(AbawkitError, match=r"segment-0001\.h5: the values of clip 00000 are damaged"):
        compact(path)
    assert sorted(FeatureStore.open(path).segments) == names and not (path / ".compact").exists()


KILLED = """
import os, shutil, sys
from pathlib import Path
from abawkit.features.store import FeatureStore
from abawkit.features.writer import open_for_writing
from abawkit.progress import SILENT

source, left = Path(sys.argv[1]), None
spec = FeatureStore.open(source).spec

def trace(event, arguments):
    global left
    if left is not None and event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

sys.addaudithook(trace)
for moment in map(int, sys.argv[2:]):
    path = Path(f"{source}-{moment}")
    shutil.copytree(source, path)
    child = os.fork()
    if child == 0:
        with open_for_writing(path, spec) as writer, SILENT.task("compact") as task:
            writer.store.ids
            left = moment
            writer.compact(4, task)
            left = None
        os._exit(0)
    if os.waitpid(child, 0)[1] != 9:
        sys.exit(f"it was not killed at moment {moment}")
"""

#: Changes of files, counted from the beginning: 46 in all, all of which were tried; these are the borders.
MOMENTS = (0, 4, 14, 22, 23, 24, 27, 31, 32, 34, 36, 39, 43, 45)


def test_compacting_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    kept = everything(many(path))
    command = [sys.executable, "-c", KILLED, str(path), *map(str, MOMENTS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for moment in MOMENTS:
        path = tmp_path / f"s-{moment}"
        assert everything(FeatureStore.open(path)) == kept, moment  # a reader
        # The next writer frees what was left: the half-made segments, or the old ones once the new are entered.
        left = len(build(path).segments)
        assert not (path / ".compact").exists() and (left == 3) == (moment >= 32), moment
        compact(path)  # continues
        after = FeatureStore.open(path)
        assert everything(after) == kept and len(after.segments) == 3, moment
        assert {file.name for file in path.iterdir()} == {"store.json", ".lock", *after.segments}, moment


def test_reading_while_it_is_compacted(tmp_path: Path) -> None:
    path = tmp_path / "s"
    kept = everything(many(path))
    reads, end = 0, threading.Event()

    def work() -> None:
        for size in (4, 3, 2, 1):
            compact(path, size)
        end.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not end.is_set():
        assert everything(FeatureStore.open(path)) == kept
        reads += 1
    worker.join()
    assert reads and everything(FeatureStore.open(path)) == kept


def test_a_segment_that_the_user_deleted_is_struck_off(tmp_path: Path) -> None:
    store = many(tmp_path / "s")
    (store.path / sorted(store.segments)[2]).unlink()  # as the message about a damaged segment says
    again = build(store.path)
    assert again.ids == [one for one in store.ids if one != "00002"]
    assert len(again.frames("00005")) == 2  # the older version is there again; its source says that it is old


def test_imported_stores_are_taken_with_any_preset(tmp_path: Path) -> None:
    features = tmp_path / "features"
    imported = replace(SPEC, name="theirs", extractor="import/1")
    build(features / "audio" / imported.folder, [clip(0, 2)], spec=imported)
    for lite in (True, False):
        assert choose_store(features, "audio", lite=lite).spec.name == "theirs"
    build(features / "audio" / SPEC.folder, [clip(0, 2)])
    assert choose_store(features, "audio", lite=False).spec.name == "theirs"
    with pytest.raises(UsageError, match="several stores"):  # never guessed
        choose_store(features, "audio", lite=True)
    with pytest.raises(AbawkitError, match="features import --modality audio --name theirs"):
        FeatureStore.open(features / "audio" / imported.folder).frames("00009")


def test_the_ten_thousandth_segment_is_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "s"
    build(path, [clip(0, 5)])
    (path / "segment-0000.h5").rename(path / "segment-9999.h5")
    manifest = path / "store.json"
    manifest.write_text(manifest.read_text().replace("segment-0000", "segment-9999"))
    store = build(path, [clip(0, 2, seed=1)])
    assert sorted(store.segments) == ["segment-10000.h5", "segment-9999.h5"] and len(store.frames("00000")) == 2
