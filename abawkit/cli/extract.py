"""``extract``: clips → feature stores."""

from __future__ import annotations

from typing import Annotated

import typer

from abawkit.cli.options import DeviceOption, JsonOption, WorkersOption, WorkspaceOption, open_workspace, pairs


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit extract --modality audio --preset lite")(extract)


def extract(
    modality: Annotated[
        list[str] | None, typer.Option("--modality", "-m", help="text, audio, vision, motion; default: all.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="paper (transformers) or lite (weak, no download).")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="train, valid, test; default: all that are there.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="MODALITY=ID or local folder, for preset paper.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try clips again that failed.")] = False,
    max_failures: Annotated[
        int | None, typer.Option("--max-failures", min=0, help="Exit with 4 when more clips failed.")
    ] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the features.

    It goes on where it was interrupted, and makes anew what changed.
    """
    from abawkit.cli import console
    from abawkit.errors import PartlyDone, UsageError
    from abawkit.extraction.pipeline import extract as run

    models = pairs(model, "--model")
    if unknown := sorted(set(models) - {"text", "audio", "vision"}):
        raise UsageError("no model for this modality", got=unknown[0], expected="text, audio or vision")
    opened = open_workspace(
        workspace,
        extract__preset=preset,
        extract__max_failures=max_failures,
        extract__workers=workers,
        extract__device=device,
        extract__text_model=models.get("text"),
        extract__audio_model=models.get("audio"),
        extract__vision_model=models.get("vision"),
    )
    done = run(
        opened,
        modalities=modality,  # type: ignore[arg-type]
        splits=split,
        retry_failed=retry_failed,
        progress=console.progress_for(as_json),
    )
    if as_json:
        console.print_json(done.to_json())
    else:
        rows = [
            [s.modality, s.path.name, *map(str, (s.clips, s.present, s.missing, s.failed, s.frames))]
            for s in done.stores
        ]
        columns = ["modality", "store", "clips", "present", "missing", "failed", "frames"]
        console.show_table("Features", columns, rows, left=2)
        if done.failures is not None:
            console.out().print(f"[yellow]odd or failed clips are listed in[/] {done.failures}", soft_wrap=True)
    if done.failed > opened.settings.extract.max_failures:
        raise PartlyDone(
            f"{done.failed} clips failed",
            path=done.failures,
            expected=f"at most {opened.settings.extract.max_failures} (--max-failures)",
            todo="mend the clips, then run it again; or accept them: --max-failures " + str(done.failed),
        )
    if not as_json:
        console.next_steps(
            {
                "abawkit resplit --ratio 4:1": "the split of F3 and F4",
                "abawkit train --system F1": "on the official split",
            }
        )
