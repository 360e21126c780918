import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from abawkit.backbones.batching import Computing
from abawkit.backbones.loading import load_model, quiet
from abawkit.backbones.pictures import read_preparation
from abawkit.backbones.vision import (
    VisionModel,
    VisionPooling,
    check_vision_model,
    embed_pictures,
    embed_pixels,
    load_vision_model,
)
from abawkit.errors import AbawkitError
from tests import tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vision")
    return {"dinov2": tiny_models.dinov2(root / "dinov2"), "vit": tiny_models.vit(root / "vit")}


def pictures() -> list[np.ndarray]:
    """Crops and a full frame, of several sizes, as they follow one another in a batch."""
    random = np.random.default_rng(0)
    shapes = [(40, 40, 3), (40, 40, 3), (36, 64, 3), (40, 40, 3), (3, 50, 3), (40, 40, 3), (30, 30, 3)]
    return [random.integers(0, 256, shape, np.uint8) for shape in shapes]


@cache
def plain_model(folder: Path) -> torch.nn.Module:
    with quiet():
        return AutoModel.from_pretrained(folder).eval()


def by_hand(folder: Path, pixels: torch.Tensor, pooling: VisionPooling) -> np.ndarray:
    with torch.no_grad():
        hidden = plain_model(folder)(pixels).last_hidden_state
    return (hidden[:, 0] if pooling == "cls" else hidden[:, 1:].mean(1)).numpy()


@pytest.mark.parametrize("pooling", ["cls", "patch-mean"])
@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_pixels_same_as_by_hand(models: dict[str, Path], kind: str, pooling: VisionPooling) -> None:
    model = VisionModel(load_model(models[kind], device="cpu"), read_preparation(models[kind]), pooling, Computing())
    size = model.model.config.image_size
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        values = embed_pixels(model, pixels)
    assert (values.shape, values.dtype) == ((3, tiny_models.DIM), np.float32)
    np.testing.assert_allclose(values, by_hand(models[kind], pixels, pooling), atol=1e-5)
    assert np.abs(values[0] - values[1]).max() > 1e-2


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_pictures_same_as_alone_by_hand_whatever_the_batch(models: dict[str, Path], kind: str) -> None:
    image = pytest.importorskip("PIL.Image")
    from transformers import BitImageProcessorPil, ViTImageProcessorPil

    processor = {"dinov2": BitImageProcessorPil, "vit": ViTImageProcessorPil}[kind].from_pretrained(models[kind])
    model = load_vision_model(models[kind], pooling="cls", how=Computing())
    crops = [picture for picture in pictures() if picture.shape[0] > 3]
    for batch in (1, 2, None):
        model.how.batch = batch
        values = embed_pictures(model, [model.preparation.resized(crop) for crop in crops])
        for picture, row in zip(crops, values, strict=True):
            pixels = processor(image.fromarray(picture), return_tensors="pt")["pixel_values"]
            np.testing.assert_allclose(row, by_hand(models[kind], pixels, "cls")[0], atol=1e-5)
    assert embed_pictures(model, []).shape == (0, tiny_models.DIM)
    flat = [model.preparation.resized(picture) for picture in pictures()]
    assert np.isfinite(embed_pictures(model, flat)).all()  # a frame three pixels high is not a channels-first one


@pytest.mark.parametrize("kind", ["swin", "vit_mae", "bert", None])
def test_models_without_a_cls_token_are_refused(models: dict[str, Path], tmp_path: Path, kind: str | None) -> None:
    check_vision_model(models["vit"])
    folder = shutil.copytree(models["vit"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    with pytest.raises(AbawkitError, match="not a vision model"):
        load_vision_model(folder, pooling="cls", how=Computing())


def test_folder_without_processor(models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models["vit"], tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(AbawkitError, match=r"no such file|cannot be read|image processor"):
        load_vision_model(folder, pooling="cls", how=Computing())
