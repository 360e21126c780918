"""Pictures as an image model takes them: resized and cropped here, where the workers are, and scaled on the device.

The model's own image processor does the same in one process and in float32, which is most of what a small model costs.
Its settings are read without transformers; when the model is loaded, both are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.config import read_config, read_processor
from abawkit.errors import AbawkitError

_HALVES = (0.5, 0.5, 0.5)
#: What the processors of transformers do where ``preprocessor_config.json`` is silent; resampling as in Pillow.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ViT": {"size": {"height": 224, "width": 224}, "resample": 2, "image_mean": _HALVES, "image_std": _HALVES},
    "DeiT": {
        "size": {"height": 256, "width": 256},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": _HALVES,
        "image_std": _HALVES,
    },
    "Bit": {
        "size": {"shortest_edge": 224},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": (0.48145466, 0.4578275, 0.40821073),
        "image_std": (0.26862954, 0.26130258, 0.27577711),
    },
}
#: Model type → the processor of models that name none.
_OF_MODEL = {"vit": "ViT", "vit_msn": "ViT", "deit": "DeiT", "dinov2": "Bit", "dinov2_with_registers": "Bit"}


@dataclass(frozen=True)
class Preparation:
    """What a model's image processor does.

    Attributes:
        size: Height and width to resize to (pixels); one number: the shorter edge, the aspect ratio is kept; None: no
            resizing.
        resample: Pillow's number of the filter (2 bilinear, 3 bicubic).
        crop: Height and width cut from the middle; None: nothing is cut.
        scale: What each channel of 0 to 255 is multiplied by, ``(red, green, blue)``.
        shift: What is added then.
    """

    size: tuple[int, ...] | None
    resample: int
    crop: tuple[int, int] | None
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def resized(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns an RGB picture ``uint8 [H, W, 3]`` resized and cropped, ``uint8 [h, w, 3]``."""
        from PIL import Image

        if self.size is None:
            return picture
        height, width = self.size if len(self.size) == 2 else _by_shorter_edge(picture.shape, self.size[0])
        image, resample = Image.fromarray(picture), Image.Resampling(self.resample)
        if self.crop is None:
            return np.asarray(image.resize((width, height), resample=resample))
        top, left = (height - self.crop[0]) // 2, (width - self.crop[1]) // 2
        part = _part(picture.shape[0], height, top, self.crop[0])
        if height == width and picture.shape[0] == picture.shape[1] and self.crop[0] == self.crop[1] and part:
            # What would be cut off is not made, which saves a fifth of the time.
            return np.asarray(image.resize(self.crop, resample=resample, box=(part[0], part[0], part[1], part[1])))
        whole = np.asarray(image.resize((width, height), resample=resample))
        return whole[top : top + self.crop[0], left : left + self.crop[1]]

    def scaled(self, pictures: NDArray[np.uint8], device: Any) -> Any:
        """Returns resized pictures ``[B, h, w, 3]`` as the model's input, a tensor ``float32 [B, 3, h, w]``."""
        import torch

        scale, shift = (torch.tensor(values, device=device)[:, None, None] for values in (self.scale, self.shift))
        # Channel by channel, before anything is computed: runs of one number are fast, three in turn are not.
        pixels = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).contiguous().float()
        return pixels.mul_(scale).add_(shift)


def _by_shorter_edge(shape: tuple[int, ...], edge: int) -> tuple[int, int]:
    height, width = shape[:2]
    if width <= height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)


def _part(edge: int, resized: int, start: int, length: int) -> tuple[float, float] | None:
    """Returns what part of ``edge`` pixels becomes the pixels ``start`` to ``start + length`` of ``resized``.

    None where these, made alone, could differ from those cut from the whole: where a pixel's place is not a short
    binary fraction, so that the filter's weights would be rounded otherwise. (Pictures that are not
    square could differ too: Pillow chooses by the shape what it resizes first, rows or columns.)
    """
    if (edge << 12) % resized:
        return None
    return start * edge / resized, (start + length) * edge / resized


def read_preparation(folder: Path) -> Preparation:
    """Returns how the model of a folder takes its pictures; read without transformers.

    Raises:
        AbawkitError: There are no such settings, or they ask for something that is not known here.
    """
    record = read_processor(folder, "image_processor")
    named = str(record.get("image_processor_type") or record.get("feature_extractor_type") or "")
    kind = (
        named.removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    )
    kind = kind or _OF_MODEL.get(str(read_config(folder).get("model_type")), "")
    if kind not in _DEFAULTS:
        raise _unknown(folder, named or "no image_processor_type", "BitImageProcessor, DeiT… or ViT…")
    wanted = {"do_resize": True, "do_center_crop": False, **_DEFAULTS[kind]}
    wanted |= {key: value for key, value in record.items() if value is not None}
    try:
        size = _edges(wanted["size"], square=kind != "Bit") if wanted["do_resize"] else None
        crop = _edges(wanted["crop_size"], square=True) if wanted["do_center_crop"] else None
        factor = float(wanted.get("rescale_factor", 1 / 255)) if wanted.get("do_rescale", True) else 1.0
        normalise = wanted.get("do_normalize", True)
        mean = tuple(float(value) for value in (wanted["image_mean"] if normalise else (0, 0, 0)))
        std = tuple(float(value) for value in (wanted["image_std"] if normalise else (1, 1, 1)))
        resample = int(wanted["resample"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(folder, f"{type(error).__name__}: {error}", "size, crop_size, image_mean, image_std") from error
    if wanted.get("do_pad") or len(mean) != 3 or len(std) != 3 or min(std) <= 0 or resample not in range(6):
        raise _unknown(folder, "do_pad, or a mean or deviation that is not of three channels", "none of these")
    if crop is not None and (len(crop) != 2 or size is None or min(size) < max(crop)):
        raise _unknown(folder, f"crop_size {crop} of size {size}", "a crop no larger than the resized picture")
    scale = tuple(factor / deviation for deviation in std)
    shift = tuple(-middle / deviation for middle, deviation in zip(mean, std, strict=True))
    return Preparation(size, resample, None if crop is None else (crop[0], crop[1]), scale, shift)


def _edges(size: Any, *, square: bool) -> tuple[int, ...]:
    """Returns height and width, or the shorter edge alone; a bare number is a square, or the shorter edge."""
    if isinstance(size, Mapping):
        return (int(size["shortest_edge"]),) if "shortest_edge" in size else (int(size["height"]), int(size["width"]))
    return (int(size), int(size)) if square else (int(size),)


def _unknown(folder: Path, got: str, expected: str) -> AbawkitError:
    return AbawkitError("this image processor is not one that can be used", path=folder, got=got, expected=expected)


def check_preparation(preparation: Preparation, processor: Any, folder: Path) -> None:
    """Checks that ``preparation`` gives what the model's image processor of transformers gives.

    Raises:
        AbawkitError: They differ by more than 1e-4 (values of a few units).
    """
    random = np.random.default_rng(0)
    for shape in ((160, 160, 3), (96, 150, 3), (150, 96, 3)):
        picture = random.integers(0, 256, shape, np.uint8)
        theirs = processor([picture], input_data_format="channels_last", return_tensors="np")["pixel_values"]
        ours = preparation.scaled(np.stack([preparation.resized(picture)]), "cpu").numpy()
        if theirs.shape != ours.shape or not np.allclose(theirs, ours, atol=1e-4):
            got = f"{theirs.shape[1:]} from it, {ours.shape[1:]} here"
            raise _unknown(folder, got, "the same values as transformers' processor gives")
