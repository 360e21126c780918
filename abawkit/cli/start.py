"""``demo``, ``init``, ``doctor`` and ``config``: the first commands that a person types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import JsonOption, SeedOption, WorkspaceOption, open_workspace

config_app = typer.Typer(help="Show the settings.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit demo /tmp/demo")(demo)
    app.command(epilog="Example: abawkit init /data/emi")(init)
    app.command(epilog="Example: abawkit doctor --json")(doctor)
    config_app.command("show", epilog="Example: abawkit config show")(show)
    app.add_typer(config_app, name="config")


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to work; a new folder.")] = Path("demo"),
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every step on a small synthetic challenge, offline."""
    from abawkit.cli import console
    from abawkit.jobs.demo import demo as run_demo

    done = run_demo(folder, seed=0 if seed is None else seed, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(done.to_json())
        return
    rows = [
        [
            valid.run.record.system,
            valid.run.record.split or "",
            console.number(valid.scores.mean_pearson),
            str(valid.scores.n),
            console.number(hidden.scores.mean_pearson),
            str(hidden.scores.n),
        ]
        for valid, hidden in zip(done.valid, done.hidden, strict=True)
    ]
    columns = ["system", "split", "validation r", "clips", "hidden test r", "clips"]
    screen = console.out()
    screen.print()
    console.show_table("Results on a synthetic challenge", columns, rows, left=2)
    screen.print("[dim]Validation sets differ, so these rows are not a ranking. Only a demo has hidden test labels.[/]")
    for valid in done.valid:
        if not valid.run.subject_safe:
            screen.print(f"{valid.run.record.system}: {valid.run.subject_note}", style="yellow", markup=False)
    counts = done.report.counts
    written = {
        "challenge": f"{done.root / 'challenge'}  ({counts['train']} + {counts['valid']} + {counts['test']} clips)",
        "features": str(done.root / "features"),
        "runs": str(done.root / "runs"),
        "submission": f"{done.submission.path}  (checked: no errors)",
    }
    screen.print(f"\n[bold]Written[/] in {done.seconds:.0f} s")
    for name, place in written.items():
        console.say(f"  {name:<10}  {place}")
    console.next_steps(
        {
            f"cd {done.root}": "the workspace; commands work from inside it",
            "abawkit validate": "what is odd about these clips",
            "abawkit train --system F2": "another of the paper's systems",
            "abawkit submit --out submissions/second.csv": "a submission from the newest ensemble",
            "abawkit init DATA": "in a new folder: your own challenge data",
        }
    )


def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The challenge folder; it is only ever read.")],
    preset: Annotated[str, typer.Option(help="paper (transformers) or lite (weak, no download).")] = "paper",
    force: Annotated[bool, typer.Option("--force", help="Write it again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make this folder a workspace: write abawkit.toml."""
    from abawkit.challenge import EMI
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.layout.folder import ChallengeFolder
    from abawkit.workspace import init_workspace

    if preset not in ("paper", "lite"):
        raise UsageError("unknown preset", got=preset, expected="paper or lite")
    ChallengeFolder.open(data, EMI)
    path = init_workspace(Path.cwd(), data, preset=preset, force=force)
    if as_json:
        console.print_json({"ok": True, "workspace": str(path.parent), "config": str(path)})
        return
    console.say(f"wrote {path}")
    console.next_steps({"abawkit validate": "see what is in the folder", "abawkit extract": "make the features"})


def doctor(as_json: JsonOption = False) -> None:
    """Say what will work on this machine, and how to fix the rest."""
    from abawkit.cli import console
    from abawkit.jobs.doctor import doctor as examine

    found = examine(Path.cwd())
    if as_json:
        console.print_json(found.to_json())
    else:
        marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}
        screen = console.out()
        for check in found.checks:
            screen.print(
                f"{marks[check.state]} [bold]{check.name:<14}[/] {console.escape(check.found)}", soft_wrap=True
            )
            if check.todo and check.state != "ok":
                for line in check.todo.splitlines():
                    screen.print(f"  {'':<14} [dim]{console.escape(line)}[/]", soft_wrap=True)
    if not found.ok:
        raise typer.Exit(3)


def show(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show every setting with its value and where the value came from."""
    from abawkit.cli import console

    opened = open_workspace(workspace)
    if as_json:
        record = {s.key: {"value": s.value, "source": s.source} for s in opened.resolved()}
        console.print_json({"workspace": str(opened.root), "settings": record})
        return
    rows = [[s.key, "" if s.value is None else str(s.value), s.source] for s in opened.resolved()]
    console.show_table(f"Settings of {opened.root}", ["key", "value", "source"], rows, left=3)
