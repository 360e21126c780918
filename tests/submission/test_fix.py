"""What there is only one way to correct is corrected in a copy; what would be a guess is refused."""

from pathlib import Path

import pytest

from abawkit.challenge import EMI
from abawkit.errors import FindingsError, UsageError
from abawkit.submission.fix import fix
from abawkit.submission.form import check
from tests.submission.broken import BROKEN, GOOD, IDS, ODD, good, text_of

#: The broken files that can be fixed so that they are the good file, and what is said of it.
EQUAL = {
    "byte-order mark": "byte-order mark",
    "lower case": "header and columns",
    "spaces in the header": "header and columns",
    "two columns swapped": "header and columns",
    "ids in the last column": "header and columns",
    "an index before the ids": "header and columns",
    "a column after the last": "header and columns",
    "a suffix": "id brought",
    "lost zeros": "id brought",
    "ids as integers": "id brought",
    "an id as a float": "id brought",
    "spaces before an id": "id brought",
}

#: Those of which a value changes its form, and the row that comes of it.
ROWS = {"a decimal comma in quotes": ",0.5,"}


@pytest.mark.parametrize("name", BROKEN)
def test_only_what_is_unambiguous_is_fixed(tmp_path: Path, name: str) -> None:
    path, data = tmp_path / "team.csv", BROKEN[name][0]
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    before = path.read_bytes()
    if name not in EQUAL and name not in ROWS:
        with pytest.raises(FindingsError, match="cannot be fixed without guessing"):
            fix(path, EMI, IDS)
        assert list(tmp_path.iterdir()) == [path]
    else:
        fixed = fix(path, EMI, IDS)
        assert fixed.path == tmp_path / "team.csv.fixed.csv"
        assert check(fixed.path, EMI, IDS).findings == []
        if name in EQUAL:
            assert fixed.path.read_text() == GOOD
            assert len(fixed.changes) == 1 and fixed.changes[0].startswith(EQUAL[name])
        else:
            assert ROWS[name] in fixed.path.read_text().splitlines()[2]
    assert path.read_bytes() == before


def test_odd_files_are_written_plainly(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    for name in ("CRLF", "a quoted header", "everything quoted", "no end of the last line", "spaces before numbers"):
        path.write_bytes(str(ODD[name][0]).encode())
        assert fix(path, EMI, IDS).changes, name
        assert (tmp_path / "team.csv.fixed.csv").read_text() == GOOD, name
    path.write_text(str(ODD["another order of rows"][0]))
    assert fix(path, EMI, IDS).changes == ("rows sorted by id",)
    path.write_text(GOOD)
    assert fix(path, EMI, IDS).path is None


def test_integer_ids_are_sorted_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text(text_of([good()[0], *good()[:0:-1]]))
    fixed = fix(path, EMI, IDS, int_ids=True)
    assert fixed.path is not None and check(fixed.path, EMI, IDS, int_ids=True).findings == []
    lines = fixed.path.read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:4]] == ["7", "12", "345"]
    assert fixed.changes == ("rows sorted by id", "id brought into the form that was asked for (4)")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path, fixed = tmp_path / "team.csv", tmp_path / "team.csv.fixed.csv"
    path.write_text(GOOD.replace("\n", "\r\n"))
    fixed.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        fix(path, EMI, IDS)
    assert fixed.read_text() == "mine"
    fixed.unlink()
    assert fix(path, EMI, IDS) == fix(path, EMI, IDS)  # the same content again does no harm
