"""Files of others: opened by what they are, with their claims compared with their bytes."""

import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.errors import AbawkitError
from abawkit.features.foreign.arrays import open_data
from abawkit.features.foreign.pickles import Refused

FRAMES = np.arange(12, dtype=np.float32).reshape(3, 4)


def contents(path: Path) -> tuple[str, Any]:
    with open_data(path) as (format_, value):
        return format_, dict(value) if isinstance(value, Mapping) else value


def save_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def save_pickle(path: Path, value: Any) -> None:
    path.write_bytes(pickle.dumps(value))


WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "npy": lambda path, value: save_bytes(path, npy(value)),
    "pkl": save_pickle,
    "pt": lambda path, value: torch.save(torch.from_numpy(value), path),
    "old pt": lambda path, value: torch.save(torch.from_numpy(value), path, _use_new_zipfile_serialization=False),
}


def npy(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value, **options)
    return file.getvalue()


@pytest.mark.parametrize("format_", WRITERS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8"])
def test_one_array(tmp_path: Path, format_: str, dtype: str) -> None:
    path = tmp_path / "wrong-suffix.txt"  # what a file is, its bytes say
    WRITERS[format_](path, FRAMES.astype(dtype))
    found, value = contents(path)
    assert found == format_.split()[-1] and value.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(value, FRAMES)


def test_arrays_by_name(tmp_path: Path) -> None:
    for compress in (np.savez, np.savez_compressed):
        compress(tmp_path / "a.npz", a=FRAMES, b=np.array(["text"]))
        found, value = contents(tmp_path / "a.npz")
        assert found == "npz" and isinstance(value["b"], Refused)
        np.testing.assert_array_equal(value["a"], FRAMES)


def test_arrays_of_objects_are_read_without_unpickling(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(np.array({"00001": FRAMES}, dtype=object)))
    np.testing.assert_array_equal(contents(tmp_path / "a.npy")[1]["00001"], FRAMES)

    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "canary",))

    array = np.empty(1, object)
    array[0] = Attack()
    np.savez(tmp_path / "a.npz", a=array)
    (tmp_path / "b.npy").write_bytes(npy(array))
    (tmp_path / "c.pt").write_bytes(b"")
    torch.save({"a": array}, tmp_path / "c.pt")
    torch.save({"a": Attack()}, tmp_path / "d.pt", _use_new_zipfile_serialization=False)
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    (tmp_path / "e.pt").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + b"(S'x'\nios\nsystem\n.")
    for name in ("a.npz", "b.npy", "c.pt", "d.pt", "e.pt"):
        with pytest.raises(AbawkitError, match=r"asks for more than data|more than tensors") as caught:
            contents(tmp_path / name)
        assert "weights_only" not in str(caught.value)  # torch advises to switch the protection off
    assert not (tmp_path / "canary").exists()


def test_dictionaries_and_lists_of_tensors(tmp_path: Path) -> None:
    frames = torch.from_numpy(FRAMES)
    torch.save({"00001": [frames, torch.ones(3)], 2: frames.bfloat16(), "n": {"a": {"b": {"c": 1}}}}, tmp_path / "a.pt")
    _, value = contents(tmp_path / "a.pt")
    np.testing.assert_array_equal(value["00001"][0], FRAMES)
    np.testing.assert_array_equal(value[2], FRAMES)
    assert isinstance(value["n"]["a"]["b"], Refused)
    torch.save(torch.zeros(1).expand(10**12), tmp_path / "view.pt")
    assert isinstance(contents(tmp_path / "view.pt")[1], Refused)


def test_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["00001"] = FRAMES
        file.create_dataset("packed", data=FRAMES, compression="gzip")
        file["00002/features"], file["00002/scores"] = FRAMES, np.ones(3)
        file["00003/deep/er"] = FRAMES
        file["soft"], file["external"] = h5py.SoftLink("/00001"), h5py.ExternalLink("b.h5", "/x")
        file["text"], file["nothing"] = "text", h5py.Empty("f4")
        layout = h5py.VirtualLayout((3, 4), "f4")
        layout[:] = h5py.VirtualSource("missing.h5", "a", shape=(3, 4))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("outside", (4,), "u1", external=[("/etc/hostname", 0, 4)])
        file.create_dataset("huge", (10**6, 10**6), "f4", chunks=(100, 100))
    with open_data(tmp_path / "a.h5") as (format_, value):
        assert format_ == "hdf5"
        np.testing.assert_array_equal(value["00001"], FRAMES)
        np.testing.assert_array_equal(value["packed"], FRAMES)
        np.testing.assert_array_equal(value["00002"]["features"], FRAMES)
        assert isinstance(value["00003"]["deep"], Refused)
        for name in ("soft", "external", "text", "nothing", "virtual", "outside"):
            assert isinstance(value[name], Refused), name
        with pytest.raises(AbawkitError, match="far larger"):
            value["huge"]


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_claims_and_bombs(tmp_path: Path) -> None:
    for shape, match in (((10**7, 10**7), "far larger"), ((10**4, 10**4), "damaged"), ((-1, 4), "damaged")):
        (tmp_path / "a.npy").write_bytes(header(shape) + b"\0" * 64)
        with pytest.raises(AbawkitError, match=match):
            contents(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header((25, 10**6)) + b"\0" * 10**8)
        archive.writestr("b.npy", header((10**6, 10**6)))
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", header((1, 4)) + b"\0" * 10**8)
    with zipfile.ZipFile(tmp_path / "c.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**8)
    tracemalloc.start()
    for name, match in (("b.npz", "packed in a way"), ("c.pt", "not a file that torch wrote")):
        with pytest.raises(AbawkitError, match=match):
            contents(tmp_path / name)
    with open_data(tmp_path / "a.npz") as (_, value), pytest.raises(AbawkitError, match="far larger"):
        value["b"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "zero bytes"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"BZh9", "bzip2"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"Filename,Joy\n00000,1\n", "not a pickle"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': __imp", "damaged"),
        (b"\x93NUMPY\x09\x00" + b"x" * 20, None),
        (b"PK\x03\x04 and then nothing", "damaged"),
        (b"\x89HDF\r\n\x1a\n and then nothing", "damaged"),
        (npy(np.ones((2, 2)))[:-1], "damaged"),
    ],
    ids=range(10),
)
def test_files_that_hold_nothing(tmp_path: Path, data: bytes, match: str | None) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    if match is None:
        assert isinstance(contents(tmp_path / "a.npy")[1], Refused)
    else:
        with pytest.raises(AbawkitError, match=match):
            contents(tmp_path / "a.npy")


def test_a_zip_file_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(AbawkitError, match="zip file of something else"):
        contents(tmp_path / "a.npz")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    np.savez(folder / "a.npz", FRAMES)
    torch.save(torch.ones(2), folder / "b.pt")
    torch.save(torch.ones(2), folder / "c.pt", _use_new_zipfile_serialization=False)
    with h5py.File(folder / "d.h5", "w") as file:
        file["00001"] = FRAMES
    return [path.read_bytes() for path in sorted(folder.iterdir())] + [npy(FRAMES)]


@given(st.integers(0, 4), st.integers(0, 10**6), st.binary(max_size=4), st.booleans())
@settings(max_examples=120, deadline=None)
def test_changed_and_cut_bytes(
    seeds: list[bytes], tmp_path_factory: pytest.TempPathFactory, which: int, place: int, change: bytes, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed"
    place %= len(seeds[which])
    path.write_bytes(seeds[which][:place] + change + (b"" if cut else seeds[which][place + len(change) :]))
    try:
        contents(path)
    except AbawkitError as error:
        assert error.path == str(path)
