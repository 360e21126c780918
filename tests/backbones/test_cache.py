"""Where models are found, and what a missing one says."""

import os
import shutil
from pathlib import Path

import pytest

from abawkit.backbones.cache import resolve
from abawkit.backbones.folder import open_folder
from abawkit.backbones.known import KNOWN, ModelRef, model_ref
from abawkit.backbones.offline import is_offline, stay_offline
from abawkit.errors import AbawkitError
from tests import tiny_models


def fill_cache(cache: Path, name: str, source: Path) -> Path:
    commit = (KNOWN[name].ref.revision if name in KNOWN else None) or "0123456789abcdef0123456789abcdef01234567"
    repository = cache / ("models--" + name.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(source, repository / "snapshots" / commit)
    return repository / "snapshots" / commit


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
        assert Path(name).is_dir()  # an empty name is the current folder, which is not a model
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
