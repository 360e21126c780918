"""The commands that look after feature stores; and a workspace that has nothing but CSVs and imported features."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from abawkit.challenge import EMI
from abawkit.data.labels import write_labels
from tests.cli.program import run

CONFIG = """
data = "challenge"
[extract]
segment_clips = 16
[training]
text_epochs = 15
audio_epochs = 8
vision_epochs = 2
motion_epochs = 2
fusion_epochs = 20
dropout = 0.1
lr = 3e-3
[submit]
min_shared = 5
"""
IDS = [f"{number:05d}" for number in range(72)]


def run_json(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = run(folder, *arguments, "--json")
    assert result.exit_code == code, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose data folder holds only CSVs, and features of four modalities as others keep them."""
    root = tmp_path_factory.mktemp("imported")
    (root / "abawkit.toml").write_text(CONFIG)
    (root / "challenge").mkdir()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (72, 6)) / 4
    for name, rows in {"train": slice(0, 36), "valid": slice(36, 60), "test": slice(60, 72)}.items():
        write_labels(root / "challenge" / f"{name}_split.csv", EMI, IDS[rows], labels[rows] * (name != "test"))
    widths = {"text": 16, "audio": 12, "vision": 8, "motion": 7}
    for modality, width in widths.items():
        folder = root / "theirs" / modality
        folder.mkdir(parents=True)
        for number, clip in enumerate(IDS):
            count = 1 if modality == "text" else int(rng.integers(3, 9))
            frames = rng.normal(0, 0.1, (count, width)).astype(np.float16 if modality == "vision" else np.float32)
            frames[:, :6] += labels[number].astype(frames.dtype)
            np.save(folder / f"{clip}.npy", frames[0] if modality == "text" else frames)
        if modality == "text":
            np.save(folder / "00004.npy", np.zeros(width, np.float32))
            (folder / "00070.npy").unlink()
        result = run(root, "features", "import", "--modality", modality, "--from", str(folder))
        assert result.exit_code == 0, result.output
        assert f"abawkit train --features {modality}=" in result.stdout
    return root


@pytest.fixture
def workspace(imported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(imported, tmp_path / "workspace")


def test_imported_features_train_evaluate_and_submit(workspace: Path) -> None:
    for line in (
        "validate",
        "train --system F1",
        "resplit --ratio 4:1",
        "train --system F4",
        "evaluate F4",
        "submit --run F1 --out submissions/team.csv",
        "check submissions/team.csv",
    ):
        result = run(workspace, *line.split())
        assert result.exit_code == 0, (line, result.output)
    record = run_json(workspace, "runs", "show", "F1")
    assert record["scores"]["valid"]["n"] == 24
    assert record["scores"]["valid"]["mean_pearson"] > 0.3  # the labels are in the features
    config = json.loads((Path(record["run"]) / "config.json").read_text())
    assert config["inputs"] == {"text": 16, "audio": 12, "vision": 8}
    test = pd.read_csv(Path(record["run"]) / "predictions" / "test.csv", dtype={"Filename": str}, keep_default_na=False)
    assert list(test["Filename"]) == IDS[60:] and list(test.loc[test["missing"] == "text", "Filename"]) == ["00070"]
    submitted = pd.read_csv(workspace / "submissions" / "team.csv", dtype={"Filename": str})
    assert list(submitted["Filename"]) == IDS[60:]


def test_test_clips_that_were_not_imported_yet(workspace: Path) -> None:
    listed = workspace / "challenge" / "test_split.csv"
    with listed.open("a") as file:
        file.write("00072,0,0,0,0,0,0\n")
    said = " ".join(run(workspace, "train", "--system", "F1").stderr.split())
    assert "1 of 13 test clips have no features yet: abawkit features import --modality text --name text" in said
    for modality in ("text", "audio", "vision"):
        folder = workspace / "theirs" / modality
        shutil.copy(folder / "00071.npy", folder / "00072.npy")
        record = run_json(workspace, "features", "import", "-m", modality, "--from", str(folder))
        assert (record["added"], record["changed"]) == (1, 0)
    assert run_json(workspace, "predict", "F1", "--on", "test")["clips"] == 13


def test_what_an_import_tells(imported: Path, workspace: Path) -> None:
    folder = workspace / "theirs" / "text"
    (folder / "3.npy").write_bytes((folder / "00003.npy").read_bytes())
    (folder / "00005.npy").write_bytes(b"\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.")
    np.save(folder / "99999.npy", np.ones(16))
    (folder / "readme.txt").write_text("x")
    result = run(workspace, "features", "import", "--modality", "text", "--from", str(folder))
    assert result.exit_code == 4, result.output
    for told in (
        "clips with other values than before, replaced: 1",
        "clips that were there already: 70",
        "clips that are all zero, so missing (--zeros-are-values keeps them): 1",
        "a single vector is taken as one frame: 70",
        "damaged clip ids that were fixed, lost zero padding: 1",
        "ids that are not clips of the challenge, left aside: 1 (99999)",
        "names that are not clip ids, left aside: 1 (readme.txt)",
    ):
        assert told in result.stdout, result.stdout
    assert "1 clips failed" in result.stderr and not (workspace / "pwned").exists()
    listed = (workspace / "features" / "failures.csv").read_text()
    assert "asks for more than data" in listed and "00005" in listed
    accepted = ["--max-failures", "1"]
    assert run(workspace, "features", "import", "-m", "text", "--from", str(folder), *accepted).exit_code == 0


def test_list_and_show(imported: Path) -> None:
    shown = run(imported, "features", "list").stdout
    assert "audio/audio-" in shown and "12 × float32" in shown
    stores = run_json(imported, "features", "list")["stores"]
    assert [(s["spec"]["modality"], s["present"], s["missing"]) for s in stores] == [
        *(("text", 70, 2), ("audio", 72, 0), ("vision", 72, 0), ("motion", 72, 0)),
    ]
    record = run_json(imported, "features", "show", "text")
    assert record["splits"]["test"]["missing"] == 1 and record["spec"]["extractor"] == "import/1"
    for wanted in (record["signature"], record["path"], Path(record["path"]).name, f"text/{Path(record['path']).name}"):
        assert run_json(imported, "features", "show", wanted)["signature"] == record["signature"]
    assert "preprocessing: zeros" in run(imported, "features", "show", "text").stdout
    assert "all values are zero" in run(imported, "features", "show", "text", "00004").stdout
    clip = run_json(imported, "features", "show", "audio", "00007")
    frames = np.load(imported / "theirs" / "audio" / "00007.npy")
    assert clip["shape"] == [len(frames), 12] and clip["values"][0] == pytest.approx(frames.min())
    assert run(imported, "features", "show", "audio", "99999").exit_code == 1
    for wanted in ("nothing", "../x"):
        assert run(imported, "features", "show", wanted).exit_code == 2


def test_list_when_there_is_nothing_or_something_damaged(workspace: Path) -> None:
    manifest = next((workspace / "features" / "audio").glob("*/store.json"))
    manifest.write_text("{}")
    result = run(workspace, "features", "list")
    assert result.exit_code == 0 and "is not the manifest of a feature store" in result.stdout
    shutil.rmtree(workspace / "features")
    assert "there are no feature stores yet" in run(workspace, "features", "list").stdout
    assert run(workspace, "features", "verify").exit_code == 2


def test_verify(workspace: Path) -> None:
    assert run(workspace, "features", "verify").exit_code == 2  # which?
    assert run(workspace, "features", "verify", "audio", "--all").exit_code == 2
    assert run(workspace, "features", "verify", "--all").exit_code == 0
    segment = next((workspace / "features" / "audio").glob("*/segment-0001.h5"))
    segment.write_bytes(segment.read_bytes()[:-100])
    result = run(workspace, "features", "verify", "audio")
    assert result.exit_code == 3 and "X601" in result.stdout
    assert run_json(workspace, "features", "verify", "--all", code=3)["ok"] is False
    assert run(workspace, "features", "verify", "motion").exit_code == 0


def test_compact_and_export(workspace: Path) -> None:
    folder = workspace / "theirs" / "audio"
    np.save(folder / "00001.npy", np.load(folder / "00001.npy") * 2)
    run_json(workspace, "features", "import", "-m", "audio", "--from", str(folder))
    record = run_json(workspace, "features", "compact", "audio")
    assert (record["before"], record["after"]) == (6, 5) and record["bytes_after"] < record["bytes_before"]
    assert "nothing to do" in run(workspace, "features", "compact", "audio").stdout
    out = workspace / "out"
    assert run_json(workspace, "features", "export", "audio", "--to", str(out))["written"] == 72
    np.testing.assert_array_equal(np.load(out / "00001.npy"), np.load(folder / "00001.npy"))
    assert run(workspace, "features", "export", "audio", "--to", str(out)).exit_code == 2
    arguments = ["--modality", "text", "--to", str(out), "--overwrite", "--format", "pkl", "--missing", "zeros"]
    result = run(workspace, "features", "export", *arguments)
    assert result.exit_code == 0 and "for clips without frames: 2" in result.stdout
    assert len(list(out.glob("*.pkl"))) == 72 and not list(out.glob("*.npy"))
    for bad in (["audio", "--modality", "audio"], []):
        assert run(workspace, "features", "export", *bad, "--to", str(out)).exit_code == 2


@pytest.mark.parametrize("command", ["list", "show", "verify", "compact", "import", "export"])
def test_help_has_an_example(tmp_path: Path, command: str) -> None:
    result = run(tmp_path, "features", command, "--help")
    assert result.exit_code == 0 and f"Example: abawkit features {command}" in result.stdout
