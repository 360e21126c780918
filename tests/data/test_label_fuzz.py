"""Whatever bytes lie in a label file: no traceback, no wrong "fine", no wrong alarm."""

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from abawkit.challenge import EMI
from abawkit.data.checks.validate import validate
from abawkit.data.labels import read_labels
from abawkit.errors import FindingsError
from abawkit.findings import CODES, Finding, Report
from tests.data.fuzz_labels import HEADER, Verdict, judge, label_files

GOOD = (",".join(HEADER) + "\n00000,0.5,0.0,0.0,0.0,0.5,0.0\n00001,0.0,0.0,1.0,0.0,0.0,0.0\n").encode()


def assert_agrees(folder: Path, data: bytes) -> Verdict:
    """Asserts that the reader and the oracle see the same in ``data``; returns what the oracle sees."""
    path = folder / "train_split.csv"
    path.write_bytes(data)
    verdict, report = judge(data), Report()
    table = read_labels(path, EMI, report)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert report.ok == verdict.fine, (verdict, report.findings)
    last = len(io.StringIO(data.decode("utf-8", errors="replace"), newline="").readlines())
    for finding in report.findings:
        assert finding.code in CODES and finding.path == path and finding.message
        # What is said of all rows together is in no line.
        assert finding.code in ("L211", "L213", "L214", "L215") or finding.line is not None or not data, finding
        assert finding.line is None or 1 <= finding.line <= max(1, last), finding
    if not verdict.file_errors:
        assert list(zip(table.ids, table.values.tolist(), strict=True)) == verdict.rows
    if verdict.fine:
        assert read_labels(path, EMI).ids == table.ids
    else:
        with pytest.raises(FindingsError):
            read_labels(path, EMI)
        assert_same_errors(verdict, errors)
    whole = [finding for finding in validate(folder, EMI, level="quick").findings if finding.path == path]
    assert [finding for finding in whole if finding.severity == "error"] == errors
    return verdict


def assert_same_errors(verdict: Verdict, errors: list[Finding]) -> None:
    if verdict.file_errors:
        assert verdict.file_errors & {finding.code for finding in errors}, (verdict, errors)
        return
    found: dict[int | None, set[str]] = {}
    for finding in errors:
        if finding.line not in verdict.doubtful or finding.code != "L206":
            found.setdefault(finding.line, set()).add(finding.code)
    assert found == verdict.row_errors


@given(label_files)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_reader_agrees_with_the_oracle(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert_agrees(tmp_path_factory.getbasetemp(), data)


FINE = GOOD + b"00002,1,0,0,0,0,0\n"


@pytest.mark.parametrize(
    ("change", "fine", "codes"),
    [
        ((b"", b""), True, set()),
        ((b"Filename", b"\xef\xbb\xbfFilename"), True, set()),
        ((b"\n", b"\r"), True, set()),
        ((b"00002,1", b"\n2.0.mp4, 1."), True, set()),
        ((b"00002", b'"00002"'), True, set()),
        ((b"00002,1", b'"00002"x,1'), False, {"L210"}),
        ((b"00002,1", b'"00002,1'), False, {"L210"}),
        ((b"00002,1", b"\x0b,1"), False, {"L204"}),
        ((b"00002", b"1.mp4"), False, {"L206"}),
        ((b"00002,1", b"00002,1e"), False, {"L208"}),
        ((b"00002,1", "00002,٣".encode()), False, {"L208"}),
        ((b"00002,1", b"00002,1_0"), False, {"L208"}),
        ((b"00002,1", b"00002,nan"), False, {"L208"}),
        ((b"00002,1", b"00002,1.1"), False, {"L209"}),
        ((b"00002,1", b"00002,\xff1"), False, {"L212"}),
        ((b"00002,1,0,0,0,0,0", b"00002;1;0;0;0;0;0"), False, {"L203"}),
        ((b"00002,1,0,0,0,0,0", b",,,,,,"), False, {"L204", "L208"}),
    ],
)
def test_the_oracle_itself(tmp_path: Path, change: tuple[bytes, bytes], fine: bool, codes: set[str]) -> None:
    verdict = assert_agrees(tmp_path, FINE.replace(*change))
    assert verdict.fine == fine
    assert set().union(*verdict.row_errors.values()) == codes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"\x00",
        GOOD.splitlines()[0],
        GOOD.replace(b"Joy", b"Joyfulness"),
        b" " + GOOD,
        GOOD.replace(b"\n", b"\x0b"),
        GOOD.replace(b",", b";"),
        GOOD.split(b"\n", 1)[1],
        GOOD.decode().encode("utf-16"),
        GOOD + b'00002,"' + b"9" * 200_000 + b'",0,0,0,0,0\n',
        GOOD + b"00002," + b"9" * 100_000 + b",0,0,0,0,0\n",
    ],
)
def test_files_that_are_broken_as_a_whole(tmp_path: Path, data: bytes) -> None:
    assert not assert_agrees(tmp_path, data).fine
