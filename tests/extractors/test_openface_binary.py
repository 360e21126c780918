import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from abawkit.errors import AbawkitError, MediaError, ModalityMissing, UsageError
from abawkit.extractors.motion import OpenFaceProgram
from abawkit.extractors.openface import COLUMNS
from abawkit.extractors.openface_binary import find_openface
from abawkit.layout.folder import Clip
from abawkit.media.encode import write_video
from tests.extractors.openface_stand_in import stand_in

#: Seven frames at a variable rate.
TIMES = [0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.8]
ALL = "write([row(number) for number in range(1, 8)])"


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    path = tmp_path / "00000.mp4"
    frames = [np.full((48, 64, 3), 20 * index, np.uint8) for index in range(7)]
    write_video(path, frames, TIMES)
    return Clip("00000", video=path)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def program(folder: Path, body: str, *, seconds: float = 30.0) -> OpenFaceProgram:
    binary = find_openface(str(stand_in(folder, body)))
    return OpenFaceProgram(binary, seconds_per_second=0.1, least_seconds=seconds)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def written(path: Path) -> int:
    """Returns the number in a file that another process writes."""
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_values_and_the_videos_own_times(tmp_path: Path, clip: Clip, own_temporary_folder: Path) -> None:
    extractor = pickle.loads(pickle.dumps(program(tmp_path, ALL)))
    loaded = extractor.load(clip)
    ((values, times),) = extractor.embed([loaded])
    assert values.shape == (7, extractor.spec.dim) == (7, 23) and loaded.warnings == ()
    np.testing.assert_allclose(times, TIMES, atol=1e-3)  # not its own timestamps, a thousandth apart
    np.testing.assert_allclose(values[2], [0.03 + unit / 10 for unit in range(17)] + [10.5, 20.25, 503, 0.1, 0.2, 0.3])
    assert loaded.facts == pytest.approx({"success": 1, "confidence": 0.98})
    assert list(own_temporary_folder.iterdir()) == [], "nothing is left behind"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.mp4", "FeatureExtraction", "temporary"]


def test_confidence_as_a_24th_value(tmp_path: Path, clip: Clip) -> None:
    binary = program(tmp_path, ALL).binary
    extractor = OpenFaceProgram(binary, confidence=True)
    assert extractor.spec.dim == 24 and extractor.spec.signature != OpenFaceProgram(binary).spec.signature
    np.testing.assert_allclose(extractor.load(clip).data[:, 23], 0.98, rtol=1e-6)


def test_frames_without_a_face(tmp_path: Path, clip: Clip) -> None:
    some = program(tmp_path, "write([row(number, number % 2) for number in range(1, 8)])").load(clip)
    np.testing.assert_allclose(some.times, TIMES[::2], atol=1e-3)
    assert some.facts == pytest.approx({"success": 4 / 7, "confidence": 0.98})
    assert some.warnings == ("3 of 7 rows (43%) have no face or a NaN and are left out",)
    with pytest.raises(ModalityMissing, match="no face in any frame"):
        program(tmp_path, "write([row(number, 0) for number in range(1, 8)])").load(clip)
    with pytest.raises(ModalityMissing, match="no video"):
        program(tmp_path, ALL).load(Clip("00000"))


@pytest.mark.parametrize(
    ("body", "kind", "message", "got"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", AbawkitError, r"crashed \(SIGSEGV\)", "Attempting to read"),
        ("print('no models here'); sys.exit(3)", AbawkitError, r"failed \(exit code 3\)", "no models here"),
        ("pass", MediaError, "wrote no CSV", "Attempting to read"),
        ("write([])", MediaError, "ends early", "0 rows"),
        ("write([row(number) for number in range(1, 4)])", MediaError, "ends early", "3 rows"),
        ("write([row(1), row(2)[:40]])", MediaError, "ends early", "1 rows, the last one broken off"),
        ("(out / 'a.csv').write_bytes(b'')", MediaError, "lacks columns", "an empty file"),
        ("(out / 'a.csv').write_bytes(b'\\xff\\xfe')", MediaError, "is not an OpenFace CSV", "utf-8"),
        ("write([row(1).replace('20.25', 'oops')])", MediaError, "pose_Ty is not a number", "oops"),
    ],
    ids=["signal", "exit code", "nothing", "no rows", "half the rows", "half a row", "empty", "binary", "words"],
)
def test_every_way_to_fail(
    tmp_path: Path, clip: Clip, body: str, kind: type[AbawkitError], message: str, got: str
) -> None:
    extractor = program(tmp_path, body)
    with pytest.raises(AbawkitError, match=message) as caught:
        extractor.load(clip)
    assert type(caught.value) is kind and caught.value.path == str(clip.video)
    assert got in str(caught.value.got)


def test_a_row_fewer_than_frames_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [np.full((48, 64, 3), 9 * index, np.uint8) for index in range(20)], [i / 10 for i in range(20)])
    clip = Clip("00000", video=path)
    loaded = program(tmp_path, "write([row(number) for number in range(1, 20)])").load(clip)
    assert len(loaded.data) == 19 and loaded.warnings == ()
    with pytest.raises(MediaError, match="ends early") as caught:
        program(tmp_path, "write([*[row(number) for number in range(1, 20)], row(20)[:60]])").load(clip)
    assert caught.value.got == "19 rows, the last one broken off"


def test_what_hangs_is_killed_with_its_children(tmp_path: Path, clip: Clip, own_temporary_folder: Path) -> None:
    body = f"""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path({str(tmp_path / "child")!r}).write_text(str(child.pid) + "\\n")
write([row(1)])
time.sleep(600)
"""
    start = time.monotonic()
    with pytest.raises(AbawkitError, match="still at work after 2 s") as caught:
        program(tmp_path, body, seconds=2).load(clip)
    assert type(caught.value) is AbawkitError and "openface_timeout" in str(caught.value.todo)
    assert time.monotonic() - start < 15
    assert ends(written(tmp_path / "child")) and list(own_temporary_folder.iterdir()) == []


def test_a_child_that_keeps_the_output_open_does_not_matter(tmp_path: Path, clip: Clip) -> None:
    body = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])\n" + ALL
    start = time.monotonic()
    assert len(program(tmp_path, body).load(clip).data) == 7
    assert time.monotonic() - start < 4


def test_it_ends_with_the_worker_that_started_it(tmp_path: Path, clip: Clip, own_temporary_folder: Path) -> None:
    body = f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()) + '\\n')\ntime.sleep(600)"
    path = stand_in(tmp_path, body)
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from abawkit.extractors.openface_binary import find_openface, run_openface\n"
            "run_openface(find_openface(sys.argv[1]), Path(sys.argv[2]), frames=7, limit=600)",
            str(path),
            str(clip.video),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(own_temporary_folder)},
    )
    try:
        pid = written(tmp_path / "pid")
        (folder,) = own_temporary_folder.iterdir()
        os.utime(folder, (0, 0))
        (tmp_path / "other").mkdir()
        other = program(tmp_path / "other", ALL)
        other.load(clip)
        assert folder.exists() and alive(pid), "it is old, and in use"
        os.kill(worker.pid, signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()
    assert ends(pid)
    os.utime(folder)
    other.load(clip)
    assert folder.exists(), "it may be one that is not locked yet"
    os.utime(folder, (0, 0))
    other.load(clip)
    assert list(own_temporary_folder.iterdir()) == [], "what the killed one left is removed"


def test_the_program_and_its_models_are_part_of_the_signature(tmp_path: Path, clip: Clip) -> None:
    first = program(tmp_path, ALL)
    assert first.spec.name == "openface-program" and first.spec.preprocessing["source"] == "program"
    assert "noncommercial" in str(first.spec.licence) and tuple(first.spec.preprocessing["columns"]) == COLUMNS
    assert program(tmp_path, ALL).spec.signature == first.spec.signature
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "main_ceclm_general.txt").write_text("x")
    with_models = program(tmp_path, ALL)
    assert with_models.spec.signature != first.spec.signature
    assert program(tmp_path, ALL + " ").spec.signature != with_models.spec.signature
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    assert program(moved, ALL).spec.signature == first.spec.signature
    assert first.source(clip) != "" == first.source(Clip("00000"))


def test_a_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Clip) -> None:
    (tmp_path / "plain").write_text("x")
    for name in ("nowhere", str(tmp_path / "nowhere"), str(tmp_path / "plain"), str(tmp_path)):
        with pytest.raises(UsageError, match="no such program") as caught:
            find_openface(name)
        assert caught.value.path == name
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    stand_in(tmp_path, ALL)
    assert find_openface("FeatureExtraction").path == tmp_path / "FeatureExtraction"
    path = tmp_path / "other"
    path.write_bytes(b"\x7fELF no program")
    path.chmod(0o755)
    with pytest.raises(AbawkitError, match="failed") as failed:
        OpenFaceProgram(find_openface(str(path))).load(clip)
    assert "cannot be started: Exec format error" in str(failed.value.got)
