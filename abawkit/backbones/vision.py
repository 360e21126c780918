"""Frame features of images from DINOv2 and ViT models (768 values with the paper's model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import Computing, computing, forward
from abawkit.backbones.config import read_config
from abawkit.backbones.loading import first_line, load_model, quiet
from abawkit.backbones.pictures import Preparation, check_preparation, read_preparation
from abawkit.errors import AbawkitError

VisionPooling = Literal["cls", "patch-mean"]
#: Chosen, because the default depends on whether torchvision is installed and the two give different values.
PROCESSOR_BACKEND = "pil"
#: Most pixels and most pictures of one forward pass, unless a number of pictures is asked for: 8 of the usual size on a
#: CPU, where more do not fit its caches (3.5 and 3.1 pictures a second with 8 and 32), 256 on a GPU.
CPU_PIXELS, GPU_PIXELS, MOST_PICTURES = 8 * 224**2, 256 * 224**2, 256
#: Model type of ``config.json`` → tokens before those of the patches and of the registers. Others have no CLS
#: token (Swin), or drop patches at random (ViT-MAE).
MODEL_TYPES = {"vit": 1, "vit_msn": 1, "deit": 2, "dinov2": 1, "dinov2_with_registers": 1}


@dataclass(frozen=True)
class VisionModel:
    """An image encoder in memory.

    Attributes:
        model: The transformers model.
        preparation: What its image processor does.
        pooling: ``cls``: the first token of the last hidden state; ``patch-mean``: the mean of the patches' tokens.
        how: Device and precision of its forward passes.
    """

    model: Any
    preparation: Preparation
    pooling: VisionPooling
    how: Computing


def check_vision_model(folder: Path) -> None:
    """Checks that the model in a folder is an image encoder that can be used; read without transformers.

    Raises:
        AbawkitError: It is not.
    """
    kind = read_config(folder).get("model_type")
    if kind not in MODEL_TYPES:
        raise AbawkitError(
            "this is not a vision model that can be used",
            path=folder / "config.json",
            got=f"model_type {kind!r}",
            expected=", ".join(MODEL_TYPES),
        )


def load_vision_model(folder: Path, *, pooling: VisionPooling, how: Computing) -> VisionModel:
    """Returns the image encoder of a folder.

    Raises:
        AbawkitError: See :func:`abawkit.backbones.loading.load_model`; or the image processor cannot be read.
    """
    from transformers import AutoImageProcessor

    check_vision_model(folder)
    preparation = read_preparation(folder)
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(
                folder, backend=PROCESSOR_BACKEND, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers raises anything on damaged files
        raise AbawkitError("the image processor cannot be loaded", path=folder, got=first_line(error)) from error
    backend = getattr(processor, "backend", None)
    if backend != PROCESSOR_BACKEND:  # transformers falls back to another one, and only warns
        raise AbawkitError(
            "the model's image processor cannot run with Pillow",
            path=folder,
            got=f"{type(processor).__name__} with the backend {backend!r}",
            expected="BitImageProcessor or ViTImageProcessor",
        )
    check_preparation(preparation, processor, folder)
    return VisionModel(load_model(folder, device=how.device), preparation, pooling, how)


def embed_pictures(vision_model: VisionModel, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Returns one vector per picture: ``float32 [N, D]``.

    Args:
        vision_model: The encoder.
        pictures: RGB ``uint8 [h, w, 3]``, as :meth:`abawkit.backbones.pictures.Preparation.resized` gives them.
    """

    def run(batch: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.float32]]:
        return list(embed_pixels(vision_model, vision_model.preparation.scaled(np.stack(batch), device)))

    how, device = vision_model.how, vision_model.model.device
    pixels = pictures[0].shape[0] * pictures[0].shape[1] if len(pictures) else 1
    size = how.batch or max(1, min(MOST_PICTURES, how.budget(CPU_PIXELS, GPU_PIXELS) // pixels))
    values = np.empty((len(pictures), vision_model.model.config.hidden_size), np.float32)
    with computing(how):
        for start in range(0, len(pictures), size):
            batch = pictures[start : start + size]
            values[start : start + len(batch)] = forward(run, batch, how)
    return values


def embed_pixels(vision_model: VisionModel, pixels: Any) -> NDArray[np.float32]:
    """Returns one vector per picture, ``float32 [B, D]``, from ``pixel_values`` ``[B, 3, H, W]`` on the device."""
    import torch

    model = vision_model.model
    hidden = model(pixels).last_hidden_state  # [B, 1 + registers + patches, D]
    if vision_model.pooling == "cls":
        pooled = hidden[:, 0]
    else:
        first = MODEL_TYPES[model.config.model_type] + getattr(model.config, "num_register_tokens", 0)
        pooled = hidden[:, first:].float().mean(1)
    values: NDArray[np.float32] = pooled.to("cpu", torch.float32).numpy()
    return values
