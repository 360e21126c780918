"""``abawkit demo``: a small synthetic challenge, and every step on it, offline, up to a checked CSV."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abawkit.data.checks.validate import validate
from abawkit.data.splits.resplit import resplit
from abawkit.data.stats.tables import Stats, stats
from abawkit.errors import UsageError
from abawkit.evaluation.ensemble import ensemble
from abawkit.evaluation.scores import Evaluation, evaluate
from abawkit.extraction.pipeline import extract
from abawkit.extraction.report import Extraction
from abawkit.findings import Report
from abawkit.jobs.synthetic.challenge import write_challenge
from abawkit.progress import SILENT, Progress
from abawkit.submission.write import Submission, submit
from abawkit.training.train import train
from abawkit.workspace import CONFIG_NAME, Workspace, init_workspace

SYSTEMS = ("F1", "F4")
HIDDEN = "hidden_test_labels.csv"


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        root: The workspace.
        report: What validation found in the synthetic challenge.
        stats: Its data tables.
        extraction: The feature stores.
        valid: Each system's and the ensemble's scores on its validation clips.
        hidden: The same on the hidden test labels, which only a synthetic challenge has.
        submission: The checked CSV.
        seconds: How long it took.
    """

    root: Path
    report: Report
    stats: Stats
    extraction: Extraction
    valid: tuple[Evaluation, ...]
    hidden: tuple[Evaluation, ...]
    submission: Submission
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Returns the demo as a JSON object."""
        return {
            "workspace": str(self.root),
            "validate": self.report.to_json(),
            "stats": self.stats.to_json(),
            "extract": self.extraction.to_json(),
            "evaluate": [evaluation.to_json() for evaluation in self.valid],
            "hidden_test": [evaluation.to_json() for evaluation in self.hidden],
            "submit": self.submission.to_json(),
            "seconds": self.seconds,
        }


def demo(
    root: Path,
    *,
    seed: int = 0,
    clips: tuple[int, int, int] = (230, 130, 100),
    shuffle_labels: bool = False,
    progress: Progress = SILENT,
) -> Demo:
    """Writes a synthetic challenge to ``root/challenge`` and runs every step on it in the workspace ``root``.

    Args:
        root: A new or empty folder, or an earlier demo, which is gone on with.
        seed: Seed of the challenge, the split and the training.
        clips: Number of training, validation and test clips.
        shuffle_labels: Deal the labels to other clips, so that nothing can be learned: the job must then fail to.
        progress: What to report to.

    Raises:
        UsageError: ``root`` holds something else.
        FindingsError: A step found errors.
    """
    began = time.monotonic()
    challenge = root / "challenge"
    if root.exists() and any(root.iterdir()) and not challenge.exists():
        raise UsageError("this folder holds something else", path=root, todo="name a new one: abawkit demo DIR")
    train_clips, valid_clips, test_clips = clips
    progress.say("▸ 1/9 write a synthetic challenge: drawn people who speak, with rated emotions")
    write_challenge(
        challenge,
        seed=seed,
        train=train_clips,
        valid=valid_clips,
        test=test_clips,
        shuffle_labels=shuffle_labels,
        hidden_labels=root / HIDDEN,
        progress=progress,
    )
    if not (root / CONFIG_NAME).exists():
        init_workspace(root, challenge, preset="lite", seed=seed)
    workspace = Workspace.open(root)
    progress.say("▸ 2/9 validate: everything that is wrong with the folder")
    report = validate(workspace.data, workspace.task, progress=progress)
    report.raise_if_bad("the synthetic challenge", "delete it and run: abawkit demo")
    progress.say("▸ 3/9 stats: the paper's data tables for these data")
    tables = stats(workspace, progress=progress)
    progress.say("▸ 4/9 extract: text, audio, vision, motion (preset lite: weak, no download)")
    extraction = extract(workspace, progress=progress)
    progress.say("▸ 5/9 resplit 4:1: more clips to train on, as the paper's F3 and F4")
    resplit(workspace, "4:1")
    runs = []
    for step, system in enumerate(SYSTEMS, start=6):
        progress.say(f"▸ {step}/9 train {system}: each modality alone, then together")
        runs.append(train(workspace, system, progress=progress))
    progress.say("▸ 8/9 ensemble: both systems, standardised, equal weights")
    runs.append(ensemble(workspace, runs, method="zmean", progress=progress))
    progress.say("▸ 9/9 submit: write the CSV and check it")
    # Its own ensemble, whatever else has been trained in this workspace since an earlier demo.
    submission = submit(workspace, Path("submissions/team.csv"), run=runs[-1], force=True, progress=progress)
    return Demo(
        root=root,
        report=report,
        stats=tables,
        extraction=extraction,
        valid=tuple(evaluate(workspace, run) for run in runs),
        hidden=tuple(evaluate(workspace, run, "test", labels=root / HIDDEN) for run in runs),
        submission=submission,
        seconds=time.monotonic() - began,
    )
