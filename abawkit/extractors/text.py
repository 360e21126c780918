"""Text features: one sentence embedding per transcript, or the vectors of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import Computing
from abawkit.backbones.folder import open_folder
from abawkit.backbones.known import KNOWN
from abawkit.backbones.own_code import check_own_code, own_code
from abawkit.backbones.text import TextModel, TextPooling, embed_texts, embed_tokens, load_text_model, token_limit
from abawkit.errors import UsageError
from abawkit.extractors.sources import TEXT_FILES, TEXT_WORKLOAD, Transcripts
from abawkit.features.spec import FeatureSpec, Loaded
from abawkit.layout.folder import Clip


class TransformerText:
    """Makes one vector per clip, or one per token, from its transcript with a transformers text encoder.

    Args:
        model: Model id or local folder.
        pooling: ``mean`` over the tokens or the first token, ``cls``; None: as the known model was trained, else
            ``mean``.
        tokens: One vector per token instead, for recurrent text models: nothing is pooled, and the special tokens at
            both ends are kept, so that ``mean`` and ``cls`` can still be made of them. It is another feature, with a
            store of its own.
        max_tokens: Longer transcripts are cut, with a warning; fewer where the model has fewer positions.
        how: Device, precision and batches of the computation; default: the processor.
        dtype: Floating-point type in the store.
        transcripts: Where the words come from.

    Raises:
        AbawkitError: The model is not on this machine, or is not a text encoder.
        UsageError: Both a pooling and tokens are asked for.
    """

    def __init__(
        self,
        model: str = "thenlper/gte-base",
        *,
        pooling: TextPooling | None = None,
        tokens: bool = False,
        max_tokens: int = 512,
        how: Computing | None = None,
        dtype: Literal["float16", "float32"] = "float16",
        transcripts: Transcripts = TEXT_FILES,
        trust_code: bool = False,
    ) -> None:
        if tokens and pooling:
            expected = "one of them: token vectors are not pooled"
            raise UsageError("pooling and tokens exclude each other", got=f"pooling {pooling}", expected=expected)
        found = open_folder(model)
        known = KNOWN.get(found.model)
        default: TextPooling = "cls" if known is not None and known.pooling == "cls" else "mean"
        self.trust_code = trust_code and bool(own_code(found.path))
        if self.trust_code:
            check_own_code(model, found.path)
        self.folder = found.path
        self.how = replace(how) if how else Computing()
        self.tokens = tokens
        self.transcripts = transcripts
        self.pooling: TextPooling = pooling or default
        self.max_tokens = token_limit(found.path, max_tokens)
        self.spec = FeatureSpec(
            modality="text",
            name=found.name + ("-tokens" if tokens else ""),
            dim=found.dim,
            extractor="transformers-text/1",
            model=found.model,
            revision=found.revision,
            weights=found.weights,
            processor="tokenizers",
            preprocessing={
                "pooling": "none" if tokens else self.pooling,
                "max_tokens": self.max_tokens,
                **({"code": "the model's own"} if self.trust_code else {}),
                **transcripts.preprocessing,
            },
            precision=self.how.precision,
            dtype=dtype,
            licence=found.licence,
        )
        # Three words per second, about one token each.
        self.workload = replace(TEXT_WORKLOAD, frames=20) if tokens else TEXT_WORKLOAD
        self._model: TextModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def source(self, clip: Clip) -> str:
        """Returns the digest of the transcript and what made it; an empty text when there is none."""
        return self.transcripts.source(clip)

    def load(self, clip: Clip) -> Loaded:
        """Returns the transcript, without white space around it.

        Raises:
            ModalityMissing: There is no transcript, or no letter or digit in it.
            MediaError: It is not UTF-8 text, or cannot be read.
        """
        return Loaded(np.zeros(0, np.float32), text=self.transcripts.read(clip))

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns ``float32 [T, D]`` and times of NaN per clip; a cut transcript gets a warning.

        T is 1, or with ``tokens`` the number of the transcript's tokens.
        """
        if self._model is None:
            self._model = load_text_model(
                self.folder,
                pooling=self.pooling,
                max_tokens=self.max_tokens,
                how=self.how,
                trust_code=self.trust_code,
            )
        texts = [loaded.text or "" for loaded in batch]
        if self.tokens:
            values, counts = embed_tokens(self._model, texts)
        else:
            rows, counts = embed_texts(self._model, texts)
            values = list(rows[:, None])
        for loaded, count in zip(batch, counts, strict=True):
            if count > self.max_tokens:
                loaded.warnings += (f"transcript of {count} tokens, cut after {self.max_tokens}",)
        return [(frames, np.full(len(frames), np.nan, np.float32)) for frames in values]
