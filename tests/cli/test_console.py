"""What progress looks like: bars on a terminal, lines in a log."""

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from abawkit.cli import console
from tests.cli.program import run as abawkit
from tests.random_stores import random_workspace

#: What the loop of a training says of an epoch, at its longest.
NOTE = "r 0.412, best 0.431 at 93, patience 10"
FEW = "".join(f"{stage}_epochs = 3\n" for stage in ("text", "audio", "vision", "motion", "fusion"))


def shown(terminal: bool, total: int = 100, unit: str = "epochs", done: int = 0) -> str:
    file = io.StringIO()
    screen = Console(file=file, width=80, force_terminal=terminal, highlight=False, color_system=None)
    with console._Terminal(screen).task("train fusion", total, unit) as task:
        task.advance(done)
        for _ in range(2):
            time.sleep(0.06)
            task.advance(1, NOTE)
        time.sleep(0.2)
    return file.getvalue()


def test_a_bar_has_room_for_an_epoch_at_80_columns() -> None:
    frames = [line for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(True))) if NOTE in line]
    assert frames and max(map(len, frames)) <= 80
    assert any(re.search(rf" 2/100 \d\d:\d\d {NOTE}", frame) for frame in frames), "nothing is cut off"


def test_plain_progress_is_one_line_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(False).count("\n") == 1, "a log has a line now and then, and one at the end"
    token = console.PLAIN.set(True)
    try:
        lines = shown(False, total=1000, done=900).splitlines()
        assert shown(False, unit="clips").count("\n") == 1
    finally:
        console.PLAIN.reset(token)
    assert len(lines) == 3 and max(map(len, lines)) <= 80
    assert lines[0].startswith(f"train fusion 901/1000: {NOTE}, ")
    left = re.fullmatch(r"train fusion 902/1000: .*, (\d+) s left", lines[1])
    assert left and 5 <= int(left[1]) <= 40, "the 900 that were there already took no time"


def test_plain_may_stand_anywhere_and_is_forgotten(tmp_path: Path) -> None:
    root = random_workspace(tmp_path, f"[training]\nbatch_size = 8\nhidden = 8\n{FEW}").root
    for number, arguments in enumerate((("--plain", "train"), ("train", "--plain"))):
        made = abawkit(root, *arguments, "--system", "F1", "--seed", str(number))
        assert made.exit_code == 0, made.output
        assert [line for line in made.stderr.splitlines() if line.startswith("train fusion 2/3: r ")]
        assert "\x1b" not in made.output
    again = abawkit(root, "train", "--system", "F1", "--seed", "3")
    assert again.exit_code == 0 and "train fusion 2/3" not in again.stderr
    assert "--plain" in abawkit(root, "--help").stdout
    assert abawkit(root, "runs", "list", "--plain").exit_code == 0
    assert abawkit(root, "runs", "list").exit_code == 0 and not console.PLAIN.get()


def test_plain_has_no_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console.out().is_terminal
    token = console.PLAIN.set(True)
    try:
        assert not console.out().is_terminal and console.err().color_system is None
    finally:
        console.PLAIN.reset(token)


def test_what_looks_like_markup_in_a_folders_name_is_shown(tmp_path: Path) -> None:
    root = random_workspace(tmp_path / "[red]team").root
    made = abawkit(root, "resplit", "--ratio", "4:1")
    assert made.exit_code == 0 and f"in {root / 'splits'}" in made.stdout
    other = tmp_path / "[bold]other"
    other.mkdir()
    made = abawkit(other, "init", str(root / "challenge"))
    assert made.exit_code == 0 and f"wrote {other / 'abawkit.toml'}" in made.stdout
