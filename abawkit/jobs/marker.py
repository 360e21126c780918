"""The marker in a folder that a job writes: what it is made from, and whether it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abawkit.errors import UsageError
from abawkit.fileio import read_json, storage_errors


def state_of(root: Path, marker: str, what: str, made_from: Mapping[str, Any]) -> str | None:
    """Returns the state in the marker: ``unfinished`` or ``whole``; None where the folder is empty or not there.

    Args:
        root: The folder.
        marker: The marker's file name.
        what: What the folder is to hold, for messages: ``simulation``, …
        made_from: What it is to be made from.

    Raises:
        UsageError: ``root`` holds anything else.
    """
    todo = "choose a folder that is empty or not there"
    if root.exists() and not root.is_dir():
        raise UsageError("this is a file, not a folder", path=root, todo=todo)
    with storage_errors(root):
        names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    # What a process that was killed before it wrote the marker leaves behind.
    entries = sorted(name for name in names if name != ".lock" and not name.startswith(".tmp-"))
    if not entries:
        return None
    if marker not in entries:
        raise UsageError("the folder is not empty, and nothing is overwritten", path=root, got=entries[0], todo=todo)
    found = read_json(root / marker, f"a record of a {what}")
    if found.get("made_from") != made_from:
        raise UsageError(
            f"the folder holds another {what}",
            path=root,
            got=str(found.get("made_from")),
            expected=str(dict(made_from)),
            todo=todo,
        )
    return str(found.get("state"))
