"""The paper's encoder of frames: attention pooling over time, then a projection (Sec. 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from abawkit.models.clips import Packed
from abawkit.models.encoders.encoder import Encoder, check_shape, projection
from abawkit.models.pooling import attention_pool


@dataclass(frozen=True)
class Attention:
    """The paper's AudioAttentionEncoder, VisionAttentionEncoder and MotionAttentionEncoder.

    Attributes:
        kind: ``attention``.
        hidden: Size of the embedding H (paper: 384; motion 128).
        dropout: Dropout of the projection (paper: .45).
    """

    kind: Literal["attention"] = "attention"
    hidden: int = 384
    dropout: float = 0.45

    def __post_init__(self) -> None:
        check_shape(self.hidden, self.dropout)

    def build(self, inputs: int) -> AttentionEncoder:
        """Returns a new encoder."""
        return AttentionEncoder(inputs, self)


class AttentionEncoder(Encoder):
    """Linear scorer → softmax over the clip's time → weighted mean → projection.

    Parameter names are those of the authors' checkpoints: ``attn``, ``proj.{0,1,4}``.
    """

    def __init__(self, inputs: int, config: Attention) -> None:
        super().__init__()
        self.size = config.hidden
        self.attn = nn.Linear(inputs, 1)
        self.proj = projection(inputs, config.hidden, config.dropout)

    def forward(self, clips: Packed) -> Tensor:
        """Returns embeddings ``[B, H]``."""
        pooled = attention_pool(clips, self.attn.weight[0], self.attn.bias[0])  # [B, D]
        embedding: Tensor = self.proj(pooled)  # [B, H]
        return embedding
