import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from abawkit.backbones.loading import load_model, quiet
from abawkit.errors import AbawkitError
from tests import tiny_models

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def changed(bert: Path, tmp_path: Path) -> Callable[..., Path]:
    """Returns a copy of the model with other weights, or another config.json."""

    def change(weights: Callable[[Weights], Weights] | None = None, **config: Any) -> Path:
        folder = shutil.copytree(bert, tmp_path / "model")
        if weights is not None:
            made = weights(load_file(folder / "model.safetensors"))
            save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
        record = {**json.loads((folder / "config.json").read_text()), **config}
        (folder / "config.json").write_text(json.dumps(record))
        return folder

    return change


def test_model_is_ready_for_inference(bert: Path) -> None:
    model = load_model(bert, device="cpu")
    assert isinstance(model, transformers.BertModel)
    assert not model.training
    assert all(not value.requires_grad and value.dtype == torch.float32 for value in model.parameters())
    saved = load_file(bert / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in model.named_parameters())


def test_backbone_of_a_checkpoint_with_a_head(tmp_path: Path) -> None:
    folder = tiny_models.emotion_wav2vec2(tmp_path / "emotion")
    saved = load_file(folder / "model.safetensors")
    assert {key.split(".")[0] for key in saved} == {"wav2vec2", "classifier"}
    assert any(key.endswith("conv.weight_g") for key in saved)
    model = load_model(folder, device="cpu")
    assert isinstance(model, transformers.Wav2Vec2Model)
    new = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for name, value in model.named_parameters():
        for now, before in new.items():
            name = name.replace(now, before)
        assert torch.equal(saved["wav2vec2." + name], value), name


def test_what_extraction_does_not_need_may_be_missing_or_left_over(changed: Callable[..., Path]) -> None:
    def as_published(weights: Weights) -> Weights:
        kept = {"bert." + key: value for key, value in weights.items() if "pooler" not in key}
        return {**kept, "cls.predictions.bias": torch.zeros(3)}

    load_model(changed(as_published), device="cpu")


def drop(weights: Weights) -> Weights:
    return {key: value for key, value in weights.items() if "layer.1.output.dense" not in key}


def wrap(weights: Weights) -> Weights:
    return {"model.net." + key: value for key, value in weights.items()}


def prefix(weights: Weights) -> Weights:
    return {"bert." + key: value for key, value in weights.items()}


@pytest.mark.parametrize(
    ("weights", "config", "named"),
    [
        (drop, {}, "encoder.layer.1.output.dense.bias is missing"),
        (wrap, {}, "and 34 more"),
        (None, {"num_hidden_layers": 1}, "encoder.layer.1.attention"),
        (prefix, {"num_hidden_layers": 1}, "bert.encoder.layer.1.attention"),
        (None, {"num_hidden_layers": 3}, "encoder.layer.2.attention"),
        (None, {"intermediate_size": 28}, "intermediate.dense.bias has another shape"),
        (None, {"model_type": "vit"}, "cls_token is missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    changed: Callable[..., Path], capfd: pytest.CaptureFixture[str], weights: Any, config: dict[str, Any], named: str
) -> None:
    with pytest.raises(AbawkitError, match="do not fit the architecture") as caught:
        load_model(changed(weights, **config), device="cpu")
    assert named in (caught.value.got or "")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "unheard-of"},
        {"model_type": "unheard-of", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}},
        {"num_attention_heads": "two"},
        {"num_attention_heads": 3},
        {"hidden_act": "unheard-of"},
    ],
)
def test_config_that_makes_no_model(changed: Callable[..., Path], config: dict[str, Any]) -> None:
    folder = changed(None, **config)
    (folder / "code.py").write_text("raise SystemExit('code of the model ran')")
    with pytest.raises(AbawkitError, match="cannot be loaded" if "auto_map" not in config else "is not run"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_damaged_weights(changed: Callable[..., Path], keep: float) -> None:
    folder = changed()
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(AbawkitError, match="cannot be loaded"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_device_that_is_not_there(bert: Path, device: str) -> None:
    with pytest.raises(AbawkitError, match="cannot be used"):
        load_model(bert, device=device)


def test_quiet_is_local(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.get_verbosity()
    assert logging.is_progress_bar_enabled()
    with pytest.raises(KeyError), quiet():
        assert not logging.is_progress_bar_enabled()
        raise KeyError
    assert logging.is_progress_bar_enabled()
    assert logging.get_verbosity() == before
    load_model(bert, device="cpu")
    assert capfd.readouterr() == ("", "")
