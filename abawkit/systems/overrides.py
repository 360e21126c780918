"""``--set`` and ``abawkit.toml`` over a system: every key by its path, and the paper's short names."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from abawkit.errors import UsageError
from abawkit.features.spec import MODALITIES
from abawkit.systems.kinds import known_kinds, nearest

Table = dict[str, Any]
#: The table that holds the key, and the key in it.
_Place = tuple[Table, str]


def _of_slot(name: str, key: str) -> Callable[[Table], Iterator[_Place]]:
    def places(system: Table) -> Iterator[_Place]:
        if name in system["slots"]:
            yield system["slots"][name], key

    return places


def _of_fusion(key: str) -> Callable[[Table], Iterator[_Place]]:
    def places(system: Table) -> Iterator[_Place]:
        if "fusion" in system:
            yield system["fusion"], key

    return places


def _of_encoders(key: str, *, motion: bool) -> Callable[[Table], Iterator[_Place]]:
    def places(system: Table) -> Iterator[_Place]:
        for name, slot in system["slots"].items():
            if (slot.get("modality", name) == "motion") == motion and isinstance(slot["encoder"], dict):
                yield slot["encoder"], key

    return places


def _every_dropout(system: Table) -> Iterator[_Place]:
    kinds = known_kinds("encoder")
    for slot in system["slots"].values():
        cls = kinds.get(str(slot["encoder"].get("kind"))) if isinstance(slot["encoder"], dict) else None
        if cls is not None and "dropout" in cls.__dataclass_fields__:  # type: ignore[attr-defined]
            yield slot["encoder"], "dropout"
    yield system.setdefault("training", {}), "head_dropout"
    yield from _of_fusion("dropout")(system)


def _every_slot_frozen(system: Table) -> Iterator[_Place]:
    yield from ((slot, "frozen") for slot in system["slots"].values())


def _of_training(section: str, kind: str, key: str) -> Callable[[Table], Iterator[_Place]]:
    def places(system: Table) -> Iterator[_Place]:
        training = system.setdefault("training", {})
        own = training.setdefault(section, {"kind": kind})
        if isinstance(own, dict) and own.get("kind") == kind:
            yield own, key

    return places


#: Short name, as the paper's authors call their options → where it stands. What a system does not have is passed over.
SHORT_NAMES: Mapping[str, Callable[[Table], Iterator[_Place]]] = {
    **{f"training.{slot}_epochs": _of_slot(slot, "epochs") for slot in MODALITIES},
    "training.fusion_epochs": _of_fusion("epochs"),
    "training.fusion_patience": _of_fusion("patience"),
    "training.hidden": _of_encoders("hidden", motion=False),
    "training.motion_hidden": _of_encoders("hidden", motion=True),
    "training.fusion_hidden": _of_fusion("hidden"),
    "training.dropout": _every_dropout,
    "training.modality_dropout": _of_fusion("modality_dropout"),
    "training.alpha": _of_training("loss", "ccc_mse", "alpha"),
    "training.lr_factor": _of_training("schedule", "plateau", "factor"),
    "training.frozen_encoders": _every_slot_frozen,
    "training.missing": _of_fusion("missing"),
}


def value_of(text: Any) -> Any:
    """Returns what a text of the command line or the environment means, read as TOML; else the text itself.

    >>> value_of("1e-3"), value_of("true"), value_of("mean"), value_of('{ kind = "gru" }')
    (0.001, True, 'mean', {'kind': 'gru'})
    """
    if not isinstance(text, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def overridden(system: Mapping[str, Any], overrides: Mapping[str, Any]) -> Table:
    """Returns a system's table with other values; whether they can be is the schema's business.

    Args:
        system: As its TOML file has it.
        overrides: Path or short name → value, such as ``slots.audio.encoder.hidden`` or ``training.lr``. A slot that
            this system lacks, and another has, is passed over.

    Raises:
        UsageError: A path leads through something that is not a table.
    """
    made: Table = deepcopy(dict(system))
    made.setdefault("slots", {})
    for path, value in overrides.items():
        wanted = value_of(value)
        if path == "training.missing" and wanted == "learned":
            wanted = "token"
        for table, key in _places(made, path):
            table[key] = wanted
    return made


def _places(system: Table, path: str) -> Iterator[_Place]:
    if path in SHORT_NAMES:
        yield from SHORT_NAMES[path](system)
        return
    first, *middle, last = path.split(".")
    if first == "slots" and middle and middle[0] not in system["slots"]:
        if middle[0] in MODALITIES:
            return
        known = list(system["slots"])
        raise UsageError("unknown slot", got=path, expected=", ".join(known), todo=nearest(middle[0], known))
    if first == "fusion" and "fusion" not in system:
        return  # a system of one slot stays one
    table: Any = system
    for part in (first, *middle):
        if isinstance(table, dict):
            table = table.setdefault(part, {})
    if not isinstance(table, dict):
        raise UsageError("this key is not a table", got=path, expected="a path such as slots.audio.encoder.hidden")
    yield table, last
