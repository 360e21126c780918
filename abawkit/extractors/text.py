"""Text features: one sentence embedding per transcript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.hub import KNOWN, open_folder
from abawkit.backbones.text import TextModel, TextPooling, embed_texts, load_text_model, token_limit
from abawkit.data.layout import Clip
from abawkit.extractors.sources import read_transcript, text_source
from abawkit.features.spec import FeatureSpec, Loaded


class TransformerText:
    """Makes one vector per clip from its transcript with a transformers text encoder.

    Args:
        model: Model id or local folder.
        pooling: ``mean`` over the tokens or the first token, ``cls``; None: as the known model was trained, else
            ``mean``.
        max_tokens: Longer transcripts are cut, with a warning; less where the model has fewer positions.
        device: ``cpu``, ``cuda:0`` …
        dtype: Floating-point type in the store; the computation is float32.
        offline: See :func:`abawkit.backbones.hub.resolve`.

    Raises:
        AbawkitError: The model is not on this machine, or is no text encoder.
    """

    def __init__(
        self,
        model: str = "thenlper/gte-base",
        *,
        pooling: TextPooling | None = None,
        max_tokens: int = 512,
        device: str = "cpu",
        dtype: Literal["float16", "float32"] = "float16",
        offline: bool = False,
    ) -> None:
        found = open_folder(model, offline=offline)
        default: TextPooling = "cls" if model in KNOWN and KNOWN[model].pooling == "cls" else "mean"
        self.folder = found.path
        self.device = device
        self.pooling: TextPooling = pooling or default
        self.max_tokens = token_limit(found.path, max_tokens)
        self.spec = FeatureSpec(
            modality="text",
            name=found.name,
            dim=found.dim,
            extractor="transformers-text/1",
            model=found.model,
            revision=found.revision,
            weights=found.weights,
            processor="tokenizers",
            preprocessing={"pooling": self.pooling, "max_tokens": self.max_tokens},
            dtype=dtype,
            licence=found.licence,
        )
        self._model: TextModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def source(self, clip: Clip) -> str:
        """Returns the digest of the transcript; an empty text when there is none."""
        return text_source(clip.text)

    def load(self, clip: Clip) -> Loaded:
        """Returns the transcript, without white space around it.

        Raises:
            ModalityMissing: There is no transcript, or no letter or digit in it.
            MediaError: It is not UTF-8 text, or cannot be read.
        """
        return Loaded(np.zeros(0, np.float32), text=read_transcript(clip.text))

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns ``float32 [1, D]`` and a time of NaN per clip; a cut transcript gets a warning."""
        if self._model is None:
            self._model = load_text_model(
                self.folder, pooling=self.pooling, max_tokens=self.max_tokens, device=self.device
            )
        values, counts = embed_texts(self._model, [loaded.text or "" for loaded in batch])
        for loaded, count in zip(batch, counts, strict=True):
            if count > self.max_tokens:
                loaded.warnings += (f"transcript of {count} tokens, cut after {self.max_tokens}",)
        return [(row[None], np.full(1, np.nan, np.float32)) for row in values]
