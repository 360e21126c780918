"""Batches of clips of unequal length, and a forward pass that survives a full device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from abawkit.backbones.loading import first_line, quiet
from abawkit.errors import AbawkitError

Item = TypeVar("Item")
Result = TypeVar("Result")
Precision = Literal["float32", "bfloat16"]


@dataclass
class Computing:
    """How the forward passes of one model run.

    Attributes:
        device: ``cpu``, ``cuda:0`` …
        precision: Floating-point type of the matrix products (autocast); parameters and results are float32.
        batch: Most items of one forward pass; None: as many as a budget that suits the device allows.
        full: Smallest padded batch (count times longest) that did not fit the device so far.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    batch: int | None = None
    full: float = field(default=float("inf"), init=False)

    def budget(self, cpu: int, gpu: int) -> int:
        """Returns what a batch may hold once padded: the limit for the device, or none where ``batch`` is set."""
        if self.batch is not None:
            return 2**62
        return cpu if self.device == "cpu" else gpu


def batches(lengths: Sequence[int], *, budget: int, equal: bool, most: int | None = None) -> list[list[int]]:
    """Returns the items in batches, as lists of indices, longest first.

    Args:
        lengths: Length of each item (tokens, samples).
        budget: Most that a batch may hold once padded, ``count · longest``; a longer item is a batch of its own.
        equal: Only items of one length share a batch, so that nothing is padded.
        most: Most items of a batch; None: no limit.

    >>> batches([2, 5, 2, 4], budget=8, equal=False), batches([2, 5, 2, 4], budget=8, equal=True)
    ([[1], [3, 0], [2]], [[1], [3], [0, 2]])
    """
    result: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        # Longest first: the first item of a batch is the length that all of it is padded to.
        first = lengths[result[-1][0]] if result else 0
        fits = bool(result) and (len(result[-1]) + 1) * first <= budget and (most is None or len(result[-1]) < most)
        if fits and (not equal or lengths[index] == first):
            result[-1].append(index)
        else:
            result.append([index])
    return result


@contextmanager
def computing(how: Computing) -> Iterator[None]:
    """Computes what is in the block without gradients, in the precision of ``how``, and without transformers' log.

    It is entered once for all the batches of a call: entering costs half a millisecond, as much as a small model.
    """
    import torch

    autocast = torch.autocast(how.device.partition(":")[0], torch.bfloat16, enabled=how.precision == "bfloat16")
    # cuDNN would otherwise compute float32 convolutions with ten bits of mantissa.
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with quiet(), torch.inference_mode(), autocast, exact:
        yield


def forward(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    batch: Sequence[Item],
    how: Computing,
    length: Callable[[Item], int] = lambda _: 1,
) -> list[Result]:
    """Returns ``run(batch)``; on lack of device memory in halves of the batch. To be called within :func:`computing`.

    What did not fit is remembered in ``how``: a later batch of that size is halved at once, into the same halves.

    Args:
        run: Computes a batch and returns float32.
        batch: The items.
        how: Device and precision.
        length: Length of an item, to which the items of a batch are padded.

    Raises:
        AbawkitError: The device has too little memory for a single item.
    """
    import torch

    size = len(batch) * max(map(length, batch), default=0)  # once padded
    if len(batch) == 1 or size < how.full:
        try:
            return list(run(batch))
        except RuntimeError as error:
            if not _is_full(error):
                raise
            if len(batch) == 1:
                raise AbawkitError(
                    "the device has too little memory for a single item of a batch",
                    got=first_line(error),
                    todo="free memory on the device, or run on another with --device",
                ) from error
        how.full = size
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    return forward(run, batch[:middle], how, length) + forward(run, batch[middle:], how, length)


def _is_full(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
