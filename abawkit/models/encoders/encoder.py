"""What an encoder is."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from abawkit.models.clips import Packed
from abawkit.models.dropout import Dropout


class Encoder(nn.Module):
    """Turns clips into vectors.

    Attributes:
        size: Values of a vector H.
    """

    size: int

    def forward(self, clips: Packed) -> Tensor:
        """Returns one vector per clip, ``[B, H]``; a clip's vector does not depend on the clips beside it."""
        raise NotImplementedError


class EncoderConfig(Protocol):
    """The shape of an encoder: a frozen dataclass that a system's TOML fills in."""

    @property
    def kind(self) -> str:
        """The name in a system's TOML."""

    def build(self, inputs: int) -> Encoder:
        """Returns a new encoder of frames with ``inputs`` values each."""


def projection(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """Returns LayerNorm → Linear → GELU → dropout → LayerNorm (paper Sec. 4.4): ``[B, D]`` → ``[B, H]``."""
    return nn.Sequential(
        nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.GELU(), Dropout(dropout), nn.LayerNorm(hidden)
    )


def dtype_of(encoder: nn.Module) -> torch.dtype:
    """Returns the dtype of its parameters, in which frames are encoded."""
    return next(encoder.parameters()).dtype


def check_shape(hidden: int, dropout: float, **others: int) -> None:
    """Raises where a config's sizes or its dropout cannot be.

    Raises:
        ValueError: A size is below 1, or the dropout is not in [0, 1).
    """
    for name, value in {"hidden": hidden, **others}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), not {dropout}")
