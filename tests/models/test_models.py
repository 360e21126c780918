"""What a checkpoint holds, and what is no model. What they compute is in ``test_reference.py``."""

import pytest

from abawkit.models.encoders import EncoderConfig, UnimodalModel, make_encoder
from abawkit.models.fusion import FusionConfig, FusionModel


def test_parameter_names_are_those_of_the_authors_checkpoints() -> None:
    def both(*names: str) -> set[str]:
        return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}

    expected = both(*(f"text_encoder.feature.{i}" for i in (0, 1, 4)), *(f"fusion_head.mlp.{i}" for i in (0, 2, 5)))
    for modality in ("audio", "vision", "motion"):
        expected |= both(f"{modality}_encoder.attn", *(f"{modality}_encoder.proj.{i}" for i in (0, 1, 4)))
    encoders = {
        m: EncoderConfig("mlp" if m == "text" else "attention", 5, 8) for m in ("text", "audio", "vision", "motion")
    }
    assert set(FusionModel(FusionConfig(encoders, targets=6)).state_dict()) == expected
    assert set(UnimodalModel(encoders["text"], 6).state_dict()) == both(
        *(f"encoder.feature.{i}" for i in (0, 1, 4)), "head.1"
    )
    assert set(UnimodalModel(encoders["audio"], 6).state_dict()) == both(
        "encoder.attn", *(f"encoder.proj.{i}" for i in (0, 1, 4)), "head.1"
    )


def test_unknown_encoder() -> None:
    with pytest.raises(ValueError, match="unknown encoder kind"):
        make_encoder(EncoderConfig("conv", 5))
