"""``models``: the models behind the preset paper and transcribe: which are here, fetching them, checking them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import DeviceOption, JsonOption, OfflineOption

models_app = typer.Typer(help="The models behind the preset paper and transcribe.", no_args_is_help=True)

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Model id, such as thenlper/gte-base, or ID@REVISION; or yunet.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    models_app.command("list", epilog="Example: abawkit models list")(list_)
    models_app.command("fetch", epilog="Example: abawkit models fetch thenlper/gte-base")(fetch)
    models_app.command("verify", epilog="Example: abawkit models verify facebook/dinov2-base")(verify)
    app.add_typer(models_app, name="models")


def list_(as_json: JsonOption = False) -> None:
    """List the known models, their licences, and whether they are on this machine."""
    from abawkit.backbones.fetch import known_models
    from abawkit.cli import console
    from abawkit.fileio import human_bytes

    models = known_models()
    if as_json:
        console.print_json({"models": models})
        return
    rows = [
        [
            model["model"],
            model["modality"],
            model["licence"] or "?",
            "–" if model["bytes"] is None else human_bytes(model["bytes"]),
            "–" if model["dim"] is None else str(model["dim"]),
        ]
        for model in models
    ]
    console.show_table("Models", ["model", "modality", "licence", "here", "values"], rows, left=3)
    console.out().print("[dim]any other encoder can be named by id or folder: abawkit extract --model audio=FOLDER[/]")


def fetch(
    model: ModelArgument,
    to: Annotated[
        Path | None, typer.Option("--to", help="A folder to take to another machine.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a model, at a pinned revision; extraction never does."""
    from abawkit.backbones.fetch import fetch as download
    from abawkit.backbones.known import command_with
    from abawkit.backbones.verify import is_known
    from abawkit.cli import console

    folder = download(model, to=to, progress=console.progress_for(as_json))
    if as_json:
        console.print_json({"model": model, "path": str(folder)})
        return
    console.say(f"{model} is in {folder}")
    if to is not None:
        console.next_steps({command_with(model, str(folder)): "there"})
    elif is_known(model):
        console.next_steps({f"abawkit models verify {model}": "compare it with its published output"})
    else:
        console.next_steps({command_with(model, model): "text, audio or vision"})


def verify(
    model: ModelArgument, device: DeviceOption = None, offline: OfflineOption = False, as_json: JsonOption = False
) -> None:
    """Compute a model's published output again, on this machine."""
    from abawkit.backbones.verify import verify_model
    from abawkit.cli import console
    from abawkit.device import pick_device

    found, checks = verify_model(model, device=pick_device(device or "auto"))
    ok = all(check.ok for check in checks)
    if as_json:
        record = {"model": model, "path": str(found.path), "revision": found.revision, "weights": found.weights}
        console.print_json({"ok": ok, **record, "licence": found.licence, "checks": [c.to_json() for c in checks]})
    else:
        rows = [["yes" if c.ok else "NO", c.what, c.expected, c.got, c.source] for c in checks]
        console.show_table(f"{model} ({found.licence})", ["ok", "what", "expected", "here", "from"], rows, left=5)
        console.say(f"weights {found.weights[:16]}, revision {found.revision or 'unknown'}, in {found.path}")
    if not ok:
        raise typer.Exit(3)
