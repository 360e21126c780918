"""The kinds that a system can name: encoders, fusions, losses and schedules, of the package and of plug-ins.

A kind is a frozen dataclass with a field ``kind``. Plug-ins add to the first three through the entry points
``abawkit.encoders``, ``abawkit.fusions`` and ``abawkit.losses``, each the class itself under the kind's name.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache, partial
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationError

from abawkit import plugins
from abawkit.models import encoders, fusion
from abawkit.optim import losses, schedules

#: What is of several kinds → the package's own classes.
OWN: Mapping[str, Sequence[type]] = {
    "encoder": encoders.KINDS,
    "fusion": fusion.KINDS,
    "loss": losses.KINDS,
    "schedule": schedules.KINDS,
}
#: What plug-ins can add to → their entry points.
GROUPS: Mapping[str, str] = {
    "encoder": "abawkit.encoders",
    "fusion": "abawkit.fusions",
    "loss": "abawkit.losses",
}


@cache
def _found(group: str, path: tuple[str, ...]) -> plugins.Plugins:
    return plugins.found(group)


def _plugins(group: str) -> plugins.Plugins:
    """Returns the plug-ins of a group, searched for once for each ``sys.path``: that takes some 30 ms."""
    return _found(group, tuple(sys.path))


def known_kinds(what: str) -> dict[str, type]:
    """Returns kind → class, the package's own first; a plug-in that is not usable is left out.

    >>> list(known_kinds("schedule"))
    ['plateau', 'cosine', 'constant']
    """
    found = {default(cls, "kind"): cls for cls in OWN[what]}
    if what in GROUPS:
        for name, loaded in _plugins(GROUPS[what]).objects.items():
            if name not in found and not _unusable(name, loaded):
                found[name] = loaded
    return found


def broken_plugins() -> dict[str, str]:
    """Returns what is wrong with each plug-in of encoders, fusions and losses that cannot be used, by its name."""
    broken: dict[str, str] = {}
    for what, group in GROUPS.items():
        found = _plugins(group)
        broken |= {f"{what} {name}": reason for name, reason in found.broken.items()}
        own = {default(cls, "kind") for cls in OWN[what]}
        for name, loaded in found.objects.items():
            reason = f"there is an {what} of this name already" if name in own else _unusable(name, loaded)
            if reason:
                broken[f"{what} {name}"] = reason
    return broken


def _unusable(name: str, loaded: Any) -> str:
    if not (isinstance(loaded, type) and is_dataclass(loaded)):
        return f"expected a frozen dataclass, got {type(loaded).__name__}"
    if default(loaded, "kind") != name:
        return f"its kind is {default(loaded, 'kind')!r}, and the entry point is called {name!r}"
    return ""


def default(cls: type, name: str) -> Any:
    """Returns the default of a field of a dataclass; None where it has no such field."""
    return next((field.default for field in fields(cls) if field.name == name and field.default is not MISSING), None)


def nearest(word: str, known: Sequence[str]) -> str:
    """Returns ``did you mean X?`` for the nearest known word, or the list of them.

    >>> nearest("hiden", ["hidden", "dropout"])
    'did you mean hidden?'
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def parse(what: str, table: Any) -> Any:
    """Returns the config that a TOML table describes.

    Args:
        what: ``encoder``, ``fusion``, ``loss`` or ``schedule``.
        table: ``{"kind": …, …}``; a config as it is.

    Raises:
        ValueError: The kind or a key is unknown, or a value cannot be.
    """
    if is_dataclass(table):
        return table
    kinds = known_kinds(what)
    if not isinstance(table, Mapping) or not isinstance(table.get("kind"), str):
        raise ValueError(f"expected a table with a kind, such as {{ kind = {next(iter(kinds))!r} }}")
    cls = kinds.get(table["kind"])
    if cls is None:
        raise ValueError(f"unknown {what} {table['kind']!r}: {nearest(table['kind'], list(kinds))}")
    known = [field.name for field in fields(cls)]
    for key in table:
        if key not in known:
            raise ValueError(f"{what} {table['kind']} has no key {key!r}: {nearest(key, known)}")
    try:
        return TypeAdapter(cls).validate_python(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place + ': ' if place else ''}{first['msg']}, got {first['input']!r}") from None


def of_kind(what: str) -> Any:
    """Returns the pydantic type of a table that has a ``kind``."""
    read: Callable[[Any], Any] = partial(parse, what)
    return Annotated[Any, BeforeValidator(read), PlainSerializer(asdict)]
