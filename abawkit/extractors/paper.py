"""The preset ``paper``: the models behind the paper's text, audio and vision features, or others in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from abawkit.backbones.hub import KNOWN
from abawkit.errors import UsageError
from abawkit.extractors.audio import TransformerAudio
from abawkit.extractors.text import TransformerText
from abawkit.extractors.vision import TransformerVision
from abawkit.features.spec import Extractor, Modality

#: Modality → the model of the paper: the first known one of each.
DEFAULTS: Mapping[Modality, str] = {known.modality: name for name, known in reversed(list(KNOWN.items()))}


def paper_extractors(
    models: Mapping[Modality, str] | None = None,
    *,
    modalities: Sequence[Modality] = ("text", "audio", "vision"),
    device: str = "cpu",
    dtype: Literal["float16", "float32"] = "float16",
    offline: bool = False,
) -> dict[Modality, Extractor]:
    """Returns the transformers extractors of the preset, by modality. Motion has no model and is not among them.

    Args:
        models: Modality → model id or local folder, in place of the default.
        modalities: Which to make; only their models need be on this machine.
        device: ``cpu``, ``cuda:0`` …
        dtype: Floating-point type in the stores.
        offline: See :func:`abawkit.backbones.hub.resolve`.

    Raises:
        UsageError: A modality has no model.
        AbawkitError: A model is not on this machine, or cannot be used.
    """
    chosen = {**DEFAULTS, **(models or {})}
    for modality in (*chosen, *modalities):
        if modality not in DEFAULTS:
            raise UsageError("this modality has no model", got=modality, expected=", ".join(sorted(DEFAULTS)))
    made: dict[Modality, Extractor] = {}
    if "text" in modalities:
        made["text"] = TransformerText(chosen["text"], device=device, dtype=dtype, offline=offline)
    if "audio" in modalities:
        made["audio"] = TransformerAudio(chosen["audio"], device=device, dtype=dtype, offline=offline)
    if "vision" in modalities:
        made["vision"] = TransformerVision(chosen["vision"], device=device, dtype=dtype, offline=offline)
    return made
