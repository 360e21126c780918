"""Text models that bring code of their own: run only when asked for, at a commit, and only what the commit pins."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from abawkit.backbones.folder import open_folder, weights_digest
from abawkit.errors import AbawkitError, UsageError
from abawkit.extractors.text import TransformerText
from abawkit.features.spec import Loaded
from abawkit.workspace import Workspace
from tests import tiny_models

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
ID = "somebody/own"
DIM = 8

CODE = """
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

Path({marker!r}).touch()


class OwnConfig(PretrainedConfig):
    model_type = "own-encoder"

    def __init__(self, vocab_size=1, hidden_size=8, **others):
        super().__init__(**others)
        self.vocab_size, self.hidden_size = vocab_size, hidden_size


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.out = torch.nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **others):
        return BaseModelOutput(last_hidden_state=torch.tanh(self.out(self.words(input_ids))))
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that the model's code makes when it runs."""
    return tmp_path / "it-ran"


@pytest.fixture
def snapshot(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model in the hub's cache, as ``models fetch somebody/own@COMMIT`` leaves it."""
    from huggingface_hub import constants
    from transformers import dynamic_module_utils

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    bert = tiny_models.bert(tmp_path / "bert")
    folder = tmp_path / "cache" / "models--somebody--own" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for path in bert.iterdir():
        if "token" in path.name or path.name.startswith("vocab"):
            shutil.copy(path, folder)
    vocabulary = json.loads((bert / "config.json").read_text())["vocab_size"]
    config = {
        "model_type": "own-encoder",
        "architectures": ["OwnModel"],
        "vocab_size": vocabulary,
        "hidden_size": DIM,
        "auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text(CODE.format(marker=str(marker)))
    torch.manual_seed(3)
    weights = {"words.weight": torch.randn(vocabulary, DIM), "out.weight": torch.randn(DIM, DIM)}
    save_file(weights | {"out.bias": torch.randn(DIM)}, folder / "model.safetensors", {"format": "pt"})
    refs = folder.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    return folder


def embed(extractor: TransformerText, text: str) -> NDArray[np.floating]:
    return extractor.embed([Loaded(np.zeros(0, np.float32), text=text)])[0][0]


def test_code_is_not_run_unless_it_is_asked_for(snapshot: Path, marker: Path) -> None:
    extractor = TransformerText(f"{ID}@{COMMIT}")
    with pytest.raises(AbawkitError, match="code that comes with a model is not run") as caught:
        embed(extractor, "hello")
    assert caught.value.got == "modeling_own.OwnConfig, modeling_own.OwnModel"
    assert "--model text=ID@COMMIT --trust-remote-code" in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("name", [ID, f"{ID}@main", f"{ID}@{COMMIT[:7]}", "folder"])
def test_code_without_a_pinned_revision_is_refused(snapshot: Path, marker: Path, name: str, tmp_path: Path) -> None:
    if name.endswith(COMMIT[:7]):
        (snapshot.parent.parent / "refs" / COMMIT[:7]).write_text(COMMIT)
    if name == "folder":
        name = str(shutil.copytree(snapshot, tmp_path / f"own@{COMMIT}"))
    with pytest.raises(UsageError, match="only at a pinned revision") as caught:
        TransformerText(name, trust_code=True)
    assert "ID@COMMIT" in str(caught.value) and caught.value.exit_code == 2
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "somebody/else--modeling_own.OwnModel"}),
        ("tokenizer_config.json", {"AutoTokenizer": [None, "somebody/else--words.OwnTokenizer"]}),
        ("tokenizer_config.json", ["somebody/else--words.OwnTokenizer", None]),
    ],
)
def test_code_of_another_repository_is_refused(
    snapshot: Path, marker: Path, file: str, auto_map: dict[str, str] | list[str]
) -> None:
    config = json.loads((snapshot / file).read_text())
    (snapshot / file).write_text(json.dumps(config | {"auto_map": auto_map}))
    with pytest.raises(UsageError, match="in another repository"):
        TransformerText(f"{ID}@{COMMIT}", trust_code=True)
    assert not marker.exists()


def test_code_at_a_commit_runs_and_is_part_of_the_signature(snapshot: Path, marker: Path) -> None:
    from transformers import AutoTokenizer

    extractor = TransformerText(f"{ID}@{COMMIT}", trust_code=True, dtype="float32")
    values = embed(extractor, "a smile and a frown")
    assert marker.exists()
    weights = {name: value.numpy() for name, value in _weights(snapshot).items()}
    tokens = AutoTokenizer.from_pretrained(snapshot)("a smile and a frown")["input_ids"]
    hidden = np.tanh(weights["words.weight"][tokens] @ weights["out.weight"].T + weights["out.bias"])
    np.testing.assert_allclose(values, hidden.mean(axis=0, keepdims=True), atol=1e-5)

    spec = extractor.spec
    assert (spec.model, spec.revision, spec.preprocessing["code"]) == (ID, COMMIT, "the model's own")
    assert TransformerText(f"{ID}@{COMMIT}").spec.signature != spec.signature
    digest = weights_digest(snapshot)
    (snapshot / "modeling_own.py").write_text(CODE.format(marker=str(marker)).replace("tanh", "sin"))
    assert weights_digest(snapshot) != digest


def test_a_model_without_code_is_what_it_was(tmp_path: Path) -> None:
    bert = str(tiny_models.bert(tmp_path / "bert"))
    assert TransformerText(bert, trust_code=True).spec == TransformerText(bert).spec


def test_a_revision_in_the_name(snapshot: Path) -> None:
    for name in (ID, f"{ID}@main", f"{ID}@{COMMIT}"):
        found = open_folder(name)
        assert (found.path, found.model, found.revision, found.name) == (snapshot, ID, COMMIT, "own")
    with pytest.raises(AbawkitError, match="not on this machine") as caught:
        open_folder(f"{ID}@v2")
    assert f"models fetch {ID}@v2" in str(caught.value)
    with pytest.raises(UsageError, match="without the revision"):
        open_folder(f"{ID}@")


def test_the_setting_reaches_the_extraction(snapshot: Path, marker: Path, fresh: Path) -> None:
    import abawkit

    named = {"extract.preset": "paper", "extract.text_model": f"{ID}@{COMMIT}", "extract.device": "cpu"}
    workspace = Workspace.open(fresh, environ={}, overrides=named | {"extract.trust_remote_code": "true"})
    abawkit.extract(workspace, modalities=["text"], limit=4)
    assert marker.exists()


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))
