import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from abawkit.challenge import EMI
from abawkit.data.stats import PAPER, correlation, paper_frames, stats
from abawkit.errors import FindingsError
from abawkit.workspace import Workspace


def columns(path: Path) -> np.ndarray:
    return np.array([[float(cell) for cell in row.split(",")[1:]] for row in path.read_text().splitlines()[1:]])


def test_labels_against_scipy(bare_workspace: Callable[..., Workspace]) -> None:
    workspace = bare_workspace(300, 200)
    train, valid = columns(workspace.data / "train_split.csv"), columns(workspace.data / "valid_split.csv")
    found = stats(workspace, media=False)
    for k in range(6):
        expected = reference.ks_2samp(train[:, k], valid[:, k])
        assert found.ks[k] == pytest.approx(expected.statistic, abs=1e-12)
        assert found.ks_p[k] == pytest.approx(expected.pvalue, abs=1e-12)
        # By its definition: the greatest distance of the two empirical distribution functions.
        steps = [abs((train[:, k] <= x).mean() - (valid[:, k] <= x).mean()) for x in np.unique(train[:, k])]
        assert found.ks[k] == pytest.approx(max(steps), abs=1e-12)
        assert found.splits["train"].mean[k] == pytest.approx(sum(train[:, k]) / 300)
        assert found.splits["valid"].zero_percent[k] == pytest.approx(np.count_nonzero(valid[:, k] == 0) / 2)
        assert found.splits["valid"].std[k] == pytest.approx(np.sqrt(((valid[:, k] - valid[:, k].mean()) ** 2).mean()))
    both = np.concatenate([train, valid])
    assert np.allclose(found.correlation, np.corrcoef(both.T))
    assert np.allclose(found.splits["train"].correlation, np.corrcoef(train.T))
    assert found.paper is None


def test_a_constant_target_has_no_correlation() -> None:
    values = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.5], [0.5, 0.0, 0.0]])
    found = correlation(values)
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == pytest.approx(reference.pearsonr(values[:, 0], values[:, 2]).statistic)


def test_files_and_lengths(challenge: Path, workspace: Workspace, media_files: Path) -> None:
    shutil.copy(media_files / "long.mp4", challenge / "raw" / "00013.mp4")
    (challenge / "raw" / "00014.mp4").write_bytes(b"x" * 100)
    (challenge / "text" / "00000.txt").write_text("\n")
    shutil.rmtree(challenge / "test_data" / "audio")
    found = stats(workspace)
    assert {name: split.clips for name, split in found.splits.items()} == {"train": 12, "valid": 8, "test": 5}
    assert found.splits["train"].missing == {
        "video": 0,
        "audio": 0,
        "faces": 0,
        "text": 1,
        "openface": 12,
        "vit": 12,
        "wav2vec2": 12,
    }
    assert found.splits["test"].missing["audio"] == 5
    lengths = found.splits["valid"].lengths
    assert (lengths.known, lengths.unknown) == (7, 1)
    assert lengths.seconds.max == pytest.approx(84, abs=13)  # the last frame is shown for as long as the others
    assert lengths.seconds.min == pytest.approx(0.75, abs=0.1)
    assert lengths.frames.min == 8
    assert lengths.long_percent == pytest.approx(100 / 7)
    assert lengths.total_seconds == pytest.approx(lengths.seconds.mean * 7)
    assert found.splits["test"].mean is None


def test_json(workspace: Workspace) -> None:
    record = json.loads(json.dumps(stats(workspace).to_json(), allow_nan=False))
    assert record["splits"]["train"]["missing"]["openface"] == {"clips": 12, "percent": 100.0}
    assert set(record["splits"]["train"]["mean"]) == set(EMI.targets)
    assert record["splits"]["test"]["mean"] is None
    assert record["correlation"]["Joy"]["Joy"] == 1.0
    assert record["splits"]["valid"]["lengths"]["frames"]["median"] == 8


def test_the_paper_stands_beside_the_official_data(bare_workspace: Callable[..., Workspace]) -> None:
    found = stats(bare_workspace(8072, 4588), media=False)
    assert found.paper is PAPER
    assert found.to_json()["paper"]["train"]["mean"]["Joy"] == 0.1157
    assert found.splits["train"].lengths is None


def test_paper_p_values_are_those_of_its_statistics() -> None:
    # The transcription holds together: scipy's p of each statistic at the official sizes is the paper's.
    scale = np.sqrt(8072 * 4588 / 12660)
    for target, told in PAPER["ks_p"].items():
        low, high = (reference.kstwobign.sf(scale * (PAPER["ks"][target] + d)) for d in (0.0005, -0.0005))
        assert high < 0.001 if told.startswith("<") else low <= float(told) <= high


def test_frames_as_the_paper_counts_them() -> None:
    assert paper_frames(np.array([0.01, 0.1, 0.3, 0.31, 225.5])).tolist() == [1, 1, 3, 4, 2255]


def test_broken_labels(challenge: Path, workspace: Workspace) -> None:
    (challenge / "valid_split.csv").unlink()
    with pytest.raises(FindingsError, match="F102"):
        stats(workspace)
