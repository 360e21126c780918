"""Options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from abawkit.workspace import Workspace

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="Folder with abawkit.toml; default: this folder or one above it.", show_default=False
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default=False, metavar="DEVICE")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Decoding processes; default: one per core.", show_default=False)
]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Default: the workspace's.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE for any setting, such as training.lr=1e-4.", show_default=False),
]


def open_workspace(start: Path | None, sets: list[str] | None = None, **flags: Any) -> Workspace:
    """Returns the workspace with the flags over its settings; a flag ``a__b`` stands for the setting ``a.b``.

    Raises:
        UsageError: There is none, or a setting is bad.
    """
    from abawkit.errors import UsageError
    from abawkit.workspace import Workspace

    overrides: dict[str, Any] = {}
    for text in sets or []:
        key, mark, value = text.partition("=")
        if not mark:
            raise UsageError("--set wants KEY=VALUE", got=text, expected="such as training.lr=1e-4")
        overrides[key.strip()] = value.strip()
    overrides |= {key.replace("__", "."): value for key, value in flags.items() if value is not None}
    return Workspace.open(start, overrides=overrides)


def pairs(values: list[str] | None, option: str) -> dict[str, str]:
    """Returns ``KEY=VALUE`` texts as a dictionary.

    Raises:
        UsageError: One of them has no ``=``.

    >>> pairs(["audio=lite-1"], "--features")
    {'audio': 'lite-1'}
    """
    from abawkit.errors import UsageError

    found = {}
    for text in values or []:
        key, mark, value = text.partition("=")
        if not mark or not key or not value:
            raise UsageError(f"{option} wants KEY=VALUE", got=text)
        found[key] = value
    return found
