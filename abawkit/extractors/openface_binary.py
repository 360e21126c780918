"""OpenFace's own program, ``FeatureExtraction`` of OpenFace 2.x, run on one video where the user has it.

It is never part of abawkit: its licence allows academic and non-profit research only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from abawkit.errors import AbawkitError, MediaError, UsageError
from abawkit.extractors.openface import OpenFaceTable, read_openface
from abawkit.fileio import digest, digest_file, locked

#: Folders of models that lie beside the program; which of them are there changes what it computes.
_MODELS = ("model", "AU_predictors", "classifiers")

#: A clip is given at least so many seconds.
LEAST_SECONDS = 60.0

#: OpenFace may leave the last frames out; a file that ends before this share of the video was not finished.
_WHOLE = 0.9

_LOG = "log.txt"

#: What the temporary folders are called. One whose process was killed is removed when it is so old (seconds) that it
#: cannot be one that another process has made and not yet locked.
_SCRATCH, _SETTLED = "abawkit-openface-", 60.0

#: Runs a program that the kernel kills when the process that started it dies, which Python cannot ask for itself.
_TIED = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
try:
    os.execv(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.exit(f"it cannot be started: {error.strerror}")
"""


@dataclass(frozen=True)
class OpenFaceBinary:
    """The program, by everything that its output depends on. Made by :func:`find_openface`.

    Attributes:
        path: The program.
        sha256: Digest of its bytes.
        models: Digest of the names and sizes of the model files beside it.
    """

    path: Path
    sha256: str
    models: str


def find_openface(name: str) -> OpenFaceBinary:
    """Returns the program of that path, or of that name on the ``PATH``.

    Raises:
        UsageError: It is not there, or cannot be run.
    """
    found = shutil.which(Path(name).expanduser())
    if found is None or not Path(found).is_file():
        raise UsageError(
            "there is no such program, or it cannot be run",
            path=name,
            expected="FeatureExtraction of OpenFace 2.x",
            todo="fix extract.openface_bin, or unset it: then CSVs in openface/ are read",
        )
    # Not resolved: OpenFace expects its models beside the path it was called by.
    path = Path(found).absolute()
    files = sorted(file for folder in _MODELS for file in (path.parent / folder).rglob("*") if file.is_file())
    parts = [part for file in files for part in (str(file.relative_to(path.parent)), str(file.stat().st_size))]
    return OpenFaceBinary(path, digest_file(path), digest(*parts))


def run_openface(binary: OpenFaceBinary, video: Path, *, frames: int, limit: float) -> OpenFaceTable:
    """Returns what OpenFace found in a video.

    Args:
        binary: The program. It runs on one core, in a temporary folder, and ends with this process. Should this
            process be killed, the folder is removed by the next call, of whatever process, after a minute.
        video: The file.
        frames: Number of frames that can be decoded.
        limit: After so many seconds the program and what it started are killed.

    Raises:
        AbawkitError: It could not be started, took too long, crashed, or said that it failed: worth another try.
        MediaError: It wrote no file, one that is not an OpenFace CSV, or one that ends early.
    """
    with _scratch() as folder:
        _run(binary.path, video.absolute(), folder, limit)
        written = sorted(folder.glob("*.csv"))
        if not written:
            raise MediaError("OpenFace wrote no CSV", path=video, got=_last_words(folder))
        try:
            table = read_openface(written[0])
        except MediaError as error:
            raise MediaError(f"OpenFace's CSV: {error.message}", path=video, got=error.got) from error
    if table.broken_off or table.rows < _WHOLE * frames:
        rows = f"{table.rows} rows" + (", the last one broken off" if table.broken_off else "")
        raise MediaError(
            "OpenFace's CSV ends early", path=video, got=rows, expected=f"a row for each of {frames} frames"
        )
    return table


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yields a temporary folder, locked while it is used, and removes those that killed processes left."""
    busy = "running OpenFace"
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        # Held by a process that runs, another user's, or already removed by someone else.
        with suppress(AbawkitError, FileNotFoundError):
            if time.time() - left.stat().st_mtime > _SETTLED:
                with locked(left, busy):
                    shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH) as name, locked(Path(name), busy):
        yield Path(name)


def _run(program: Path, video: Path, folder: Path, limit: float) -> None:
    tied = [sys.executable, "-I", "-S", "-c", _TIED]
    command = [*tied, str(program), "-f", str(video), "-out_dir", str(folder), "-aus", "-pose", "-q"]
    one_core = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Not into pipes: what the program started could keep them open for ever.
    with (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **one_core},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = process.wait(limit)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        message = f"OpenFace was still at work after {limit:.0f} s"
        todo = "raise extract.openface_timeout, then: abawkit extract --modality motion --retry-failed"
        raise AbawkitError(message, path=video, got=_last_words(folder), todo=todo) from error
    if code < 0:
        raise AbawkitError(f"OpenFace crashed ({signal.Signals(-code).name})", path=video, got=_last_words(folder))
    if code > 0:
        raise AbawkitError(f"OpenFace failed (exit code {code})", path=video, got=_last_words(folder))


def _last_words(folder: Path) -> str:
    """Returns the end of what the program printed."""
    with (folder / _LOG).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
        lines = file.read().decode(errors="replace").splitlines()
    return " / ".join(line.strip() for line in lines if line.strip())[-200:] or "it printed nothing"
