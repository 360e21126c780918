"""A made-up binary task through the whole job: nothing is built for six emotions only."""

from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import Folders, IdRule, SubmissionForm, Task
from abawkit.data.labels import write_labels
from abawkit.data.splits.resplit import resplit
from abawkit.evaluation.ensemble import ensemble
from abawkit.evaluation.scores import evaluate
from abawkit.extraction.pipeline import extract
from abawkit.submission.form import check
from abawkit.submission.write import submit
from abawkit.training.train import train
from abawkit.workspace import Workspace

TASK = Task(
    "hesitancy",
    "made up: does the person hesitate?",
    ("Hesitant",),
    score="macro_f1",
    id_column="video",
    ids=IdRule(digits=None, pattern=r"v-[0-9]{3}", example="v-000"),
    folders=Folders(text="transcripts", train_csv=("train.csv",), valid_csv=("valid.csv",)),
    submission=SubmissionForm(header=False, values="label"),
)


def test_training_to_submission(tmp_path: Path) -> None:
    data = tmp_path / "data"
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120).astype(float)
    for number, label in enumerate(labels):
        folder = data / "test" if number >= 90 else data
        for name, content in (
            ("transcripts", "well maybe I am not sure" if label else "yes of course right away"),
            ("raw", ""),
        ):
            path = folder / name / (f"v-{number:03d}" + (".txt" if name == "transcripts" else ".mp4"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + (f" {rng.integers(9)}" if content else ""))
    ids = [f"v-{number:03d}" for number in range(120)]
    write_labels(data / "train.csv", TASK, ids[:60], labels[:60, None])
    write_labels(data / "valid.csv", TASK, ids[60:90], labels[60:90, None])
    (tmp_path / "abawkit.toml").write_text('data = "data"\n[extract]\npreset = "lite"\n[submit]\nmin_shared = 5\n')
    few = {f"training.{stage}_epochs": 4 for stage in ("text", "audio", "vision", "motion", "fusion")}
    workspace = Workspace.open(tmp_path, environ={}, task=TASK, overrides=few | {"training.lr": 5e-3})
    done = extract(workspace)
    assert done.stores[0].present == 120 and done.stores[1].present == 0  # empty videos: nothing but text
    resplit(workspace, "4:1")
    runs = [train(workspace, "F1"), train(workspace, "F3")]
    found = evaluate(workspace, runs[0])
    scores = found.scores
    assert (found.interval.low, found.interval.high) == (1.0, 1.0)  # of the macro F1, not of Pearson's r
    assert found.to_json()["scores"]["valid"]["interval_of"] == "macro_f1"
    assert scores.primary == pytest.approx(1.0) and scores.to_json()["macro_f1"] == pytest.approx(1.0)
    ensemble(workspace, runs)
    made = submit(workspace, Path("submissions/trial-0.txt"))
    rows = dict(line.split(",") for line in made.path.read_text().splitlines())
    assert rows == {f"v-{number:03d}": str(int(labels[number])) for number in range(90, 120)}
    assert check(made.path, TASK, ids[90:]).ok
