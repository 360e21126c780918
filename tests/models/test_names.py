"""What a checkpoint holds. What the networks compute is in ``test_reference.py``."""

from abawkit.models.network import Network
from abawkit.systems.loader import load_system


def test_parameter_names_are_those_of_the_authors_checkpoints() -> None:
    def both(*names: str) -> set[str]:
        return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}

    expected = both(*(f"text_encoder.feature.{i}" for i in (0, 1, 4)), *(f"fusion_head.mlp.{i}" for i in (0, 2, 5)))
    for modality in ("audio", "vision", "motion"):
        expected |= both(f"{modality}_encoder.attn", *(f"{modality}_encoder.proj.{i}" for i in (0, 1, 4)))
    system = load_system("F2")
    inputs = dict.fromkeys(system.slots, 5)
    assert set(Network(system.network("fusion", inputs, 6)).state_dict()) == expected
    assert set(Network(system.network("text", inputs, 6)).state_dict()) == both(
        *(f"text_encoder.feature.{i}" for i in (0, 1, 4)), "text_head.1"
    )
    assert set(Network(system.network("audio", inputs, 6)).state_dict()) == both(
        "audio_encoder.attn", *(f"audio_encoder.proj.{i}" for i in (0, 1, 4)), "audio_head.1"
    )
