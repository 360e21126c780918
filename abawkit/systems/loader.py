"""Reads the named systems."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from typing import Any, cast

from abawkit.errors import UsageError
from abawkit.features.spec import MODALITIES, Modality


@dataclass(frozen=True)
class Hyperparameters:
    """Everything that training depends on, with the paper's values (Sec. 4.8 and the authors' released script)."""

    text_epochs: int = 50  # most epochs of each stage
    audio_epochs: int = 50
    vision_epochs: int = 50
    motion_epochs: int = 100
    fusion_epochs: int = 50
    batch_size: int = 16
    lr: float = 2e-4  # AdamW
    encoder_lr_scale: float = 0.05  # text, audio and vision encoders during fusion (Sec. 4.6)
    weight_decay: float = 1e-2
    clip_norm: float = 1.0  # gradient norm
    patience: int = 10  # epochs without improvement of validation r before a unimodal stage stops
    fusion_patience: int = 10  # the same for the fusion stage
    min_delta: float = 1e-4  # what counts as an improvement
    lr_factor: float = 0.5  # ReduceLROnPlateau on validation r
    hidden: int = 384  # text, audio and vision embeddings
    motion_hidden: int = 128
    fusion_hidden: int = 384
    dropout: float = 0.45
    modality_dropout: float = 0.3
    alpha: float = 0.7  # loss = alpha (1 - mean CCC) + (1 - alpha) MSE (Sec. 4.5, Eq. 1)
    frozen_encoders: bool = False  # F5: encoders in eval mode, not updated during fusion
    missing: str = "zero"  # a clip without audio, vision or motion: zeros as the authors, learned, or drop the clip

    def epochs(self, stage: str) -> int:
        """Returns the most epochs of a stage: a modality, or ``fusion``."""
        return int(getattr(self, f"{stage}_epochs"))


@dataclass(frozen=True)
class System:
    """A system that can be trained by name.

    Attributes:
        name: What the user types.
        title: One line about it.
        ratio: The split it asks for, such as ``4:1``.
        modalities: In the order of concatenation.
        hyperparameters: Everything else.
        paper: The paper's scores for it (``valid``, ``test``), where it is one of the paper's.
        source: Where it is described.
    """

    name: str
    title: str
    ratio: str
    modalities: tuple[Modality, ...]
    hyperparameters: Hyperparameters
    paper: Mapping[str, float]
    source: str

    def to_json(self) -> dict[str, Any]:
        """Returns the system as a JSON object."""
        return asdict(self)


def system_names() -> list[str]:
    """Returns the names of all systems.

    >>> system_names()[:5]
    ['F1', 'F2', 'F3', 'F4', 'F5']
    """
    return sorted(entry.name[:-5] for entry in files("abawkit.systems").iterdir() if entry.name.endswith(".toml"))


def load_system(name: str, overrides: Mapping[str, Any] | None = None) -> System:
    """Returns the system called ``name`` (upper or lower case), with ``overrides`` of its hyper-parameters.

    Raises:
        UsageError: There is no such system, or no such hyper-parameter.

    >>> load_system("f5").hyperparameters.fusion_hidden
    128
    """
    names = system_names()
    exact = next((known for known in names if known.lower() == name.lower()), None)
    if exact is None:
        raise UsageError("unknown system", got=name, expected=", ".join(names), todo="abawkit systems list")
    record = tomllib.loads((files("abawkit.systems") / f"{exact}.toml").read_text(encoding="utf-8"))
    changes = {**record.get("hyperparameters", {}), **(overrides or {})}
    known = {field.name for field in fields(Hyperparameters)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise UsageError("unknown hyper-parameter", got=unknown[0], expected=", ".join(sorted(known)))
    return System(
        name=exact,
        title=record["title"],
        ratio=record["ratio"],
        modalities=cast(tuple[Modality, ...], tuple(m for m in record["modalities"] if m in MODALITIES)),
        hyperparameters=replace(Hyperparameters(), **changes),
        paper=record.get("paper", {}),
        source=record.get("source", ""),
    )
