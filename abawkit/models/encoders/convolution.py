"""A temporal convolutional network (Bai et al. 2018, arXiv:1803.01271), causal, as entrants of the challenge use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from abawkit.models.clips import Group, Packed, in_order
from abawkit.models.dropout import Dropout
from abawkit.models.encoders.encoder import Encoder, check_shape, dtype_of


@dataclass(frozen=True)
class Tcn:
    """The shape of a temporal convolutional network.

    Attributes:
        kind: ``tcn``.
        hidden: Channels, and the size of the vector H.
        levels: Residual blocks; that of level i has the dilation 2^i.
        kernel: Frames per convolution.
        pooling: ``mean`` over time, or the ``last`` frame.
        dropout: Dropout in each block.
    """

    kind: Literal["tcn"] = "tcn"
    hidden: int = 256
    levels: int = 4
    kernel: int = 3
    pooling: Literal["mean", "last"] = "mean"
    dropout: float = 0.45

    def __post_init__(self) -> None:
        check_shape(self.hidden, self.dropout, levels=self.levels, kernel=self.kernel)

    def build(self, inputs: int) -> TcnEncoder:
        """Returns a new encoder."""
        return TcnEncoder(inputs, self)


class TcnEncoder(Encoder):
    """Linear → blocks (causal convolution → GELU → dropout, added to their input, LayerNorm) → pooling.

    A frame sees earlier frames only, so that the padding at the end of a clip never reaches its own frames.
    """

    def __init__(self, inputs: int, config: Tcn) -> None:
        super().__init__()
        self.size, self._kernel, self._pooling = config.hidden, config.kernel, config.pooling
        self.proj = nn.Linear(inputs, config.hidden)
        self.blocks = nn.ModuleList(
            nn.Conv1d(config.hidden, config.hidden, config.kernel, dilation=2**level) for level in range(config.levels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.hidden) for _ in range(config.levels))
        self.dropout = Dropout(config.dropout)

    def forward(self, clips: Packed) -> Tensor:
        """Returns vectors ``[B, H]``."""
        groups = list(clips.groups(dtype_of(self)))
        return in_order([group.rows for group in groups], [self._encode(group) for group in groups])

    def _encode(self, group: Group) -> Tensor:
        frames = self.proj(group.frames)  # [b, T, H]
        for level, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
            past = (self._kernel - 1) * 2**level  # the earlier frames that the first one sees
            padded = nn.functional.pad(frames.transpose(1, 2), (past, 0))  # [b, H, past + T]
            new = nn.functional.gelu(block(padded)).transpose(1, 2)  # [b, T, H]
            frames = norm(frames + self.dropout(new))
        if self._pooling == "last":
            last: Tensor = frames[torch.arange(len(frames), device=frames.device), group.lengths - 1]
            return last
        return torch.where(group.mask[:, :, None], frames, 0).sum(dim=1) / group.lengths[:, None]
