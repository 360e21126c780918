"""How the library reports progress: through an object that the caller gives; the library never prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work whose progress is shown."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Counts ``amount`` units as done; ``note`` is a short text next to the bar (the clip, the best r)."""


class Progress(Protocol):
    """What a long function reports to."""

    def task(self, what: str, total: int | None = None, unit: str = "clips") -> AbstractContextManager[Task]:
        """Begins a piece of work of ``total`` units (unknown: None); leaving the context ends it."""

    def say(self, message: str) -> None:
        """Tells the user one line that stays on the screen."""


class _SilentTask:
    def advance(self, amount: int = 1, note: str = "") -> None:
        """Shows nothing."""


class Silent:
    """Shows nothing: the default of every library function."""

    @contextmanager
    def task(self, what: str, total: int | None = None, unit: str = "clips") -> Iterator[Task]:
        """Begins a piece of work that is not shown."""
        yield _SilentTask()

    def say(self, message: str) -> None:
        """Shows nothing."""


SILENT: Progress = Silent()
