"""Embeddings of transcripts: one vector per text (768 with the paper's model), or one per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import Computing, batches, computing, forward
from abawkit.backbones.config import read_config
from abawkit.backbones.loading import first_line, load_model, quiet
from abawkit.errors import AbawkitError
from abawkit.fileio import read_json

TextPooling = Literal["mean", "cls"]

#: Most tokens of one forward pass, padding included, unless a number of texts is asked for; on a CPU also the most
#: values of its widest layer: 1,024 tokens with BERT-base, about fifty of the texts, beyond which it gets no faster.
CPU_TOKENS, GPU_TOKENS, CPU_VALUES = 8_192, 65_536, 1_024 * 3_072
#: Models that count positions from the padding token's id on.
_SHIFTED = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"})


@dataclass(frozen=True)
class TextModel:
    """A text encoder in memory.

    Attributes:
        model: The transformers model.
        tokenizer: Its tokenizer.
        pooling: ``mean``: mean of the last hidden state over the text's own tokens; ``cls``: its first token.
        max_tokens: Where longer texts are cut, special tokens included.
        how: Device and precision of its forward passes.
    """

    model: Any
    tokenizer: Any
    pooling: TextPooling
    max_tokens: int
    how: Computing


def token_limit(folder: Path, wanted: int) -> int:
    """Returns where texts are cut, in tokens: ``wanted``, or less where the model has fewer positions.

    Raises:
        AbawkitError: The model is not a text encoder.
    """
    config = read_config(folder)
    if "vocab_size" not in config or "conv_kernel" in config or config.get("is_decoder"):
        raise AbawkitError(
            "this is not a text encoder",
            path=folder / "config.json",
            got=f"model_type {config.get('model_type')!r}",
            expected="BERT, RoBERTa, MPNet …",
        )
    limits = [wanted]
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 0:
        shift = config.get("pad_token_id", 1) + 1 if config.get("model_type") in _SHIFTED else 0
        limits.append(positions - shift)
    if (folder / "tokenizer_config.json").is_file():
        limits.append(int(read_json(folder / "tokenizer_config.json", "settings").get("model_max_length", wanted)))
    return min(limits)


def load_text_model(
    folder: Path, *, pooling: TextPooling, max_tokens: int, how: Computing, trust_code: bool = False
) -> TextModel:
    """Returns the text encoder of a folder; ``trust_code`` as of :func:`abawkit.backbones.loading.load_model`.

    Raises:
        AbawkitError: See :func:`abawkit.backbones.loading.load_model`; or the tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_code, padding_side="right"
            )
    except Exception as error:  # transformers raises anything on damaged files
        raise AbawkitError("the tokenizer cannot be loaded", path=folder, got=first_line(error)) from error
    model = load_model(folder, device=how.device, trust_code=trust_code)
    # Without its files transformers makes a tokenizer of five tokens that knows no word.
    if not model.config.vocab_size / 2 <= len(tokenizer) <= model.config.vocab_size:
        raise AbawkitError(
            "the tokenizer does not belong to the model, or its files are missing",
            path=folder,
            got=f"{len(tokenizer)} tokens",
            expected=f"about the model's {model.config.vocab_size}, and no more",
            todo="fetch the model again, with its tokenizer files",
        )
    return TextModel(model, tokenizer, pooling, max_tokens, how)


def embed_texts(text_model: TextModel, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[int]]:
    """Returns one vector per text, ``float32 [N, D]``, and how many tokens each text had before it was cut.

    Args:
        text_model: The encoder.
        texts: Any number of texts, also none; an empty text is embedded as its special tokens.
    """

    def pool(hidden: Any, mask: Any) -> Sequence[NDArray[np.float32]]:
        if text_model.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            share = mask.unsqueeze(-1).to(hidden.dtype)  # [B, L, 1]
            pooled = (hidden * share).sum(1) / share.sum(1)
        return list(_array(pooled))

    rows, counts = _embed(text_model, texts, pool)
    return np.stack(rows) if rows else np.zeros((0, text_model.model.config.hidden_size), np.float32), counts


def embed_tokens(text_model: TextModel, texts: Sequence[str]) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Returns the last hidden state of each text, ``float32 [T, D]``, and how many tokens it had before it was cut.

    The special tokens at the ends are kept, so that the mean of a text's vectors is its sentence embedding with
    pooling ``mean``, and the first one is that with pooling ``cls``.

    Args:
        text_model: The encoder; its pooling does not matter.
        texts: Any number of texts.
    """

    def unpad(hidden: Any, mask: Any) -> Sequence[NDArray[np.float32]]:
        return [row[:count] for row, count in zip(_array(hidden), mask.sum(1).tolist(), strict=True)]

    return _embed(text_model, texts, unpad)


def _array(values: Any) -> NDArray[np.float32]:
    import torch

    array: NDArray[np.float32] = values.to("cpu", torch.float32).numpy()
    return array


def _embed(
    text_model: TextModel, texts: Sequence[str], take: Callable[[Any, Any], Sequence[NDArray[np.float32]]]
) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Returns what ``take`` makes of each text's hidden state ``[B, L, D]`` and mask ``[B, L]``, and token counts."""
    import torch

    tokenizer, how, limit = text_model.tokenizer, text_model.how, text_model.max_tokens
    # Without truncation first, because only then the length of a text that is cut is known.
    tokens = tokenizer(list(texts), verbose=False)["input_ids"] if texts else []
    counts = [len(ids) for ids in tokens]
    long = [index for index, count in enumerate(counts) if count > limit]
    if long:
        cut = tokenizer([texts[index] for index in long], truncation=True, max_length=limit)["input_ids"]
        for index, ids in zip(long, cut, strict=True):
            tokens[index] = ids

    def run(group: Sequence[int]) -> Sequence[NDArray[np.float32]]:
        # Not by the tokenizer's own `pad`, which takes as long as a small model.
        rows = np.full((len(group), max(lengths[index] for index in group)), tokenizer.pad_token_id or 0, np.int64)
        mask = np.zeros_like(rows)
        for row, index in enumerate(group):
            rows[row, : lengths[index]], mask[row, : lengths[index]] = tokens[index], 1
        inputs, seen = (torch.from_numpy(array).to(text_model.model.device) for array in (rows, mask))
        return take(text_model.model(input_ids=inputs, attention_mask=seen).last_hidden_state.float(), seen)

    values: dict[int, NDArray[np.float32]] = {}
    lengths = [len(ids) for ids in tokens]
    narrow = CPU_VALUES // int(getattr(text_model.model.config, "intermediate_size", 3_072))
    budget = how.budget(min(CPU_TOKENS, narrow), GPU_TOKENS)
    with computing(how):
        for group in batches(lengths, budget=budget, equal=False, most=how.batch):
            values.update(zip(group, forward(run, group, how, lengths.__getitem__), strict=True))
    return [values[index] for index in range(len(texts))], counts
