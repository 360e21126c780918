"""``stats``: the paper's data tables."""

from __future__ import annotations

import typer

from abawkit.cli.options import JsonOption, WorkersOption, WorkspaceOption, open_workspace


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit stats")(stats)


def stats(workspace: WorkspaceOption = None, workers: WorkersOption = None, as_json: JsonOption = False) -> None:
    """Show the paper's data tables for these data."""
    from abawkit.cli import console
    from abawkit.data.stats import stats as compute

    found = compute(open_workspace(workspace), workers=workers, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(found.to_json())
        return
    screen = console.out()
    rows = []
    for name, split in found.splits.items():
        lengths = split.lengths
        frames = [None] * 5 if lengths is None else list(vars(lengths.frames).values())
        missing = (
            ", ".join(f"{kind} {count}" for kind, count in split.missing.items() if 0 < count < split.clips) or "–"
        )
        rows.append([name, missing, str(split.clips), *(console.number(value, 1) for value in frames)])
    columns = ["split", "without", "clips", "frames", "± std", "min", "median", "max"]
    console.show_table("Clips (frames as the paper counts: 10 per second)", columns, rows, left=2)
    train, valid = found.splits["train"], found.splits["valid"]
    rows = []
    for index, target in enumerate(found.targets):
        cells = [[side.mean, side.zero_percent] for side in (train, valid)]
        means = [console.number(None if m is None else float(m[index])) for m, _ in cells]
        zeros = [console.number(None if z is None else float(z[index]), 1) for _, z in cells]
        shift = [console.number(float(found.ks[index])), console.number(float(found.ks_p[index]))]
        rows.append([target, *means, *zeros, *shift])
    columns = ["target", "mean train", "valid", "zero % train", "valid", "KS", "p"]
    console.show_table("Labels", columns, rows)
    if found.paper is None:
        screen.print("[dim]These are not the official counts, so the paper's figures are not beside them.[/]")
    else:
        ks = found.paper["ks"]
        screen.print("[dim]The paper's KS: " + ", ".join(f"{k} {v}" for k, v in ks.items()) + " (Table 2)[/]")
