"""Finds and reads systems: of the package, of the workspace's folder ``systems/``, or a file by its path."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from abawkit.errors import UsageError
from abawkit.systems.kinds import nearest
from abawkit.systems.overrides import SHORT_NAMES, overridden
from abawkit.systems.schema import System, known_keys

#: The systems of the paper's Table 5: ``train --system all``.
TABLE_5 = ("F1", "F2", "F3", "F4", "F5")
#: Groups of the package: folder → what it is.
GROUPS: Mapping[str, str] = {
    "paper": "The paper's five systems (Table 5)",
    "paper/table3": "The paper's unimodal variants (Table 3)",
}
WORKSPACE_GROUP = "This workspace's systems"


@dataclass(frozen=True)
class Found:
    """A system's file.

    Attributes:
        name: What the user types.
        path: The file.
        group: What it belongs to, in words.
    """

    name: str
    path: Path
    group: str


def find_systems(workspace: Path | None = None) -> list[Found]:
    """Returns the files of all systems, by group, those of the package first.

    Args:
        workspace: A workspace's root, whose ``systems/*.toml`` belong to it.
    """
    return [*_packaged(), *_of_workspace(workspace)]


def _packaged() -> Iterator[Found]:
    root = Path(str(files("abawkit.systems")))
    for group, words in GROUPS.items():
        prefix = "".join(f"{part}/" for part in group.split("/")[1:])
        for path in sorted((root / group).glob("*.toml")):
            yield Found(prefix + path.stem, path, words)


def _of_workspace(workspace: Path | None) -> Iterator[Found]:
    if workspace is not None:
        for path in sorted((workspace / "systems").glob("*.toml")):
            yield Found(path.stem, path, WORKSPACE_GROUP)


def find_system(name: str, workspace: Path | None = None) -> Found:
    """Returns the file of the system called ``name`` (upper or lower case), or the TOML file at that path.

    Raises:
        UsageError: There is no such system, or two of this name.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise UsageError("there is no such file", path=path, todo="abawkit systems new NAME --from F4")
        return Found(path.stem, path, "files")
    known = find_systems(workspace)
    matching = [each for each in known if each.name.lower() == name.lower()]
    if len(matching) > 1:
        raise UsageError(
            "two systems have this name", path=matching[1].path, got=name, todo="rename the file in the workspace"
        )
    if not matching:
        names = [each.name for each in known]
        near = nearest(name, names)
        raise UsageError(
            "unknown system",
            got=name,
            expected=near if near.startswith("did") else ", ".join(names),
            todo="abawkit systems list",
        )
    return matching[0]


def load_system(
    name: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    workspace: Path | None = None,
    sources: Mapping[str, str] | None = None,
) -> System:
    """Returns the system called ``name``, or in the file ``name``, with ``overrides`` of its keys.

    Args:
        name: A name, or the path of a TOML file.
        overrides: Path or short name → value; see :func:`abawkit.systems.overrides.overridden`.
        workspace: A workspace's root, which may have systems of its own.
        sources: Path or short name → where the override comes from, for messages.

    Raises:
        UsageError: There is no such system, its file is not one, or a key or value in it or in ``overrides`` cannot be.

    >>> load_system("f5").fusion.kind.hidden
    128
    """
    found = find_system(name, workspace)
    return build_system(read_table(found.path), found.name, path=found.path, overrides=overrides, sources=sources)


def read_table(path: Path) -> dict[str, Any]:
    """Returns a system's file as a table.

    Raises:
        UsageError: It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("is not valid TOML", path=path, got=str(error), todo="correct the line") from error
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path=path) from error


def build_system(
    table: Mapping[str, Any],
    name: str,
    *,
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
) -> System:
    """Returns the system that a table describes.

    Raises:
        UsageError: A key or a value cannot be; the message names it, and the nearest known one.
    """
    plain = _validated({**table, "name": name}, path)
    given = list((overrides or {}).items())
    try:
        return _validated({**overridden(table, dict(given)), "name": name}, path) if given else plain
    except UsageError:
        # The file is fine, so what is wrong was asked for beside it: find the override that makes it wrong.
        for count, (key, value) in enumerate(given, 1):
            place = f"{key} = {value}" + (f" ({sources[key]})" if sources and key in sources else "")
            _validated({**overridden(table, dict(given[:count])), "name": name}, place)
        raise


def _validated(table: Mapping[str, Any], path: Path | str) -> System:
    try:
        return System.model_validate(table)
    except ValidationError as error:
        raise _explained(error, path) from None


def _explained(error: ValidationError, path: Path | str) -> UsageError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the system"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        last = str(first["loc"][-1])
        short = [name.removeprefix("training.") for name in SHORT_NAMES]
        return UsageError(
            f"unknown key {key}",
            path=path,
            got=last,
            expected=nearest(last, [*known_keys(), *short]),
            todo="correct it",
        )
    if first["type"] == "missing":
        return UsageError(f"{key} is missing", path=path, todo="abawkit systems show F4 shows a whole system")
    got = None if isinstance(first["input"], dict) else repr(first["input"])[:80]
    return UsageError(f"bad value of {key}", path=path, got=got, expected=message, todo="correct it")
