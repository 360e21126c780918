from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.errors import MediaError
from abawkit.extractors.openface import COLUMNS, read_openface

EXTRA = ("frame", "face_id", "timestamp", "confidence", "success", "gaze_0_x")


def _table(rows: int) -> pd.DataFrame:
    values = np.random.default_rng(0).normal(2, 5, (rows, len(COLUMNS))).round(3)
    table = pd.DataFrame(values, columns=list(COLUMNS))
    table.insert(0, "gaze_0_x", 0.5)
    table.insert(0, "success", 1)
    table.insert(0, "confidence", 0.98)
    table.insert(0, "timestamp", np.arange(rows) * 0.04)
    table.insert(0, "face_id", 0)
    table.insert(0, "frame", np.arange(rows) + 1)
    return table


def _write(path: Path, table: pd.DataFrame, separator: str = ", ") -> Path:
    lines = [separator.join(table.columns)]
    lines += [separator.join(str(value) for value in row) for row in table.itertuples(index=False)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("name", "rows"), [("py-feat/OpenFace_Test.csv", 100), ("FACSvatar/raw_demo.csv", 490)])
def test_real_files(shared_data: Path, name: str, rows: int) -> None:
    expected = pd.read_csv(shared_data / name, skipinitialspace=True)
    table = read_openface(shared_data / name)
    good = expected[expected["success"] == 1]
    assert len(expected) == rows and len(good) > 0
    np.testing.assert_allclose(table.values, good[list(COLUMNS)].to_numpy(), rtol=1e-6)
    np.testing.assert_allclose(table.times, good["timestamp"], rtol=1e-6)
    np.testing.assert_allclose(table.confidence, good["confidence"], rtol=1e-6)
    assert table.values.dtype == np.float32 and table.success == len(good) / rows
    assert bool(table.warnings) == (len(good) < rows)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("LiveTalking/au_head400.csv", "without pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry, pose_Rz"),
        ("FACSvatar/jt.csv", "without pose_Tx, pose_Ty, pose_Tz"),
    ],
)
def test_real_files_without_pose_say_what_is_missing(shared_data: Path, name: str, missing: str) -> None:
    with pytest.raises(MediaError) as caught:
        read_openface(shared_data / name)
    assert str(caught.value.got).endswith(missing) and caught.value.path == str(shared_data / name)


def test_the_columns_are_those_of_the_paper() -> None:
    assert len(COLUMNS) == 23 and COLUMNS[0] == "AU01_r" and COLUMNS[16] == "AU45_r"
    assert COLUMNS[17:] == ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")


@pytest.mark.parametrize("separator", [",", ", ", ";", "  ,  "])
def test_separators_and_column_order(tmp_path: Path, separator: str) -> None:
    table = _table(5)
    path = _write(tmp_path / "a.csv", table[list(table.columns[::-1])], separator)
    np.testing.assert_allclose(read_openface(path).values, table[list(COLUMNS)], rtol=1e-6)


def test_decimal_commas_byte_order_mark_and_trailing_separators(tmp_path: Path) -> None:
    table = _table(4)
    _write(tmp_path / "a.csv", table, ";")
    text = (tmp_path / "a.csv").read_text().replace(".", ",").replace("\n", ";\r\n")
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    np.testing.assert_allclose(read_openface(tmp_path / "a.csv").values, table[list(COLUMNS)], rtol=1e-6)


def test_rows_without_success_or_with_nan_are_left_out(tmp_path: Path) -> None:
    table = _table(10).astype(object)
    table.loc[[1, 2], "success"] = 0
    table.loc[4, "pose_Tz"] = "nan"
    table.loc[5, "AU12_r"] = "-nan(ind)"
    table.loc[6, "AU12_r"] = ""
    table.loc[7, "AU12_r"] = "inf"
    read = read_openface(_write(tmp_path / "a.csv", table))
    np.testing.assert_allclose(read.times, [0, 0.12, 0.32, 0.36], rtol=1e-6)
    assert read.success == 0.4
    assert read.warnings == ("6 of 10 rows (60%) have no face or a NaN and are left out",)


def test_the_face_with_the_most_usable_rows_is_kept(tmp_path: Path) -> None:
    table = pd.concat([_table(6), _table(8), _table(6)])
    table["face_id"] = [0] * 6 + [1] * 8 + [2] * 6
    table["success"] = [1] * 6 + [1] * 5 + [0] * 3 + [1] * 6
    read = read_openface(_write(tmp_path / "a.csv", table.sort_values("frame", kind="stable")))
    assert read.face_id == 0 and len(read.values) == 6 and read.success == 1
    assert read.warnings == ("face 0 is kept, 2 other faces are not (14 rows)",)


def test_times_are_put_in_order(tmp_path: Path) -> None:
    table = _table(6)
    read = read_openface(_write(tmp_path / "a.csv", table.iloc[[3, 0, 1, 5, 4, 2]]))
    np.testing.assert_allclose(read.values, table[list(COLUMNS)], rtol=1e-6)


def test_quotes(tmp_path: Path) -> None:
    table = _table(3).astype(object)
    table.loc[1, "AU01_r"] = '"1.25"'
    path = _write(tmp_path / "a.csv", table.rename(columns=lambda name: f'"{name}"'), ",")
    np.testing.assert_allclose(read_openface(path).values[1, 0], 1.25)
    path.write_text(path.read_text().replace('"1.25"', '"1.25'))
    assert len(read_openface(path).values) == 3, "a quote that is not closed swallows no lines"


def test_optional_columns_may_lack(tmp_path: Path) -> None:
    read = read_openface(_write(tmp_path / "a.csv", _table(3)[list(COLUMNS)]))
    assert len(read.values) == 3 and np.isnan(read.times).all() and np.isnan(read.confidence).all()
    assert read.warnings == ("without the columns timestamp, confidence, success",)


def test_no_usable_row(tmp_path: Path) -> None:
    table = _table(3)
    table["success"] = 0
    read = read_openface(_write(tmp_path / "a.csv", table))
    assert read.values.shape == (0, 23) and read.success == 0 and len(read.warnings) == 1
    assert read_openface(_write(tmp_path / "b.csv", _table(0))).values.shape == (0, 23)


def test_a_last_row_that_breaks_off(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", _table(4))
    path.write_text(path.read_text()[:-60])
    read = read_openface(path)
    assert len(read.values) == 3 and read.warnings == ("the last row breaks off and is left out",)


def test_broken_rows_are_named(tmp_path: Path) -> None:
    table = _table(5).astype(object)
    table.loc[2, "AU04_r"] = "oops"
    with pytest.raises(MediaError, match="AU04_r is not a number") as caught:
        read_openface(_write(tmp_path / "a.csv", table))
    assert caught.value.line == 4 and caught.value.got == "'oops'"
    path = _write(tmp_path / "b.csv", _table(5))
    lines = path.read_text().splitlines()
    lines[2] = "3, 0"
    path.write_text("\n".join(lines))
    with pytest.raises(MediaError, match="wrong number of columns") as caught:
        read_openface(path)
    assert caught.value.line == 3


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00a", b"a,b,c\n1,2,3\n", bytes(100)])
def test_what_is_not_an_openface_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(MediaError):
        read_openface(tmp_path / "a.csv")
    with pytest.raises(MediaError, match="cannot be read"):
        read_openface(tmp_path / "nowhere.csv")


@given(st.text(max_size=60), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_a_table_or_a_media_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, line: int
) -> None:
    lines = [",".join(COLUMNS), *(",".join(["1.5"] * 23) for _ in range(3))]
    lines.insert(line, text)
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    try:
        read = read_openface(path)
    except MediaError:
        return
    assert np.isfinite(read.values).all() and 3 <= len(read.values) == len(read.times) <= 4


def test_on_a_tie_the_surer_face_is_kept(tmp_path: Path) -> None:
    table = pd.concat([_table(4), _table(4), _table(4)])
    table["face_id"] = [3] * 4 + [1] * 4 + [2] * 4
    table["confidence"] = [0.8] * 4 + [0.7] * 4 + [0.8] * 4
    read = read_openface(_write(tmp_path / "a.csv", table))
    assert read.face_id == 2 and read.rows == 4 and read.confidence.tolist() == pytest.approx([0.8] * 4)


@pytest.mark.parametrize("first", [0, 1, 5])
def test_frame_numbers(tmp_path: Path, first: int) -> None:
    table = _table(6)
    table["frame"] = np.arange(6) + first
    table["timestamp"] = 0.0
    table.loc[0, "success"] = 0
    read = read_openface(_write(tmp_path / "a.csv", table.iloc[[3, 0, 1, 5, 4, 2]]))
    # OpenFace counts from 1; a file that begins at 0 counts from there.
    assert read.frames is not None and read.frames.tolist() == [first - min(first, 1) + index for index in range(1, 6)]
    np.testing.assert_allclose(read.values, table[list(COLUMNS)][1:], rtol=1e-6)
    assert (read.rows, read.broken_off) == (6, False)


@pytest.mark.parametrize("separator", [", ", ",", ";"])
@pytest.mark.parametrize("odd", ["-1e-3", "nan", "+0.5", "0.12345678901234567", '"0.5"', "١"])
def test_an_odd_number_changes_no_other(tmp_path: Path, separator: str, odd: str) -> None:
    table = _table(20).astype(object)
    path = _write(tmp_path / "a.csv", table, separator)
    plain = read_openface(path)
    np.testing.assert_array_equal(plain.values, table[list(COLUMNS)].to_numpy(np.float32))
    table.loc[7, "AU45_r"] = odd
    other = read_openface(_write(tmp_path / "b.csv", table, separator))
    rest = np.arange(20) != 7
    if odd == "nan":
        np.testing.assert_array_equal(other.values, plain.values[rest])
    else:
        np.testing.assert_array_equal(other.values[rest], plain.values[rest])
        assert other.values[7, 16] == np.float32(odd.strip('"'))


BLANKS = st.text(" \t", max_size=2)
DECIMALS = st.from_regex(r"-?([0-9]{1,7}\.?|\.[0-9]{1,7}|[0-9]{1,7}\.[0-9]{1,8}(e-?[0-9])?)", fullmatch=True)


@given(
    st.lists(st.tuples(DECIMALS, BLANKS, st.text(' -.09a"é\0', max_size=4)), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n", ",,\r\n"]),
)
@settings(max_examples=150, deadline=None)
def test_decimals_are_python_s_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], end: str
) -> None:
    """Whatever stands in columns that are not needed."""
    lines = [", ".join([COLUMNS[0], "note", *COLUMNS[1:]])]
    lines += [",".join([blanks + number + blanks, note, *["1"] * 22]) for number, blanks, note in rows]
    path = tmp_path_factory.getbasetemp() / "decimals.csv"
    path.write_bytes((end.join(lines) + end).encode())
    read = read_openface(path)
    expected = np.array([float(number) for number, _, _ in rows]).astype(np.float32)
    np.testing.assert_array_equal(read.values[:, 0].view(np.int32), expected.view(np.int32))
    assert (read.values[:, 1:] == 1).all() and not read.broken_off


@pytest.mark.parametrize("cell", ["-", ".", "--1", "1-", "1.2.3", "1 2", "0x1", "1e", "true", "NA", "1\0"])
def test_what_is_not_a_number(tmp_path: Path, cell: str) -> None:
    table = _table(4).astype(object)
    table.loc[1, "pose_Rz"] = cell
    with pytest.raises(MediaError, match="pose_Rz is not a number") as caught:
        read_openface(_write(tmp_path / "a.csv", table))
    assert caught.value.line == 3 and caught.value.got == repr(cell)


@pytest.mark.parametrize("surplus", ["0", " x", ",7", ",,-", "nan"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_more_cells_than_the_header_has(tmp_path: Path, surplus: str, separator: str) -> None:
    path = _write(tmp_path / "a.csv", _table(4), separator)
    lines = path.read_text().splitlines()
    lines[2] += separator + surplus.replace(",", separator)
    path.write_text("\n".join(lines))
    with pytest.raises(MediaError, match="wrong number of columns") as caught:
        read_openface(path)
    expected = len(_table(0).columns)
    assert (caught.value.line, caught.value.expected) == (3, str(expected))
    assert caught.value.got == str(expected + 1 + surplus.count(","))
    assert ("with points" in str(caught.value.todo)) == (separator == ",")


def test_decimal_commas_where_commas_separate_the_columns(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", _table(4), ";")
    path.write_text(path.read_text().replace(".", ",").replace(";", ","))
    with pytest.raises(MediaError, match="wrong number of columns") as caught:
        read_openface(path)
    assert caught.value.line == 2 and "write decimals with points" in str(caught.value.todo)


@pytest.mark.parametrize("empty", [",", ",,", ", ,", ',""', ",\t", ", \r"])
def test_empty_cells_beyond_the_header(tmp_path: Path, empty: str) -> None:
    table = _table(4)
    path = _write(tmp_path / "a.csv", table)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row + empty for row in rows)]) + "\n", newline="")
    read = read_openface(path)
    np.testing.assert_array_equal(read.values, table[list(COLUMNS)].to_numpy(np.float32))
    assert read.rows == 4 and read.warnings == ()


def test_a_last_row_that_breaks_off_after_what_is_needed(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", _table(4).assign(last=1.0))
    path.write_text(path.read_text().rpartition(",")[0])
    table = read_openface(path)
    assert table.broken_off and table.rows == 3
