"""The preset ``paper``: the models behind the paper's text, audio and vision features, or others in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from abawkit.backbones.batching import Computing
from abawkit.backbones.known import KNOWN
from abawkit.extractors.audio import TransformerAudio
from abawkit.extractors.motion import motion_extractor
from abawkit.extractors.sources import TEXT_FILES, Transcripts
from abawkit.extractors.text import TransformerText
from abawkit.extractors.vision import TransformerVision, pick_detector
from abawkit.features.spec import MODALITIES, Extractor, Modality
from abawkit.settings import ExtractSettings

#: Modality → the model of the paper: the first known one of each.
DEFAULTS: Mapping[Modality, str] = {known.modality: name for name, known in reversed(list(KNOWN.items()))}


def paper_extractors(
    settings: ExtractSettings | None = None,
    *,
    modalities: Sequence[Modality] = MODALITIES,
    transcripts: Transcripts = TEXT_FILES,
    how: Computing | None = None,
) -> dict[Modality, Extractor]:
    """Returns the extractors of the preset, by modality.

    Args:
        settings: Which models, and how they are used; default: the paper's.
        modalities: Which to make; only their models need be on this machine.
        transcripts: Where the words of the text features come from.
        how: Device, precision and batches of the computation; default: the processor.

    Raises:
        AbawkitError: A model is not on this machine, or cannot be used.
        UsageError: A model has no such layer or head.
    """
    wanted = settings or ExtractSettings()
    dtype = wanted.dtype
    made: dict[Modality, Extractor] = {}
    if "text" in modalities:
        model = wanted.text_model or DEFAULTS["text"]
        made["text"] = TransformerText(
            model,
            pooling=wanted.text_pooling,
            tokens=wanted.text_tokens,
            trust_code=wanted.trust_remote_code,
            transcripts=transcripts,
            how=how,
            dtype=dtype,
        )
    if "audio" in modalities:
        made["audio"] = TransformerAudio(
            wanted.audio_model or DEFAULTS["audio"],
            layers=wanted.audio_layers,
            with_vad=wanted.audio_vad,
            how=how,
            dtype=dtype,
        )
    if "vision" in modalities:
        detect = wanted.faces == "detect"
        made["vision"] = TransformerVision(
            wanted.vision_model or DEFAULTS["vision"],
            faces=wanted.faces,
            no_face=wanted.no_face,
            pooling=wanted.vision_pooling,
            fps=wanted.vision_fps,
            max_frames=wanted.vision_frames,
            margin=wanted.face_margin,
            detector=pick_detector(wanted.face_detector, wanted.yunet_model) if detect else None,
            how=how,
            dtype=dtype,
        )
    if "motion" in modalities:
        made["motion"] = motion_extractor(wanted)
    return made
