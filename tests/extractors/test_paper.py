import pytest

from abawkit.errors import AbawkitError
from abawkit.extractors.paper import DEFAULTS, paper_extractors
from abawkit.settings import ExtractSettings
from tests import tiny_models


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ExtractSettings:
    root = tmp_path_factory.mktemp("models")
    return ExtractSettings(
        text_model=str(tiny_models.bert(root / "text")),
        audio_model=str(tiny_models.emotion_wav2vec2(root / "audio")),
        vision_model=str(tiny_models.vit(root / "vision")),
    )


def test_defaults_are_the_papers() -> None:
    assert DEFAULTS == {
        "text": "thenlper/gte-base",
        "audio": "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        "vision": "facebook/dinov2-base",
    }


def test_models_in_their_place(settings: ExtractSettings) -> None:
    made = paper_extractors(settings.model_copy(update={"dtype": "float32"}))
    assert {modality: extractor.spec.modality for modality, extractor in made.items()} == {
        modality: modality for modality in ("text", "audio", "vision", "motion")
    }
    models = {settings.text_model, settings.audio_model, settings.vision_model, None}
    assert {extractor.spec.model for extractor in made.values()} == models
    assert {made[modality].spec.dtype for modality in DEFAULTS} == {"float32"}
    plain = paper_extractors(settings)
    assert {plain[modality].spec.dtype for modality in DEFAULTS} == {"float16"}


def test_settings_reach_the_extractors(settings: ExtractSettings) -> None:
    plain = paper_extractors(settings, modalities=["audio"])["audio"].spec
    other = settings.model_copy(update={"audio_layers": "mean:2", "audio_vad": True})
    spec = paper_extractors(other, modalities=["audio"])["audio"].spec
    assert spec.dim == plain.dim + 3 and spec.preprocessing["layers"] == [-2, -1]
    assert spec.signature != plain.signature


def test_text_settings_reach_the_extractor(settings: ExtractSettings) -> None:
    wanted = ({}, {"text_pooling": "cls"}, {"text_tokens": True})
    specs = [
        paper_extractors(settings.model_copy(update=update), modalities=["text"])["text"].spec for update in wanted
    ]
    assert [spec.preprocessing["pooling"] for spec in specs] == ["mean", "cls", "none"]
    assert len({spec.signature for spec in specs}) == 3


def test_only_the_models_that_are_asked_for(settings: ExtractSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", settings.text_model)  # a folder without models of the hub
    only_text = ExtractSettings(text_model=settings.text_model)
    assert list(paper_extractors(only_text, modalities=["text"])) == ["text"]
    with pytest.raises(AbawkitError, match="msp-dim is not on this machine"):
        paper_extractors(only_text)
