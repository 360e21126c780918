"""What is reported about trainings in other processes."""

import os
import time
from pathlib import Path

from abawkit.training.watch import last_epochs, watched

HEAD = "stage,epoch,loss,score,lr\n"


def history(folder: Path, *rows: str, age: float = 0.0) -> Path:
    folder.mkdir(parents=True)
    path = folder / "history.csv"
    path.write_text(HEAD + "".join(row + "\n" for row in rows))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_the_last_epoch_of_what_is_being_trained(tmp_path: Path) -> None:
    stages, runs = tmp_path / "stages", tmp_path / "runs"
    began = time.time() - 100
    history(stages / "audio-1", "audio,1,.5,0.1,1e-4", "audio,2,.4,0.3414,1e-4", age=10)
    history(stages / "text-1", "text,1,.5,0.2,1e-4", age=10).with_name("stage.json").write_text("{}")
    history(stages / "vision-1", "vision,7,.5,-0.01,1e-4", age=500)
    history(stages / "motion-1")
    history(runs / "F1", "text,1,.5,0.2,1e-4", "fusion,3,.5,,1e-4", age=5)
    assert last_epochs(stages, runs, since=began) == "audio 2 r .341 · fusion 3"
    assert last_epochs(tmp_path / "none", runs, since=time.time()) == ""


def test_the_bar_is_told_while_it_lasts(tmp_path: Path) -> None:
    notes: list[tuple[int, str]] = []

    class Bar:
        def advance(self, amount: int = 1, note: str = "") -> None:
            notes.append((amount, note))

    with watched(tmp_path / "stages", tmp_path / "runs", Bar(), seconds=0.01):
        history(tmp_path / "stages" / "audio-1", "audio,2,.4,0.3,1e-4", age=-5)
        deadline = time.monotonic() + 10
        while not notes and time.monotonic() < deadline:
            time.sleep(0.01)
    assert notes and set(notes) == {(0, "audio 2 r .300")}
    count = len(notes)
    time.sleep(0.05)
    assert len(notes) == count
