"""The unimodal encoders and their heads (paper Sec. 4.4).

Parameter names are those of the authors' released checkpoints: ``feature.{0,1,4}``, ``attn``, ``proj.{0,1,4}``,
``head.1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from abawkit.models.pooling import Packed, attention_pool

#: What an encoder takes: text ``[B, D]``, or B clips of frames ``[T_i, D]``.
Inputs = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of one encoder.

    Attributes:
        kind: ``mlp`` for one vector per clip (text), ``attention`` for frames (audio, vision, motion).
        inputs: Values per frame D.
        hidden: Size of the embedding H (paper: 384; motion 128).
        dropout: Dropout probability (paper: .45).
        learned_missing: A clip without frames has a learned vector in the place of its frames' sum; the authors have
            zeros there.
    """

    kind: str
    inputs: int
    hidden: int = 384
    dropout: float = 0.45
    learned_missing: bool = False


def _projection(config: EncoderConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(config.inputs),
        nn.Linear(config.inputs, config.hidden),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.LayerNorm(config.hidden),
    )


class TextMLPEncoder(nn.Module):
    """LayerNorm → Linear → GELU → dropout → LayerNorm on the sentence embedding (Sec. 4.4, text encoder)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.feature = _projection(config)

    def forward(self, text: Tensor) -> Tensor:
        """Returns embeddings ``[B, H]`` of L2-normalised text ``[B, D]``; missing text is a row of zeros."""
        embedding: Tensor = self.feature(text)
        return embedding


class AttentionEncoder(nn.Module):
    """Attention pooling over time, then LayerNorm → Linear → GELU → dropout → LayerNorm (Sec. 4.4).

    The paper's AudioAttentionEncoder, VisionAttentionEncoder and MotionAttentionEncoder.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attn = nn.Linear(config.inputs, 1)
        self.proj = _projection(config)
        # As TAEMI's missing-modality tokens: .02 times normal noise to begin with.
        self.missing = nn.Parameter(0.02 * torch.randn(config.inputs)) if config.learned_missing else None

    def forward(self, frames: Sequence[Tensor]) -> Tensor:
        """Returns embeddings ``[B, H]`` of B clips ``[T_i, D]``; without frames: of zeros, or the learned vector."""
        pooled = attention_pool(frames, self.attn.weight[0], self.attn.bias[0])  # [B, D]
        if self.missing is not None:
            known = frames.empty if isinstance(frames, Packed) else torch.tensor([not len(clip) for clip in frames])
            pooled = torch.where(known.to(pooled.device)[:, None], self.missing, pooled)
        embedding: Tensor = self.proj(pooled)  # [B, H]
        return embedding


def make_encoder(config: EncoderConfig) -> nn.Module:
    """Returns the encoder that ``config`` describes.

    Raises:
        ValueError: ``config.kind`` is unknown.
    """
    if config.kind == "mlp":
        return TextMLPEncoder(config)
    if config.kind == "attention":
        return AttentionEncoder(config)
    raise ValueError(f"unknown encoder kind: {config.kind}")


class UnimodalModel(nn.Module):
    """An encoder with its regression head, dropout → Linear, which is removed after its stage (Sec. 4.1)."""

    def __init__(self, config: EncoderConfig, targets: int) -> None:
        super().__init__()
        self.encoder = make_encoder(config)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.hidden, targets))

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns predictions ``[B, E]``, not bounded to [0, 1]."""
        prediction: Tensor = self.head(self.encoder(inputs))
        return prediction
