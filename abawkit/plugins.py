"""What other installed packages add to abawkit: the entry points of a group, loaded, or why they cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass(frozen=True)
class Plugins:
    """The entry points of one group.

    Attributes:
        objects: Name → what its entry point refers to. What kind of object that must be, the caller checks.
        broken: Name → why its object could not be loaded, in one line.
    """

    objects: dict[str, Any]
    broken: dict[str, str]


def found(group: str) -> Plugins:
    """Returns the entry points of a group, such as ``abawkit.extractors``; the dictionaries are sorted by name.

    They are imported now. What goes wrong in that is never raised: it is in ``broken``. Two packages that claim
    one name for different objects break that name.
    """
    claims: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        claims.setdefault(entry.name, []).append(entry)
    plugins = Plugins({}, {})
    for name, entries in sorted(claims.items()):
        if len({entry.value for entry in entries}) > 1:
            plugins.broken[name] = "several packages claim this name: " + ", ".join(sorted(map(_origin, entries)))
            continue
        try:
            plugins.objects[name] = entries[0].load()
        except (Exception, SystemExit) as error:
            plugins.broken[name] = " ".join(f"{_origin(entries[0])}: {type(error).__name__}: {error}".split())
    return plugins


def _origin(entry: EntryPoint) -> str:
    """Returns which object of which package an entry point refers to: ``module:factory of package 1.0``."""
    return entry.value + (f" of {entry.dist.name} {entry.dist.version}" if entry.dist else "")
