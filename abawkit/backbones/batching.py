"""Batches of clips of unequal length, and a forward pass that survives a full device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from abawkit.backbones.loading import first_line, quiet
from abawkit.errors import AbawkitError

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches(lengths: Sequence[int], *, budget: int, equal: bool) -> list[list[int]]:
    """Returns the items in batches, as lists of indices, longest first.

    Args:
        lengths: Length of each item (tokens, samples).
        budget: Most that a batch may hold once padded, ``count · longest``; a longer item is a batch of its own.
        equal: Only items of one length share a batch, so that nothing is padded.

    >>> batches([2, 5, 2, 4], budget=8, equal=False), batches([2, 5, 2, 4], budget=8, equal=True)
    ([[1], [3, 0], [2]], [[1], [3], [0, 2]])
    """
    result: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        first = lengths[result[-1][0]] if result else 0
        if result and (len(result[-1]) + 1) * first <= budget and (not equal or lengths[index] == first):
            result[-1].append(index)
        else:
            result.append([index])
    return result


def forward(run: Callable[[Sequence[Item]], Sequence[Result]], batch: Sequence[Item]) -> list[Result]:
    """Returns ``run(batch)``, computed without gradients; on lack of device memory in halves of the batch.

    Raises:
        AbawkitError: The device has too little memory for a single item.
    """
    import torch

    try:
        # cuDNN would otherwise compute float32 convolutions with ten bits of mantissa.
        with quiet(), torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return list(run(batch))
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise AbawkitError(
                "the device has too little memory for a single item of a batch",
                got=first_line(error),
                todo="free memory on the device, or run on another with --device",
            ) from error
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    return forward(run, batch[:middle]) + forward(run, batch[middle:])
