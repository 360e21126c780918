"""Systems as TOML text: shown whole, and copied to be changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abawkit.errors import UsageError
from abawkit.fileio import atomic_path
from abawkit.systems.loader import find_system, find_systems, load_system
from abawkit.systems.schema import System


def as_toml(system: System, file: Mapping[str, Any] | None = None, plain: System | None = None) -> str:
    """Returns the TOML text that says everything about a system; what is not set is left out.

    Args:
        system: The system.
        file: Its file's table: keys that are not in it are marked as defaults.
        plain: The system as its file has it: values that differ from it are marked as set.

    >>> as_toml(load_system("F5")).splitlines()[0]
    'title = "text + audio + vision, encoders frozen, official split"'
    """
    record = system.to_json()
    lines = [f"{key} = {_value(record[key])}" for key in ("title", "source", "note", "ratio") if record[key]]
    if any(score is not None for score in record["paper"].values()):
        lines.append(f"paper = {_value(record['paper'])}")
    sections: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]]
    sections = {f"slots.{name}": (table, ("slots", name)) for name, table in record["slots"].items()}
    sections |= {name: (record[name], (name,)) for name in ("fusion", "training") if record[name] is not None}
    for header, (table, place) in sections.items():
        written, before = (_at(tree, place) for tree in (file, None if plain is None else plain.to_json()))
        lines += ["", f"[{header}]"]
        for key, value in table.items():
            if value is not None:
                mark = "" if written is None or key in written else "  # default"
                mark = "  # set" if before is not None and before.get(key) != value else mark
                lines.append(f"{key} = {_value(value)}{mark}")
    return "\n".join(lines) + "\n"


def _at(tree: Any, place: tuple[str, ...]) -> Any:
    for part in place:
        tree = tree.get(part, {}) if tree is not None else None
    return tree


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_value(each)}" for key, each in value.items() if each is not None)
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def new_system(workspace: Path, name: str, template: str) -> Path:
    """Writes a copy of a system into the workspace's folder ``systems/`` and returns its path.

    Raises:
        UsageError: There is a system of this name, or the name cannot be that of a file.
    """
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise UsageError("not a name for a system", got=name, expected="letters, digits, -, _ and .")
    if any(found.name.lower() == name.lower() for found in find_systems(workspace)):
        raise UsageError("there is a system of this name", got=name, todo="take another name")
    found = find_system(template, workspace)
    load_system(template, workspace=workspace)  # what is copied can be trained
    path = workspace / "systems" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    text = found.path.read_text(encoding="utf-8")
    with atomic_path(path) as temporary:
        temporary.write_text(f"# A copy of {found.name}.\n{_without_scores(text)}", encoding="utf-8")
    return path


def _without_scores(text: str) -> str:
    """Returns a system's file without the paper's scores, which are of the system that it was copied from."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("paper = "))
