"""``simulate``: a workspace of simulated labels and features, for benchmarks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from abawkit.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    app.command(epilog="Example: abawkit simulate /tmp/simulated --clips 1500")(simulate)


def simulate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The workspace to write; a new folder.")],
    clips: Annotated[
        int | None,
        typer.Option(min=1, help="Train and valid clips together; test clips come on top.", show_default=False),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Multiple of the official size (17,246 clips); default: 1.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and size, same bytes.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write a workspace with simulated labels and features that have the paper's statistics."""
    from abawkit.cli import console
    from abawkit.fileio import human_bytes
    from abawkit.jobs.simulation.simulate import NOTE, simulate

    done = simulate(folder, clips=clips, scale=scale, seed=seed, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(done.to_json())
        return
    screen = console.out()
    rows = [
        [split, f"{size:,}", f"{done.persons[split]:,}", f"{done.missing_text[split] / size:.2%}"]
        for split, size in done.sizes.items()
    ]
    console.show_table("Simulated clips", ["split", "clips", "persons", "without words"], rows)
    frames = ", ".join(f"{count:,} {modality}" for modality, count in done.frames.items())
    screen.print(f"{done.seed_videos:,} seed videos, {done.hours:.1f} hours; frames: {frames}")
    console.say(f"{human_bytes(done.bytes)} in {done.root}, {done.seconds:.0f} s")
    screen.print(NOTE, style="yellow")
    console.next_steps(
        {
            f"cd {done.root}": "the workspace; commands work from inside it",
            "abawkit resplit --ratio 4:1": "the split of F3 and F4",
            "abawkit train --system F1": "train; then, on the hidden labels:",
            f"abawkit evaluate RUN --on test --labels {done.hidden.name}": "only a simulation has them",
        }
    )
