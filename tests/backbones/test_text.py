import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel, BertTokenizer

from abawkit.backbones.batching import Computing
from abawkit.backbones.loading import quiet
from abawkit.backbones.text import TextPooling, embed_texts, embed_tokens, load_text_model, token_limit
from abawkit.errors import AbawkitError
from tests import tiny_models

LIMIT = tiny_models.MAX_TOKENS
TEXTS = ("I am so happy!", "oh no", "You see that is sadly so sad. " * 9, "unheard of", "won")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("bert"))


@cache
def plain_model(folder: Path) -> tuple[BertModel, BertTokenizer]:
    with quiet():
        return BertModel.from_pretrained(folder).eval(), BertTokenizer.from_pretrained(folder)


def by_hand(folder: Path, text: str, pooling: TextPooling) -> np.ndarray:
    model, tokenizer = plain_model(folder)
    inputs = tokenizer(text, truncation=True, max_length=LIMIT, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state[0]
    return (hidden.mean(0) if pooling == "mean" else hidden[0]).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("batch", [1, 2, None])
def test_same_as_alone_by_hand_whatever_the_batch(folder: Path, pooling: TextPooling, batch: int | None) -> None:
    model = load_text_model(folder, pooling=pooling, max_tokens=LIMIT, how=Computing(batch=batch))
    values, counts = embed_texts(model, TEXTS)
    assert (values.shape, values.dtype) == ((len(TEXTS), tiny_models.DIM), np.float32)
    for text, row in zip(TEXTS, values, strict=True):
        np.testing.assert_allclose(row, by_hand(folder, text, pooling), atol=1e-5)
    assert [count > LIMIT for count in counts] == [False, False, True, False, False]
    again, _ = embed_texts(model, TEXTS[::-1])
    np.testing.assert_allclose(again[::-1], values, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, None])
def test_tokens_are_the_hidden_states_of_the_text_alone(folder: Path, batch: int | None) -> None:
    encoder = load_text_model(folder, pooling="cls", max_tokens=LIMIT, how=Computing(batch=batch))
    values, counts = embed_tokens(encoder, TEXTS)
    model, tokenizer = plain_model(folder)
    for text, frames, count in zip(TEXTS, values, counts, strict=True):
        inputs = tokenizer(text, truncation=True, max_length=LIMIT, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0].numpy()
        assert frames.shape == hidden.shape == (min(count, LIMIT), tiny_models.DIM)
        np.testing.assert_allclose(frames, hidden, atol=1e-5)
        # The special tokens are kept: both sentence embeddings can be made of them.
        np.testing.assert_allclose(frames.mean(0), by_hand(folder, text, "mean"), atol=1e-5)
        np.testing.assert_allclose(frames[0], by_hand(folder, text, "cls"), atol=1e-5)
    assert embed_tokens(encoder, []) == ([], [])


def test_texts_that_differ_differ(folder: Path) -> None:
    model = load_text_model(folder, pooling="mean", max_tokens=LIMIT, how=Computing())
    values, counts = embed_texts(model, ["i am happy", "i am sad"])
    assert counts == [5, 5]
    assert np.abs(values[0] - values[1]).max() > 0.05
    assert embed_texts(model, [])[0].shape == (0, tiny_models.DIM)


@pytest.mark.parametrize(
    ("config", "tokenizer", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, None, 512),
        ({"model_type": "bert", "max_position_embeddings": 64}, None, 64),
        ({"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": 1}, None, 128),
        ({"model_type": "deberta-v2", "max_position_embeddings": -1}, {"model_max_length": 1e30}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, {"model_max_length": 384}, 384),
    ],
)
def test_token_limit(tmp_path: Path, config: dict[str, object], tokenizer: object, limit: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "vocab_size": 9, **config}))
    if tokenizer is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert token_limit(tmp_path, 512) == limit


def test_audio_model_is_no_text_encoder(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="not a text encoder"):
        token_limit(tiny_models.wav2vec2(tmp_path), 512)


def test_tokenizer_without_its_files_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    for name in ("tokenizer.json", "vocab.txt"):
        (copy / name).unlink()
    with pytest.raises(AbawkitError, match="does not belong to the model"):
        load_text_model(copy, pooling="mean", max_tokens=LIMIT, how=Computing())


@pytest.mark.parametrize("words", [4, 60])
def test_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path, words: int) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "tokenizer.json").unlink()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(words))]
    (copy / "vocab.txt").write_text("\n".join(vocabulary))
    with pytest.raises(AbawkitError, match="does not belong to the model"):
        load_text_model(copy, pooling="mean", max_tokens=LIMIT, how=Computing())


def test_damaged_tokenizer(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(AbawkitError, match="tokenizer cannot be loaded"):
        load_text_model(copy, pooling="mean", max_tokens=LIMIT, how=Computing())
