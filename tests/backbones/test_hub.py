import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from abawkit.backbones.fetch import known_models
from abawkit.backbones.files import YUNET
from abawkit.backbones.hub import (
    KNOWN,
    RECOGNISER,
    ModelRef,
    is_offline,
    model_ref,
    open_folder,
    read_config,
    resolve,
    stay_offline,
    weights_digest,
)
from abawkit.errors import AbawkitError
from abawkit.settings import ExtractSettings
from tests import tiny_models


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("models") / "tiny bert")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    from huggingface_hub import constants

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill_cache(cache: Path, name: str, source: Path) -> Path:
    commit = (KNOWN[name].ref.revision if name in KNOWN else None) or "0123456789abcdef0123456789abcdef01234567"
    repository = cache / ("models--" + name.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(source, repository / "snapshots" / commit)
    return repository / "snapshots" / commit


def test_known_models_have_dimension_and_licence() -> None:
    table = {name: (known.modality, known.dim, known.ref.licence) for name, known in KNOWN.items()}
    assert table == {
        "thenlper/gte-base": ("text", 768, "MIT"),
        "google-bert/bert-large-uncased": ("text", 1024, "Apache-2.0"),
        "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim": ("audio", 1024, "CC BY-NC-SA 4.0"),
        "facebook/wav2vec2-base-960h": ("audio", 768, "Apache-2.0"),
        "facebook/dinov2-base": ("vision", 768, "Apache-2.0"),
        "google/vit-base-patch16-224-in21k": ("vision", 768, "Apache-2.0"),
    }


def test_the_default_recogniser_is_the_one_that_is_known(cache: Path) -> None:
    assert ExtractSettings().whisper_model == RECOGNISER.id_or_folder
    assert model_ref(RECOGNISER.id_or_folder).revision == RECOGNISER.revision
    assert [row["model"] for row in known_models()] == [*KNOWN, RECOGNISER.id_or_folder, YUNET.repository]
    assert [row["modality"] for row in known_models()][-2:] == ["transcript", "faces"]


def test_local_folder_as_it_is(bert: Path) -> None:
    assert resolve(ModelRef(str(bert))) == bert


def test_missing_model_says_how_to_get_it(cache: Path) -> None:
    name = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
    with pytest.raises(AbawkitError, match="is not on this machine") as caught:
        resolve(model_ref(name))
    assert caught.value.exit_code == 1
    message = str(caught.value)
    for part in (name, "CC BY-NC-SA 4.0", f"abawkit models fetch {name}", "--model audio=FOLDER", "--preset lite"):
        assert part in message
    with pytest.raises(AbawkitError, match="somebody/else") as caught:
        resolve(ModelRef("somebody/else", revision="v2"))
    assert "models fetch somebody/else@v2" in str(caught.value)
    assert "licence" not in str(caught.value)


def test_model_in_the_cache(cache: Path, bert: Path) -> None:
    snapshot = fill_cache(cache, "thenlper/gte-base", bert)
    found = open_folder("thenlper/gte-base")
    assert found.path == snapshot
    assert (found.name, found.revision, found.licence) == ("gte-base", snapshot.name, "MIT")
    assert found.dim == tiny_models.DIM
    (snapshot / "model.safetensors").unlink()  # a download that was interrupted
    with pytest.raises(AbawkitError, match="no weights") as caught:
        resolve(model_ref("thenlper/gte-base"))
    assert "models fetch" in str(caught.value)


@pytest.mark.parametrize("name", ["./nothing/here", "/nothing/here", "../x", "a/b/c", "", "a\\b"])
def test_no_such_folder(cache: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "":
        assert Path(name).is_dir()  # an empty name is the current folder, which is no model
    with pytest.raises(AbawkitError, match=r"no such model folder|no config\.json"):
        resolve(ModelRef(name))


def test_incomplete_folders(tmp_path: Path, bert: Path) -> None:
    with pytest.raises(AbawkitError, match=r"no config\.json"):
        resolve(ModelRef(str(tmp_path)))
    shutil.copy(bert / "config.json", tmp_path)
    with pytest.raises(AbawkitError, match="no weights"):
        resolve(ModelRef(str(tmp_path)))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02}")
    with pytest.raises(AbawkitError, match="can run code") as caught:
        resolve(ModelRef(str(tmp_path)))
    assert caught.value.got == "pytorch_model.bin"
    assert caught.value.expected == "model.safetensors"


def test_digest_follows_what_decides_the_values(tmp_path: Path, bert: Path) -> None:
    moved = shutil.copytree(bert, tmp_path / "moved")
    digest = weights_digest(bert)
    assert weights_digest(moved) == digest
    (moved / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    (moved / "notes.txt").write_text("mine")
    assert weights_digest(moved) == digest
    assert open_folder(str(moved)).licence == "cc-by-4.0"
    seen = {digest}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        data = bytearray((moved / name).read_bytes())
        data[-1] ^= 1
        (moved / name).write_bytes(data)
        seen.add(weights_digest(moved))
    (moved / "vocab.txt").rename(moved / "vocab.json")
    seen.add(weights_digest(moved))
    assert len(seen) == 7


def test_open_folder_names_the_model(bert: Path) -> None:
    found = open_folder(str(bert))
    assert (found.name, found.model, found.revision, found.licence) == ("tiny-bert", str(bert), None, None)
    assert len(found.weights) == 64


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hidden_size": None}, "cannot be used as a feature extractor"),
        ({"is_encoder_decoder": True}, "cannot be used as a feature extractor"),
        ({"_attn_implementation": "kernels-community/flash-attn"}, "asks for code"),
        ({"inner": {"attn_implementation": "somebody/kernel"}}, "asks for code"),
        ({"quantization_config": {"quant_method": "x"}}, "asks for code"),
    ],
)
def test_config_that_is_refused(tmp_path: Path, entry: dict[str, object], message: str) -> None:
    good = {"hidden_size": 8, "model_type": "bert", "_attn_implementation": "sdpa"}
    (tmp_path / "config.json").write_text(json.dumps(good))
    assert read_config(tmp_path)["hidden_size"] == 8
    (tmp_path / "config.json").write_text(json.dumps({**good, **entry}))
    with pytest.raises(AbawkitError, match=message):
        read_config(tmp_path)


def test_offline_advises_another_machine_only(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(AbawkitError) as caught:
        resolve(model_ref("thenlper/gte-base"))
    here = "`abawkit models fetch thenlper/gte-base`; or "
    elsewhere = "`abawkit models fetch thenlper/gte-base --to FOLDER` on a machine with network"
    assert caught.value.todo and caught.value.todo.startswith(here + elsewhere) and not is_offline()
    stay_offline()
    assert is_offline() and os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(AbawkitError) as caught:
        resolve(model_ref("thenlper/gte-base"))
    assert caught.value.todo and caught.value.todo.startswith(elsewhere)
