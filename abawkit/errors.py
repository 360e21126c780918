"""The one exception family that abawkit raises on purpose, each with its exit code.

The library raises these; ``abawkit.cli`` turns them into one message and an exit code in a single place.
"""

from __future__ import annotations

from pathlib import Path


class AbawkitError(Exception):
    """Something that the user can understand and fix: the work failed (exit code 1).

    Args:
        message: What is wrong, in one sentence, without a full stop at the end.
        path: The file or folder concerned.
        line: The line in that file, counted from 1.
        got: What was found there.
        expected: What should have been there.
        todo: What to do now, typically a command to type.

    >>> print(AbawkitError("the label is out of range", path=Path("train.csv"), line=7, got="1.5",
    ...                    expected="a number in [0, 1]", todo="correct the row"))
    train.csv:7: the label is out of range
      got:      1.5
      expected: a number in [0, 1]
      do:       correct the row
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        got: str | None = None,
        expected: str | None = None,
        todo: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = None if path is None else str(path)
        self.line = line
        self.got = got
        self.expected = expected
        self.todo = todo

    def __str__(self) -> str:
        place = "" if self.path is None else self.path + (f":{self.line}" if self.line else "") + ": "
        lines = [f"{place}{self.message}"]
        if self.got is not None:
            lines.append(f"  got:      {self.got}")
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.todo is not None:
            lines.append(f"  do:       {self.todo}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel from worker processes by pickle, which would otherwise lose the keyword arguments.
        return _rebuild, (type(self), self.args, self.__dict__)

    def to_json(self) -> dict[str, object]:
        """Returns the error as one JSON object: ``error``, ``path``, ``line``, ``got``, ``expected``, ``todo``."""
        return {
            "error": self.message,
            "path": self.path,
            "line": self.line,
            "got": self.got,
            "expected": self.expected,
            "todo": self.todo,
        }


def _rebuild(kind: type[AbawkitError], args: tuple[object, ...], state: dict[str, object]) -> AbawkitError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(AbawkitError):
    """The command cannot do what was asked of it as it was typed (exit code 2)."""

    exit_code = 2


class FindingsError(AbawkitError):
    """A check, a validation or a preflight found something that has to be fixed first (exit code 3)."""

    exit_code = 3


class PartlyDone(AbawkitError):  # noqa: N818 - it is a state of the work, named as the exit-code table names it
    """The work was done, but more clips failed than ``--max-failures`` allows (exit code 4)."""

    exit_code = 4


class Stopped(AbawkitError):  # noqa: N818
    """The work was asked to stop (SIGTERM, SIGUSR1) and saved its state: run it again to continue (exit code 75)."""

    exit_code = 75


class MediaError(AbawkitError):
    """A media file cannot be decoded."""


class ModalityMissing(AbawkitError):  # noqa: N818
    """A clip does not have this modality (no audio track, empty transcript): recorded, not a failure."""


class Damage(str):
    """A warning that says that a part of the clip could not be decoded; the rest was kept.

    It is a text like any other warning; ``--on-damage fail`` makes a failure of it.
    """
