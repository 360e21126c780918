"""``extract``: clips → feature stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

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
    from abawkit.extraction.plan import Plan
    from abawkit.extraction.report import Extraction


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit extract --modality audio --preset lite")(extract)


def extract(
    modality: Annotated[
        list[str] | None, typer.Option("--modality", "-m", help="text, audio, vision, motion; default: all.")
    ] = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option("--extractor", help="An extractor of another package, instead of the preset's."),
    ] = None,
    preset: Annotated[
        Literal["paper", "lite"] | None,
        typer.Option("--preset", help="paper: transformers; lite: weak, no download.", show_default=False),
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
    pooling: Annotated[
        Literal["cls", "mean"] | None,
        typer.Option("--pooling", help="Text: first token or mean of all.", show_default=False),
    ] = None,
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
        Literal["organiser", "detect", "full-frame"] | None,
        typer.Option("--faces", help="Vision: what the model sees.", show_default=False),
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", help="Vision: frames per second, by timestamps.", show_default=False)
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option("--max-frames", help="Vision: most frames of a clip, spread evenly.", show_default=False),
    ] = None,
    motion: Annotated[
        Literal["openface", "flow"] | None,
        typer.Option("--motion", help="OpenFace, or optical flow.", show_default=False),
    ] = None,
    openface_bin: Annotated[
        str | None, typer.Option("--openface-bin", help="OpenFace's FeatureExtraction.", show_default=False)
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32"] | None, typer.Option("--dtype", help="In the stores.", show_default=False)
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", help="Most items of one forward pass: auto or a number.", show_default=False),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"] | None,
        typer.Option("--precision", help="auto is bfloat16 on a GPU.", show_default=False),
    ] = None,
    on_damage: Annotated[
        Literal["keep", "fail"] | None,
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

    It continues where it was interrupted, and extracts again what changed.
    """
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.extraction.pipeline import plan_extraction, run_extraction
    from abawkit.extraction.request import ExtractRequest
    from abawkit.extraction.select import Shard

    models = pairs(model, "--model")
    if unknown := sorted(set(models) - {"text", "audio", "vision"}):
        raise UsageError("no model for this modality", got=unknown[0], expected="text, audio or vision")
    # Flag → the setting that it stands for, and its value: of the preset paper's extractors, and of every model.
    of_paper = {
        "--pooling": ("text_pooling", pooling),
        "--tokens": ("text_tokens", tokens),
        "--trust-remote-code": ("trust_remote_code", trust),
        "--layer": ("audio_layers", layer),
        "--with-vad": ("audio_vad", with_vad),
        "--faces": ("faces", faces),
        "--fps": ("vision_fps", fps),
        "--max-frames": ("vision_frames", max_frames),
        "--motion": ("motion", motion),
        "--openface-bin": ("openface_bin", openface_bin),
        **{f"--model {name}=": (f"{name}_model", value) for name, value in models.items()},
    }
    of_models = {"--dtype": ("dtype", dtype), "--batch": ("batch", batch), "--precision": ("precision", precision)}
    opened = open_workspace(
        workspace,
        sets,
        extract__preset=preset,
        extract__max_failures=max_failures,
        extract__workers=workers,
        extract__device=device,
        extract__on_damage=on_damage,
        **{f"extract__{setting}": value for setting, value in (of_paper | of_models).values()},
    )
    useless = of_paper if extractor else of_paper | of_models if opened.settings.extract.preset == "lite" else {}
    if idle := [flag for flag, (_, value) in useless.items() if value is not None]:
        if extractor:
            raise UsageError("--extractor goes without the preset paper's options", got=", ".join(idle))
        raise UsageError("the preset lite has nothing to set", got=", ".join(idle), todo="add --preset paper")
    request = ExtractRequest(
        modalities=modality,
        splits=split,
        only=None if only is None else clip_ids(only, opened.task),
        limit=limit,
        shard=None if shard is None else Shard.parse(shard),
        retry_failed=retry_failed,
        extractors=extractor or (),
    )
    if plan:
        _show_plan(plan_extraction(opened, request), as_json=as_json)
        return
    done = run_extraction(opened, request, console.progress_for(as_json))
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
        todo=f"fix the clips, then run it again; or accept them: --max-failures {max(s.failed for s in bad)}",
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
