"""Many parameters as one: the optimiser's arithmetic over a single buffer instead of over ten small ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def flatten(groups: Sequence[Sequence[nn.Parameter]]) -> list[nn.Parameter]:
    """Returns one parameter ``[Σ numel]`` per group; the given ones, and their gradients, become views of its memory.

    What is done to it element by element (AdamW, clipping, zeroing) is done to all of them, in one operation. A
    gradient must be set to zero in place from now on: set to None it would no longer be a part of the whole. The
    groups follow one another in one buffer.

    Args:
        groups: At least one, of at least one parameter each; all of one dtype and on one device.

    >>> layer = nn.Linear(2, 1)
    >>> flat, = flatten([list(layer.parameters())])
    >>> _ = flat.data.fill_(0.5)
    >>> layer(torch.ones(2)).item()
    1.5
    """
    whole = torch.cat([parameter.detach().reshape(-1) for group in groups for parameter in group])
    gradient = torch.zeros_like(whole)
    made, start = [], 0
    for group in groups:
        first = start
        for parameter in group:
            end = start + parameter.numel()
            parameter.data = whole[start:end].view_as(parameter)
            parameter.grad = gradient[start:end].view_as(parameter)
            start = end
        flat = nn.Parameter(whole[first:start])
        flat.grad = gradient[first:start]
        made.append(flat)
    return made
