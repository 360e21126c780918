"""JSON records: what one command writes for later ones, as typed, frozen models.

A record is read strictly. A missing key, an unknown key or a value of another type is one error that names the file and
the key; nothing is converted and nothing is guessed.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from abawkit.errors import AbawkitError
from abawkit.fileio import json_ready, read_json, write_json

#: A list of names in JSON, a tuple here.
Names = Annotated[tuple[str, ...], Field(strict=False)]


class Record(BaseModel):
    """A JSON object with known keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def read(cls, path: Path, what: str, todo: str) -> Self:
        """Returns the record in the file ``path``.

        Args:
            path: The file.
            what: What it should be, for the message (``the scores of a run``).
            todo: What to do when it is not.

        Raises:
            AbawkitError: There is no such file, or a key is missing, unknown or of another type.
        """
        return cls.parse(read_json(path, what), path, what, todo)

    @classmethod
    def parse(cls, found: dict[str, Any], path: Path, what: str, todo: str) -> Self:
        """Returns the record that the JSON object ``found``, read from ``path``, holds; see :meth:`read`."""
        try:
            return cls.model_validate_json(json.dumps(found))
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            key = ".".join(str(part) for part in first["loc"])
            got, expected = repr(first["input"])[:80], first["msg"].removeprefix("Input should be ")
            message = f"the value of {key!r} is wrong"
            if first["type"] == "missing":
                message, got, expected = f"has no {key!r}", "", what
            elif first["type"] == "extra_forbidden":
                known = difflib.get_close_matches(str(first["loc"][-1]), list(cls.model_fields), 1)
                message, expected = f"has an unknown key {key!r}", known[0] if known else what
            if others:
                message += f", and {len(others)} more problem(s)"
            raise AbawkitError(message, path=path, got=got or None, expected=expected, todo=todo) from error

    def write(self, path: Path) -> None:
        """Writes the record to the file ``path``, atomically."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a JSON object, without the keys that were never set; NaN is null."""
        return dict(json_ready(self.model_dump(exclude_unset=True)))
