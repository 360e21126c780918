"""Functions compiled by numba and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F, *, fastmath: Set[str] = frozenset()) -> F:
    """Returns the function, compiled when it is called; kept on disk where numba finds a place for it.

    It lets go of the interpreter's lock, and a division by zero is no error. Whoever changes a compiled function
    deletes the ``*.nbi`` files beside it: numba looks at a caller's own file only.

    Args:
        function: What numba can compile.
        fastmath: What may be done to floating-point operations, by LLVM's names; default: nothing.
    """
    settings = {"fastmath": set(fastmath), "error_model": "numpy", "nogil": True}
    try:
        made: F = njit(**settings, cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written to
        made = njit(**settings)(function)
    return made
