"""``submit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.check import show_nearest
from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.jobs.verify_submission import Verified
    from abawkit.submission.coverage import RunCoverage
    from abawkit.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Adds the command of this file to the program."""
    app.command(epilog="Example: abawkit submit --out submissions/team.csv")(submit)


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
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite another submission; with --sent: one more than allowed.")
    ] = False,
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
        float | None, typer.Option("--score", help="With --sent: its leaderboard score.", show_default=False)
    ] = None,
    portfolio: Annotated[
        int | None,
        typer.Option("--portfolio", min=1, help="Propose this many different entries instead.", show_default=False),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the leaderboard CSV and check it.

    First it shows what the features have for the clips: test clips that lack more than the validation clips are
    refused. Then, how similar the file is to earlier submissions. FILE.json next to it records what made it.
    """
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.runs.run import Ensemble, find_run
    from abawkit.submission.write import choose_run, find_coverage
    from abawkit.submission.write import submit as write

    modes = {"--out": out, "--verify": verify, "--sent": sent, "--portfolio": portfolio}
    given = [name for name, value in modes.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other", todo="give one of them")
    opened = open_workspace(workspace)
    progress = console.progress_for(as_json)
    if portfolio is not None:
        from abawkit.cli.portfolio import show_portfolio

        show_portfolio(opened, portfolio, as_json)
        return
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
    if ensemble is not None and not isinstance(chosen, Ensemble):
        raise UsageError("this is not an ensemble", got=chosen.name, todo=f"--run {chosen.name}")
    coverage = find_coverage(opened, chosen)
    if not as_json:
        _show_coverage(coverage)
    made = write(
        opened,
        out,
        run=chosen,
        int_ids=int_ids,
        clip=clip,
        decimals=decimals,
        force=force,
        accept_coverage=accept_coverage,
        coverage=coverage,
        progress=progress,
    )
    if as_json:
        console.print_json(made.to_json())
        return
    record = made.record
    console.say(f"wrote {made.path}: {record.rows} clips from {record.run}; checked: no errors")
    screen = console.out()
    valid = record.valid
    if record.clipped_values and valid is not None:
        before, after = console.number(valid.score, 4), console.number(valid.score_clipped, 4)
        screen.print(f"{record.clipped_values} values were clipped; on validation that turns {before} into {after}")
    console.say_subject_notes([chosen])
    show_nearest(made.near)
    count, allowed = made.sent
    if allowed is not None and count >= allowed - 1:
        left = "it would be the last" if count == allowed - 1 else "none is left for this file"
        screen.print(f"{count} of {allowed} entries are sent: {left}", style="yellow")
    again = f"abawkit check {out}" + (" --int-ids" if int_ids else "")
    console.next_steps({again: "check it again, or any other file"})


def _verify(opened: Workspace, file: Path, as_json: bool) -> None:
    from abawkit.cli import console
    from abawkit.jobs.verify_submission import verify_submission

    found = verify_submission(opened, file, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(found.to_json())
    else:
        _show_verified(found, file)
    if not found.ok:
        raise typer.Exit(3)


def _show_verified(found: Verified, file: Path) -> None:
    from abawkit.cli import console

    for name, one in found.members.items():
        if not one.differ:
            outcome = f"within {one.largest:.2g} of what it saved" if one.values else "it saved none to compare"
            console.say(f"{name} predicted again: {outcome}")
    for change in found.changes:
        console.say(change.message, "yellow")
    for name, (then, now) in found.versions.items():
        console.say(f"{name} was {then or 'not there'}, now {now or 'not there'}", "dim")
    if found.same:
        console.say(f"{file} was made again, byte for byte")
    elif found.values is not None and found.values.differ:
        console.say(f"not the same: {found.values.words}", "red")
    elif found.values is not None and found.values.where:
        largest = f"every value within {found.values.largest:.2g} (up to {found.tolerance:.2g} is rounding)"
        console.say(f"{file} was made again: {largest}")
    elif found.values is not None:
        console.say("not the same: the form or the clips differ, the values do not", "red")


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
    if allowed is not None and count >= allowed - 1:
        left = "one entry is left" if count < allowed else "that was the last entry"
        screen.print(left if count <= allowed else "that is more than the organisers allow", style="yellow")


def _show_coverage(coverage: RunCoverage) -> None:
    from abawkit.cli import console

    rows = []
    for each in coverage.stores:
        modality = each.store.partition("/")[0]
        for split, found in each.splits.items():
            lack = f"{1 - found.present / found.clips:.1%}" if found.clips else "–"
            counts = (found.clips, found.present, found.missing, found.failed, found.absent)
            rows.append([modality, split, *(f"{count:,}" for count in counts), lack])
    if rows:
        columns = ["features", "split", "clips", "present", "missing", "failed", "not made", "without"]
        console.show_table("What the features have", columns, rows, left=2)
    for line in coverage.unknown:
        console.out().print(line, style="yellow", markup=False)
