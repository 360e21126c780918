"""Features of others become a store: every clip accounted for, nothing run, nothing mixed."""

import csv
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from abawkit.data.labels import write_labels
from abawkit.errors import AbawkitError, UsageError
from abawkit.extraction.failures import list_failures
from abawkit.extraction.import_features import Imported, import_features
from abawkit.features.spec import Status
from abawkit.features.store import FeatureStore
from abawkit.progress import SILENT
from abawkit.workspace import Workspace

IDS = [f"{number:05d}" for number in range(10)]


def frames(clip: str, dim: int = 4) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(int(clip))
    return rng.normal(size=(int(clip) % 3 + 1, dim)).astype(np.float32)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Five training, three validation and two test clips, of which there is nothing but their ids and labels."""
    root = tmp_path / "workspace"
    (root / "challenge").mkdir(parents=True)
    (root / "abawkit.toml").write_text('data = "challenge"\n[extract]\nsegment_clips = 4\n')
    opened = Workspace.open(root, environ={})
    for name, ids in {"train": IDS[:5], "valid": IDS[5:8], "test": IDS[8:]}.items():
        write_labels(opened.data / f"{name}_split.csv", opened.task, ids, np.full((len(ids), 6), 0.5))
    return opened


def per_file(write: Callable[[Path, Any], None], suffix: str) -> Callable[[Path, dict[str, Any]], Path]:
    def save(folder: Path, values: dict[str, Any]) -> Path:
        folder.mkdir(exist_ok=True)
        for clip, value in values.items():
            write(folder / f"{clip}{suffix}", value)
        return folder

    return save


def save_npy(path: Path, value: Any) -> None:
    np.save(path, value)


def save_npz(path: Path, value: Any) -> None:
    np.savez(path, features=value, scores=np.ones(3))


def save_pickle(path: Path, value: Any) -> None:
    path.write_bytes(pickle.dumps(value))


def save_scores(path: Path, value: Any) -> None:
    save_pickle(path, [value[None], np.ones((1, 3), np.float32)])


def save_tensor(path: Path, value: Any) -> None:
    torch.save(torch.from_numpy(value), path)


def save_tensor_pickle(path: Path, value: Any) -> None:
    save_pickle(path, torch.from_numpy(value))


def save_hdf5(path: Path, value: Any) -> None:
    with h5py.File(path, "w") as file:
        file["features"], file["scores"] = value, np.ones(3)


def whole_pickle(folder: Path, values: dict[str, Any]) -> Path:
    save_pickle(folder.with_suffix(".pkl"), {int(clip): value for clip, value in values.items()})
    return folder.with_suffix(".pkl")


def whole_npz(folder: Path, values: dict[str, Any]) -> Path:
    np.savez_compressed(folder.with_suffix(".npz"), **values)
    return folder.with_suffix(".npz")


def whole_tensors(folder: Path, values: dict[str, Any]) -> Path:
    torch.save({clip: [torch.from_numpy(value), torch.ones(3)] for clip, value in values.items()}, folder)
    return folder


def whole_npy(folder: Path, values: dict[str, Any]) -> Path:
    np.save(folder.with_suffix(".npy"), np.array(values, dtype=object))
    return folder.with_suffix(".npy")


def whole_hdf5(folder: Path, values: dict[str, Any]) -> Path:
    with h5py.File(folder.with_suffix(".hdf5"), "w") as file:
        for number, (clip, value) in enumerate(values.items()):
            file[clip if number % 2 else f"{clip}/features"] = value
    return folder.with_suffix(".hdf5")


FORMATS: dict[str, Callable[[Path, dict[str, Any]], Path]] = {
    "npy": per_file(save_npy, ".npy"),
    "npz": per_file(save_npz, ".npz"),
    "pkl": per_file(save_pickle, ".pkl"),
    "features and scores": per_file(save_scores, ".pkl"),
    "tensors": per_file(save_tensor, ".pt"),
    "pickled tensors": per_file(save_tensor_pickle, ".PKL"),
    "hdf5": per_file(save_hdf5, ".h5"),
    "a pickle of all": whole_pickle,
    "an npz of all": whole_npz,
    "a dictionary of tensors": whole_tensors,
    "an npy of all": whole_npy,
    "an hdf5 of all": whole_hdf5,
}


@pytest.mark.parametrize("format_", FORMATS)
def test_every_form_gives_the_same_features(workspace: Workspace, tmp_path: Path, format_: str) -> None:
    source = FORMATS[format_](tmp_path / "theirs", {clip: frames(clip) for clip in IDS})
    done = import_features(workspace, "audio", [source])
    store = done.store
    assert store.ids == IDS and (store.spec.dim, store.spec.dtype, store.spec.name) == (4, "float32", "theirs")
    assert {split: (c.present, c.absent) for split, c in done.splits.items()} == {
        "train": (5, 0),
        "valid": (3, 0),
        "test": (2, 0),
    }
    for clip in IDS:
        np.testing.assert_array_equal(store.frames(clip), frames(clip))
    assert done.failures is None and not done.mended and (done.added, done.changed) == (10, 0)
    assert [len(members) for members in store.segments.values()] == [4, 4, 2]
    # The same values in any other form change nothing.
    other = FORMATS["npz" if format_ != "npz" else "pkl"](tmp_path / "other", {clip: frames(clip) for clip in IDS})
    again = import_features(workspace, "audio", [other], name="theirs")
    assert (again.unchanged, again.added, again.changed) == (10, 0, 0) and len(again.store.segments) == 3


def test_the_organisers_folders(workspace: Workspace) -> None:
    for folder, ids in {"vit": IDS[:8], "test_data/vit": IDS[8:]}.items():
        (workspace.data / folder).mkdir(parents=True)
        for clip in ids:
            save_pickle(workspace.data / folder / f"{clip}.pkl", frames(clip, 384))
    done = import_features(workspace, "vision", [workspace.data / "vit", workspace.data / "test_data" / "vit"])
    assert done.store.spec.name == "vit" and done.store.spec.dim == 384
    assert [c.present for c in done.splits.values()] == [5, 3, 2]
    assert str(workspace.root) not in json.dumps(done.store.spec.to_json())  # no whole path tells who works where


def test_what_cannot_be_features_is_listed_with_its_reason(workspace: Workspace, tmp_path: Path) -> None:
    source = FORMATS["npy"](tmp_path / "theirs", {clip: frames(clip) for clip in IDS[:2]})
    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {canary}",))

    save_pickle(source / "00002.pkl", Attack())
    np.save(source / "00003.npy", np.full((2, 4), np.nan))
    np.save(source / "00004.npy", np.ones((2, 5)))
    np.save(source / "00005.npy", np.array([["a"]]))
    np.save(source / "00006.npy", np.zeros((2, 4)))
    (source / "00007.npy").write_bytes(b"\x93NUMPY")
    np.save(source / "00008.npy", np.zeros((0, 4)))
    done = import_features(workspace, "audio", [source])
    assert not canary.exists()
    assert [done.store.status(clip) for clip in IDS] == [0, 0, 2, 2, 2, 2, 1, 2, 1, 1]
    assert done.all_zero == 1 and done.failed == 5 and done.too_many_failed("4") and not done.too_many_failed("50%")
    assert done.failures is not None
    rows = {row["clip"]: row for row in csv.DictReader(done.failures.read_text().splitlines())}
    reasons = {
        "00002": "asks for more than data",
        "00003": "8 of 8 values are not finite",
        "00004": "another width than 4 values (got 5 values)",
        "00005": "text",
        "00007": "damaged",
    }
    assert set(rows) == set(reasons)  # what is missing is not a failure
    for clip, reason in reasons.items():
        assert reason in rows[clip]["message"] and rows[clip]["retry"] == "no", clip
    assert str(tmp_path) not in done.failures.read_text()
    before = done.failures.read_bytes()
    list_failures(workspace.features, SILENT)  # what an extraction does at its end
    assert done.failures.read_bytes() == before


def test_adding_and_replacing(workspace: Workspace, tmp_path: Path) -> None:
    source = FORMATS["npy"](tmp_path / "theirs", {clip: frames(clip) for clip in IDS[:6]})
    first = import_features(workspace, "audio", [source])
    assert (first.added, first.store.status("00007"), first.store.source("00007")) == (6, Status.MISSING, "")
    segments = {path.name: path.read_bytes() for path in first.store.path.glob("*.h5")}
    np.save(source / "00007.npy", frames("00007"))
    np.save(source / "00001.npy", frames("00001") * 2)
    np.save(source / "00002.npy", np.full((1, 4), np.nan))
    for clip in ("00003", "00004"):
        (source / f"{clip}.npy").unlink()
    done = import_features(workspace, "audio", [source])
    assert (done.added, done.changed, done.unchanged, done.kept) == (1, 2, 2, 2)
    np.testing.assert_array_equal(done.store.frames("00001"), frames("00001") * 2)
    np.testing.assert_array_equal(done.store.frames("00003"), frames("00003"))
    assert done.store.status("00002") == Status.FAILED and done.store.status("00007") == Status.PRESENT
    assert all((done.store.path / name).read_bytes() == data for name, data in segments.items())
    again = import_features(workspace, "audio", [source])
    assert (again.added, again.changed, again.unchanged, again.kept) == (0, 0, 5, 2)
    assert again.store.segments == done.store.segments


def test_test_clips_that_come_later(workspace: Workspace, tmp_path: Path) -> None:
    listed = workspace.data / "test_split.csv"
    text = listed.read_text()
    listed.unlink()
    source = FORMATS["npy"](tmp_path / "theirs", {clip: frames(clip) for clip in IDS})
    done = import_features(workspace, "audio", [source])
    assert done.not_clips == ("00008", "00009") and done.splits["test"].clips == 0 and done.store.ids == IDS[:8]
    trained_on = done.store.content_digest(IDS[:8])
    listed.write_text(text)
    done = import_features(workspace, "audio", [source])
    assert done.not_clips == () and done.splits["test"].present == 2 and done.added == 2
    assert done.store.content_digest(IDS[:8]) == trained_on


def test_ids_in_every_form(workspace: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "theirs"
    source.mkdir()
    for name in ("00000.npy", "1.npy", "2.0.npy", "00003.mp4.npy", "notes.npy", "99999.npy", "._00009.npy", "00004"):
        (source / name).write_bytes(b"")
        if name != "00004":
            with (source / name).open("wb") as file:
                np.save(file, frames("00000"))
    (source / "readme.txt").write_text("x")
    (source / "00005").mkdir()
    np.save(source / "00006.npy", frames("00006"))
    shutil.copy(source / "00006.npy", source / "6.npy")  # the same twice
    np.save(source / "00007.npy", frames("00007"))
    np.save(source / "7.npy", frames("00006"))  # two that differ
    done = import_features(workspace, "audio", [source])
    present = [clip for clip in IDS if done.store.status(clip) == Status.PRESENT]
    assert present == ["00000", "00001", "00002", "00003", "00006"]
    assert done.store.status("00007") == Status.FAILED and "they differ" in done.store.note("00007")
    assert done.not_clips == ("99999",)
    assert sorted(done.no_ids) == ["00004", "00005", "notes.npy", "readme.txt"]
    assert sum(done.mended.values()) == 5


def test_dtype_and_dim(workspace: Workspace, tmp_path: Path) -> None:
    values = {clip: frames(clip).astype(np.float16) for clip in IDS}
    source = FORMATS["npy"](tmp_path / "theirs", values)
    assert import_features(workspace, "audio", [source]).store.spec.dtype == "float16"
    np.save(source / "00000.npy", frames("00000") * 1e6)
    wide = import_features(workspace, "audio", [source], name="wide")
    assert wide.store.spec.dtype == "float32" and wide.failed == 0
    narrow = import_features(workspace, "audio", [source], name="narrow", dtype="float16")
    assert "too large for float16" in narrow.store.note("00000") and narrow.failed == 1
    np.save(source / "00000.npy", np.full((1, 4), 1e300))
    assert "too large" in import_features(workspace, "audio", [source], name="wide").store.note("00000")
    for number, clip in enumerate(IDS):
        np.save(source / f"{clip}.npy", frames(clip, 4 + number % 4))
    with pytest.raises(UsageError, match=r"(?s)no common number.*4 \(3 clips\)"):
        import_features(workspace, "audio", [source], name="mixed")
    mixed = import_features(workspace, "audio", [source], name="mixed", dim=5)
    assert mixed.store.spec.dim == 5 and mixed.failed == 7
    with pytest.raises(UsageError, match=r"(?s)expected: 99 values per frame"):
        import_features(workspace, "audio", [source], name="other", dim=99)
    assert {path.name.split("-")[0] for path in (workspace.features / "audio").iterdir()} == {
        *("theirs", "wide", "narrow", "mixed"),
    }


def test_zeros(workspace: Workspace, tmp_path: Path) -> None:
    source = FORMATS["npy"](tmp_path / "theirs", {clip: frames(clip) * (clip > "00003") for clip in IDS})
    missing = import_features(workspace, "text", [source])
    kept = import_features(workspace, "text", [source], name="zeros", zeros_are_values=True)
    assert missing.all_zero == kept.all_zero == 4
    assert [c.present for c in missing.splits.values()] == [1, 3, 2]
    assert [c.present for c in kept.splits.values()] == [5, 3, 2]
    assert kept.store.spec.signature != missing.store.spec.signature
    with pytest.raises(UsageError, match="made in another way"):
        import_features(workspace, "text", [source], zeros_are_values=True)


@pytest.mark.parametrize("name", ["../x", "", "a/b", "lite", ".hidden", "a b", "x" * 49])
def test_names_that_are_no_names(workspace: Workspace, tmp_path: Path, name: str) -> None:
    source = FORMATS["npy"](tmp_path / "theirs", {clip: frames(clip) for clip in IDS})
    with pytest.raises(UsageError, match="cannot be the name"):
        import_features(workspace, "audio", [source], name=name)
    assert not workspace.features.exists()


def test_a_folder_called_oddly(workspace: Workspace, tmp_path: Path) -> None:
    source = FORMATS["npy"](tmp_path / "my features (v2)", {clip: frames(clip) for clip in IDS})
    assert import_features(workspace, "audio", [source]).store.spec.name == "my-features-v2"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: path, "no such file or folder"),
        (lambda path: path.mkdir() or path, "nothing here is a clip"),
        (lambda path: FORMATS["npy"](path, {"99999": frames("00001")}), "not clips of this challenge"),
        (lambda path: save_npy(path, frames("00001")) or path.with_name("theirs.npy"), "has to be a dictionary"),
        (lambda path: FORMATS["npy"](path, {"00001": np.array(["a"])}), "no clip can be read"),
        (lambda path: save_pickle(path, {"00001": Path("x")}) or path, "asks for more than data"),
    ],
    ids=range(6),
)
def test_sources_of_nothing(workspace: Workspace, tmp_path: Path, make: Callable[[Path], Path], match: str) -> None:
    with pytest.raises(AbawkitError, match=match):
        import_features(workspace, "audio", [make(tmp_path / "theirs")])
    assert not (workspace.features / "audio").exists()


def test_an_import_that_is_killed_goes_on(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FORMATS["npy"](tmp_path / "theirs", {clip: frames(clip) for clip in IDS})
    whole = import_features(workspace, "audio", [source]).store
    kept = {path.name: path.read_bytes() for path in whole.path.glob("*.h5")}
    shutil.rmtree(workspace.features)

    class Enough(Exception):  # noqa: N818
        pass

    class Impatient:
        def advance(self, amount: int = 1, note: str = "") -> None:
            if note == "00006":
                raise Enough

        def __enter__(self) -> "Impatient":
            return self

        def __exit__(self, *_: object) -> None: ...

    class Progress:
        def task(self, what: str, total: int | None = None, unit: str = "clips") -> Any:
            return Impatient()

        def say(self, message: str) -> None: ...

    with pytest.raises(Enough):
        import_features(workspace, "audio", [source], progress=Progress())
    assert FeatureStore.open(whole.path).ids == IDS[:4]
    done = import_features(workspace, "audio", [source])
    assert (done.unchanged, done.added) == (4, 6)
    assert {path.name: path.read_bytes() for path in whole.path.glob("*.h5")} == kept


def test_the_report_is_ready_for_json(workspace: Workspace, tmp_path: Path) -> None:
    source = FORMATS["features and scores"](tmp_path / "theirs", {clip: frames(clip) for clip in IDS})
    done: Imported = import_features(workspace, "audio", [source])
    assert done.remarks["[features, scores]: the scores are left aside"] == 10
    record = json.loads(json.dumps(done.to_json()))
    assert record["splits"]["train"]["present"] == 5 and record["failures"] is None
