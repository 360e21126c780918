"""Mixed precision of the forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from abawkit.models.network import Output

Precision = Literal["float32", "bfloat16", "float16"]


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """Runs what is within the block in this precision where torch thinks that it may."""
    if precision == "float32":
        yield
        return
    with torch.autocast(device.type, dtype=getattr(torch, precision)):
        yield


def in_dtype(output: Output, dtype: torch.dtype) -> Output:
    """Returns the output in another dtype: losses are never computed in half precision."""
    if output.prediction.dtype == dtype:
        return output
    return Output(
        output.prediction.to(dtype),
        {slot: head.to(dtype) for slot, head in output.heads.items()},
        {slot: vector.to(dtype) for slot, vector in output.vectors.items()},
    )
