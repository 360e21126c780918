"""The optimiser's parameter groups, in one place (paper Sec. 4.6, 4.8), and the running mean of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from abawkit.models.network import Network


def parameter_groups(network: Network, *, lr: float, encoder_lr_scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns AdamW's groups: fusion and heads at the base rate, encoders at a share of it, frozen ones in neither.

    Every parameter is in one group or has no gradient.

    Args:
        network: What is trained.
        lr: The base rate.
        encoder_lr_scale: The encoders' share of it: 1 where they are trained from scratch, .05 during fusion.
    """
    tuned = [slot for slot in network.config.slots if slot not in network.frozen]
    encoders = [parameter for slot in tuned for parameter in network.slot_parameters(slot)]
    known = {id(parameter) for parameter in encoders}
    others = [parameter for parameter in network.parameters() if parameter.requires_grad and id(parameter) not in known]
    groups = [{"params": others, "lr": lr}, {"params": encoders, "lr": lr * encoder_lr_scale}]
    return [group for group in groups if group["params"]]


def adamw(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    """Returns AdamW over the groups, all parameters of a group in one operation (Sec. 4.8)."""
    return torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)


class WeightAverage:
    """An exponential moving average of the weights, which predicts and is saved in their place.

    Args:
        network: What is trained.
        decay: Share of the average that each step keeps, such as .999.
    """

    def __init__(self, network: Network, decay: float) -> None:
        mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._averaged = AveragedModel(network, multi_avg_fn=mean, use_buffers=True)

    @property
    def network(self) -> Network:
        """The network with the averaged weights."""
        module = self._averaged.module
        assert isinstance(module, Network)
        return module

    def update(self, network: nn.Module) -> None:
        """Takes the weights after a step."""
        self._averaged.update_parameters(network)

    def state_dict(self) -> dict[str, Any]:
        """Returns its state."""
        return deepcopy(self._averaged.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a state."""
        self._averaged.load_state_dict(state)


def trainable(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    """Yields the parameters that the optimiser updates."""
    for group in optimizer.param_groups:
        yield from group["params"]
