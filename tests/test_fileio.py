import errno
import os
import pickle
from pathlib import Path

import pytest

from abawkit.errors import AbawkitError, FindingsError
from abawkit.fileio import atomic_path, locked, read_json, storage_errors, write_json, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="the disk is full") as caught, storage_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))
    assert caught.value.todo and str(tmp_path / "x") in str(caught.value)


def test_a_real_full_device_is_one_message() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(AbawkitError, match="the disk is full"), storage_errors(Path("/dev/full")):
        with Path("/dev/full").open("wb") as file:
            file.write(b"x" * 100_000)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_bad_json_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(AbawkitError, match=r"a\.json"):
        read_json(path, "a record")


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"r": float("nan"), "n": 1})
    assert read_json(tmp_path / "a.json", "a record") == {"r": None, "n": 1}


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with locked(tmp_path, "working"), pytest.raises(AbawkitError, match="another process is working here"):
        with locked(tmp_path, "working"):
            pass
    with locked(tmp_path, "working"):
        pass


def test_errors_survive_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(FindingsError("bad", path="a.csv", line=3, got="x", expected="y", todo="z")))
    assert isinstance(error, FindingsError)
    assert str(error) == "a.csv:3: bad\n  got:      x\n  expected: y\n  do:       z"
    assert error.exit_code == 3
