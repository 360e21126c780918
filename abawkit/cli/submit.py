"""``submit`` and ``check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.submission.coverage import RunCoverage
    from abawkit.submission.unusual import Earlier
    from abawkit.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit submit --out submissions/team.csv")(submit)
    app.command(epilog="Example: abawkit check submissions/team.csv")(check)


def submit(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The CSV to write, relative to the workspace.", show_default=False),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Default: the newest ensemble, else the best run.", show_default=False)
    ] = None,
    ensemble: Annotated[
        str | None, typer.Option("--ensemble", help="The same, of ensembles.", show_default=False)
    ] = None,
    int_ids: Annotated[bool, typer.Option("--int-ids", help="Ids as plain integers.")] = False,
    clip: Annotated[bool, typer.Option("--clip/--no-clip", help="Bring values into [0, 1].")] = True,
    decimals: Annotated[int | None, typer.Option("--decimals", min=1, max=15, help="Digits after the point.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite another submission.")] = False,
    accept_coverage: Annotated[
        bool, typer.Option("--accept-coverage", help="Also when test clips lack more than validation clips.")
    ] = False,
    verify: Annotated[
        Path | None,
        typer.Option("--verify", help="Make this file again from models and features; compare.", show_default=False),
    ] = None,
    sent: Annotated[
        Path | None, typer.Option("--sent", help="Enter in the ledger that this file was sent.", show_default=False)
    ] = None,
    score: Annotated[
        float | None, typer.Option("--score", help="With --sent: what the leaderboard said.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the leaderboard CSV and check it.

    First it shows what the features have for the clips: test clips that lack more than the validation clips are
    refused. FILE.json beside the file says what made it.
    """
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.submission.write import choose_run, look
    from abawkit.submission.write import submit as write
    from abawkit.training.runs import find_run

    opened = open_workspace(workspace)
    progress = console.progress_for(as_json)
    if verify is not None:
        _verify(opened, verify, as_json)
        return
    if sent is not None:
        _sent(opened, sent, score, force, as_json)
        return
    if score is not None:
        raise UsageError("--score goes with --sent", todo="--sent FILE --score 0.57")
    if out is None:
        raise UsageError("Missing option '--out'", expected="the CSV to write", todo="--out submissions/team.csv")
    if run is not None and ensemble is not None:
        raise UsageError("--run and --ensemble exclude each other", todo="give one of them")
    named = run if run is not None else ensemble
    chosen = choose_run(opened, progress=progress) if named is None else find_run(opened, named)
    if ensemble is not None and not chosen.is_ensemble:
        raise UsageError("this is no ensemble", got=chosen.name, todo=f"--run {chosen.name}")
    seen = look(opened, chosen)
    if not as_json:
        _show_coverage(seen)
    made = write(
        opened,
        out,
        run=chosen,
        int_ids=int_ids,
        clip=clip,
        decimals=decimals,
        force=force,
        accept_coverage=accept_coverage,
        seen=seen,
        progress=progress,
    )
    if as_json:
        console.print_json(made.to_json())
        return
    record = made.record
    screen = console.out()
    screen.print(f"wrote {made.path}: {record['rows']} clips from {record['run']}; checked: no errors", soft_wrap=True)
    valid = record["valid"]
    if record["clipped_values"] and valid is not None:
        before, after = console.number(valid["score"], 4), console.number(valid["score_clipped"], 4)
        screen.print(f"{record['clipped_values']} values were clipped; on validation that turns {before} into {after}")
    if not record["subject_safe"]:
        screen.print(record["subject_note"], style="yellow", markup=False)
    again = f"abawkit check {out}" + (" --int-ids" if int_ids else "")
    console.next_steps({again: "check it again, or any other file"})


def _verify(opened: Workspace, file: Path, as_json: bool) -> None:
    from abawkit.cli import console
    from abawkit.jobs.verify_submission import verify_submission

    found = verify_submission(opened, file, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(found.to_json())
    else:
        screen = console.out()
        for name, difference in found.members.items():
            screen.print(f"{name} predicted anew: differs by {difference:.2g} at most", soft_wrap=True, markup=False)
        for line in found.changed:
            screen.print(line, style="yellow", markup=False, soft_wrap=True)
        if found.same:
            screen.print(f"{file} was made again, byte for byte", soft_wrap=True, markup=False)
        elif found.where:
            told = f"not the same: values differ by {found.difference:.2g} at most ({found.where})"
            screen.print(told, style="red", markup=False, soft_wrap=True)
        else:
            screen.print("not the same: the form or the clips differ, the values do not", style="red", markup=False)
    if not found.same:
        raise typer.Exit(3)


def _sent(opened: Workspace, file: Path, score: float | None, force: bool, as_json: bool) -> None:
    from abawkit.cli import console
    from abawkit.submission.ledger import note_sent

    count, allowed = note_sent(opened, file, score=score, force=force)
    if as_json:
        console.print_json({"sent": str(file), "score": score, "entries": count, "allowed": allowed})
        return
    of = "" if allowed is None else f" of {allowed}"
    screen = console.out()
    screen.print(f"entered in submissions/ledger.csv: {count}{of} entries are sent", soft_wrap=True)
    if allowed is not None and count >= allowed:
        screen.print("that was the last entry", style="yellow")


def _show_coverage(seen: RunCoverage) -> None:
    from abawkit.cli import console

    rows = []
    for each in seen.stores:
        modality = each.store.partition("/")[0]
        for split, found in each.splits.items():
            lack = f"{1 - found.present / found.clips:.1%}" if found.clips else "–"
            counts = (found.clips, found.present, found.missing, found.failed, found.absent)
            rows.append([modality, split, *(f"{count:,}" for count in counts), lack])
    if rows:
        columns = ["features", "split", "clips", "present", "missing", "failed", "not made", "without"]
        console.show_table("What the features have", columns, rows, left=2)
    for line in seen.unknown:
        console.out().print(line, style="yellow", markup=False)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission.")],
    test_ids: Annotated[
        Path | None, typer.Option("--test-ids", help="CSV with the ids of the test clips.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Challenge folder with the test clips; default: the workspace's.")
    ] = None,
    int_ids: Annotated[bool, typer.Option("--int-ids", help="Ids have to be plain integers.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Write FILE.fixed.csv, where there is only one way to correct it.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say everything that a leaderboard could refuse a file for.

    In a workspace also, as warnings: values unlike those on the validation clips, and earlier submissions that are
    nearly the same.
    """
    from abawkit.challenge import EMI
    from abawkit.cli import console
    from abawkit.data.labels import load_official
    from abawkit.data.layout import ChallengeFolder
    from abawkit.errors import UsageError
    from abawkit.submission.form import examine, listed_test_ids, read_bytes
    from abawkit.submission.mend import mend
    from abawkit.submission.unusual import compare_earlier, compare_values, earlier_files, find_reference

    task, opened = EMI, None
    try:
        opened = open_workspace(workspace)
    except UsageError:
        if workspace is not None:
            raise
    else:
        task = opened.task
    folder = data if data is not None else None if opened is None or opened.settings.data is None else opened.data
    official = None if folder is None else load_official(ChallengeFolder.open(folder, task))
    ids = None if official is None else official.test_ids or None
    if test_ids is not None:
        ids = listed_test_ids(test_ids, task)
    found = examine(read_bytes(file), file, task, ids, int_ids=int_ids)
    report = found.report
    near: list[Earlier] = []
    if opened is not None and len(found.ids):
        reference = find_reference(opened, file, official)
        if reference is not None:
            compare_values(found, reference, task, file)
        near = compare_earlier(found, earlier_files(opened), task, file)
        report.about["earlier"] = [one.to_json() for one in near]
    mended = mend(file, task, ids, int_ids=int_ids) if fix else None
    if as_json:
        console.print_json(report.to_json() | ({} if mended is None else {"fixed": mended.to_json()}))
    else:
        console.show_report(report)
        _show_nearest(near)
        if mended is not None:
            _show_mended(mended.path, mended.changes)
    if not report.ok and mended is None:
        raise typer.Exit(3)


def _show_nearest(near: Sequence[Earlier]) -> None:
    """Prints how near the earlier submissions are: what correlates less teaches more."""
    from abawkit.cli import console

    screen = console.out()
    for one in near:
        told = one.problem or f"mean r {console.number(one.r)} with this file"
        screen.print(f"{one.path.name}: {told}", markup=False, soft_wrap=True)


def _show_mended(path: Path | None, changes: Sequence[str]) -> None:
    from abawkit.cli import console

    screen = console.out()
    if path is None:
        screen.print("there was nothing to correct")
        return
    screen.print(f"wrote {path}, which has no errors; changed:", soft_wrap=True, markup=False)
    for change in changes:
        screen.print(f"  {change}", markup=False)
