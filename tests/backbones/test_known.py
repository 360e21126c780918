"""The table of known models."""

from pathlib import Path

from abawkit.backbones.fetch import known_models
from abawkit.backbones.files import YUNET
from abawkit.backbones.known import KNOWN, RECOGNISER, model_ref
from abawkit.settings import ExtractSettings


def test_known_models_have_dimension_and_licence() -> None:
    table = {name: (known.modality, known.dim, known.ref.licence) for name, known in KNOWN.items()}
    assert table == {
        "thenlper/gte-base": ("text", 768, "MIT"),
        "google-bert/bert-large-uncased": ("text", 1024, "Apache-2.0"),
        "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim": ("audio", 1024, "CC BY-NC-SA 4.0"),
        "facebook/wav2vec2-base-960h": ("audio", 768, "Apache-2.0"),
        "facebook/dinov2-base": ("vision", 768, "Apache-2.0"),
        "google/vit-base-patch16-224-in21k": ("vision", 768, "Apache-2.0"),
    }


def test_the_default_recogniser_is_the_one_that_is_known(cache: Path) -> None:
    assert ExtractSettings().whisper_model == RECOGNISER.id_or_folder
    assert model_ref(RECOGNISER.id_or_folder).revision == RECOGNISER.revision
    assert [row["model"] for row in known_models()] == [*KNOWN, RECOGNISER.id_or_folder, YUNET.repository]
    assert [row["modality"] for row in known_models()][-2:] == ["transcript", "faces"]
