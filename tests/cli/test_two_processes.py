"""Two processes on one workspace: one of them is stopped in the middle of its work, and the other one comes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from abawkit.errors import AbawkitError
from abawkit.features.store import FeatureStore, list_stores
from abawkit.fileio import locked
from abawkit.runs.records import ModelRecord
from abawkit.systems.loader import load_system
from abawkit.training.predict import run_sources
from abawkit.workspace import Workspace
from tests.cli.program import run


@contextmanager
def stopped_at_work(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the command and stops it once it has made a segment, at a moment at which it does not name one."""
    environ = os.environ | {"ABAWKIT_EXTRACT_SEGMENT_CLIPS": "2"}
    command = [sys.executable, "-m", "abawkit", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob("features/*/*/segment-*.h5")) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        while "--shard" in arguments and _is_naming(folder):
            process.send_signal(signal.SIGCONT)
            time.sleep(0.005)
            process.send_signal(signal.SIGSTOP)
        assert process.poll() is None
        yield process
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


def _is_naming(folder: Path) -> bool:
    (store,) = folder.glob("features/*/*/")
    try:
        with locked(store, "tried"):
            return False
    except AbawkitError:
        return True


def test_the_second_is_refused_with_words(fresh: Path, extracted: Path) -> None:
    with stopped_at_work(fresh, "extract", "-m", "audio", "--workers", "1"):
        second = run(fresh, "extract", "-m", "audio", "--workers", "1")
        assert second.exit_code == 1 and "another process is writing these audio features" in second.output
        assert "wait for it to end" in second.output
        assert run(fresh, "features", "show", "audio").exit_code == 0  # reading is free
    assert_same_values(fresh, extracted)


def test_two_shards_at_the_same_time_form_one_store(fresh: Path, extracted: Path) -> None:
    arguments = ("extract", "-m", "text", "--workers", "1", "--shard")
    with stopped_at_work(fresh, *arguments, "1/2"):
        twice = run(fresh, *arguments, "1/2")
        assert twice.exit_code == 1 and "another process is writing shard 1/2" in twice.output
        other = run(fresh, *arguments, "2/2")
        assert other.exit_code == 0, other.output
        (store,) = list_stores(fresh / "features")
        assert store.shards == (2, frozenset({2})) and 36 < len(store) < 72
        assert_every_reader_names_the_shard(fresh, store)
    (store,) = list_stores(fresh / "features")
    assert store.shards is None and sum(map(len, store.segments.values())) == 72
    assert_same_values(fresh, extracted)


def assert_every_reader_names_the_shard(folder: Path, store: FeatureStore) -> None:
    said = "text features are not whole: shard 1/2 is missing"
    exits = {
        ("train", "--system", "F1"): 1,
        ("features", "list"): 0,
        ("features", "show", "text"): 0,
        ("features", "show", "text", "--json"): 0,
        ("features", "show", "text", store.ids[0]): 0,
        ("features", "verify", "text"): 3,
        ("features", "export", "text", "--to", "out"): 1,
        ("groups", "suggest", "--by", f"text/{store.path.name}"): 1,
    }
    for command, code in exits.items():
        result = run(folder, *command)
        assert (result.exit_code, said in " ".join(result.output.split())) == (code, True), result.output
    record = ModelRecord.model_construct(
        features={"text": f"text/{store.path.name}"},
        signatures={"text": store.spec.signature},
        definition=load_system("F1").to_json(),
    )
    with pytest.raises(AbawkitError, match=said):
        run_sources(Workspace.open(folder, environ={}), record)  # what `predict` reads with


def assert_same_values(folder: Path, expected: Path) -> None:
    (store,) = list_stores(folder / "features")
    whole = FeatureStore.open(expected / "features" / store.spec.modality / store.path.name)
    assert store.ids == whole.ids and store.content_digest(store.ids) == whole.content_digest(whole.ids)
