"""A model's own code and code that it asks for from elsewhere: what it is, and whether it may be run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from abawkit.backbones.known import is_commit, model_ref
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import read_json


def own_code(folder: Path) -> list[str]:
    """Returns what a model names as its own code (``modeling_own.OwnModel``), sorted; mostly none.

    Its ``config.json`` names that of the model, ``tokenizer_config.json`` that of the tokenizer.
    """
    named: set[str] = set()
    for file in ("config.json", "tokenizer_config.json"):
        try:
            code = read_json(folder / file, "a configuration").get("auto_map")
        except AbawkitError:  # opening the model raises it again
            continue
        values = code.values() if isinstance(code, Mapping) else [code]
        for value in values:  # a tokenizer's can be a pair, of which one is null
            named.update(name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str))
    return sorted(named)


def check_own_code(name: str, folder: Path) -> None:
    """Checks that the model's own code may be run: all of it is the hub's at a commit that was named.

    Args:
        name: The model, as it was named.
        folder: Where it lies.

    Raises:
        UsageError: It is a local folder, or no commit is named, or some of its code is in another repository, which a
            commit does not pin.
    """
    ref = model_ref(name)
    if not is_commit(ref.revision) or folder.name != ref.revision:
        raise UsageError(
            "code that comes with a model is run only at a pinned revision",
            got=name,
            expected="ID@COMMIT, with the 40 hexadecimal digits of the commit whose code you have read",
        )
    if elsewhere := [code for code in own_code(folder) if "--" in code]:
        raise UsageError(
            f"the model's code is in another repository, which its revision does not pin: {elsewhere[0]}",
            path=folder,
            todo="take a model whose repository holds its code",
        )


def refuse_code(folder: Path, config: Mapping[str, Any]) -> None:
    """Checks that the model in ``folder`` asks for no code from elsewhere.

    Raises:
        AbawkitError: Its configuration asks for some: transformers would fetch a kernel from the hub and run it.
    """
    for key, value in _entries(config):
        if (key.lstrip("_").startswith("attn_implementation") and value not in (None, "eager", "sdpa")) or (
            key == "quantization_config" and value is not None
        ):
            raise AbawkitError(
                "this model asks for code from outside transformers",
                path=folder / "config.json",
                got=f"{key}: {value!r}"[:160],
                expected="a plain float32 or float16 model",
                todo=f"remove {key!r} from its config.json if you trust its source",
            )


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield key, value
        if isinstance(value, Mapping):
            yield from _entries(value)
