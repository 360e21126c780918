"""What a file of features that others made holds: opened by what it is, not by its name, and never run.

numpy's ``.npy`` and ``.npz``, pickles, files of torch, and HDF5. Whatever one file claims about its size is compared
with what is there before memory is asked for.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from abawkit.errors import AbawkitError
from abawkit.features.foreign.pickles import Refused, not_numbers, read_pickle
from abawkit.features.foreign.tensors import MOST_VALUES, load_tensors, without_warnings
from abawkit.fileio import human_bytes

#: Suffixes of files that may hold features; what such a file really is, its first bytes say.
SUFFIXES = (".pkl", ".pickle", ".npy", ".npz", ".pt", ".pth", ".h5", ".hdf5")

_TORCH_OLD = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, as its files before 1.6 begin
_OTHERS = {
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"BZh": "is compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "is compressed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
    b"MATLAB": "is a file of MATLAB: save the arrays with numpy.save",
    b"PAR1": "is a Parquet table: save the arrays with numpy.save",
}


class Members(Mapping[str, Any]):
    """The named entries of a file, each read when it is asked for."""

    def __init__(self, readers: dict[str, Callable[[], Any]]) -> None:
        self._readers = readers

    def __getitem__(self, name: str) -> Any:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


@contextmanager
def open_data(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields the file's format, and what is in it: arrays, numbers, text, None, lists, dictionaries, ``Refused``.

    The entries of ``.npz`` and HDF5 files are read when they are asked for, while the file is open.

    Raises:
        AbawkitError: The file cannot be read, is of no known format, is damaged, or asks for more than data.
    """
    with ExitStack() as opened:
        try:
            found = _open(path, opened)
        except OSError as error:
            raise AbawkitError(f"cannot be read: {error.strerror or error}", path=path) from error
        except MemoryError as error:
            todo = "save one file per clip, or an HDF5 file"
            raise AbawkitError("there is not enough memory to read this", path=path, todo=todo) from error
        yield found


def _open(path: Path, opened: ExitStack) -> tuple[str, Any]:
    file = opened.enter_context(path.open("rb"))
    size = path.stat().st_size
    begin = file.read(64)
    file.seek(0)
    if not begin:
        raise AbawkitError("a file of zero bytes", path=path)
    for magic, what in _OTHERS.items():
        if begin.startswith(magic):
            raise AbawkitError(what, path=path)
    if begin.startswith(b"\x93NUMPY"):
        return "npy", _read_npy(file, size, path)
    if begin.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _open_zip(file, path, opened)
    if begin.startswith(b"\x89HDF\r\n\x1a\n"):
        with _damage(path):
            return "hdf5", _group(opened.enter_context(h5py.File(path, "r")), path, inside=False)
    _refuse_larger_than_memory(size, path)
    if _TORCH_OLD in begin:
        return "pt", load_tensors(file, path)
    return "pkl", read_pickle(file.read(), path)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns whatever a reader raises about a damaged file into one message."""
    try:
        yield
    except (AbawkitError, MemoryError):
        raise
    except Exception as error:
        got = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise AbawkitError("is damaged", path=path, got=got, todo="copy or save it again") from error


def _refuse_larger_than_memory(size: int, path: Path) -> None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return  # not Linux
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), size)
    if size > 0.8 * free:  # read as bytes, then cut into arrays: at least once its size
        raise AbawkitError(
            "this file is read as a whole and does not fit into memory",
            path=path,
            got=f"{human_bytes(size)}, and {human_bytes(free)} are free",
            todo="save one file per clip, or an HDF5 file with one data set per clip",
        )


def _limit(count: int, path: Path) -> None:
    if count > MOST_VALUES:
        raise AbawkitError(
            "an array far larger than any clip's features",
            path=path,
            got=f"{count} values",
            expected=f"at most {MOST_VALUES}",
        )


def _read_npy(stream: IO[bytes], size: int, path: Path) -> Any:
    """Returns the array of a ``.npy`` stream of ``size`` bytes; an array of objects is read as a pickle."""
    with _damage(path), without_warnings():  # about headers that Python 2 wrote
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            return Refused(f"an array in version {version[0]}.{version[1]} of numpy's format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    if dtype.kind == "O":
        _refuse_larger_than_memory(size, path)
        return read_pickle(stream.read(size), path)
    if what := not_numbers(dtype.kind, dtype.itemsize):
        return Refused(f"an array of {what}")
    with _damage(path):
        count = math.prod(shape)
        _limit(count, path)
        if count * dtype.itemsize > size:
            raise ValueError(f"an array of shape {shape} in {size} bytes")
        data = stream.read(count * dtype.itemsize)
        return np.ndarray(shape, dtype, buffer=data, order="F" if fortran else "C")


def _open_zip(file: IO[bytes], path: Path, opened: ExitStack) -> tuple[str, Any]:
    with _damage(path):
        archive = opened.enter_context(zipfile.ZipFile(file))
    entries = archive.infolist()
    if any(entry.filename.endswith("data.pkl") for entry in entries):
        # torch stores without compression; a file that claims to hold more than its own size is a trap.
        held = sum(entry.file_size for entry in entries)
        if held > path.stat().st_size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise AbawkitError("is not a file that torch wrote", path=path, got=f"{human_bytes(held)} packed into it")
        _refuse_larger_than_memory(held, path)
        file.seek(0)
        return "pt", load_tensors(file, path)
    if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
        names = ", ".join(repr(entry.filename)[:40] for entry in entries[:4])
        expected = "arrays that numpy.savez wrote, or a file of torch"
        raise AbawkitError("a zip file of something else", path=path, got=names or "nothing", expected=expected)

    def reader(entry: zipfile.ZipInfo) -> Callable[[], Any]:
        def read() -> Any:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise AbawkitError("is packed in a way that numpy does not use", path=path, got=entry.filename[:80])
            with _damage(path), archive.open(entry) as stream:
                return _read_npy(stream, entry.file_size, path)

        return read

    return "npz", Members({entry.filename.removesuffix(".npy"): reader(entry) for entry in entries})


def _group(group: Any, path: Path, *, inside: bool) -> Members:
    """Returns the data sets of a group, and its groups unless it is one inside another."""

    def reader(name: str) -> Callable[[], Any]:
        def read() -> Any:
            with _damage(path):
                # A soft or external link leads to other places, even to other files.
                if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
                    return Refused("a link to another place")
                member = group[name]
                if isinstance(member, h5py.Dataset):
                    return _dataset(member, path)
                return Refused("groups within groups") if inside else _group(member, path, inside=True)

        return read

    with _damage(path):
        return Members({name: reader(name) for name in group})


def _dataset(dataset: Any, path: Path) -> Any:
    if dataset.shape is None:
        return Refused("an empty data set")
    if dataset.is_virtual or dataset.external:
        # A part that is not there is silently filled, and a part can lie in any file of this machine.
        return Refused("a data set whose values lie in other files")
    if what := not_numbers(dataset.dtype.kind, dataset.dtype.itemsize):
        return Refused(f"an array of {what}")
    _limit(math.prod(dataset.shape), path)
    return dataset[()]
