"""Every command, as a person types it: output, JSON, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from abawkit.workspace import Workspace
from tests.cli.program import run
from tests.known_predictions import give_all_predictions


def run_json(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = run(folder, *arguments, "--json")
    assert result.exit_code == code, result.output
    record: dict[str, Any] = json.loads(result.stdout)  # one document and nothing else
    return record


def fails(folder: Path, *arguments: str, code: int) -> str:
    result = run(folder, *arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output and result.stderr.startswith("error: ")
    record = run_json(folder, *arguments, code=code)
    assert record["ok"] is False and record["exit_code"] == code
    return result.stderr


COMMANDS = [
    *(["demo"], ["init"], ["doctor"], ["config", "show"], ["validate"], ["stats"], ["resplit"], ["extract"]),
    *(["systems", "list"], ["systems", "show"], ["train"], ["predict"], ["runs", "list"], ["runs", "show"]),
    *(["evaluate"], ["ensemble"], ["submit"], ["check"], ["resplit", "list"], ["resplit", "show"]),
    ["groups", "suggest"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(tmp_path: Path, command: list[str]) -> None:
    result = run(tmp_path, *command, "--help")
    assert result.exit_code == 0 and f"Example: abawkit {' '.join(command)}" in result.stdout


def test_the_four_everyday_commands(extracted_copy: Path) -> None:
    for line in (
        "extract",
        "resplit --ratio 4:1",
        "train --system F4",
        "submit --out submissions/team.csv",
        "check submissions/team.csv",
    ):
        if line.startswith("submit"):
            give_all_predictions(Workspace.open(extracted_copy, environ={}))
        result = run(extracted_copy, *line.split())
        assert result.exit_code == 0, result.output
    assert (extracted_copy / "submissions" / "team.csv.json").exists()


def test_from_a_folder_below_and_with_an_option(predicted: Path, tmp_path: Path) -> None:
    assert "F4-4to1" in run(predicted / "runs", "runs", "list").stdout
    assert "F4-4to1" in run(tmp_path, "runs", "list", "--workspace", str(predicted)).stdout


def test_agreed_json_keys(predicted: Path) -> None:
    report = run_json(predicted, "validate")
    assert report["ok"] is True and report["counts"]["train"] == 36
    assert set(report["findings"][0]) == {"code", "severity", "path", "line", "message", "got", "expected"}
    stores = run_json(predicted, "extract")
    assert set(stores) == {"ok", "stores", "failures", "findings"}
    keys = {"modality", "path", "signature", "clips", "present", "missing", "failed", "frames"}
    assert all(keys <= set(store) for store in stores["stores"])
    for arguments in (["train", "--system", "F4"], ["evaluate", "F4"], ["runs", "show", "F4"]):
        record = run_json(predicted, *arguments)
        assert {"run", "system", "split", "seed", "scores"} <= set(record)
        valid = record["scores"]["valid"]
        assert valid["n"] == 12 and {"mean_pearson", "pearson", "mean_ccc"} <= set(valid) and len(valid["pearson"]) == 6
    assert len(run_json(predicted, "runs", "list")["runs"]) == 3
    assert run_json(predicted, "stats")["splits"]["train"]["clips"] == 36
    assert run_json(predicted, "config", "show")["settings"]["extract.preset"]["value"] == "lite"
    assert run_json(predicted, "systems", "list")["systems"][0]["name"] == "F1"
    assert run_json(predicted, "systems", "show", "f5")["slots"]["audio"]["frozen"] is True
    assert run_json(predicted, "resplit", "--ratio", "4:1")["split"].startswith("4to1")


def test_human_output(predicted_copy: Path) -> None:
    for arguments, words in {
        ("validate",): ["Findings", "F105", "no errors"],
        ("stats",): ["Labels", "Empathic Pain", "KS"],
        ("systems", "list"): ["F5", "0.4400"],
        ("systems", "show", "F4"): ["modality_dropout"],
        ("evaluate", "F4"): ["Pearson r", "95 % interval"],
        ("runs", "show", "F1"): ["24 validation clips"],
        ("ensemble", "--method", "zmean"): ["ensemble", "Next"],
        ("predict", "F1", "--on", "valid"): ["predicted 24 clips"],
        ("config", "show"): ["training.seed", "default"],
        ("extract",): ["Features", "motion"],
        ("resplit",): ["not subject-safe"],
        ("evaluate", "F1", "--on", "test", "--labels", "hidden.csv"): ["12 test clips"],
    }.items():
        result = run(predicted_copy, *arguments)
        assert result.exit_code == 0, result.output
        for word in words:
            assert word in result.output, (arguments, result.output)


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        (["predict", "F1", "--on", "dev"], "'valid', 'test'"),
        (["evaluate", "F1", "--on", "train"], "'valid', 'test'"),
        (["runs", "compare", "F1", "F4", "--on", "dev"], "'valid', 'test'"),
        (["ensemble", "--method", "median"], "'zmean', 'rank'"),
        (["resplit", "--strategy", "other"], "'random', 'stratified'"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_with_the_others(
    trained_copy: Path, arguments: list[str], choices: str
) -> None:
    result = run(trained_copy, *arguments)
    assert result.exit_code == 2 and f"Invalid value for '{arguments[-2]}'" in result.stderr
    assert f"'{arguments[-1]}' is not one of" in result.stderr and choices in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train", "--system", "F9"], 2, "unknown system"),
        (["train", "--set", "training.lrr=1"], 2, "did you mean lr?"),
        (["train", "--set", "nonsense"], 2, "KEY=VALUE"),
        (["train", "--features", "smell=x"], 2, "F4 has no such modality"),
        (["train", "--split", "../../x"], 2, ""),
        (["resplit", "--ratio", "four"], 2, "not a ratio"),
        (["resplit", "--ratio", "1:9"], 2, ""),
        (["resplit", "--name", "../../x"], 2, ""),
        (["extract", "--modality", "smell"], 2, "unknown modality"),
        (["extract", "--set", "extract.preset=huge"], 2, "bad value of extract.preset"),
        (["extract", "--model", "smell=x"], 2, "no model for this modality"),
        (["extract", "--preset", "paper", "--modality", "vision"], 1, "facebook/dinov2-base"),
        (["predict", "nope"], 2, "no such run"),
        (["predict", "ensemble"], 2, "no model of its own"),
        (["evaluate", "F1", "--on", "test"], 2, "--labels"),
        (["evaluate", "F1", "--on", "test", "--labels", "absent.csv"], 3, "absent.csv"),
        (["runs", "show", "../../etc"], 2, "no such run"),
        (["submit", "--out", "x.csv", "--run", "nope"], 2, "no such run"),
        (["check", "absent.csv"], 2, "cannot be read"),
        (["validate", "absent"], 2, "absent"),
        (["validate", "--quick", "--deep"], 2, "exclude each other"),
        (["validate", "--select", "M321,M3x1"], 2, "M321"),
        (["validate", "--ignore", "S501"], 2, "--codes"),
        (["validate", "--quick", "--html", "hidden.csv/page.html"], 1, "hidden.csv"),
        (["validate", "--quick", "--html", "challenge"], 2, "the page cannot be written there"),
        (["init", "absent"], 2, "no such folder"),
        (["demo", "."], 2, "holds something else"),
    ],
)
def test_every_refusal_is_one_message_with_its_code(
    predicted_copy: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    if arguments[0] == "demo":
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.tex").touch()
        folder = tmp_path / "other"
    else:
        folder = predicted_copy
    assert words in fails(folder, *arguments, code=code).replace("\n", " ")
    assert not list(tmp_path.glob("x*")) and not (tmp_path.parent / "x").exists()


def test_outside_a_workspace(tmp_path: Path) -> None:
    assert "abawkit init DATA" in fails(tmp_path, "extract", code=2)


def test_init(small_challenge: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "init", str(small_challenge), "--preset", "lite").exit_code == 0
    assert run_json(tmp_path, "validate")["ok"] is True
    assert "there is one already" in fails(tmp_path, "init", str(small_challenge), code=2)
    assert "not a challenge folder" in fails(tmp_path, "init", str(tmp_path), "--force", code=2)
    assert "unknown preset" in fails(tmp_path, "init", str(small_challenge), "--preset", "x", code=2)


def test_check_finds_and_exits_with_3(predicted: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("Filename,Joy\n")
    result = run(predicted, "check", str(bad))
    assert result.exit_code == 3 and "S501" in result.stdout
    assert run_json(predicted, "check", str(bad), code=3)["ok"] is False
    assert run_json(tmp_path, "check", str(bad), "--data", str(predicted / "challenge"), code=3)["counts"]["rows"] == 0
    assert "S514" in run(tmp_path, "check", str(bad)).stdout  # outside a workspace the test ids are not known


def test_validate_exits_with_3(tmp_path: Path) -> None:
    result = run(tmp_path, "validate", str(tmp_path))
    assert result.exit_code == 3 and "F101" in result.stdout
    result = run(tmp_path, "validate", str(tmp_path), "--ignore", "F101")
    assert result.exit_code == 0 and "1 finding is left out" in result.stdout and "no errors" in result.stdout


def test_validate_says_what_it_looked_at(fresh: Path) -> None:
    shown = run(fresh, "validate").stdout
    assert shown.startswith("train_split.csv and valid_split.csv; test clips are those in test_data/raw\n")
    for words in (
        "the beginning of every file",
        "M301 audio/00002.mp3: the clip has no sound file",
        "… and 2 more F105",
    ):
        assert words in shown
    train = next(line for line in shown.splitlines() if line.startswith(" train "))
    assert train.split()[:3] == ["train", "36", "36"]
    assert "names and label files only" in run(fresh, "validate", "--quick").stdout


def test_validate_at_three_levels(fresh: Path) -> None:
    found = {
        depth: {finding["code"] for finding in run_json(fresh, "validate", *flags)["findings"]}
        for depth, flags in {"quick": ["--quick"], "default": [], "deep": ["--deep"]}.items()
    }
    assert found["quick"] == {"F105", "M301", "M308", "T401"}
    assert found["default"] == found["quick"] | {"M304", "M306", "M321", "T402"}
    assert found["deep"] == found["default"] | {"M310"}


def test_validate_selects_and_ignores(fresh: Path) -> None:
    everything = run_json(fresh, "validate")
    some = run_json(fresh, "validate", "--select", "M3,t402", "--ignore", "M308", "--ignore", "M321")
    assert {finding["code"] for finding in some["findings"]} == {"M301", "M304", "M306", "T402"}
    assert some["left_out"] + len(some["findings"]) == len(everything["findings"]) and everything["left_out"] == 0
    assert some["about"]["level"] == "default" and some["about"]["layout"]["test_folder"] == "test_data"


def test_validate_writes_a_page(fresh: Path, tmp_path: Path) -> None:
    page = tmp_path / "findings.html"
    result = run(fresh, "validate", "--quick", "--html", str(page))
    assert result.exit_code == 0 and str(page) in result.stdout
    assert "M308" in page.read_text(encoding="utf-8")


def test_validate_lists_its_codes(tmp_path: Path) -> None:
    shown = run(tmp_path, "validate", "--codes").stdout
    table = {record["code"]: record for record in run_json(tmp_path, "validate", "--codes")["codes"]}
    assert all(code in shown for code in table)
    assert table["M320"] == {
        "code": "M320", "severity": "warning", "level": "default", "meaning": "byte-identical files of two clips"
    }  # fmt: skip


def test_more_failures_than_allowed_exit_with_4(challenge_copy: Any) -> None:
    root = challenge_copy()
    video = root / "challenge" / "raw" / "00004.mp4"
    video.write_bytes(video.read_bytes()[:700])
    arguments = ["extract", "--modality", "motion", "--workers", "1"]
    result = run(root, *arguments)
    assert result.exit_code == 4 and "1 of 72 clips failed" in result.stderr and "failures.csv" in result.output
    assert run(root, *arguments, "--max-failures", "1").exit_code == 0


@pytest.mark.parametrize("flag", ["--dtype=float32", "--layer=-2", "--with-vad", "--faces=detect", "--motion=flow"])
def test_flags_that_the_preset_lite_would_ignore_are_refused(fresh: Path, flag: str) -> None:
    result = run(fresh, "extract", flag)
    assert result.exit_code == 2 and flag.split("=")[0] in result.stderr and "--preset paper" in result.stderr


def test_doctor(tmp_path: Path) -> None:
    result = run(tmp_path, "doctor")
    assert result.exit_code in (0, 3)
    for word in ("torch", "codecs", "disk", "memory", "thenlper/gte-base"):
        assert word in result.stdout
    assert {check["name"] for check in json.loads(run(tmp_path, "doctor", "--json").stdout)["checks"]} >= {"device"}


def loaded_modules(*arguments: str, folder: Path) -> set[str]:
    code = (
        "import sys\nfrom abawkit.cli.app import app\n"
        f"try:\n    app({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n' + 'LOADED ' + ' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return set(done.stdout.rsplit("LOADED ", 1)[1].split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["validate"], ["check", "team.csv"], ["config", "show"]], ids=" ".join
)
def test_light_commands_do_not_import_torch(predicted_copy: Path, arguments: list[str]) -> None:
    (predicted_copy / "team.csv").write_text("x\n")
    loaded = loaded_modules(*arguments, folder=predicted_copy)
    assert "abawkit.cli.app" in loaded
    assert not loaded & {"torch", "transformers", "sklearn"}
    if arguments == ["--help"]:
        assert not loaded & {"numpy", "pandas", "pydantic", "h5py", "av", "cv2"}


def test_completion_and_version(tmp_path: Path) -> None:
    from abawkit import __version__

    assert run(tmp_path, "--version").stdout.strip() == f"abawkit {__version__}"
    environ = os.environ | {
        "_ABAWKIT_COMPLETE": "complete_bash",
        "COMP_WORDS": "abawkit ext",
        "COMP_CWORD": "1",
    }
    program = Path(sys.executable).with_name("abawkit")
    done = subprocess.run([program], capture_output=True, text=True, env=environ, check=False)
    assert done.stdout.split() == ["extract"]
