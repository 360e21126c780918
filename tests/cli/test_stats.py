"""The ``stats`` command: tables that fit the terminal, the paper beside official data, figures as files."""

import json
from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.data.labels import write_labels
from tests.cli.program import run


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with labels of the official counts, and nothing else."""
    root = tmp_path_factory.mktemp("official")
    (root / "challenge").mkdir()
    rng = np.random.default_rng(0)
    for split, first, count in (("train", 0, 8072), ("valid", 8072, 4588)):
        votes = rng.multinomial(5, [0.15, 0.12, 0.1, 0.02, 0.14, 0.1, 0.37], count)[:, :6] / 5
        ids = [f"{number:05d}" for number in range(first, first + count)]
        write_labels(root / "challenge" / f"{split}_split.csv", EMI, ids, votes)
    (root / "abawkit.toml").write_text('data = "challenge"\n')
    return root


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(fresh: Path, official: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for folder in (fresh, official):
        result = run(folder, "stats")
        assert result.exit_code == 0, result.output
        assert max(map(len, result.stdout.splitlines())) <= width
        # No word of a table is broken over two lines.
        for word in (
            "difference" if folder == official else "Determ.",
            "Determination",
            "train+valid",
            "size, if shown",
        ):
            assert word in result.stdout


def test_the_paper_stands_beside_official_data(official: Path, fresh: Path) -> None:
    told = run(official, "stats").stdout
    for words in (
        "  difference  ",
        "0.1785",
        "55.3",
        "0.047",
        "<0.001",
        "5.67 %",
        "Excitement and Joy: ",
        "12,660",
        "none there",
    ):
        assert words in told, words
    record = json.loads(run(official, "stats", "--json").stdout)
    here = record["splits"]["train"]["mean"]["Joy"]
    assert record["difference"]["splits"]["train"]["mean"]["Joy"] == pytest.approx(here - 0.1157)
    assert record["splits"]["train"]["length_reasons"] == {"the video is missing or empty": 8072}
    told = run(fresh, "stats").stdout
    assert "paper's figures are not beside" in told and "difference" not in told.split("What it means")[0]
    assert "Frames as the paper counts them" in told and "Face crops per clip" in told


def test_figures(fresh: Path, tmp_path: Path) -> None:
    result = run(fresh, "stats", "--plots", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "figures").iterdir())
    assert len(files) == 12 and all(f"wrote {path}" in result.stdout for path in files)
    record = json.loads(run(fresh, "stats", "--plots", str(tmp_path / "more"), "--json").stdout)
    assert sorted(map(Path, record["plots"])) == sorted((tmp_path / "more").iterdir())


def test_figures_do_not_go_into_the_data(fresh: Path, tmp_path: Path) -> None:
    inside = fresh / "challenge" / "figures"
    result = run(fresh, "stats", "--plots", str(inside))
    assert result.exit_code == 2 and "nothing is written into the challenge folder" in result.stderr
    assert not inside.exists()
    (tmp_path / "taken").touch()
    result = run(fresh, "stats", "--plots", str(tmp_path / "taken"))
    assert result.exit_code == 2 and "this is not a folder" in result.stderr
