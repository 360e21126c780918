"""Models that are known by name, and what a model's name means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from abawkit.backbones.files import known_file
from abawkit.errors import UsageError


@dataclass(frozen=True)
class ModelRef:
    """A model as it was named.

    Attributes:
        id_or_folder: Id on the Hugging Face hub (``thenlper/gte-base``) or a local folder.
        revision: Branch, tag or commit on the hub; None: what the cache holds as ``main``.
        licence: Licence of the weights, where it is known.
    """

    id_or_folder: str
    revision: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class KnownModel:
    """One row of the table of models that the paper and its rivals used.

    Attributes:
        ref: Id, revision and licence.
        modality: What it embeds.
        dim: Values per frame.
        pooling: How its output becomes one vector per text or frame (``frames``: it is not pooled).
    """

    ref: ModelRef
    modality: Literal["text", "audio", "vision"]
    dim: int
    pooling: Literal["mean", "cls", "frames"]


#: Model id → what is known about it, at a pinned revision. The first of each modality is the default.
KNOWN: Mapping[str, KnownModel] = {
    model.ref.id_or_folder: model
    for model in (
        KnownModel(
            ModelRef("thenlper/gte-base", "c078288308d8dee004ab72c6191778064285ec0c", "MIT"), "text", 768, "mean"
        ),
        KnownModel(
            ModelRef("google-bert/bert-large-uncased", "6da4b6a26a1877e173fca3225479512db81a5e5b", "Apache-2.0"),
            "text",
            1024,
            "cls",
        ),
        KnownModel(
            ModelRef(
                "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
                "6eba34a2485ea31cb03600241787c3a5edab8626",
                "CC BY-NC-SA 4.0",
            ),
            "audio",
            1024,
            "frames",
        ),
        KnownModel(
            ModelRef("facebook/wav2vec2-base-960h", "22aad52d435eb6dbaf354bdad9b0da84ce7d6156", "Apache-2.0"),
            "audio",
            768,
            "frames",
        ),
        KnownModel(
            ModelRef("facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415", "Apache-2.0"),
            "vision",
            768,
            "cls",
        ),
        KnownModel(
            ModelRef("google/vit-base-patch16-224-in21k", "b4569560a39a0f1af58e3ddaf17facf20ab919b0", "Apache-2.0"),
            "vision",
            768,
            "cls",
        ),
    )
}

#: The default speech recogniser, which makes the words that text features are made from.
RECOGNISER = ModelRef("openai/whisper-large-v3-turbo", "41f01f3fe87f28c78e2fbf8b568835947dd65ed9", "MIT")


def model_ref(name: str) -> ModelRef:
    """Returns the reference of a folder, an id or ``ID@REVISION``; of a known id with pinned revision and licence.

    >>> model_ref("thenlper/gte-base").licence, model_ref("thenlper/gte-base@v2").revision
    ('MIT', 'v2')

    Raises:
        UsageError: There is no revision after the @.
    """
    if "@" in name and not Path(name).expanduser().is_dir():
        name, _, revision = name.partition("@")
        if not revision:
            raise UsageError("a model without the revision after the @", got=f"{name}@", expected=f"{name}@COMMIT")
        return replace(model_ref(name), revision=revision)
    if name == RECOGNISER.id_or_folder:
        return RECOGNISER
    return KNOWN[name].ref if name in KNOWN else ModelRef(name)


def is_commit(revision: str | None) -> bool:
    """Returns whether a revision is the full name of a commit, which unlike a branch or a tag never changes."""
    return re.fullmatch(r"[0-9a-f]{40}", revision or "") is not None


def command_with(name: str, where: str) -> str:
    """Returns the command that uses the model of that name, when it lies at ``where`` (folder, file or id).

    >>> command_with("thenlper/gte-base", "FOLDER")
    'abawkit extract --model text=FOLDER'
    """
    known = model_ref(name).id_or_folder
    if known_file(known) is not None:
        return f"abawkit extract --faces detect --set extract.yunet_model={where}"
    if known == RECOGNISER.id_or_folder:
        return f"abawkit transcribe --model {where}"
    return f"abawkit extract --model {KNOWN[known].modality if known in KNOWN else 'MODALITY'}={where}"
