from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.store import FeatureStore, choose_store, list_stores, open_for_writing, read_segment

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
        pytest.raises(AbawkitError, match="another process is extracting audio"),
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
