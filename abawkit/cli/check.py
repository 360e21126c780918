"""``check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.submission.fix import Fixed
    from abawkit.submission.unusual import Earlier

#: How many earlier submissions are shown.
_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Adds the command of this file to the program."""
    app.command(epilog="Example: abawkit check submissions/team.csv")(check)


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
    """List everything that a leaderboard could refuse a file for.

    In a workspace also, as warnings: values unlike those on the validation clips, and earlier submissions that are
    nearly the same.
    """
    from abawkit.challenge import EMI
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.layout.folder import ChallengeFolder
    from abawkit.submission.fix import fix as write_fixed
    from abawkit.submission.form import examine, listed_test_ids, official_test_ids, read_bytes
    from abawkit.submission.unusual import compare_values, earlier_submissions, find_reference

    task, opened = EMI, None
    try:
        opened = open_workspace(workspace)
    except UsageError:
        if workspace is not None:
            raise
    else:
        task = opened.task
    root = data if data is not None else None if opened is None or opened.settings.data is None else opened.data
    folder = None if root is None else ChallengeFolder.open(root, task)
    if test_ids is not None:
        ids: Sequence[str] | None = listed_test_ids(test_ids, task)
    else:
        ids = None if folder is None else official_test_ids(folder) or None
    found = examine(read_bytes(file), file, task, ids, int_ids=int_ids)
    report = found.report
    near: list[Earlier] = []
    if opened is not None and len(found.ids):
        reference = find_reference(opened, file, folder)
        if reference is not None:
            compare_values(found, reference, task, file)
        near = earlier_submissions(opened, found, file)
        report.about["earlier"] = [one.to_json() for one in near]
    fixed = write_fixed(file, task, ids, int_ids=int_ids) if fix else None
    if as_json:
        console.print_json(report.to_json() | ({} if fixed is None else {"fixed": fixed.to_json()}))
    else:
        console.show_report(report)
        show_nearest(near)
        if fixed is not None:
            _show_fixed(fixed)
    if not report.ok and fixed is None:
        raise typer.Exit(3)


def show_nearest(near: Sequence[Earlier]) -> None:
    """Prints the most similar earlier submissions: an entry that correlates less with them teaches more."""
    from abawkit.cli import console

    screen = console.out()
    for one in near[:_SHOWN]:
        screen.print(one.words, style="yellow" if one.near or one.same else None, markup=False, soft_wrap=True)
    if len(near) > _SHOWN:
        screen.print(f"… and {len(near) - _SHOWN} more earlier submissions; --json lists all", style="dim")


def _show_fixed(fixed: Fixed) -> None:
    from abawkit.cli import console

    screen = console.out()
    if fixed.path is None:
        screen.print("there was nothing to correct")
        return
    screen.print(f"wrote {fixed.path}, which has no errors; changed:", soft_wrap=True, markup=False)
    for change in fixed.changes:
        screen.print(f"  {change}", markup=False)
