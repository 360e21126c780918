"""A full disk, for real: a small tmpfs, where this machine lets us mount one."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from abawkit.errors import AbawkitError
from abawkit.features.store import FeatureStore, list_stores
from abawkit.workspace import Workspace


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        yield place
    finally:
        # Lazily: a test that failed still holds maps of the files.
        subprocess.run(["umount", "-l", str(place)], check=True)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "abawkit", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_extraction_stops_with_words_and_goes_on_after_room_is_made(
    fresh: Path, extracted: Path, small_disk: Path
) -> None:
    (fresh / "features").symlink_to(small_disk / "features")
    (small_disk / "features").mkdir()
    (small_disk / "ballast").write_bytes(bytes(900_000))
    arguments = ["extract", "-m", "vision", "--workers", "1"]
    stopped = run(fresh, *arguments)
    assert stopped.returncode == 1 and "the disk is full" in stopped.stderr and "Traceback" not in stopped.stderr
    assert "make room" in stopped.stderr
    for store in list_stores(fresh / "features"):  # what is there is whole
        store.verify()
    assert not list(small_disk.rglob(".tmp-*"))
    (small_disk / "ballast").unlink()
    done = run(fresh, *arguments)
    assert done.returncode == 0, done.stderr
    (store,) = list_stores(fresh / "features")
    whole = FeatureStore.open(extracted / "features" / "vision" / store.path.name)
    assert store.content_digest(store.ids) == whole.content_digest(whole.ids)


def test_a_shard_stops_with_words_and_the_other_one_is_whole(fresh: Path, extracted: Path, small_disk: Path) -> None:
    (fresh / "features").symlink_to(small_disk / "features")
    (small_disk / "features").mkdir()
    arguments = ["extract", "-m", "vision", "--workers", "1", "--set", "extract.segment_clips=4", "--shard"]
    assert run(fresh, *arguments, "2/2").returncode == 0
    (store,) = list_stores(fresh / "features")
    theirs = {clip: store.frames(clip).copy() for clip in store.ids}
    # Room for a few of the nine segments, which take about as much as those of the other shard.
    used = sum(path.stat().st_size for path in store.path.glob("*.h5"))
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - used // 2))
    stopped = run(fresh, *arguments, "1/2")
    assert stopped.returncode == 1 and "the disk is full" in stopped.stderr and "Traceback" not in stopped.stderr
    (store,) = list_stores(fresh / "features")
    store.verify()
    assert 36 < len(store) < 72 and set(theirs) < set(store.ids)
    for clip, frames in theirs.items():
        np.testing.assert_array_equal(store.frames(clip), frames)
    with pytest.raises(AbawkitError, match="shard 1/2 is missing"):
        store.require_whole()
    (small_disk / "ballast").unlink()
    for shard in ("2/2", "1/2"):
        assert run(fresh, *arguments, shard).returncode == 0
    (store,) = list_stores(fresh / "features")
    whole = FeatureStore.open(extracted / "features" / "vision" / store.path.name)
    store.require_whole()
    assert sum(map(len, store.segments.values())) == 72  # nothing was done twice
    assert store.ids == whole.ids and store.content_digest(store.ids) == whole.content_digest(whole.ids)


def test_training_stops_with_words_and_goes_on(extracted_copy: Path, small_disk: Path) -> None:
    workspace = Workspace.open(extracted_copy, environ={})
    (extracted_copy / "stages").symlink_to(small_disk)
    (small_disk / "ballast").write_bytes(bytes(1_200_000))
    stopped = run(extracted_copy, "train", "--system", "F1")
    assert stopped.returncode == 1 and "the disk is full" in stopped.stderr and "Traceback" not in stopped.stderr
    (extracted_copy / "stages").unlink()
    assert run(extracted_copy, "train", "--system", "F1").returncode == 0
    shutil.rmtree(workspace.runs)
