"""An encoder of one's own: a GRU that reads the mean of every few frames. ``pip install .`` makes it a kind."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from abawkit.models.clips import Packed, in_order
from abawkit.models.encoders import Encoder


@dataclass(frozen=True)
class SlowGru:
    """What a system's TOML can say about it."""

    kind: Literal["slow_gru"] = "slow_gru"
    hidden: int = 128
    every: int = 4  # frames that become one step

    def build(self, inputs: int) -> Encoder:
        """Returns a new encoder of frames with ``inputs`` values each."""
        return SlowGruEncoder(inputs, self)


class SlowGruEncoder(Encoder):
    """Mean of every few frames → GRU → its state after the clip's last step."""

    def __init__(self, inputs: int, config: SlowGru) -> None:
        super().__init__()
        self.size, self.every = config.hidden, config.every
        self.gru = nn.GRU(inputs, config.hidden, batch_first=True)

    def forward(self, clips: Packed) -> Tensor:
        """Returns vectors ``[B, hidden]``."""
        rows, states = [], []
        for group in clips.groups(self.gru.weight_ih_l0.dtype):  # clips of similar lengths, padded
            own = torch.where(group.mask[:, :, None], group.frames, 0)
            left = -group.frames.shape[1] % self.every
            steps = nn.functional.pad(own, (0, 0, 0, left)).unflatten(1, (-1, self.every)).mean(dim=2)
            last = (group.lengths - 1) // self.every
            states.append(self.gru(steps)[0][torch.arange(len(last)), last])
            rows.append(group.rows)
        return in_order(rows, states)
