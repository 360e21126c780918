"""``extract``: clips → feature stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from abawkit.cli.options import (
    DeviceOption,
    FailuresOption,
    JsonOption,
    OfflineOption,
    OnlyOption,
    RetryOption,
    SetOption,
    SplitsOption,
    WorkersOption,
    WorkspaceOption,
    clip_ids,
    open_workspace,
    pairs,
)

if TYPE_CHECKING:
    from abawkit.errors import PartlyDone
    from abawkit.extraction.pipeline import Extraction
    from abawkit.extraction.plan import Plan


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
    split: SplitsOption = None,
    only: OnlyOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many clips, the first by id.", show_default=False)
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", help="One part of the clips, such as 1/4, as a job of its own.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="MODALITY=ID, ID@REVISION or local folder, for preset paper.")
    ] = None,
    pooling: Annotated[str | None, typer.Option("--pooling", help="Text: cls or mean.", show_default=False)] = None,
    tokens: Annotated[
        bool | None, typer.Option("--tokens", help="Text: one vector per token.", show_default=False)
    ] = None,
    trust: Annotated[
        bool | None,
        typer.Option(
            "--trust-remote-code", help="Text: run the code of a model named at a commit.", show_default=False
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Audio: -1 is the last, mean:K the last K.", show_default=False)
    ] = None,
    with_vad: Annotated[
        bool | None, typer.Option("--with-vad", help="Audio: append the emotion head's outputs.", show_default=False)
    ] = None,
    faces: Annotated[
        str | None, typer.Option("--faces", help="Vision: organiser, detect or full-frame.", show_default=False)
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", help="Vision: frames per second, by timestamps.", show_default=False)
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option("--max-frames", help="Vision: most frames of a clip, spread evenly.", show_default=False),
    ] = None,
    motion: Annotated[
        str | None, typer.Option("--motion", help="openface, or flow (optical flow).", show_default=False)
    ] = None,
    openface_bin: Annotated[
        str | None, typer.Option("--openface-bin", help="OpenFace's FeatureExtraction.", show_default=False)
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float16 or float32 in the stores.", show_default=False)
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", help="Most items of one forward pass: auto or a number.", show_default=False),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="auto (bfloat16 on a GPU), float32 or bfloat16.", show_default=False),
    ] = None,
    on_damage: Annotated[
        str | None,
        typer.Option(
            "--on-damage", help="A clip that decodes in part only: keep that part, or fail.", show_default=False
        ),
    ] = None,
    retry_failed: RetryOption = False,
    max_failures: FailuresOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")] = False,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    offline: OfflineOption = False,
    sets: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the features.

    It goes on where it was interrupted, and makes anew what changed.
    """
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.extraction.pipeline import extract as run
    from abawkit.extraction.pipeline import plan_extraction
    from abawkit.extraction.select import Shard

    models = pairs(model, "--model")
    if unknown := sorted(set(models) - {"text", "audio", "vision"}):
        raise UsageError("no model for this modality", got=unknown[0], expected="text, audio or vision")
    opened = open_workspace(
        workspace,
        sets,
        extract__preset=preset,
        extract__max_failures=max_failures,
        extract__workers=workers,
        extract__device=device,
        extract__dtype=dtype,
        extract__batch=batch,
        extract__precision=precision,
        extract__on_damage=on_damage,
        extract__text_pooling=pooling,
        extract__text_tokens=tokens,
        extract__trust_remote_code=trust,
        extract__audio_layers=layer,
        extract__audio_vad=with_vad,
        extract__faces=faces,
        extract__vision_fps=fps,
        extract__vision_frames=max_frames,
        extract__motion=motion,
        extract__openface_bin=openface_bin,
        extract__text_model=models.get("text"),
        extract__audio_model=models.get("audio"),
        extract__vision_model=models.get("vision"),
    )
    of_paper = {
        "--pooling": pooling, "--tokens": tokens, "--layer": layer, "--with-vad": with_vad, "--faces": faces,
        "--fps": fps, "--max-frames": max_frames, "--motion": motion, "--openface-bin": openface_bin,
        "--dtype": dtype, "--model": model, "--batch": batch, "--precision": precision, "--trust-remote-code": trust,
    }  # fmt: skip
    idle = [flag for flag, value in of_paper.items() if value is not None]
    if opened.settings.extract.preset == "lite" and idle:
        raise UsageError("the preset lite has nothing to set", got=", ".join(idle), todo="add --preset paper")
    what: dict[str, Any] = {
        "modalities": modality,
        "splits": split,
        "only": None if only is None else clip_ids(only, opened.task),
        "limit": limit,
        "shard": None if shard is None else Shard.parse(shard),
        "retry_failed": retry_failed,
    }
    if plan:
        _show_plan(plan_extraction(opened, **what), as_json=as_json)
        return
    done = run(opened, **what, progress=console.progress_for(as_json))
    if not as_json:
        _show(done)
    console.end(done.to_json(), _too_many(done, opened.settings.extract.max_failures), as_json=as_json)
    if not as_json:
        console.next_steps(
            {
                "abawkit resplit --ratio 4:1": "the split of F3 and F4",
                "abawkit train --system F1": "on the official split",
            }
        )


def _too_many(done: Extraction, allowed: str) -> PartlyDone | None:
    from abawkit.errors import PartlyDone

    bad = done.too_many(allowed)
    if not bad:
        return None
    return PartlyDone(
        ", ".join(f"{store.failed} of {store.clips} clips failed ({store.modality})" for store in bad),
        path=done.failures,
        expected=f"at most {allowed} of each modality (--max-failures)",
        todo=f"mend the clips, then run it again; or accept them: --max-failures {max(s.failed for s in bad)}",
    )


def _show(done: Extraction) -> None:
    from abawkit.cli import console

    rows = [
        [s.modality, s.path.name, *map(str, (s.clips, s.present, s.missing, s.failed, s.frames))] for s in done.stores
    ]
    columns = ["modality", "store", "clips", "present", "missing", "failed", "frames"]
    console.show_table("Features", columns, rows, left=2)
    if done.failures is not None:
        console.say(f"odd or failed clips are listed in {done.failures}", "yellow")


def _show_plan(plans: list[Plan], *, as_json: bool) -> None:
    from abawkit.cli import console
    from abawkit.fileio import human_bytes

    if as_json:
        console.print_json({"plan": [plan.to_json() for plan in plans]})
        return
    rows = [
        [
            plan.modality,
            plan.path.name,
            *(f"{plan.todo[split]} / {plan.todo[split] + plan.there[split]}" for split in plans[0].todo),
            str(plan.failed),
            human_bytes(plan.bytes_needed),
            human_bytes(plan.bytes_free),
        ]
        for plan in plans
    ]
    columns = ["modality", "store", *plans[0].todo, "failed", "needs", "free"]
    console.show_table("To do / all clips", columns, rows, left=2)
    console.say("what it needs is judged by the clips that are done, else by the challenge's means", "dim")
