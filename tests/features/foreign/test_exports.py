"""What is exported comes back, and nothing but an export is ever overwritten."""

import contextlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abawkit.data.labels import write_labels
from abawkit.errors import AbawkitError, UsageError
from abawkit.extraction.import_features import import_features
from abawkit.features.foreign.exports import export_features
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.store import FeatureStore
from abawkit.features.writer import open_for_writing
from abawkit.workspace import Workspace

SPEC = FeatureSpec("audio", "lite", 5, "lite-audio/1")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "abawkit.toml").write_text('data = "challenge"\n[extract]\nsegment_clips = 3\n')
    (tmp_path / "challenge").mkdir()
    opened = Workspace.open(tmp_path, environ={})
    for name, ids in {"train": ["00000", "00001", "00002"], "valid": ["00003", "00004"]}.items():
        write_labels(opened.data / f"{name}_split.csv", opened.task, ids, np.full((len(ids), 6), 0.5))
    return opened


def build(workspace: Workspace, dtype: Any = "float16", ids: tuple[int, ...] = (0, 1, 2, 3, 4)) -> FeatureStore:
    spec = replace(SPEC, dtype=dtype)
    rng = np.random.default_rng(0)
    clips = []
    for number in ids:
        frames = 0 if number == 2 else number + 1
        values, times = rng.normal(size=(frames, 5)).astype(dtype), np.arange(frames, dtype=np.float32)
        clips.append(ClipFeatures(f"{number:05d}", Status(int(frames == 0)), values, times, "source"))
    path = workspace.features / "audio" / spec.folder
    with open_for_writing(path, spec) as writer:
        writer.add(clips)
    return FeatureStore.open(path)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("format_", ["npy", "pkl"])
def test_what_is_exported_comes_back(workspace: Workspace, tmp_path: Path, dtype: str, format_: Any) -> None:
    store = build(workspace, dtype)
    out = tmp_path / "out"
    done = export_features(workspace, store, out, format=format_)
    assert (done.written, done.zeros, done.left_out) == (4, 0, ("00002",))
    assert {path.name for path in out.glob("0*")} == {f"0000{n}.{format_}" for n in (0, 1, 3, 4)}
    value = pickle.loads((out / "00004.pkl").read_bytes()) if format_ == "pkl" else np.load(out / "00004.npy")
    assert type(value) is np.ndarray and value.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(value, store.frames("00004"))
    assert "do not publish" in (out / "EULA-NOTE.txt").read_text()
    back = import_features(workspace, "audio", [out], name="back").store
    assert back.spec.dtype == dtype
    for clip in store.ids:
        assert back.status(clip) == store.status(clip)
        np.testing.assert_array_equal(back.frames(clip), store.frames(clip))


def test_missing_clips_as_zeros(workspace: Workspace, tmp_path: Path) -> None:
    done = export_features(workspace, build(workspace), tmp_path / "out", missing="zeros")
    assert (done.written, done.zeros, done.left_out) == (4, 1, ())
    zeros = np.load(tmp_path / "out" / "00002.npy")
    assert zeros.shape == (1, 5) and zeros.dtype == np.float16 and not zeros.any()
    back = import_features(workspace, "audio", [tmp_path / "out"], name="back")
    assert back.all_zero == 1 and back.store.status("00002") == Status.MISSING


def test_only_an_export_is_overwritten(workspace: Workspace, tmp_path: Path) -> None:
    store, out = build(workspace), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            export_features(workspace, store, out, overwrite=overwrite)
    (out / "thesis.txt").unlink()
    export_features(workspace, store, out, format="pkl")
    (out / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="there is an export here"):
        export_features(workspace, store, out)
    done = export_features(workspace, store, out, overwrite=True)
    assert done.removed == 4 and not list(out.glob("*.pkl")) and (out / "thesis.txt").exists()
    record = json.loads((out / "export.json").read_text())
    record["files"] += ["../abawkit.toml", "thesis.txt", "../../00000.npy"]  # a record can be forged
    (out / "export.json").write_text(json.dumps(record))
    export_features(workspace, store, out, overwrite=True)
    assert (out / "thesis.txt").exists() and (tmp_path / "abawkit.toml").exists()
    (out / "export.json").write_text("{}")
    with pytest.raises(AbawkitError, match="not the record of an export"):
        export_features(workspace, store, out, overwrite=True)


def test_an_export_that_was_stopped_is_known_to_the_next(workspace: Workspace, tmp_path: Path) -> None:
    store, out = build(workspace), tmp_path / "out"

    class Enough(Exception):  # noqa: N818
        pass

    class Impatient:
        def advance(self, amount: int = 1, note: str = "") -> None:
            if note == "00003":
                raise Enough

    class Progress:
        def task(self, what: str, total: int | None = None, unit: str = "clips") -> Any:
            return contextlib.nullcontext(Impatient())

        def say(self, message: str) -> None: ...

    with pytest.raises(Enough):
        export_features(workspace, store, out, format="pkl", progress=Progress())
    assert len(list(out.glob("*.pkl"))) == 2
    done = export_features(workspace, store, out, overwrite=True)
    assert done.removed == 2 and len(list(out.glob("0*"))) == 4


def test_places_that_are_never_written_to(workspace: Workspace, tmp_path: Path) -> None:
    store = build(workspace)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(workspace.data)
    for place in (workspace.data / "new", workspace.data, tmp_path / "link" / "x", store.path, tmp_path / "file"):
        with pytest.raises(UsageError):
            export_features(workspace, store, place)
    with pytest.raises(UsageError, match="unknown form"):
        export_features(workspace, store, tmp_path / "out", format="csv")  # type: ignore[arg-type]
    assert not list(workspace.data.glob("*.npy")) and not (tmp_path / "out").exists()


def test_an_id_never_leads_out_of_the_folder(workspace: Workspace, tmp_path: Path) -> None:
    path = workspace.features / "audio" / SPEC.folder
    frames = np.ones((1, 5), np.float16)
    with open_for_writing(path, SPEC) as writer:
        writer.add([ClipFeatures("../00000", Status.PRESENT, frames, np.zeros(1, np.float32), "s")])
    with pytest.raises(AbawkitError, match="not a clip id"):
        export_features(workspace, FeatureStore.open(path), tmp_path / "out")
    assert not (tmp_path / "00000.npy").exists()


def test_a_store_with_a_missing_shard_is_not_exported(workspace: Workspace, tmp_path: Path) -> None:
    path = workspace.features / "audio" / SPEC.folder
    frames = np.ones((1, 5), np.float16)
    with open_for_writing(path, SPEC, shard=(1, 2)) as writer:
        writer.add([ClipFeatures("00000", Status.PRESENT, frames, np.zeros(1, np.float32), "s")])
        writer.finish()
    with pytest.raises(AbawkitError, match="shard 2/2 is missing"):
        export_features(workspace, FeatureStore.open(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
