import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from abawkit.backbones.batching import Computing
from abawkit.backbones.text import embed_texts, load_text_model
from abawkit.errors import AbawkitError, MediaError, ModalityMissing, UsageError
from abawkit.extractors.text import TransformerText
from abawkit.layout.folder import Clip
from tests import tiny_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("models") / "bert-tiny")


def transcript(tmp_path: Path, content: str | bytes, clip: str = "00000") -> Clip:
    path = tmp_path / f"{clip}.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Clip(clip, text=path)


def test_spec(folder: Path) -> None:
    spec = TransformerText(str(folder)).spec
    assert (spec.modality, spec.name, spec.dim, spec.dtype) == ("text", "bert-tiny", tiny_models.DIM, "float16")
    assert spec.preprocessing == {"pooling": "mean", "max_tokens": tiny_models.MAX_TOKENS}
    others = [
        TransformerText(str(folder), pooling="cls").spec,
        TransformerText(str(folder), max_tokens=8).spec,
        TransformerText(str(folder), dtype="float32").spec,
    ]
    assert len({spec.signature, *(other.signature for other in others)}) == 4


def test_transcripts_become_one_vector_each(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerText(str(folder))
    texts = ["oh no", "\ufeff I am so happy! \n", "sad " * 30]
    clips = [transcript(tmp_path, text, f"0000{number}") for number, text in enumerate(texts)]
    loaded = [extractor.load(clip) for clip in clips]
    assert [item.text for item in loaded] == ["oh no", "I am so happy!", ("sad " * 30).strip()]
    made = extractor.embed(loaded)
    model = load_text_model(folder, pooling="mean", max_tokens=tiny_models.MAX_TOKENS, how=Computing())
    for item, (values, times) in zip(loaded, made, strict=True):
        assert values.shape == (1, tiny_models.DIM)
        np.testing.assert_allclose(values, embed_texts(model, [item.text or ""])[0], atol=1e-5)
        assert (times.shape, np.isnan(times).all()) == ((1,), True)
    assert [item.warnings for item in loaded] == [(), (), ("transcript of 32 tokens, cut after 24",)]


def test_tokens_become_a_frame_each(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerText(str(folder), tokens=True, dtype="float32")
    sentences = TransformerText(str(folder), dtype="float32")
    assert extractor.spec.name == "bert-tiny-tokens" and extractor.spec.signature != sentences.spec.signature
    loaded = [extractor.load(transcript(tmp_path, text)) for text in ("oh no", "sad " * 30)]
    (short, times), (cut, _) = extractor.embed(loaded)
    assert short.shape == (4, tiny_models.DIM) and np.isnan(times).all() and times.shape == (4,)
    assert cut.shape == (tiny_models.MAX_TOKENS, tiny_models.DIM)
    assert [item.warnings for item in loaded] == [(), ("transcript of 32 tokens, cut after 24",)]
    whole = sentences.embed([sentences.load(transcript(tmp_path, "oh no"))])[0][0]
    np.testing.assert_allclose(short.mean(0, keepdims=True), whole, atol=1e-5)
    with pytest.raises(UsageError, match="exclude each other"):
        TransformerText(str(folder), tokens=True, pooling="cls")


def test_missing_and_broken_transcripts(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerText(str(folder))
    for clip in (Clip("00000"), transcript(tmp_path, ""), transcript(tmp_path, " \n\t\n")):
        with pytest.raises(ModalityMissing):
            extractor.load(clip)
    with pytest.raises(MediaError, match="UTF-8"):
        extractor.load(transcript(tmp_path, b"\xff\xfeo\x00"))
    with pytest.raises(MediaError, match="cannot be read"):
        extractor.load(Clip("00001", text=tmp_path / "gone.txt"))


def test_source_follows_the_content(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerText(str(folder))
    assert extractor.source(Clip("00000")) == ""
    first = extractor.source(transcript(tmp_path, "oh no"))
    assert first and extractor.source(transcript(tmp_path, "oh no", "00001")) == first
    assert extractor.source(transcript(tmp_path, "oh yes")) != first


def test_pickles_before_and_after_use(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerText(str(folder), dtype="float32")
    loaded = extractor.load(transcript(tmp_path, "oh no"))
    fresh = pickle.dumps(extractor)
    values, _ = extractor.embed([loaded])[0]
    used = pickle.dumps(extractor)
    assert max(len(fresh), len(used)) < 4096
    for copy in (pickle.loads(fresh), pickle.loads(used)):
        assert copy.spec == extractor.spec
        np.testing.assert_array_equal(copy.embed([loaded])[0][0], values)


def test_known_pooling(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "google-bert").mkdir()
    (tmp_path / "thenlper").mkdir()
    (tmp_path / "thenlper" / "gte-base").symlink_to(folder)
    (tmp_path / "google-bert" / "bert-large-uncased").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    assert TransformerText("google-bert/bert-large-uncased").pooling == "cls"
    assert TransformerText("google-bert/bert-large-uncased", pooling="mean").pooling == "mean"
    assert TransformerText(str(folder)).pooling == TransformerText("thenlper/gte-base").pooling == "mean"


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="not a text encoder"):
        TransformerText(str(tiny_models.wav2vec2(tmp_path / "audio")))


def test_specs_and_loading_need_no_torch(folder: Path, tmp_path: Path) -> None:
    audio, vision = tiny_models.wav2vec2(tmp_path / "audio"), tiny_models.dinov2(tmp_path / "vision")
    code = (
        "import sys\n"
        "from abawkit.extractors.paper import paper_extractors\n"
        "from abawkit.settings import ExtractSettings\n"
        f"models = dict(text_model={str(folder)!r}, audio_model={str(audio)!r}, vision_model={str(vision)!r})\n"
        "made = paper_extractors(ExtractSettings(**models))\n"
        "assert list(made) == ['text', 'audio', 'vision', 'motion']\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
