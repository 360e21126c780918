"""Reads files that torch saved, by torch's own reader of weights, which runs no code."""

from __future__ import annotations

import re
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from abawkit.errors import AbawkitError
from abawkit.features.foreign.pickles import Refused, not_numbers

#: The most values that one array may have: three times the challenge's longest clip at 1,280 values per frame.
MOST_VALUES = 2**28
#: Deepest nesting of lists and dictionaries that is looked into: id → [features, scores].
_DEPTH = 3


_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Lets a library say nothing about old files; the filters are the process's, so one thread at a time."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _NumberType:
    """Stands for ``numpy.dtype`` in a file that torch saved, so that nothing in the file reaches numpy."""

    def __init__(self, code: object, *rest: object) -> None:
        self.layout = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i"}[str(code)]
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">"}[state[1]]


def _number(kind: _NumberType, data: bytes) -> float | int:
    value: float | int = struct.unpack(kind.order + kind.layout, data)[0]
    return value


def _numbers() -> list[Any]:
    """Names under which numpy saves a single number, as programs keep their best score in, and what reads it here."""
    cores = ("numpy.core", "numpy._core")  # numpy 1 and 2
    return [(_NumberType, "numpy.dtype"), *((_number, f"{core}.multiarray.scalar") for core in cores)]


def load_tensors(stream: IO[bytes], path: Path) -> Any:
    """Returns what ``torch.save`` wrote, with arrays in the place of tensors (see :func:`plain`).

    Raises:
        AbawkitError: It is damaged, or holds more than tensors, numbers, text, lists and dictionaries.
    """
    import torch

    try:
        # Warnings: about storages of older versions.
        with without_warnings(), torch.serialization.safe_globals(_numbers()):
            value = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make torch raise anything
        raise AbawkitError(
            "torch cannot read this, or it holds more than tensors",
            path=path,
            got=_reason(error),
            expected="tensors, and lists or dictionaries of tensors",
            todo="save plain tensors with torch.save, or arrays with numpy.save, and import those",
        ) from error
    return value if isinstance(value, torch.storage.TypedStorage) else plain(value, _DEPTH)


def _reason(error: Exception) -> str:
    # torch's own advice, to load the file without protection, is not passed on.
    name = re.search(r"GLOBAL (\S{1,80})", str(error))
    if name is not None:
        return f"it asks for {name[1]}"
    return "it asks for more than data" if "eights" in str(error) else " ".join(str(error).split())[:120]


def tensor_of(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int]) -> Any:
    """Returns the array of a pickled tensor, or :class:`~abawkit.features.foreign.pickles.Refused`.

    Args:
        storage: What :func:`load_tensors` returned for the tensor's storage.
        offset: Its first value in the storage.
        size: Its shape.
        stride: Steps in the storage per axis.

    Raises:
        ValueError: They do not match.
    """
    import torch

    if not isinstance(storage, torch.storage.TypedStorage):
        raise ValueError("a tensor without its storage")
    try:
        tensor = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, tuple(size), tuple(stride))
    except (RuntimeError, TypeError) as error:
        raise ValueError("a tensor that does not fit its storage") from error
    return plain(tensor, 0)


def plain(value: Any, depth: int) -> Any:
    """Returns tensors as arrays, also within lists and dictionaries; anything else as ``Refused``."""
    import torch

    if isinstance(value, torch.Tensor):
        return _plain_tensor(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth and isinstance(value, dict):
        return {key: plain(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    return Refused(f"an object of type {type(value).__name__}" if depth else "something nested too deeply")


def _plain_tensor(tensor: Any) -> Any:
    import torch

    if tensor.numel() > MOST_VALUES:  # before anything copies it: a view can be far larger than its file
        return Refused(f"a tensor of {tensor.numel()} values")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return Refused("a sparse or quantised tensor")
    tensor = tensor.detach()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()  # bfloat16
    try:
        array = tensor.contiguous().numpy()
    except (TypeError, RuntimeError):
        return Refused(f"a tensor of type {tensor.dtype}")
    what = not_numbers(array.dtype.kind, array.dtype.itemsize)
    return Refused(f"a tensor of {what}") if what else array
