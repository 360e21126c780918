import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from abawkit.challenge import EMI, Task
from abawkit.data.stats.tables import correlation, label_stats, stats
from abawkit.errors import FindingsError
from abawkit.workspace import Workspace
from tests.data.conftest import clip_id, open_workspace, write_csv
from tests.data.paper_labels import KS, MEANS, RATERS, ZEROS, voters

TRAIN, VALID = 8072, 4588


def columns(path: Path) -> np.ndarray:
    return np.array([[float(cell) for cell in row.split(",")[1:]] for row in path.read_text().splitlines()[1:]])


def test_labels_against_numpy(bare_workspace: Callable[..., Workspace]) -> None:
    workspace = bare_workspace(300, 200)
    train, valid = columns(workspace.data / "train_split.csv"), columns(workspace.data / "valid_split.csv")
    found = stats(workspace, media=False)
    assert not found.official and list(found.splits) == ["train", "valid", "train+valid"]
    for split, values in {"train": train, "valid": valid, "train+valid": np.concatenate([train, valid])}.items():
        labels = found.labels(split)
        assert found.splits[split].clips == len(values)
        assert np.allclose(labels.mean, values.sum(axis=0) / len(values))
        assert np.allclose(labels.std, np.sqrt(((values - values.mean(axis=0)) ** 2).mean(axis=0)))
        assert np.allclose(labels.zero_percent, 100 * np.count_nonzero(values == 0, axis=0) / len(values))
        assert np.allclose(labels.correlation, np.corrcoef(values.T))
        for one in range(6):
            for other in range(6):
                both = sum(row[one] > 0 and row[other] > 0 for row in values)
                assert labels.cooccurrence_percent[one, other] == pytest.approx(100 * both / len(values))
        assert labels.row_sum_mean == pytest.approx(values.sum() / len(values))
        assert labels.row_sum_max == pytest.approx(1.0) and labels.row_sum_above_one_percent == 0
    for shift, a, b in zip(found.shift, train.T, valid.T, strict=True):
        assert shift.p == pytest.approx(reference.ks_2samp(a, b).pvalue)


def test_a_constant_target_has_no_correlation() -> None:
    values = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.5], [0.5, 0.0, 0.0]])
    found = correlation(values)
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == pytest.approx(reference.pearsonr(values[:, 0], values[:, 2]).statistic)


def test_sums_above_one_are_counted_beyond_rounding() -> None:
    rounded = np.array([[0.1667] * 6, [0.333, 0.333, 0.334, 0.0, 0.0, 0.0]])
    assert rounded.sum(axis=1)[0] > 1
    assert label_stats(rounded, 20).row_sum_above_one_percent == 0
    found = label_stats(np.array([[0.5, 0.5, 0.25], [0.5, 0.25, 0.25]]), None)
    assert (found.row_sum_above_one_percent, found.row_sum_max) == (50, 1.25)


def test_files_and_lengths(challenge: Path, workspace: Workspace, media_files: Path) -> None:
    shutil.copy(media_files / "long.mp4", challenge / "raw" / "00013.mp4")
    (challenge / "raw" / "00014.mp4").write_bytes(b"x" * 100)
    (challenge / "raw" / "00015.mp4").unlink()
    (challenge / "text" / "00000.txt").write_text("\n")
    (challenge / "face_images" / "00000" / "5.jpg").write_bytes(b"x")
    shutil.rmtree(challenge / "face_images" / "00001")
    shutil.rmtree(challenge / "test_data" / "audio")
    found = stats(workspace)
    assert {name: split.clips for name, split in found.splits.items()} == {
        "train": 12,
        "valid": 8,
        "train+valid": 20,
        "test": 5,
    }
    assert found.splits["train"].missing == {
        "video": 0,
        "audio": 0,
        "faces": 1,
        "text": 1,
        "openface": 12,
        "vit": 12,
        "wav2vec2": 12,
    }
    assert found.splits["test"].missing["audio"] == 5 and found.splits["test"].missing["video"] == 0
    words = found.splits["train"].missing_words
    assert (words("video"), words("text"), words("openface")) == ("0", "1 (8.3 %)", "none there")
    lengths = found.splits["valid"].lengths
    assert lengths is not None and (len(lengths.values), lengths.unknown) == (6, 2)
    assert found.splits["valid"].reasons == {
        "the video cannot be opened as video or sound": 1,
        "the video is missing or empty": 1,
    }
    assert lengths.seconds.min == pytest.approx(0.6) and lengths.frames.min == 6
    assert lengths.seconds.max == pytest.approx(89.1, abs=1)
    assert lengths.long_percent == pytest.approx(100 / 6)
    both = found.splits["train+valid"].lengths
    assert both is not None and len(both.values) == 18 and both.seconds.median == pytest.approx(0.6)
    crops = found.splits["train"].crops
    assert crops is not None and crops.clips == 11 and (crops.count.min, crops.count.max) == (2, 3)
    assert crops.per_second is not None and crops.per_second.median == pytest.approx(2 / 0.6)
    assert found.splits["test"].labels is None


def test_several_processes_find_the_same(bare_workspace: Callable[..., Workspace], media_files: Path) -> None:
    workspace = bare_workspace(500, 100)  # enough clips to be worth other processes
    (workspace.data / "raw").mkdir()
    for number in (3, 70, 599):
        shutil.copy(media_files / "clip.mp4", workspace.data / "raw" / f"{clip_id(number)}.mp4")
    found = stats(workspace, workers=2)
    assert found.to_json() == stats(workspace, workers=1).to_json()
    assert [found.splits[split].reasons for split in ("train", "valid")] == [
        {"the video is missing or empty": 498},
        {"the video is missing or empty": 99},
    ]


def test_json(workspace: Workspace) -> None:
    found = stats(workspace)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    train = record["splits"]["train"]
    assert train["missing"]["openface"] == {"clips": 12, "percent": 100.0, "state": "none there"}
    assert train["missing"]["video"]["state"] == "complete"
    assert set(train["mean"]) == set(EMI.targets)
    assert train["cooccurrence_percent"]["Joy"]["Joy"] == pytest.approx(100 - train["zero_percent"]["Joy"])
    assert sum(train["raters"]["fewest"].values()) + train["raters"]["all_zero"] == 12
    assert train["lengths"]["known"] == 12 and train["lengths"]["frames"]["median"] == 6
    assert train["crops"]["count"]["mean"] == 2
    assert record["splits"]["test"]["mean"] is None and record["splits"]["test"]["raters"] is None
    assert record["correlation"]["Joy"]["Joy"] == 1.0
    assert record["shift"]["Joy"]["ks"] == record["ks"]["Joy"]
    assert record["verdict"] and record["paper"] is None and record["difference"] is None


@pytest.fixture(scope="module")
def as_in_the_paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, np.ndarray]]:
    """A workspace whose labels are votes with the paper's means and shares of zeros, and these labels."""
    root = tmp_path_factory.mktemp("paper")
    (root / "challenge" / "raw").mkdir(parents=True)
    labels = {}
    for seed, (split, first, count) in enumerate((("train", 0, TRAIN), ("valid", TRAIN, VALID))):
        labels[split] = voters(split).labels(np.random.default_rng(seed), count)
        ids = [clip_id(number) for number in range(first, first + count)]
        write_csv(root / "challenge" / f"{split}_split.csv", ids, labels[split])
    return open_workspace(root / "work", root / "challenge"), labels


def test_tables_1_and_2_within_sampling_error(as_in_the_paper: tuple[Workspace, dict[str, np.ndarray]]) -> None:
    workspace, labels = as_in_the_paper
    found = stats(workspace)
    record = found.to_json()
    assert found.official
    for split, values in labels.items():
        count = len(values)
        here = record["splits"][split]
        for k, target in enumerate(EMI.targets):
            error = values[:, k].std() / np.sqrt(count)
            assert here["mean"][target] == pytest.approx(MEANS[split][k], abs=4 * error)
            share = ZEROS[split][k]
            error = 100 * np.sqrt(share * (1 - share) / count)
            assert here["zero_percent"][target] == pytest.approx(100 * share, abs=4 * error)
            # Beside it stands the paper's figure, and the difference.
            for key, told in (("mean", MEANS[split][k]), ("zero_percent", 100 * share)):
                assert record["paper"]["splits"][split][key][target] == pytest.approx(told)
                difference = record["difference"]["splits"][split][key][target]
                assert difference == pytest.approx(here[key][target] - told)
        assert here["row_sum"]["max"] <= 1 + 1e-9
        raters = found.labels(split).raters
        assert raters is not None and raters.none_fits == 0
        assert all(any(number % fewest == 0 for number in RATERS) for fewest in raters.fewest)
        assert raters.all_zero == np.count_nonzero(~values.any(axis=1))


def test_the_shift_of_table_2_within_sampling_error(as_in_the_paper: tuple[Workspace, dict[str, np.ndarray]]) -> None:
    workspace, labels = as_in_the_paper
    found = stats(workspace, media=False)
    drawn = {split: voters(split) for split in labels}
    for k, shift in enumerate(found.shift):
        train, valid = labels["train"][:, k], labels["valid"][:, k]
        # By the definition, with sorted values: the greatest distance of the two empirical distribution functions.
        every = np.concatenate([train, valid])
        shares = [np.searchsorted(np.sort(side), every, "right") / len(side) for side in (train, valid)]
        assert shift.ks == pytest.approx(np.abs(shares[0] - shares[1]).max(), abs=1e-12)
        # What the two distributions from which the labels were drawn imply, computed without drawing.
        grid = sorted({votes / raters for raters in RATERS for votes in range(raters)})
        implied = np.array([[drawn[split].share_at_most(k, value) for split in labels] for value in grid])
        gap = np.abs(implied[:, 0] - implied[:, 1]).max()
        error = np.sqrt((implied * (1 - implied) / [TRAIN, VALID]).sum(axis=1)).max()
        assert abs(shift.ks - gap) < 4 * error
        if k != 1:  # for Amusement the shares of zeros are equal, so that nothing implies the paper's .016
            assert gap == pytest.approx(KS[k], abs=0.0016)
            assert shift.ks == pytest.approx(KS[k], abs=4 * error)
        # The p-value by the asymptotic distribution of the statistic.
        scale = np.sqrt(TRAIN * VALID / (TRAIN + VALID))
        assert shift.p == pytest.approx(reference.kstwobign.sf(scale * shift.ks), rel=0.1, abs=1e-4)
    shown = {shift.target for shift in found.shift if shift.shown}
    assert {"Admiration", "Determination", "Joy"} <= shown and not shown & {"Amusement", "Empathic Pain"}


def test_a_binary_task(tmp_path: Path) -> None:
    task = Task("hesitancy", "made up", ("Hesitant",), score="macro_f1")
    rng = np.random.default_rng(0)
    (tmp_path / "challenge").mkdir()
    for split, first, count, chance in (("train", 0, 300, 0.5), ("valid", 300, 200, 0.2)):
        rows = [f"{clip_id(first + number)},{int(rng.random() < chance)}" for number in range(count)]
        (tmp_path / "challenge" / f"{split}_split.csv").write_text("\n".join(["Filename,Hesitant", *rows]) + "\n")
    (tmp_path / "abawkit.toml").write_text('data = "challenge"\n')
    found = stats(Workspace.open(tmp_path, environ={}, task=task))
    assert not found.official and found.labels("train").raters is None
    assert found.shift[0].shown and "F1 depends on" in " ".join(found.verdict)
    record = found.to_json()
    assert record["splits"]["train"]["raters"] is None and record["correlation"] == {"Hesitant": {"Hesitant": 1.0}}
    assert found.splits["train"].lengths is None
    assert found.splits["train"].reasons == {"the video is missing or empty": 300}


def test_broken_labels(challenge: Path, workspace: Workspace) -> None:
    (challenge / "valid_split.csv").unlink()
    with pytest.raises(FindingsError, match="F102"):
        stats(workspace)
