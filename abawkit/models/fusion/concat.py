"""The paper's FusionRegressor: concatenated vectors and a multilayer perceptron (Sec. 4.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from abawkit.models.dropout import Dropout
from abawkit.models.encoders.encoder import check_shape
from abawkit.models.fusion.fusion import Fusion


@dataclass(frozen=True)
class Concat:
    """The shape of the regressor.

    Attributes:
        kind: ``concat``.
        hidden: Hidden size (paper: 384).
        dropout: Dropout (paper: .45).
    """

    kind: Literal["concat"] = "concat"
    hidden: int = 384
    dropout: float = 0.45

    def __post_init__(self) -> None:
        check_shape(self.hidden, self.dropout)

    def build(self, sizes: Mapping[str, int], targets: int) -> ConcatFusion:
        """Returns a new regressor."""
        return ConcatFusion(sum(sizes.values()), targets, self)


class ConcatFusion(Fusion):
    """LayerNorm → dropout → Linear → GELU → dropout → Linear; names as in the authors' checkpoints: ``mlp.{0,2,5}``."""

    def __init__(self, inputs: int, targets: int, config: Concat) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.LayerNorm(inputs),
            Dropout(config.dropout),
            nn.Linear(inputs, config.hidden),
            nn.GELU(),
            Dropout(config.dropout),
            nn.Linear(config.hidden, targets),
        )

    def forward(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns predictions ``[B, E]``."""
        prediction: Tensor = self.mlp(torch.cat(list(vectors.values()), dim=1))  # [B, ΣH] → [B, E]
        return prediction
