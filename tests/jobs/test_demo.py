"""The demo end to end, small."""

from pathlib import Path

import pytest

from abawkit.challenge import EMI
from abawkit.data.splits.resplit import resplit
from abawkit.jobs.demo import demo
from abawkit.submission.form import check
from abawkit.training.train import train
from abawkit.workspace import Workspace


def test_a_small_demo_ends_with_an_accepted_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABAWKIT_SUBMIT_MIN_SHARED", "20")  # so few clips are too few for anyone but a test
    root = tmp_path / "demo"
    done = demo(root, seed=3, clips=(80, 60, 20))
    ids = sorted(path.stem for path in (root / "challenge" / "test_data" / "raw").glob("*.mp4"))
    assert len(ids) == 20 and check(done.submission.path, EMI, ids).findings == []
    assert done.report.ok and [found.run.record.system for found in done.valid] == ["F1", "F4", "ensemble"]
    assert [found.scores.n for found in done.valid] == [60, 28, 28]
    workspace = Workspace.open(root)
    assert train(workspace, "F4").path == done.valid[1].run.path  # the everyday commands find what the demo made
    assert resplit(workspace, "4:1").name == done.valid[1].run.record.split
    before = done.submission.path.read_bytes()
    again = demo(root, seed=3, clips=(80, 60, 20))  # everything is there: nothing changes
    assert again.submission.path.read_bytes() == before and again.seconds < done.seconds
