import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from abawkit.challenge import EMI, IdRule, Task
from abawkit.data.labels import LabelTable, load_official, read_ids, read_labels, write_ids, write_labels
from abawkit.errors import FindingsError, UsageError
from abawkit.findings import Report
from abawkit.layout.folder import ChallengeFolder

HEADER = ",".join(EMI.header)
ROW = "0.5,0.0,0.25,0.0,0.0,0.25"
GOOD = [f"00000,{ROW}", f"00001,{ROW}", f"00002,{ROW}"]

BINARY = Task(
    name="hesitancy",
    title="Ambivalence/Hesitancy",
    targets=("Hesitant",),
    score="macro_f1",
    id_column="Video",
    ids=IdRule(digits=None, pattern=r"[A-Za-z][A-Za-z0-9_-]*", example="p01_q3"),
)


def read(path: Path, lines: list[str] | bytes, task: Task = EMI) -> tuple[LabelTable, list[tuple[str, int | None]]]:
    data = lines if isinstance(lines, bytes) else ("\n".join(lines) + "\n").encode()
    path.write_bytes(data)
    report = Report()
    table = read_labels(path, task, report)
    assert all(finding.path == path for finding in report.findings)
    return table, [(finding.code, finding.line) for finding in report.findings if finding.code != "L213"]


def test_clean_file(tmp_path: Path) -> None:
    table, codes = read(tmp_path / "a.csv", [HEADER, *GOOD])
    assert codes == []
    assert table.ids == ("00000", "00001", "00002")
    assert table.values.dtype == np.float64
    assert table.values.tolist() == [[0.5, 0, 0.25, 0, 0, 0.25]] * 3


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([HEADER, GOOD[0], "../../x," + ROW], [("L204", 3)]),
        ([HEADER, GOOD[0], "/etc/passwd," + ROW], [("L204", 3)]),
        ([HEADER, GOOD[0], "000001," + ROW], [("L204", 3)]),
        ([HEADER, GOOD[0], "," + ROW], [("L204", 3)]),
        ([HEADER, "1," + ROW], [("L205", 2)]),
        ([HEADER, "1.0," + ROW], [("L205", 2)]),
        ([HEADER, "00001.mp4," + ROW], [("L205", 2)]),
        ([HEADER, " 00001 ," + ROW], [("L205", 2)]),
        ([HEADER, GOOD[0], GOOD[1], GOOD[0]], [("L206", 4)]),
        ([HEADER, GOOD[0], "0," + ROW], [("L205", 3), ("L206", 3)]),
        ([HEADER, GOOD[0], "00001,0.5,x,0,0,0,0"], [("L208", 3)]),
        ([HEADER, GOOD[0], "00001,0.5,nan,0,0,0,0"], [("L208", 3)]),
        ([HEADER, GOOD[0], "00001,0.5,inf,0,0,0,0"], [("L208", 3)]),
        ([HEADER, GOOD[0], "00001,0.5,1e999,0,0,0,0"], [("L208", 3)]),
        ([HEADER, GOOD[0], "00001,0.5,,0,0,0,0"], [("L208", 3)]),
        ([HEADER, GOOD[0], "00001,0.5,0_1,0,0,0,0"], [("L208", 3)]),
        ([HEADER, GOOD[0], "00001,1.5,0,0,-0.1,0,0"], [("L209", 3), ("L209", 3)]),
        ([HEADER, GOOD[0], "00001,0.5,0"], [("L210", 3)]),
        ([HEADER, GOOD[0], GOOD[1] + ","], [("L210", 3)]),
        ([HEADER, GOOD[0], '"00001,0.5', GOOD[2]], [("L210", 3)]),
        ([HEADER], [("L211", None)]),
        ([], [("L211", None)]),
        ([HEADER.replace(",", ";"), GOOD[0].replace(",", ";")], [("L203", 1)]),
        ([HEADER.replace(",", "\t"), GOOD[0].replace(",", "\t")], [("L203", 1)]),
        ([HEADER, GOOD[0].replace(",", ";")], [("L203", 2)]),
        ([HEADER.replace("Empathic Pain", "EmpathicPain"), *GOOD], [("L201", 1)]),
        ([HEADER.replace(",", ", "), *GOOD], [("L201", 1)]),
        ([HEADER.lower(), *GOOD], [("L201", 1)]),
        (GOOD, [("L201", 1)]),
        (b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n" + GOOD[0].encode() + b"\r\n", [("L202", 1)]),
        ((HEADER + "\n" + GOOD[0]).encode("utf-16"), [("L212", 1)]),
        (HEADER.encode() + b"\n" + GOOD[0].encode() + b"\n0\xe4001," + ROW.encode() + b"\n", [("L212", 3)]),
    ],
)
def test_each_defect_alone(tmp_path: Path, lines: list[str] | bytes, expected: list[tuple[str, int | None]]) -> None:
    _, codes = read(tmp_path / "a.csv", lines)
    assert codes == expected


def test_all_defects_together(tmp_path: Path) -> None:
    lines = ["\ufeff" + HEADER, "../../x," + ROW, "2.0," + ROW, "", GOOD[0], GOOD[0], "00003,9,x,0,0,0,0", "00004,1"]
    table, codes = read(tmp_path / "a.csv", lines)
    expected = [("L202", 1), ("L204", 2), ("L205", 3), ("L206", 6), ("L209", 7), ("L208", 7), ("L210", 8)]
    assert codes == expected
    assert table.ids == ("00002", "00000")  # the good rows


def test_without_a_report_the_first_errors_are_raised(tmp_path: Path) -> None:
    path = tmp_path / "train_split.csv"
    path.write_text("\n".join([HEADER, "../../x," + ROW, "00001,7,0,0,0,0,0"]))
    with pytest.raises(FindingsError) as caught:
        read_labels(path, EMI)
    message = str(caught.value)
    assert "2 error(s)" in message
    assert f"{path}:2" in message
    assert f"{path}:3" in message
    assert "abawkit validate" in message


def test_missing_file_is_a_finding(tmp_path: Path) -> None:
    report = Report()
    assert len(read_labels(tmp_path / "none.csv", EMI, report)) == 0
    assert [finding.code for finding in report.findings] == ["F109"]


def test_columns_in_another_order_are_told_and_read_by_name(tmp_path: Path) -> None:
    names = list(EMI.header)
    names[1], names[2] = names[2], names[1]
    table, codes = read(tmp_path / "a.csv", [",".join(names), GOOD[0]])
    assert codes == [("L201", 1)]
    assert table.values[0, :2].tolist() == [0.0, 0.5]


def test_wrong_header_says_got_and_expected(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER.replace("Joy", "Fun") + "\n" + GOOD[0] + "\n")
    report = Report()
    assert len(read_labels(path, EMI, report)) == 0  # which column is Joy cannot be told
    (finding,) = report.findings
    assert "lacks Joy" in finding.message
    assert "'Fun'" in finding.message
    assert finding.got == HEADER.replace("Joy", "Fun")
    assert finding.expected == HEADER


def test_semicolons_with_decimal_commas_are_one_finding(tmp_path: Path) -> None:
    row = GOOD[0].replace(",", ";").replace(".", ",")
    table, codes = read(tmp_path / "a.csv", [HEADER.replace(",", ";"), row])
    assert codes == [("L203", 1)]
    assert table.values[0, 0] == 0.5


def test_all_zero_target_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([HEADER, "00000,.2,.2,.2,0,.2,.2", "00001,.2,.2,.2,0,.2,.2"]))
    report = Report()
    read_labels(path, EMI, report)
    assert [(finding.code, finding.message.split(" is ")[0]) for finding in report.findings] == [
        ("L213", "Empathic Pain")
    ]
    assert report.ok


def test_binary_task(tmp_path: Path) -> None:
    table, codes = read(tmp_path / "a.csv", ["Video,Hesitant", "p01_q3,1", "p02_q1,0.0"], BINARY)
    assert codes == []
    assert table.values.tolist() == [[1.0], [0.0]]
    _, codes = read(tmp_path / "b.csv", ["Video,Hesitant", "p01_q3,0.5", "../x,1"], BINARY)
    assert codes == [("L209", 2), ("L204", 3)]
    _, codes = read(tmp_path / "c.csv", ["Clip,Hesitant", "p01_q3,1"], BINARY)
    assert codes == [("L201", 1)]


ids = st.lists(st.integers(0, 99_999).map("{:05d}".format), min_size=1, max_size=12, unique=True)


@given(data=st.data(), clips=ids)
@settings(max_examples=40, deadline=None)
def test_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, clips: list[str]) -> None:
    values = data.draw(hnp.arrays(np.float64, (len(clips), 6), elements=st.floats(0, 1)))
    path = tmp_path_factory.mktemp("labels") / "a.csv"
    write_labels(path, EMI, clips, values)
    table = read_labels(path, EMI)
    assert table.ids == tuple(clips)
    assert np.array_equal(table.values, values)
    assert table.digest == LabelTable(path, tuple(clips), values).digest
    assert path.read_text().splitlines()[0] == HEADER


@given(
    tail=st.binary(max_size=60), start=st.sampled_from([b"", HEADER.encode() + b"\n", b"\xef\xbb\xbf", b"Filename;"])
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_end_in_findings(tmp_path_factory: pytest.TempPathFactory, start: bytes, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(start + tail)
    report = Report()
    table = read_labels(path, EMI, report)
    assert len(table) or not report.ok
    read_ids(path, EMI, report)


def test_digest_tells_ids_order_and_values() -> None:
    values = np.array([[0.0] * 6, [0.5] * 6])
    table = LabelTable(Path("a"), ("00000", "00001"), values)
    others = [
        LabelTable(Path("a"), ("00000", "00002"), values),
        LabelTable(Path("a"), ("00001", "00000"), values),
        LabelTable(Path("a"), ("00000", "00001"), np.nextafter(values, 1)),
    ]
    assert len({table.digest, *(other.digest for other in others)}) == 4
    assert table.digest == LabelTable(Path("b"), table.ids, np.where(values == 0, -0.0, values)).digest


def test_subset_keeps_the_order_asked_for() -> None:
    table = LabelTable(Path("a"), ("00000", "00001", "00002"), np.arange(18.0).reshape(3, 6))
    part = table.subset(["00002", "00000"])
    assert part.ids == ("00002", "00000")
    assert part.values[:, 0].tolist() == [12.0, 0.0]
    with pytest.raises(UsageError, match=r"1 clip\(s\) have no labels"):
        table.subset(["00002", "00009"])
    assert table.subset([]).values.shape == (0, 6)


@pytest.mark.parametrize(
    ("clips", "values"),
    [
        (["../../x"], np.zeros((1, 6))),
        (["1"], np.zeros((1, 6))),
        (["00000", "00000"], np.zeros((2, 6))),
        (["00000"], np.zeros((1, 5))),
        (["00000"], np.full((1, 6), math.nan)),
        (["00000"], np.full((1, 6), 1.1)),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, clips: list[str], values: np.ndarray) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(UsageError):
        write_labels(path, EMI, clips, values)
    assert not path.exists()


def test_ids_of_a_test_list(tmp_path: Path) -> None:
    path = tmp_path / "test_split.csv"
    path.write_text("\n".join(["Joy,Filename", "0,12.0", "0,00013"]))
    report = Report()
    assert read_ids(path, EMI, report) == ("00012", "00013")
    assert [(finding.code, finding.line) for finding in report.findings] == [("L205", 2)]
    write_ids(path, EMI, ["00012", "00013"])
    assert path.read_text() == "Filename\n00012\n00013\n"
    assert read_ids(path, EMI) == ("00012", "00013")
    write_ids(path, EMI, [])
    assert read_ids(path, EMI) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("L211", None)]),
        ("00012\n00013\n", [("L201", 1)]),
        ("Clip\n00013\n", [("L201", 1)]),
        ("Joy,Filename\n0\n", [("L210", 2)]),
        ("Filename\n../x\n00013\n00013\n", [("L204", 2), ("L206", 4)]),
    ],
)
def test_defects_of_a_test_list(tmp_path: Path, text: str, expected: list[tuple[str, int | None]]) -> None:
    path = tmp_path / "test_split.csv"
    path.write_text(text)
    report = Report()
    read_ids(path, EMI, report)
    assert [(finding.code, finding.line) for finding in report.findings] == expected
    with pytest.raises(FindingsError):
        read_ids(path, EMI)


def test_other_score_does_not_make_emi_binary(tmp_path: Path) -> None:
    _, codes = read(tmp_path / "a.csv", [HEADER, GOOD[0]], replace(EMI, score="macro_f1"))
    assert codes == [("L209", 2)] * 3


def test_official_splits(challenge: Path) -> None:
    official = load_official(ChallengeFolder.open(challenge, EMI))
    assert (len(official.train), len(official.valid), len(official.test_ids)) == (12, 8, 5)
    assert official.test_source == "folder"
    assert official.test_ids[0] == "00020"


def test_val_split_is_another_name(challenge: Path) -> None:
    (challenge / "valid_split.csv").rename(challenge / "val_split.csv")
    assert len(load_official(ChallengeFolder.open(challenge, EMI)).valid) == 8


def test_broken_official_splits_are_told_together(challenge: Path) -> None:
    train = challenge / "train_split.csv"
    train.write_text(train.read_text() + f"00013,{ROW}\n../../x,{ROW}\n")
    (challenge / "test_data" / "raw" / "00000.mp4").write_bytes(b"x")
    with pytest.raises(FindingsError) as caught:
        load_official(ChallengeFolder.open(challenge, EMI))
    message = str(caught.value)
    assert "L204" in message
    assert "valid_split.csv:3: the clip is also in train_split.csv, line 14" in message
    assert "train_split.csv:2: the clip is also a test clip" in message
    train.unlink()
    with pytest.raises(FindingsError, match=r"train_split\.csv is missing"):
        load_official(ChallengeFolder.open(challenge, EMI))
