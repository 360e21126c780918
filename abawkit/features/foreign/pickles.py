"""Reads pickles that others made, without unpickling.

To admit only numpy's names to ``pickle.Unpickler`` is not enough: numpy itself takes an array of objects whose dtype
says that it holds none, and then follows the bytes of the file as pointers (tried: it crashes, so it could run
code); and one instruction with a large number in it makes the unpickler's memo fill the memory. Here the instructions
are parsed with :mod:`pickletools`, which runs nothing, and carried out on plain Python containers. No name in a
pickle is ever imported; the few that are known only say which of the functions below builds the value, out of bytes
that are in the file.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import AbawkitError

#: The names that are understood, and what they build.
_NAMES: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): "array type",
    ("numpy", "dtype"): "dtype",
    ("collections", "OrderedDict"): "dictionary",
    ("_codecs", "encode"): "encoded",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
    ("torch.storage", "_load_from_bytes"): "storage",
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = "empty array"
    _NAMES[f"{_core}.multiarray", "scalar"] = "scalar"
    _NAMES[f"{_core}.numeric", "_frombuffer"] = "array"
for _builtins in ("builtins", "__builtin__"):  # Python 3 and 2
    for _name, _what in {"bytes": "bytes", "bytearray": "bytes", "set": "list", "frozenset": "list"}.items():
        _NAMES[_builtins, _name] = _what

_TODO = "save plain arrays instead, for example with numpy.save, and import those"
_MOST_AXES = 32
_WORDS = {
    **{"b": "true/false values", "c": "complex numbers", "O": "Python objects", "V": "records"},
    **dict.fromkeys("SUT", "text"),
    **dict.fromkeys("Mm", "dates"),
}


@dataclass(frozen=True)
class Refused:
    """Stands where a file holds something that cannot be features (text, Python objects, complex numbers).

    Attributes:
        what: What it is.
    """

    what: str


@dataclass(frozen=True)
class _Name:
    """A global name that the pickle refers to."""

    what: str


@dataclass
class _EmptyArray:
    """An array whose values are still to come, and under which numbers it is remembered."""

    remembered: list[Any] = field(default_factory=list)


@dataclass
class _DType:
    """A dtype; its byte order comes after it."""

    kind: str
    size: str
    order: str = "="


class _DamagedError(ValueError):
    """The instructions make no sense."""


def read_pickle(data: bytes, path: Path) -> Any:
    """Returns what the pickle holds: arrays, numbers, text, None, and lists, tuples and dictionaries of these.

    Tensors of torch come as arrays; a non-numeric array comes as :class:`Refused`; a set comes as a list.

    Args:
        data: The pickle, of any protocol, written by Python 2 or 3, numpy 1 or 2.
        path: For messages.

    Raises:
        AbawkitError: It is not a pickle, is damaged, or asks for anything else. Nothing of it was run.
    """
    machine = _Machine(path)
    try:
        stream = io.BytesIO(data)
        for instruction, argument, _ in pickletools.genops(stream):
            machine.step(instruction.name, argument)
        (value,) = machine.stack
        left = len(data) - stream.tell()
    except AbawkitError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, struct.error, MemoryError, Warning) as error:
        # What pickletools and a list raise when the instructions make no sense; _DamagedError is a ValueError, and
        # Python warns of an odd escape sequence in a text.
        got = " ".join(str(error).split())[:120] or type(error).__name__
        raise AbawkitError(
            "is not a pickle, or is damaged", path=path, got=got, todo="copy or save it again"
        ) from error
    if left:
        raise AbawkitError(
            "there is more after the pickle's end", path=path, got=f"{left} bytes", expected="one pickle", todo=_TODO
        )
    return value


def not_numbers(kind: str, size: int) -> str | None:
    """Returns what values of a dtype are when they cannot be features; None for real numbers.

    Args:
        kind: numpy's letter for the kind of dtype.
        size: Bytes per value.

    >>> not_numbers("f", 4), not_numbers("U", 20)
    (None, 'text')
    """
    if kind in "iuf":
        return None if size <= 8 else f"numbers of {8 * size} bits"
    return _WORDS.get(kind, "values of an unknown type")


class _Machine:
    """Carries out a pickle's instructions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE":
                stack.append(True)
            case "NEWFALSE":
                stack.append(False)
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._pop_mark()))
            case "LIST" | "FROZENSET":
                stack.append(self._pop_mark())
            case "DICT":
                items = self._pop_mark()
                stack.append({})
                self._set(items)
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS" | "ADDITEMS":
                self._extend(self._pop_mark())
            case "SETITEM":
                self._set(self._pop(2))
            case "SETITEMS":
                self._set(self._pop_mark())
            case "DUP":
                stack.append(stack[-1])
            case "POP":
                if self.marks and self.marks[-1] == len(stack):
                    self.marks.pop()
                else:
                    stack.pop()
            case "POP_MARK":
                self._pop_mark()
            case "MEMOIZE":
                self._remember(len(self.memo))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._remember(argument)
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                module, _, attribute = argument.partition(" ")
                stack.append(self._look_up(module, attribute))
            case "STACK_GLOBAL":
                module, attribute = self._pop(2)
                stack.append(self._look_up(module, attribute))
            case "REDUCE":
                function, arguments = self._pop(2)
                stack.append(self._build(function, arguments))
            case "BUILD":
                (state,) = self._pop(1)
                self._set_state(state)
            case "INST" | "OBJ" | "NEWOBJ" | "NEWOBJ_EX":
                raise self._refused(f"an object of a class ({name})")
            case "PERSID" | "BINPERSID" | "NEXT_BUFFER" | "READONLY_BUFFER" | "EXT1" | "EXT2" | "EXT4":
                raise self._refused(f"something outside of the file ({name})")
            case _:  # every instruction that is left pushes its argument: a number, text or bytes
                stack.append(argument)

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise _DamagedError("too few values")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _pop_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _DamagedError("values are added to something that is not a list")
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise _DamagedError("entries are added to something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A key that is a deep tuple would crash the interpreter when its hash is taken.
            if not isinstance(key, str | int | float | bytes | None):
                raise self._refused("a dictionary whose keys are not text or numbers")
            target[key] = value

    def _remember(self, number: int) -> None:
        value = self.stack[-1]
        self.memo[number] = value
        if isinstance(value, _EmptyArray):
            value.remembered.append(number)

    def _look_up(self, module: Any, attribute: Any) -> _Name:
        known = _NAMES.get((module, attribute)) if isinstance(module, str) and isinstance(attribute, str) else None
        if known is None:
            raise self._refused(f"{module}.{attribute}"[:120])
        return _Name(known)

    def _refused(self, what: str) -> AbawkitError:
        return AbawkitError(
            "this pickle asks for more than data; it was not run",
            path=self.path,
            got="".join(c if c.isprintable() else repr(c)[1:-1] for c in what),
            expected="numpy arrays, torch tensors, numbers, text, lists and dictionaries",
            todo=_TODO,
        )

    def _build(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise self._refused("a call of something that is not a name")
        match function.what, arguments:
            case "empty array", (_Name("array type"), *_):
                return _EmptyArray()
            case "array", (buffer, _DType() as dtype, shape, order, *axes):
                made = _array(shape, dtype, order == "F", buffer)
                if order == "K" and axes and axes[0] is not None and isinstance(made, np.ndarray):
                    made = made.transpose(axes[0])
                return made
            case "scalar", (_DType() as dtype, data):
                made = _array((), dtype, False, data)
                return made.item() if isinstance(made, np.ndarray) else made
            case "dtype", (str() as code, *_):
                parts = re.fullmatch(r"([A-Za-z])([0-9]{0,6})", code)
                if parts is None:
                    raise _DamagedError(f"dtype {code[:20]!r}")
                return _DType(parts[1], parts[2])
            case "dictionary", ():
                return {}
            case "dictionary", ([*pairs],) if all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
                self.stack.append({})  # as Python 2 writes it
                self._set([part for pair in pairs for part in pair])
                return self.stack.pop()
            case "encoded", (str() as text, "latin1" | "latin-1"):
                return text.encode("latin1")
            case "bytes", (str() as text, "latin1" | "latin-1"):
                return text.encode("latin1")
            case "bytes", () | (bytes() | bytearray(),):
                return bytes(arguments[0]) if arguments else b""
            case "list", () | (list(),):
                return list(arguments[0]) if arguments else []
            case "storage", (bytes() as data,):
                from abawkit.features.foreign.tensors import load_tensors

                return load_tensors(io.BytesIO(data), self.path)
            case "tensor", (storage, int() as offset, tuple() as size, tuple() as stride, *_):
                from abawkit.features.foreign.tensors import tensor_of

                return tensor_of(storage, offset, size, stride)
            case "parameter", (tensor, *_):
                return tensor
        raise _DamagedError(f"{function.what} of something else")

    def _set_state(self, state: Any) -> None:
        target = self.stack[-1]
        match target, state:
            case _DType(), (_, str() as order, *_) if len(order) == 1:
                target.order = order
            case _EmptyArray(), (_, shape, _DType() as dtype, bool() | int() as fortran, data):
                made = _array(shape, dtype, bool(fortran), data)
                self.stack[-1] = made
                for number in target.remembered:
                    if self.memo.get(number) is target:
                        self.memo[number] = made
            case _:
                raise self._refused("the state of an object")


def _array(shape: Any, dtype: _DType, fortran: bool, data: Any) -> NDArray[Any] | list[Any] | Refused | Any:
    """Returns the array; the object of an array of objects without an axis; the list of one with a single axis."""
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise _DamagedError("the shape of an array")
    count = math.prod(shape)
    if dtype.kind == "O":
        if not isinstance(data, list) or len(data) != count:
            raise _DamagedError("an array of objects without its objects")
        if len(shape) > 1:
            return Refused("an array of Python objects")
        return list(data) if shape else data[0]
    if what := not_numbers(dtype.kind, int(dtype.size or 0)):
        return Refused(f"an array of {what}")
    code = np.dtype(f"{dtype.order}{dtype.kind}{dtype.size}")
    if isinstance(data, str):  # Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or len(data) != count * code.itemsize:
        raise _DamagedError("an array of another size than its values")
    return np.ndarray(shape, code, buffer=bytes(data), order="F" if fortran else "C")
