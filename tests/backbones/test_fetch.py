"""Fetching from a stand-in of the hub on the loopback interface, and comparing a model with a published output."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abawkit.backbones.audio import embed_waveforms, load_audio_model
from abawkit.backbones.batching import Computing
from abawkit.backbones.files import YUNET
from abawkit.backbones.verify import Published, verify_model, verify_recogniser
from abawkit.errors import AbawkitError, UsageError
from abawkit.media.detect import YUNET_FILE, YUNET_REPOSITORY
from tests import tiny_models
from tests.tiny_yunet import write_yunet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "somebody/tiny"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_models.emotion_wav2vec2(tmp_path_factory.mktemp("hub") / "tiny")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody wants")
    (folder / "modeling_own.py").write_text("code that is not read before it is run")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n")
    return folder


class _Hub(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks for one model; everything else is not found."""

    folder: Path
    asked: list[str]
    yunet: Path

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(f"{self.command} {path}")
        files = sorted(file for file in self.folder.iterdir() if file.is_file())
        if path.startswith(f"/api/models/{ID}/tree/"):
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _etag(f)} for f in files]
            self._reply(200, json.dumps(tree).encode(), {"Content-Type": "application/json", "X-Repo-Commit": COMMIT})
        elif path.startswith(f"/api/models/{ID}"):
            info: dict[str, Any] = {"id": ID, "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files]}
            self._reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"/{ID}/resolve/") and (self.folder / Path(path).name).is_file():
            file = self.folder / Path(path).name
            self._reply(200, file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT})
        elif path.startswith(f"/{YUNET.repository}/resolve/") and path.endswith(f"/{YUNET.file}"):
            revision = path.split("/")[-2]
            commit = revision if len(revision) == 40 else COMMIT
            self._reply(200, self.yunet.read_bytes(), {"ETag": f'"{_etag(self.yunet)}"', "X-Repo-Commit": commit})
        else:
            self._reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        pass


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(model: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    yunet = write_yunet(tmp_path / "yunet.onnx")
    handler = type("Hub", (_Hub,), {"folder": model, "asked": [], "yunet": yunet})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


def command(home: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-m", "abawkit", *arguments], env=environ, capture_output=True, text=True, check=False
    )


def test_a_model_is_fetched_without_its_pickles(hub: tuple[str, list[str]], model: Path, tmp_path: Path) -> None:
    endpoint, asked = hub
    done = command(tmp_path / "home", endpoint, "models", "fetch", ID, "--to", str(tmp_path / "here"), "--json")
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["path"])
    assert folder == tmp_path / "here"
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        assert (folder / name).read_bytes() == (model / name).read_bytes()
    assert not (folder / "pytorch_model.bin").exists() and not (folder / "modeling_own.py").exists()
    # The second time nothing is downloaded; what is proposed then can be typed.
    downloads = [line for line in asked if line.startswith("GET") and "/resolve/" in line]
    again = command(tmp_path / "home", endpoint, "models", "fetch", ID, "--to", str(folder))
    assert again.returncode == 0 and "abawkit extract --model MODALITY=" in again.stdout + again.stderr
    assert "verify" not in again.stdout + again.stderr  # nothing is published of it
    assert [line for line in asked if line.startswith("GET") and "/resolve/" in line] == downloads


def test_a_model_in_the_cache_is_found_by_its_id(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    done = command(tmp_path, hub[0], "models", "fetch", ID, "--json")
    assert done.returncode == 0, done.stderr
    code = (
        "from abawkit.backbones.folder import open_folder\n"
        f"found = open_folder({ID!r})\n"
        "print(found.revision, found.licence, found.dim)\n"
    )
    environ = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    told = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [COMMIT, "cc-by-nc-sa-4.0", str(tiny_models.DIM)]


def test_code_is_fetched_at_a_commit_only(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    for name, there in ((f"{ID}@main", False), (f"{ID}@{COMMIT}", True)):
        done = command(tmp_path / "home", hub[0], "models", "fetch", name, "--json")
        assert done.returncode == 0, done.stderr
        folder = Path(json.loads(done.stdout)["path"])
        assert folder.name == COMMIT and (folder / "modeling_own.py").exists() == there


def test_a_model_that_is_not_on_the_hub(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    done = command(tmp_path, hub[0], "models", "fetch", "somebody/else")
    assert done.returncode == 1 and "no such model on the hub" in done.stderr and "Traceback" not in done.stderr
    done = command(tmp_path, hub[0], "models", "fetch", "no id at all/at all/")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    done = command(tmp_path, hub[0], "models", "fetch", str(tmp_path))
    assert done.returncode == 2 and "this is a folder" in done.stderr


def test_the_published_output_is_computed_again(model: Path) -> None:
    """The card's own code: pooled hidden state, then dense, tanh, out_proj; here for a model whose output is made."""
    from safetensors.torch import load_file

    (hidden,) = embed_waveforms(
        load_audio_model(model, how=Computing()), [np.zeros(16_000, np.float32)], window=9, overlap=1
    )
    pooled = hidden.mean(axis=0)
    weights = {key: value.numpy() for key, value in load_file(model / "model.safetensors").items()}
    inner = np.tanh(weights["classifier.dense.weight"] @ pooled + weights["classifier.dense.bias"])
    vad = weights["classifier.out_proj.weight"] @ inner + weights["classifier.out_proj.bias"]
    right = Published(tuple(vad.tolist()), tuple(pooled[:3].tolist()), tuple(pooled[-3:].tolist()))
    found, checks = verify_model(str(model), published=right)
    assert [check.ok for check in checks] == [True, True, True] and found.licence == "cc-by-nc-sa-4.0"
    wrong = Published((0.5, 0.6, 0.4), right.first, (*right.last[:2], right.last[2] + 1e-3))
    assert [check.ok for check in verify_model(str(model), published=wrong)[1]] == [False, False, True]
    with pytest.raises(UsageError, match="not a known model"):
        verify_model(str(model))


def in_python(home: Path, endpoint: str, code: str) -> list[str]:
    environ = os.environ | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


WHICH = "from abawkit.extractors.vision import pick_detector; print(pick_detector('auto').name)"


def test_the_face_detector_is_fetched_and_extraction_finds_it(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    """The stand-in's file is another one than the published one, and its digest is told to the library."""
    home, digest = tmp_path / "home", hashlib.sha256((tmp_path / "yunet.onnx").read_bytes()).hexdigest()
    assert in_python(home, hub[0], WHICH) == ["haar"]
    code = (
        "from dataclasses import replace\n"
        "from abawkit.backbones.fetch import fetch_file, known_models\n"
        "from abawkit.backbones.files import YUNET\n"
        f"path = fetch_file(replace(YUNET, sha256={digest!r}))\n"
        "print(path)\nprint(known_models()[-1]['path'])\n"
    )
    path, listed = in_python(home, hub[0], code)
    assert path == listed and Path(path).parts[-2:] == (YUNET.revision, YUNET.file)
    assert in_python(home, "http://127.0.0.1:9", WHICH) == ["yunet"]  # without a network
    told = command(home, hub[0], "models", "verify", "yunet", "--json")
    record = json.loads(told.stdout)
    assert told.returncode == 3 and record["weights"] == digest and record["revision"] == YUNET.revision
    assert record["checks"][0]["got"] == digest[:16] and record["checks"][0]["expected"] == YUNET.sha256[:16]


def test_a_file_that_is_not_the_published_one_is_not_kept(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = command(home, hub[0], "models", "fetch", "yunet")
    assert done.returncode == 1 and "not the published file" in done.stderr and YUNET.sha256 in done.stderr
    assert "licence: MIT" in done.stderr and not list(home.rglob("*.onnx"))
    assert in_python(home, hub[0], WHICH) == ["haar"]
    done = command(home, hub[0], "models", "verify", "yunet")
    assert done.returncode == 1 and "abawkit models fetch yunet" in done.stderr
    # Of another revision nothing is known.
    done = command(home, hub[0], "models", "fetch", f"{YUNET.repository}@main", "--to", str(tmp_path / "x"))
    assert done.returncode == 0 and (tmp_path / "x" / YUNET.file).read_bytes() == (tmp_path / "yunet.onnx").read_bytes()


def test_the_two_tables_name_the_same_file() -> None:
    assert (YUNET.repository, YUNET.file) == (YUNET_REPOSITORY, YUNET_FILE)


def test_a_whisper_model_is_compared_with_itself(model: Path, tmp_path: Path) -> None:
    found, checks = verify_recogniser(str(tiny_models.whisper(tmp_path / "whisper")))
    assert [check.ok for check in checks] == [True] and found.dim == tiny_models.DIM
    with pytest.raises(AbawkitError, match="not a Whisper model"):
        verify_recogniser(str(model))


def test_offline_asks_nobody_and_says_how_to_get_the_model_elsewhere(
    hub: tuple[str, list[str]], fresh: Path, tmp_path: Path
) -> None:
    elsewhere = "--to FOLDER` on a machine with network"
    for arguments in (
        ("extract", "--preset", "paper", "-m", "text"),
        ("transcribe", "--overwrite"),
        ("models", "verify", "thenlper/gte-base"),
    ):
        where = () if arguments[0] == "models" else ("--workspace", str(fresh))
        done = command(tmp_path / "home", hub[0], *arguments, *where, "--offline", "--json")
        assert done.returncode == 1, done.stderr
        todo = json.loads(done.stdout)["todo"]
        assert elsewhere in todo and todo.count("models fetch") == 1, "not fetched here: there is no network"
    done = command(tmp_path / "home", hub[0], "extract", "--preset", "paper", "-m", "text", "-w", str(fresh), "--json")
    assert json.loads(done.stdout)["todo"].count("models fetch") == 2
    assert hub[1] == []
