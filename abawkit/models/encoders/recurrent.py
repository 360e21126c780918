"""Recurrent encoders (Table 3: GRU, LSTM, "3-layer BiLSTM + attention").

Clips run padded and their states are gathered, which is exact for one direction and, in torch, many times as fast as
packed sequences (pytorch#149194). The second direction is a network of its own over each clip's frames in reverse
order. Layers are stacked with dropout between them: torch's own inner dropout cannot be reproduced on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from abawkit.models.clips import Group, Packed, in_order
from abawkit.models.dropout import Dropout
from abawkit.models.encoders.encoder import Encoder, check_shape, dtype_of


@dataclass(frozen=True)
class _Recurrent:
    """The shape of a recurrent encoder.

    Attributes:
        hidden: Size of the state in each direction; the vector has this size, or twice that with two directions.
        layers: Layers, one above another.
        bidirectional: Run over the frames in both directions.
        pooling: ``last``: the state after the last frame (of the second direction: after the first); ``mean`` of the
            states over time; ``attention``: their mean with weights of a linear scorer and a softmax over time.
        dropout: Dropout between layers.
    """

    hidden: int = 384
    layers: int = 1
    bidirectional: bool = False
    pooling: Literal["last", "mean", "attention"] = "last"
    dropout: float = 0.45
    network: ClassVar[type[nn.GRU] | type[nn.LSTM]] = nn.GRU

    def __post_init__(self) -> None:
        check_shape(self.hidden, self.dropout, layers=self.layers)

    def build(self, inputs: int) -> RecurrentEncoder:
        """Returns a new encoder."""
        return RecurrentEncoder(inputs, self)


@dataclass(frozen=True)
class Gru(_Recurrent):
    """Gated recurrent units."""

    kind: Literal["gru"] = "gru"
    network: ClassVar[type[nn.GRU] | type[nn.LSTM]] = nn.GRU


@dataclass(frozen=True)
class Lstm(_Recurrent):
    """Long short-term memory."""

    kind: Literal["lstm"] = "lstm"
    network: ClassVar[type[nn.GRU] | type[nn.LSTM]] = nn.LSTM


class RecurrentEncoder(Encoder):
    """Layers of a recurrent network, then a pooling of its states."""

    def __init__(self, inputs: int, config: _Recurrent) -> None:
        super().__init__()
        directions = 2 if config.bidirectional else 1
        self.size, self._pooling = config.hidden * directions, config.pooling
        sizes = [inputs, *[self.size] * (config.layers - 1)]
        self.forwards = nn.ModuleList(config.network(size, config.hidden, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(
            config.network(size, config.hidden, batch_first=True) for size in sizes if config.bidirectional
        )
        self.dropout = Dropout(config.dropout)
        self.attn = nn.Linear(self.size, 1) if config.pooling == "attention" else None

    def forward(self, clips: Packed) -> Tensor:
        """Returns vectors ``[B, size]``."""
        groups = list(clips.groups(dtype_of(self)))
        return in_order([group.rows for group in groups], [self._encode(group) for group in groups])

    def _encode(self, group: Group) -> Tensor:
        states = group.frames  # [b, T, D]
        for number, network in enumerate(self.forwards):
            if number:
                states = self.dropout(states)
            ahead = network(states)[0]  # [b, T, H]
            if len(self.backwards):
                back = self.backwards[number](_reversed(states, group.lengths))[0]
                ahead = torch.cat([ahead, _reversed(back, group.lengths)], dim=2)  # [b, T, 2H]
            states = ahead
        if self._pooling == "last":
            last = states[torch.arange(len(states), device=states.device), group.lengths - 1]  # [b, size]
            if len(self.backwards):  # the second direction ends at the first frame
                half = self.size // 2
                last = torch.cat([last[:, :half], states[:, 0, half:]], dim=1)
            return last
        mask = group.mask
        if self.attn is None:
            return torch.where(mask[:, :, None], states, 0).sum(dim=1) / group.lengths[:, None]
        scores = self.attn(states)[:, :, 0].masked_fill(~mask, float("-inf"))  # [b, T]
        return torch.einsum("bt,bth->bh", torch.softmax(scores, dim=1), states)


def _reversed(frames: Tensor, lengths: Tensor) -> Tensor:
    """Returns each clip's own frames in reverse order, ``[b, T, D]``; what follows them stays where it is."""
    step = torch.arange(frames.shape[1], device=frames.device)[None]  # [1, T]
    index = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)  # [b, T]
    return frames.gather(1, index[:, :, None].expand_as(frames))
