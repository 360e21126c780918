"""``resplit``, ``resplit list`` and ``resplit show`` as a person types them, and the words that runs carry on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import run


def run_json(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = run(folder, *arguments, "--json")
    assert result.exit_code == code, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def said(folder: Path, *arguments: str, code: int = 0) -> str:
    result = run(folder, *arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture
def groups(fresh: Path) -> Path:
    path = fresh / "subjects.csv"
    rows = [f"{k:05d},person {k // 5}" for k in range(62)]
    path.write_text("\n".join(["Filename,person", *rows]) + "\n")
    return path


def test_every_option(fresh: Path, groups: Path) -> None:
    words = said(fresh, "resplit", "--ratio", "4:1")
    assert "split 4to1-s42: 48 training, 12 validation, 12 test clips" in words
    assert "not subject-safe: without subject ids" in words
    assert "abawkit train --system F4 a system" in words and "abawkit resplit show 4to1-s42" in words
    words = said(fresh, "resplit", "--ratio", "2:1", "--exact", "--seed", "7", "--strategy", "stratified", "--free")
    assert "split 2to1-s7-stratified-free: 40 training, 20 validation" in words
    assert "--system F1 --split 2to1-s7-stratified-free" in words
    words = said(fresh, "resplit", "--groups", str(groups), "--name", "mine")
    assert "4:1 would be 48 and 12: this is as near as the groups allow, +2 training clips" in words
    assert "12 persons" not in words and "12 subjects in subjects.csv" in words
    assert "4 official validation clip(s) went to training" in words
    assert "test clip(s) share" not in words
    assert "subject-safe: no subject of subjects.csv is on both sides" in words and "not subject-safe" not in words
    words = said(fresh, "resplit", "--folds", "3", "--keep-train", "--strategy", "random")
    assert "3fold-s42-keep-train-3 52 8" in words and "--fold all --split 3fold-s42-keep-train train" in words
    assert "not subject-safe" in words


def test_json(fresh: Path) -> None:
    record = run_json(fresh, "resplit", "--ratio", "4:1")
    on_disk = json.loads((fresh / "splits" / "4to1-s42" / "split.json").read_text())
    assert record == {"split": "4to1-s42", "path": str(fresh / "splits" / "4to1-s42"), **on_disk}
    parts = run_json(fresh, "resplit", "--folds", "4")["splits"]
    assert [part["fold"]["index"] for part in parts] == [1, 2, 3, 4] and parts[0]["subject_safe"] is False
    listed = run_json(fresh, "resplit", "list")["splits"]
    assert [split["split"] for split in listed] == [
        "4fold-s42-1",
        "4fold-s42-2",
        "4fold-s42-3",
        "4fold-s42-4",
        "4to1-s42",
    ]
    shown = run_json(fresh, "resplit", "show", "4to1-s42")
    assert shown["split"] == "4to1-s42" and shown["note"].startswith("not subject-safe")
    assert shown["sides"]["train"]["official"] == {"train": 36, "valid": 12}
    assert set(shown["ks"]) == set(shown["ks_p"]) == set(shown["sides"]["valid"]["mean"])
    assert run_json(fresh, "resplit", "show", "official")["subject_safe"] is True


def test_list(fresh: Path, groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "there are no splits yet" in said(fresh, "resplit", "list")
    for arguments in (["--ratio", "2:1"], ["--groups", str(groups), "--strategy", "stratified"], ["--folds", "2"]):
        said(fresh, "resplit", *arguments)
    words = said(fresh, "resplit", "list")
    assert "official 2:1 1.50 36 24 yes official" in words
    assert "4to1-s42-stratified-groups 4:1" in words and "stratified, seed 42, 12 subjects" in words
    assert "2fold-s42-2 – 1.00 30 30 no fold 2 of 2, random, seed 42" in words
    assert words.endswith("not subject-safe: one person's clips can be on both sides, which flatters scores")


def test_show(fresh: Path, groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said(fresh, "resplit", "--groups", str(groups), "--free")
    result = run(fresh, "resplit", "show", "4to1-s42-free-groups")
    assert result.exit_code == 0 and max(map(len, result.stdout.splitlines())) <= 80
    assert "Determination " in result.stdout and "Empathic Pain " in result.stdout  # in one piece
    words = " ".join(result.stdout.split())
    assert "ratio 4:1, got 5.0000:1, random, free, seed 42" in words
    assert "KS p" in words and "groups on both sides: none" in words
    assert "subject-safe: no subject of" in words and "not subject-safe" not in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ratio", "4:1", "list"], "these options make a split, they list or show none got: --ratio"),
        (["--seed", "3", "show", "official"], "got: --seed"),
        (["--keep-train", "list"], "got: --keep-train"),
        (["--json", "list"], "got: --json"),
        (["-w", ".", "list"], "got: --workspace"),
        (["lst"], "No such command 'lst'"),
        (["show"], "Missing argument 'NAME'"),
        (["show", "nope"], "there is no such split"),
        (["show", "../../x"], "cannot be a split's name"),
        (["--folds", "3", "--ratio", "4:1"], "folds have no ratio to choose"),
        (["--folds", "3", "--exact"], "folds have no ratio to choose"),
        (["--folds", "0"], "too few folds"),
        (["--folds", "61"], "too few clips that may be held out"),
        (["--strategy", "best"], "'random', 'stratified'"),
        (["--ratio", "2:1", "--free"], "2:1 is the organisers' own split"),
        (["--name", "official"], "kept for the organisers' split"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusals(fresh: Path, arguments: list[str], words: str) -> None:
    assert words in said(fresh, "resplit", *arguments, code=2)
    assert not (fresh / "splits").exists() and not (fresh.parent / "x").exists()


def test_the_words_travel_with_the_runs(predicted_copy: Path) -> None:
    words = "not subject-safe: without subject ids one person's clips can be on both sides, which flatters scores"
    for arguments in (
        ["train", "--system", "F4"],
        ["runs", "list"],
        ["runs", "show", "F4"],
        ["evaluate", "F4"],
        ["predict", "F4", "--on", "valid"],
        ["ensemble"],
        ["submit", "--out", "x.csv", "--run", "F4"],
        ["submit", "--out", "y.csv"],
    ):
        assert words in said(predicted_copy, *arguments), arguments
    for arguments in (["train", "--system", "F1"], ["runs", "show", "F1"], ["submit", "--out", "z.csv", "--run", "F1"]):
        assert "not subject-safe" not in said(predicted_copy, *arguments), arguments
    for arguments in (
        ["train", "--system", "F4"],
        ["evaluate", "F4"],
        ["predict", "F4", "--on", "valid"],
        ["ensemble"],
        ["submit", "--out", "x.csv", "--run", "F4"],
    ):
        record = run_json(predicted_copy, *arguments)
        assert record["subject_safe"] is False and record["subject_note"] == words, arguments
    listed = {record["system"]: record for record in run_json(predicted_copy, "runs", "list")["runs"]}
    assert listed["F1"]["subject_safe"] is True and listed["ensemble"]["subject_note"] == words
    for path in (predicted_copy / "runs").glob("F4*/config.json"):
        assert json.loads(path.read_text())["subject_note"] == words
    assert json.loads((predicted_copy / "x.csv.json").read_text())["subject_note"] == words


def test_the_strategies_are_those_of_the_library() -> None:
    from abawkit.cli import splits
    from abawkit.data.splits import pool

    assert splits.Strategy == pool.Strategy
