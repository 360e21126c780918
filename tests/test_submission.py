"""The leaderboard file: written right, and everything that a platform could refuse is found."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.challenge import EMI, IdRule, SubmissionForm, Task
from abawkit.errors import AbawkitError, FindingsError, UsageError
from abawkit.submission import check, choose_run, render, submit
from abawkit.training.runs import find_run, list_runs
from abawkit.workspace import Workspace

IDS = [f"{number}" for number in range(12660, 12670)]


def good() -> list[list[str]]:
    rng = np.random.default_rng(0)
    rows = [[clip, *(f"{value:.6f}" for value in rng.random(6))] for clip in IDS]
    return [list(EMI.header), *rows]


def text_of(rows: list[list[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in rows)


def codes(tmp_path: Path, data: str | bytes) -> list[str]:
    path = tmp_path / "team.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return [finding.code for finding in check(path, EMI, IDS).findings]


def test_a_good_file_is_accepted(tmp_path: Path) -> None:
    assert codes(tmp_path, text_of(good())) == []
    assert codes(tmp_path, text_of(good()).replace("\n", "\r\n")) == []


def change(row: int, column: int, value: str) -> Callable[[list[list[str]]], None]:
    def apply(rows: list[list[str]]) -> None:
        rows[row][column] = value

    return apply


DEFECTS: dict[str, tuple[Callable[[list[list[str]]], None], str, int | None]] = {
    "column order": (lambda rows: rows[0].reverse(), "S501", 1),
    "header in lower case": (change(0, 6, "joy"), "S501", 1),
    "a name that is no id": (change(3, 0, "../../x"), "S504", 4),
    "an id with a suffix": (change(3, 0, "12662.mp4"), "S504", 4),
    "a duplicate": (change(3, 0, "12660"), "S505", 4),
    "a missing clip": (lambda rows: rows.pop(), "S506", None),
    "an extra clip": (lambda rows: rows.append(["99999", *["0.1"] * 6]), "S507", 12),
    "not a number": (change(2, 3, "x"), "S508", 3),
    "an empty value": (change(2, 3, ""), "S508", 3),
    "nan": (change(2, 3, "nan"), "S508", 3),
    "inf": (change(2, 3, "inf"), "S508", 3),
    "a comma as the decimal point": (change(2, 3, "0;5"), "S508", 3),
    "above the range": (change(2, 3, "1.5"), "S509", 3),
    "below the range": (change(2, 3, "-0.000001"), "S509", 3),
    "a short row": (lambda rows: rows[2].pop(), "S511", 3),
    "a long row": (lambda rows: rows[2].append("0.1"), "S511", 3),
    "no header": (lambda rows: rows.pop(0), "S501", 1),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_found_with_its_line(tmp_path: Path, name: str) -> None:
    plant, code, line = DEFECTS[name]
    rows = good()
    plant(rows)
    path = tmp_path / "team.csv"
    path.write_text(text_of(rows))
    found = [finding for finding in check(path, EMI, IDS).findings if finding.code == code]
    assert found and found[0].path == path and (line is None or found[0].line == line)


def test_defects_of_the_whole_file(tmp_path: Path) -> None:
    text = text_of(good())
    assert codes(tmp_path, "") == ["S512"] and codes(tmp_path, "\n \n") == ["S512"]
    assert codes(tmp_path, b"\xef\xbb\xbf" + text.encode()) == ["S502"]
    assert "S503" in codes(tmp_path, text.replace(",", ";"))
    assert codes(tmp_path, text.encode().replace(b"Joy", b"J\xff")) == ["S513"]
    rows = good()
    for row in rows[1:]:
        row[4] = "0.500000"
    assert codes(tmp_path, text_of(rows)) == ["S510"]
    assert codes(tmp_path, ",".join(EMI.header) + "\n").count("S506") == 10
    with pytest.raises(UsageError, match="cannot be read"):
        check(tmp_path / "absent.csv", EMI, IDS)


def test_all_defects_at_once(tmp_path: Path) -> None:
    rows = good()
    rows[1][1], rows[2][0], rows[3][2] = "nan", "12660", "7"
    assert sorted(codes(tmp_path, text_of(rows))) == ["S505", "S506", "S508", "S509"]


def test_without_the_test_ids_only_the_form_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text(text_of(good()))
    assert [finding.code for finding in check(path, EMI).findings] == ["S514", "S516"]


@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_it_stumble(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "team.csv"
    path.write_bytes(data)
    assert not check(path, EMI, IDS).ok


@given(st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=3, max_size=8), st.booleans())
@settings(max_examples=30, deadline=None)
def test_what_is_rendered_reads_back(values: list[list[float]], int_ids: bool) -> None:
    ids = [f"{number:05d}" for number in range(7, 7 + len(values))][::-1]
    rows = list(csv.reader(io.StringIO(render(EMI, ids, np.array(values), int_ids=int_ids))))
    assert rows[0] == list(EMI.header)
    assert [row[0] for row in rows[1:]] == [str(int(i)) if int_ids else i for i in sorted(ids)]
    read = {row[0].zfill(5): [float(cell) for cell in row[1:]] for row in rows[1:]}
    for clip, row in zip(ids, values, strict=True):
        np.testing.assert_allclose(read[clip], row, atol=5.01e-7)


def test_submitting(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    made = submit(workspace, Path("submissions/team.csv"))
    assert made.path == trained_copy / "submissions" / "team.csv" and made.report.ok
    (newest,) = [run for run in list_runs(workspace) if run.is_ensemble]
    assert made.record["run"] == newest.name  # without --run: the newest ensemble
    record = json.loads((trained_copy / "submissions" / "team.csv.json").read_text())
    assert {run["system"] for run in record["runs"]} == {"F1", "F4"} and record["rows"] == 12
    rows = list(csv.reader(made.path.read_text().splitlines()))
    ids = sorted(path.stem for path in (workspace.data / "test_data" / "raw").glob("*.mp4"))
    assert [row[0] for row in rows[1:]] == ids
    predictions = newest.predictions("test", EMI)
    expected = np.clip(predictions.of(ids), 0, 1)
    np.testing.assert_allclose(np.array([row[1:] for row in rows[1:]], float), expected, atol=5.01e-7)
    clipped = int(((predictions.values < 0) | (predictions.values > 1)).sum())
    assert record["clipped_values"] == clipped
    submit(workspace, Path("submissions/team.csv"))  # the same content again is no harm
    with pytest.raises(UsageError, match="another submission in this file"):
        submit(workspace, Path("submissions/team.csv"), run=find_run(workspace, "F1"))
    submit(workspace, Path("submissions/team.csv"), run=find_run(workspace, "F1"), force=True)


def test_a_file_that_would_be_refused_is_not_written(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F1")
    path = run.path / "predictions" / "test.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    column = rows[0].index("Joy")
    for row in rows[1:]:
        row[column] = "0.25"
    path.write_text(text_of(rows))
    with pytest.raises(FindingsError, match=r"S510.*every value of Joy is the same"):
        submit(workspace, Path("submissions/x.csv"), run=run)
    assert not list((trained_copy / "submissions").glob("*")) or not (trained_copy / "submissions" / "x.csv").exists()


def test_test_clips_without_prediction_are_named(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F4")
    path = run.path / "predictions" / "test.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(AbawkitError, match="2 of 12 test clips have no prediction") as caught:
        submit(workspace, Path("x.csv"), run=run)
    assert caught.value.todo and f"abawkit predict {run.name} --on test" in caught.value.todo


def test_without_an_ensemble_the_best_run_on_shared_clips(trained_copy: Path) -> None:
    import shutil

    workspace = Workspace.open(trained_copy, environ={})
    for run in list_runs(workspace):
        if run.is_ensemble:
            shutil.rmtree(run.path)
    best = max(list_runs(workspace), key=lambda run: _shared_score(workspace, run.name))
    assert choose_run(workspace).name == best.name
    strict = Workspace.open(trained_copy, environ={}, overrides={"submit.min_shared": 50})
    with pytest.raises(UsageError, match="too few to say which is best"):
        choose_run(strict)
    shutil.rmtree(workspace.runs)
    with pytest.raises(UsageError, match="no finished run"):
        choose_run(workspace)


def _shared_score(workspace: Workspace, name: str) -> float:
    from abawkit.evaluation.compare import shared_held_out
    from abawkit.metrics import score

    runs = list_runs(workspace)
    predictions = find_run(workspace, name).predictions("valid", EMI)
    shared = shared_held_out(runs)
    return score(EMI, predictions.truth_of(shared), predictions.of(shared)).primary


def test_a_binary_form_without_a_header(tmp_path: Path) -> None:
    task = Task(
        "hesitancy",
        "made up",
        ("Hesitant",),
        score="macro_f1",
        ids=IdRule(digits=None, pattern=r"[a-z]+-[0-9]+", example="video-1"),
        submission=SubmissionForm(header=False, values="label"),
    )
    ids = ["video-2", "video-1"]
    text = render(task, ids, np.array([[0.7], [0.2]]))
    assert text == "video-1,0\nvideo-2,1\n"
    path = tmp_path / "trial-0.txt"
    path.write_text(text)
    assert check(path, task, ids).findings == []
    path.write_text("video-1,0.5\nvideo-3,1\n")
    assert sorted(finding.code for finding in check(path, task, ids).findings) == ["S506", "S507", "S509"]


def test_decimals_and_clipping(trained_copy: Path) -> None:
    workspace = Workspace.open(trained_copy, environ={})
    run = find_run(workspace, "F4")
    made = submit(workspace, Path("three.csv"), run=run, decimals=3, int_ids=True)
    second = made.path.read_text().splitlines()[1].split(",")
    assert second[0] == str(int(run.predictions("test", EMI).ids[0])) and len(second[1]) == 5
    if made.record["clipped_values"]:
        with pytest.raises(FindingsError, match="S509"):
            submit(workspace, Path("raw.csv"), run=run, clip=False)
    wide = replace(EMI, value_range=(-9.0, 9.0))
    assert submit(replace(workspace, task=wide), Path("wide.csv"), run=run).record["clipped_values"] == 0
