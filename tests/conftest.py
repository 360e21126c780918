"""Fixtures that every test can use."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Tests run side by side: torch's threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real media files, OpenFace files and texts; a user's machine does not have them."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the folder of real files is not here: {folder}")
    return folder


#: A workspace on a challenge so small that training takes seconds.
SMALL_CONFIG = """
data = "challenge"
[extract]
preset = "lite"
segment_clips = 16
[training]
text_epochs = 8
audio_epochs = 3
vision_epochs = 2
motion_epochs = 2
fusion_epochs = 15
lr = 1e-3
[submit]
min_shared = 5
"""


@pytest.fixture(scope="session")
def small_challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic challenge folder of 36 + 24 + 12 clips; do not write into it."""
    from abawkit.jobs.synthetic.challenge import write_challenge

    root = tmp_path_factory.mktemp("small")
    hidden = root / "hidden.csv"
    write_challenge(root / "challenge", seed=1, train=36, valid=24, test=12, hidden_labels=hidden, workers=1)
    return root / "challenge"


@pytest.fixture(scope="session")
def extracted(small_challenge: Path) -> Path:
    """A workspace on the small challenge with lite features; do not write into it."""
    from abawkit.extraction.pipeline import extract
    from abawkit.workspace import Workspace

    root = small_challenge.parent
    (root / "abawkit.toml").write_text(SMALL_CONFIG)
    extract(Workspace.open(root, environ={}, overrides={"extract.workers": 1}))
    return root


@pytest.fixture(scope="session")
def trained(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a 4:1 split and runs of F1 and F4, as training left them; do not write into it.

    Weights are not the same on every processor: a test to which predictions or scores matter takes :func:`predicted`.
    """
    from abawkit.data.splits.resplit import resplit
    from abawkit.training.train import train
    from abawkit.workspace import Workspace

    root = copy_of(extracted, tmp_path_factory.mktemp("trained") / "workspace")
    workspace = Workspace.open(root, environ={})
    resplit(workspace, "4:1")
    for system in ("F1", "F4"):
        train(workspace, system)
    return root


@pytest.fixture(scope="session")
def predicted(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with known predictions in both runs, and an ensemble of them; do not write into it."""
    from abawkit.evaluation.ensemble import ensemble
    from abawkit.workspace import Workspace
    from tests.known_predictions import give_all_predictions

    root = copy_of(trained, tmp_path_factory.mktemp("predicted") / "workspace")
    workspace = Workspace.open(root, environ={})
    give_all_predictions(workspace)
    ensemble(workspace, method="zmean")
    return root


def copy_of(workspace: Path, target: Path) -> Path:
    """Returns a copy of a workspace, which a test may change; the challenge folder in it is a link."""
    shutil.copytree(workspace, target, ignore=lambda folder, names: [n for n in names if n == "challenge"])
    (target / "challenge").symlink_to((workspace / "challenge").resolve(), target_is_directory=True)
    return target


@pytest.fixture
def extracted_copy(extracted: Path, tmp_path: Path) -> Path:
    """A copy of :func:`extracted` that the test may change."""
    return copy_of(extracted, tmp_path / "workspace")


@pytest.fixture
def trained_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of :func:`trained` that the test may change."""
    return copy_of(trained, tmp_path / "workspace")


@pytest.fixture
def predicted_copy(predicted: Path, tmp_path: Path) -> Path:
    """A copy of :func:`predicted` that the test may change."""
    return copy_of(predicted, tmp_path / "workspace")


@pytest.fixture
def fresh(small_challenge: Path, tmp_path: Path) -> Path:
    """A workspace on the small challenge in which nothing has been done."""
    root = tmp_path / "fresh"
    root.mkdir()
    (root / "abawkit.toml").write_text(SMALL_CONFIG)
    (root / "challenge").symlink_to(small_challenge, target_is_directory=True)
    return root


@pytest.fixture
def challenge_copy(small_challenge: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a workspace with a real copy of the small challenge, whose files the test may change."""

    def make() -> Path:
        root = tmp_path / "own"
        shutil.copytree(small_challenge, root / "challenge")
        (root / "abawkit.toml").write_text(SMALL_CONFIG)
        return root

    return make
