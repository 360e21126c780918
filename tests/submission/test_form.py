"""Everything that a platform could refuse a submission for is found, with its line, and nothing else."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.challenge import EMI, IdRule, SubmissionForm, Task
from abawkit.errors import FindingsError, UsageError
from abawkit.findings import Report
from abawkit.submission.form import check, listed_test_ids
from abawkit.submission.write import render
from tests.submission.broken import BROKEN, GOOD, IDS, ODD, good, text_of


def checked(folder: Path, data: str | bytes, *, int_ids: bool = False) -> Report:
    path = folder / "team.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return check(path, EMI, IDS, int_ids=int_ids)


def test_there_are_enough_of_both() -> None:
    assert len(BROKEN) >= 60 and len(ODD) >= 10


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_exactly_its_codes(tmp_path: Path, name: str) -> None:
    data, codes, line = BROKEN[name]
    report = checked(tmp_path, data)
    assert {finding.code for finding in report.findings} == codes and not report.ok
    lines = [finding.line for finding in report.findings if finding.line is not None]
    assert (min(lines) if lines else None) == line


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_accepted(tmp_path: Path, name: str) -> None:
    data, int_ids, warnings = ODD[name]
    report = checked(tmp_path, data, int_ids=int_ids)
    assert report.ok and {finding.code for finding in report.findings} == warnings
    assert report.counts == {"rows": 10, "clips": 10}


def test_integers_are_asked_for_or_not(tmp_path: Path) -> None:
    assert [finding.line for finding in checked(tmp_path, GOOD, int_ids=True).findings] == [2, 3, 4, 5]
    assert checked(tmp_path, GOOD).findings == []


def test_all_defects_at_once(tmp_path: Path) -> None:
    rows = good()
    rows[1][1], rows[2][0], rows[3][2] = "nan", "00007", "7"
    found = checked(tmp_path, text_of(rows)).findings
    assert [(finding.code, finding.line) for finding in found] == [
        ("S508", 2), ("S505", 3), ("S509", 4), ("S506", None)
    ]  # fmt: skip
    with pytest.raises(UsageError, match="cannot be read"):
        check(tmp_path / "absent.csv", EMI, IDS)


def test_without_the_test_ids_only_the_form_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text(GOOD)
    assert [finding.code for finding in check(path, EMI).findings] == ["S514", "S516"]


def test_a_list_of_test_ids(tmp_path: Path) -> None:
    listed = tmp_path / "test_split.csv"
    listed.write_text("Filename,Joy\n" + "".join(f"{clip},0.0\n" for clip in IDS))
    assert list(listed_test_ids(listed, EMI)) == IDS
    listed.write_text("Filename\n00007\n00007\n")
    with pytest.raises(FindingsError, match="00007"):
        listed_test_ids(listed, EMI)
    listed.write_text("Filename\n")
    with pytest.raises(UsageError, match="no test clips are listed"):
        listed_test_ids(listed, EMI)


@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_it_stumble(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert not checked(tmp_path_factory.mktemp("fuzz"), data).ok


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


def test_the_whole_program_on_the_official_number_of_clips(tmp_path: Path) -> None:
    ids = [f"{number:05d}" for number in range(12660, 12660 + 4586)]
    values = np.random.default_rng(0).random((len(ids), 6))
    (tmp_path / "team.csv").write_text(render(EMI, ids, values))
    (tmp_path / "test.csv").write_text("Filename\n" + "".join(f"{clip}\n" for clip in ids))
    code = (
        "import sys\nsys.argv = ['abawkit', 'check', 'team.csv', '--test-ids', 'test.csv']\n"
        "from abawkit.cli.app import app\ntry:\n    app()\nexcept SystemExit as end:\n    print(end.code)\n"
        "print(*sorted(sys.modules))"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    seconds = time.monotonic() - began
    *said, code_line, modules = done.stdout.splitlines()
    assert code_line == "0" and "no errors" in said
    assert not {"torch", "transformers", "sklearn", "pandas", "scipy", "scipy.stats"} & set(modules.split())
    assert seconds < 8  # under one on an idle machine; tests run beside others
