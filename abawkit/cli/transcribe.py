"""``transcribe``: the words of clips, from their sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
)

if TYPE_CHECKING:
    from abawkit.extraction.transcribe import Transcription


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit transcribe --model openai/whisper-small --language en")(transcribe)


def transcribe(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Whisper model: id or local folder; default: the workspace's.", show_default=False
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", help="Such as en; default: found in each clip.", show_default=False),
    ] = None,
    split: SplitsOption = None,
    only: OnlyOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also clips with a text/ file; the file stays, and is not used.")
    ] = False,
    retry_failed: RetryOption = False,
    max_failures: FailuresOption = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Also write NNNNN.txt of each clip to this folder.", metavar="DIR")
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="With --export: NNNNN.json too, with segments and their times.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Windows in one pass; default: 4, on a GPU 32.", show_default=False),
    ] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    offline: OfflineOption = False,
    sets: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Transcribe the clips that have no transcript.

    Transcripts go to the workspace, with the times of each stretch. It continues where it was interrupted.
    """
    from abawkit.cli import console
    from abawkit.errors import PartlyDone, UsageError
    from abawkit.extraction.failures import too_many
    from abawkit.extraction.transcribe import export_transcripts
    from abawkit.extraction.transcribe import transcribe as run

    if timestamps and export is None:
        raise UsageError(
            "--timestamps is about the files of --export", todo="the workspace's transcripts have them always"
        )
    opened = open_workspace(
        workspace,
        sets,
        extract__whisper_model=model,
        extract__whisper_language=language,
        extract__whisper_batch=batch,
        extract__max_failures=max_failures,
        extract__workers=workers,
        extract__device=device,
    )
    ids = None if only is None else clip_ids(only, opened.task)
    done = run(
        opened,
        splits=split,
        only=ids,
        overwrite=overwrite,
        retry_failed=retry_failed,
        progress=console.progress_for(as_json),
    )
    exported = None
    if export is not None:
        exported = export_transcripts(opened, done.path, export, splits=split, only=ids, timestamps=timestamps)
    allowed = opened.settings.extract.max_failures
    bad = None
    if too_many(len(done.failures), done.clips, allowed):
        bad = PartlyDone(
            f"{len(done.failures)} of {done.clips} clips could not be transcribed",
            path=done.path,
            expected=f"at most {allowed} (--max-failures)",
            todo=f"fix the clips, then run it again; or accept them: --max-failures {len(done.failures)}",
        )
    record = done.to_json()
    if exported is not None:
        record["exported"] = {"path": str(export), "written": exported[0], "without": exported[1]}
    if not as_json:
        _show(done)
        if exported is not None:
            console.say(f"{exported[0]} transcripts in {export}; {exported[1]} clips have none")
    console.end(record, bad, as_json=as_json)
    if not as_json:
        console.next_steps({"abawkit extract -m text": "the features of the words"})


def _show(done: Transcription) -> None:
    from abawkit.cli import console

    counts = {"in text/": done.in_folder, **done.outcomes}
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(done.reasons.items()))
    rows = [[what, why if what == "empty" else "", str(count)] for what, count in counts.items() if count]
    console.show_table("Transcripts", ["what", "why", "clips"], rows, left=2)
    if done.path is not None:
        console.say(f"{done.transcribed} made just now by {done.model}, in {done.path}")
    for clip, reason in list(done.failures.items())[:5]:
        console.say(f"failed {clip}: {reason}", "red")
    if len(done.failures) > 5:
        console.say(f"… and {len(done.failures) - 5} more; --json lists all", "dim")
    for finding in done.findings:
        got = "" if finding.got is None else f" ({finding.got})"
        console.say(f"{finding.code} {finding.message}{got}", "yellow")
