"""Frame features of images from DINOv2 and ViT models (CHALLENGE: vision (T, 768), one vector per face crop)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import forward
from abawkit.backbones.hub import read_config
from abawkit.backbones.loading import first_line, load_model, quiet
from abawkit.errors import AbawkitError

VisionPooling = Literal["cls", "patch-mean"]
#: Chosen, because the default depends on whether torchvision is installed and the two give different values.
PROCESSOR_BACKEND = "pil"
#: Model type of ``config.json`` → tokens before those of the patches and of the registers. Others have no CLS
#: token (Swin), or drop patches at random (ViT-MAE).
MODEL_TYPES = {"vit": 1, "vit_msn": 1, "deit": 2, "dinov2": 1, "dinov2_with_registers": 1}


@dataclass(frozen=True)
class VisionModel:
    """An image encoder in memory.

    Attributes:
        model: The transformers model.
        processor: Its image processor, with the backend :data:`PROCESSOR_BACKEND`.
        pooling: ``cls``: the first token of the last hidden state; ``patch-mean``: the mean of the patches' tokens.
    """

    model: Any
    processor: Any
    pooling: VisionPooling


def check_vision_model(folder: Path) -> None:
    """Passes when the model in a folder is an image encoder that can be used; read without transformers.

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


def load_vision_model(folder: Path, *, pooling: VisionPooling, device: str) -> VisionModel:
    """Returns the image encoder of a folder.

    Raises:
        AbawkitError: See :func:`abawkit.backbones.loading.load_model`; or the image processor cannot be read.
    """
    from transformers import AutoImageProcessor

    check_vision_model(folder)
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(
                folder, backend=PROCESSOR_BACKEND, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # whatever strange files make of the library
        raise AbawkitError("the image processor cannot be loaded", path=folder, got=first_line(error)) from error
    backend = getattr(processor, "backend", None)
    if backend != PROCESSOR_BACKEND:  # transformers falls back to another one with a mere warning
        raise AbawkitError(
            "the model's image processor cannot run with Pillow",
            path=folder,
            got=f"{type(processor).__name__} with the backend {backend!r}",
            expected="BitImageProcessor or ViTImageProcessor",
        )
    return VisionModel(load_model(folder, device=device), processor, pooling)


def embed_images(
    vision_model: VisionModel, images: Sequence[NDArray[np.uint8]], *, batch_frames: int = 32
) -> NDArray[np.float32]:
    """Returns one vector per image: ``float32 [N, D]``.

    Args:
        vision_model: The encoder.
        images: RGB, ``uint8 [H, W, 3]``, of any size and of several sizes.
        batch_frames: Most images of one forward pass.
    """

    def run(batch: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.float32]]:
        pixels = vision_model.processor(list(batch), input_data_format="channels_last", return_tensors="pt")
        return list(embed_pixels(vision_model, pixels["pixel_values"]))

    values = np.empty((len(images), vision_model.model.config.hidden_size), np.float32)
    for start in range(0, len(images), batch_frames):
        batch = images[start : start + batch_frames]
        values[start : start + len(batch)] = forward(run, batch)
    return values


def embed_pixels(vision_model: VisionModel, pixels: Any) -> NDArray[np.float32]:
    """Returns one vector per image, ``float32 [B, D]``, from the processor's ``pixel_values`` ``[B, 3, H, W]``."""
    model = vision_model.model
    hidden = model(pixels.to(model.device)).last_hidden_state  # [B, 1 + registers + patches, D]
    if vision_model.pooling == "cls":
        pooled = hidden[:, 0]
    else:
        first = MODEL_TYPES[model.config.model_type] + getattr(model.config, "num_register_tokens", 0)
        pooled = hidden[:, first:].mean(1)
    values: NDArray[np.float32] = pooled.cpu().numpy()
    return values
