import pytest

from abawkit.errors import AbawkitError, UsageError
from abawkit.extractors.paper import DEFAULTS, paper_extractors
from tests import tiny_models


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    made = {
        "text": tiny_models.bert(root / "text"),
        "audio": tiny_models.wav2vec2(root / "audio"),
        "vision": tiny_models.vit(root / "vision"),
    }
    return {modality: str(path) for modality, path in made.items()}


def test_defaults_are_the_papers() -> None:
    assert DEFAULTS == {
        "text": "thenlper/gte-base",
        "audio": "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        "vision": "facebook/dinov2-base",
    }


def test_models_in_their_place(folders: dict[str, str]) -> None:
    made = paper_extractors(folders, dtype="float32")
    assert {modality: extractor.spec.modality for modality, extractor in made.items()} == {
        modality: modality for modality in ("text", "audio", "vision")
    }
    assert {extractor.spec.model for extractor in made.values()} == set(folders.values())
    assert {extractor.spec.dtype for extractor in made.values()} == {"float32"}
    assert all(extractor.spec.dtype == "float16" for extractor in paper_extractors(folders).values())


def test_only_the_models_that_are_asked_for(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", folders["text"])  # a folder without models of the hub
    assert list(paper_extractors({"text": folders["text"]}, modalities=["text"])) == ["text"]
    with pytest.raises(AbawkitError, match="msp-dim is not on this machine"):
        paper_extractors({"text": folders["text"]})


def test_modality_without_a_model(folders: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="has no model"):
        paper_extractors({**folders, "motion": "x/y"})
    with pytest.raises(UsageError, match="has no model"):
        paper_extractors(folders, modalities=["motion"])
