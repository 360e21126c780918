"""Options that several commands share, each written once."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from abawkit.challenge import Task
    from abawkit.workspace import Workspace

#: Whether ``--plain`` was given: lines instead of bars, no colours.
PLAIN: ContextVar[bool] = ContextVar("plain", default=False)

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
SplitsOption = Annotated[
    list[str] | None, typer.Option("--split", help="train, valid, test; default: all that are there.")
]
FeaturesOption = Annotated[
    list[str] | None, typer.Option("--features", help="MODALITY=STORE, where there are several stores.")
]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Try clips again that failed.")]
FailuresOption = Annotated[
    str | None,
    typer.Option(
        "--max-failures",
        help="Exit with 4 when more clips (of a modality) failed: a number or a share (1%).",
        show_default=False,
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", help="Clip ids, or a file with one per line.", show_default=False),
]


def _offline(wanted: bool) -> bool:
    if wanted:
        from abawkit.backbones.offline import stay_offline

        stay_offline()
    return wanted


OfflineOption = Annotated[
    bool, typer.Option("--offline", callback=_offline, help="Ask no model hub for anything; sets HF_HUB_OFFLINE.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Default: the workspace's.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="KEY=VALUE for any setting or key of a system, such as fusion.hidden=128.", show_default=False
    ),
]


def open_workspace(start: Path | None, sets: list[str] | None = None, **flags: Any) -> Workspace:
    """Returns the workspace with the flags over its settings; a flag ``a__b`` stands for the setting ``a.b``.

    Raises:
        UsageError: There is none, or a setting is bad.
    """
    from abawkit.workspace import Workspace

    overrides: dict[str, Any] = dict(set_values(sets))
    overrides |= {key.replace("__", "."): value for key, value in flags.items() if value is not None}
    opened = Workspace.open(start, overrides=overrides)
    if opened.simulated:
        from abawkit.cli import console

        console.err().print("SIMULATED workspace: no score here means anything for real clips", style="yellow")
    return opened


def set_values(sets: list[str] | None) -> dict[str, str]:
    """Returns the values of ``--set``, by key.

    Raises:
        UsageError: One of them is not KEY=VALUE.
    """
    from abawkit.errors import UsageError

    found = {}
    for text in sets or []:
        key, mark, value = text.partition("=")
        if not mark:
            raise UsageError("--set wants KEY=VALUE", got=text, expected="such as training.lr=1e-4")
        found[key.strip()] = value.strip()
    return found


def workspace_if_any(start: Path | None, sets: list[str] | None = None) -> Workspace | None:
    """Returns the workspace, or None where the working folder is not in one and none is named."""
    import os

    from abawkit.settings import ENV_WORKSPACE
    from abawkit.workspace import find_root

    if start is None and ENV_WORKSPACE not in os.environ and find_root(Path.cwd()) is None:
        return None
    return open_workspace(start, sets)


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


def clip_ids(texts: list[str], task: Task) -> list[str]:
    """Returns the ids that ``--only`` names: ids with commas between them, or files with one per line.

    Raises:
        UsageError: One of them is not a clip id.
    """
    from abawkit.errors import UsageError

    words: list[str] = []
    for text in texts:
        path = Path(text)
        words += path.read_text(encoding="utf-8").split() if path.is_file() else text.split(",")
    found = []
    for word in words:
        try:
            found.append(task.ids.read(word.strip())[0])
        except ValueError:
            expected = f"clip ids such as {task.ids.example}, or a file with one per line"
            raise UsageError("--only: not a clip id", got=repr(word)[:80], expected=expected) from None
    return found
