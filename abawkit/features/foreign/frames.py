"""The frames ``[T, D]`` of one clip, out of the forms in which teams keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import AbawkitError
from abawkit.features.foreign.pickles import Refused, not_numbers
from abawkit.features.foreign.tensors import MOST_VALUES

#: Names of the entry that holds the features, where a file holds several, in this order.
_FEATURE_NAMES = (
    *("features", "feature", "feats", "embeddings", "embedding", "values", "frames", "hidden_states"),
    *("last_hidden_state", "data", "x"),
)


@dataclass(frozen=True)
class Frames:
    """A clip's frames as they were found.

    Attributes:
        values: ``[T, D]``, float or whole numbers, finite; T can be zero.
        remarks: What had to be done to get them; the same words for every clip.
    """

    values: NDArray[Any]
    remarks: tuple[str, ...] = ()


def frames_of(value: Any) -> Frames:
    """Returns the clip's frames out of what a file held for it.

    Args:
        value: An array ``[T, D]``, ``[D]`` (one frame) or ``[1, T, D]``; numbers in lists; a list of T vectors; a
            list ``[features, scores]``, of which the features are taken; a dictionary of one array, or with an entry
            that is called features.

    Raises:
        AbawkitError: It is anything else, or not all values are finite.

    >>> frames_of([np.ones((2, 3)), np.ones(1)])
    Frames(values=array([[1., 1., 1.],
           [1., 1., 1.]]), remarks=('[features, scores]: the scores are left aside',))
    """
    remarks: list[str] = []
    if isinstance(value, Mapping):
        value = _entry(value, remarks)
    values = _from_list(value, remarks) if isinstance(value, list | tuple) else _array(value)
    if values.ndim > 2 and values.shape[0] == 1:
        remarks.append("an axis of length 1 before the frames is removed")
        while values.ndim > 2 and values.shape[0] == 1:
            values = values[0]
    if values.ndim == 1:
        remarks.append("a single vector is taken as one frame")
        values = values[None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise AbawkitError("not frames of values", got=f"shape {values.shape}", expected="shape (T, D) or (D,)")
    if values.dtype.kind in "iu":
        remarks.append("whole numbers are stored as floating-point numbers")
    else:
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            raise AbawkitError(f"{bad} of {values.size} values are not finite")
    return Frames(values, tuple(remarks))


def _entry(members: Mapping[Any, Any], remarks: list[str]) -> Any:
    names = list(members)
    if len(names) == 1:
        return members[names[0]]
    if names and all(name == f"arr_{index}" for index, name in enumerate(names)):  # numpy.savez(file, a, b)
        return [members[name] for name in names]
    for name in _FEATURE_NAMES:
        if name in members:
            remarks.append(f"the entry {name!r} is taken")
            return members[name]
    got = ", ".join(repr(name)[:24] for name in names[:6]) or "nothing"
    raise AbawkitError("several arrays, none called features", got=got, expected="one array, or one called features")


def _from_list(value: Sequence[Any], remarks: list[str]) -> NDArray[Any]:
    _weigh(value)
    if not value:
        raise AbawkitError("an empty list")
    if all(isinstance(item, int | float) for item in value):
        return _numbers(value)
    if len(value) == 2 and isinstance(value[1], int | float):
        value = [value[0], [value[1]]]  # [features, score]
    parts = [_array(item) for item in value]
    if len(parts) == 1:
        return parts[0]
    if len({part.shape for part in parts}) == 1:
        # T vectors (D,), or what a model gave for T single frames (1, D)
        if all(n == 1 for n in parts[0].shape[:-1]):
            return np.stack([part.reshape(-1) for part in parts])
    elif len(parts) == 2 and parts[0].size > parts[1].size:
        remarks.append("[features, scores]: the scores are left aside")
        return parts[0]
    got = ", ".join(str(part.shape) for part in parts[:4])
    expected = "[features, scores], or vectors of one length"
    raise AbawkitError(f"a list of {len(parts)} arrays", got=f"shapes {got}", expected=expected)


def _array(value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        if what := not_numbers(value.dtype.kind, value.dtype.itemsize):
            raise AbawkitError(f"an array of {what}", expected="an array of numbers")
        return value
    if isinstance(value, list | tuple) and value:
        if not all(isinstance(row, list | tuple) for row in value):
            return _numbers(value)
        if len({len(row) for row in value}) == 1:
            return np.stack([_numbers(row) for row in value])
        raise AbawkitError("lists of different lengths")
    what = value.what if isinstance(value, Refused) else f"something of type {type(value).__name__}"
    raise AbawkitError(what, expected="an array of numbers")


def _numbers(row: Sequence[Any]) -> NDArray[np.float64]:
    if not all(type(item) in (int, float) for item in row):
        raise AbawkitError("a list that holds more than numbers")
    try:
        return np.array(row, dtype=np.float64)
    except OverflowError as error:
        raise AbawkitError("a number that is too large") from error


def _weigh(value: Any, depth: int = 3) -> int:
    """Returns about how much work the value is; a list can hold one array, or one list, a million times.

    Raises:
        AbawkitError: It is more than any clip's features are.
    """
    if isinstance(value, np.ndarray):
        return value.size
    weight = 16
    if isinstance(value, list | tuple) and depth:
        for item in value:
            weight += _weigh(item, depth - 1)
            if weight > MOST_VALUES:
                raise AbawkitError("a list far longer than any clip's features")
    return weight
