"""What a model's configuration files say, read without transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from abawkit.backbones.own_code import refuse_code
from abawkit.errors import AbawkitError
from abawkit.fileio import read_json


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the model's ``config.json``, read without transformers.

    Raises:
        AbawkitError: It cannot be read, has no ``hidden_size``, is of a model with a decoder, or asks for code from
            elsewhere.
    """
    config = read_json(folder / "config.json", "a model configuration")
    hidden = config.get("hidden_size")
    if not isinstance(hidden, int) or hidden < 1 or config.get("is_encoder_decoder"):
        raise AbawkitError(
            "this model cannot be used as a feature extractor",
            path=folder / "config.json",
            got=f"model_type {config.get('model_type')!r}, hidden_size {hidden!r}",
            expected="an encoder (BERT, Wav2Vec2, HuBERT, WavLM, DINOv2, ViT …) with a hidden_size",
        )
    refuse_code(folder, config)
    return config


def read_processor(folder: Path, part: Literal["feature_extractor", "image_processor"]) -> dict[str, Any]:
    """Returns the settings of the model's preprocessing, from either of the two files that transformers writes.

    Raises:
        AbawkitError: There is none.
    """
    nested = folder / "processor_config.json"
    if nested.is_file():
        settings = read_json(nested, "settings of a processor").get(part)
        if isinstance(settings, dict):
            return settings
    return read_json(folder / "preprocessor_config.json", "settings of the model's preprocessing")
