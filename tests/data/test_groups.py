"""Groups files: read with every problem collected, written so that reading gives back the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.challenge import EMI
from abawkit.data.groups import Groups, read_groups, write_groups
from abawkit.errors import FindingsError, UsageError
from abawkit.findings import Report


@pytest.fixture
def groups_file(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "groups.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def found(path: Path) -> tuple[Groups, list[tuple[str, int | None]]]:
    report = Report()
    groups = read_groups(path, EMI, report)
    return groups, [(finding.code, finding.line) for finding in report.findings]


def test_subjects(groups_file: Callable[[str], Path]) -> None:
    groups, findings = found(groups_file("Filename,who\n00000,ann\n00002, ann \n00001,bob\n"))
    assert not findings
    assert groups.of == {"00000": "ann", "00002": "ann", "00001": "bob"} and len(groups) == 2
    assert groups.kind == "subject" and not groups.proxy and groups.noun == "subjects"
    assert groups.keys(["00002", "00003", "00004"]) == ["ann", "\n00003", "\n00004"]


@pytest.mark.parametrize(("kind", "noun"), [("proxy_person", "persons"), ("proxy_seed", "seed videos")])
def test_guesses_are_known_by_their_column(groups_file: Callable[[str], Path], kind: str, noun: str) -> None:
    groups = read_groups(groups_file(f"Filename,{kind}\n00000,a\n"), EMI)
    assert groups.kind == kind and groups.proxy and groups.noun == f"guessed {noun} (proxy)"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", [("L211", None)]),
        ("Filename,who\n", [("L211", None)]),
        ("clip,who\n00000,ann\n", [("L201", 1)]),
        ("00000,ann\n00001,bob\n", [("L201", 1)]),
        ("Filename\n00000\n", [("L201", 1)]),
        ("Filename;who\n00000;ann\n", [("L203", 1)]),
        (b"\xef\xbb\xbfFilename,who\n00000,ann\n", [("L202", 1)]),
        (b"Filename,who\n00000,\xff\n00001,bob\n", [("L212", 2)]),
        ("Filename,who\nxyz,ann\n00001,bob\n", [("L204", 2)]),
        ("Filename,who\n../../x,ann\n00001,bob\n", [("L204", 2)]),
        ("Filename,who\n7.mp4,ann\n00001,bob\n", [("L205", 2)]),
        ("Filename,who\n00001,ann\n00001,bob\n", [("L206", 3)]),
        ("Filename,who\n00001,ann\n1.0,ann\n", [("L205", 3), ("L206", 3)]),
        ("Filename,who\n00000\n00001,bob\n", [("L210", 2)]),
        ('Filename,who\n00000,"ann\n00001,bob\n', [("L210", 2)]),
        ("Filename,who\n00000,\n00001,  \n00002,bob\n", [("G601", 2), ("G601", 3)]),
        ("Filename,who\n00000,nan\n00001,nan\n00002,NaN\n", [("G602", None)]),
        ("Filename,who,age\n00000,ann,30\n", [("G603", 1)]),
    ],
)
def test_every_problem_with_its_code_and_line(
    groups_file: Callable[[str | bytes], Path], content: str | bytes, expected: list[tuple[str, int | None]]
) -> None:
    groups, findings = found(groups_file(content))
    assert findings == expected
    assert all(EMI.ids.is_id(clip) for clip in groups.of)


def test_all_problems_at_once_and_the_good_rows(groups_file: Callable[[str], Path]) -> None:
    path = groups_file("Filename,who\n00000,ann\nx,bob\n00000,bob\n00002,\n00003,carl\n")
    groups, findings = found(path)
    assert findings == [("L204", 3), ("L206", 4), ("G601", 5)]
    assert groups.of == {"00000": "ann", "00003": "carl"}
    with pytest.raises(FindingsError, match="3 error") as caught:
        read_groups(path, EMI)
    assert "one row per clip" in str(caught.value)


def test_the_column_that_is_taken_is_told(groups_file: Callable[[str], Path]) -> None:
    report = Report()
    groups = read_groups(groups_file("age,Filename,proxy_seed,x\n30,00000,a,1\n"), EMI, report)
    assert groups.of == {"00000": "a"} and groups.kind == "proxy_seed"
    assert "'proxy_seed' is taken as the group" in report.findings[0].message
    groups, findings = found(groups_file("who,Filename\nann,00000\n"))
    assert groups.of == {"00000": "ann"} and not findings


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert found(tmp_path / "none.csv")[1][0] == ("F109", None)
    with pytest.raises(FindingsError, match="cannot be read"):
        read_groups(tmp_path / "none.csv", EMI)


def test_clips_that_are_no_clips_of_the_challenge_are_told(groups_file: Callable[[str], Path]) -> None:
    groups = read_groups(groups_file("Filename,who\n00000,ann\n99999,bob\n"), EMI)
    report = Report()
    groups.tell_strangers(["00000", "00001"], report)
    (finding,) = report.findings
    assert finding.code == "G604" and finding.got == "99999" and report.ok
    groups.tell_strangers(["00000", "99999"], report)
    assert len(report.findings) == 1


def test_the_digest_is_of_the_content(groups_file: Callable[[str], Path]) -> None:
    one = read_groups(groups_file("Filename,who\n00000,a\n00001,b\n"), EMI).digest
    assert one == read_groups(groups_file("x,Filename,other\r\n1,00001,b\r\n2,0,a\r\n"), EMI).digest
    assert one != read_groups(groups_file("Filename,who\n00000,a\n00001,a\n"), EMI).digest
    assert one != read_groups(groups_file("Filename,proxy_seed\n00000,a\n00001,b\n"), EMI).digest


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1).filter(
    lambda text: text == text.strip()
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.from_regex(r"[0-9]{5}", fullmatch=True), NAMES, min_size=1))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, of: dict[str, str]) -> None:
    path = tmp_path_factory.getbasetemp() / "round.csv"
    written = write_groups(path, EMI, of, "proxy_seed")
    report = Report()
    read = read_groups(path, EMI, report)
    assert read == written and read.of == of and read.digest == written.digest and report.ok


@pytest.mark.parametrize(
    ("of", "kind"), [({"x": "a"}, "subject"), ({"00000": ""}, "subject"), ({"00000": "a\nb"}, "subject"),
                     ({"00000": " a"}, "subject"), ({"00000": "a"}, "persons")]
)  # fmt: skip
def test_what_cannot_be_read_back_is_not_written(tmp_path: Path, of: dict[str, str], kind: str) -> None:
    with pytest.raises(UsageError):
        write_groups(tmp_path / "g.csv", EMI, of, kind)
    assert not (tmp_path / "g.csv").exists()
