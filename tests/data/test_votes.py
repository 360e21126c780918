from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.challenge import EMI
from abawkit.data.labels import read_labels
from abawkit.data.votes import tolerance
from abawkit.findings import Report

HEADER = ",".join(EMI.header)


def findings(folder: Path, rows: list[str], task=EMI) -> dict[str, tuple[int | None, str, str | None]]:
    path = folder / "labels.csv"
    path.write_text("\n".join([HEADER, *(f"{number:05d},{row}" for number, row in enumerate(rows))]) + "\n")
    report = Report()
    read_labels(path, task, report)
    return {f.code: (f.line, f.message, f.got) for f in report.findings if f.code != "L213"}


@pytest.mark.parametrize(
    ("row", "codes"),
    [
        ("0.3333333333333333,0.3333333333333333,0.0,0.0,0.3333333333333333,0.0", []),
        ("0.33333334,0.6666667,0,0,0,0", []),  # float32
        ("0.333,0.667,0,0,0,0", []),
        ("0.3334,0.6667,0,0,0,0", ["L214"]),  # .33335 is the last that rounds to it
        ("0.33,0.67,0,0,0,0", ["L214"]),  # two digits are taken as they are: no N up to 20 has .33
        ("0.35,0.05,0,0,0,0.6", []),  # of 20
        ("0.25,0.2,0,0,0,0", []),  # 5 and 4 of 20
        ("0.25,0.3333333333333333,0,0,0,0", []),  # 3 and 4 of 12
        ("0.25,0.14285714285714285,0,0,0,0", ["L214"]),  # 28 raters
        ("0.047619047619047616,0,0,0,0,0", ["L214"]),  # 21 raters
        ("3.333e-1,0,0,0,0,0", []),
        ("0.5,0,0.5,0,0,0.5", ["L215"]),
        ("1,1,1,1,1,1", ["L215"]),
        ("0.334,0.333,0.333,0,0,0", ["L214"]),
        ("0.333,0.333,0.333,0,0,0", []),
        ("0.667,0.334,0,0,0,0", ["L214"]),  # sums to 1.001, which is rounding
        ("0.123,0.9,0,0,0,0", ["L214", "L215"]),
    ],
)
def test_one_row(tmp_path: Path, row: str, codes: list[str]) -> None:
    assert sorted(findings(tmp_path, [row])) == codes
    assert not findings(tmp_path, [row], replace(EMI, most_raters=None)), "no votes, no check"


def test_one_finding_per_file(tmp_path: Path) -> None:
    rows = ["0,0,0,0,0,0", "0.5,0.5,0.5,0,0,0", "0.111,0,0,0,0,0.3", "0.1234,0,0,0,0,0", "1,1,0,0,0,0", "7,0,0,0,0,0"]
    found = findings(tmp_path, rows)
    assert set(found) == {"L209", "L214", "L215"}
    assert found["L214"] == (4, "2 rows " + found["L214"][1].split(" ", 2)[2], "0.111,0,0,0,0,0.3")
    assert found["L215"] == (3, "2 rows with labels that sum to more than 1, the first here", "1.5")


@given(
    raters=st.integers(1, 20),
    votes=st.lists(st.integers(0, 20), min_size=6, max_size=6),
    digits=st.sampled_from([3, 4, 6, 9, 17]),
)
@settings(max_examples=60, deadline=None)
def test_shares_of_votes_are_never_called_odd(
    tmp_path_factory: pytest.TempPathFactory, raters: int, votes: list[int], digits: int
) -> None:
    shares = [Fraction(min(vote, raters), raters) for vote in votes]
    row = ",".join(f"{float(share):.{digits}f}" for share in shares)
    found = findings(tmp_path_factory.mktemp("votes"), [row])
    assert "L214" not in found
    rounding = 6 * (0.5 * 10.0**-digits)
    if abs(sum(shares) - 1) > rounding or sum(shares) <= 1:
        assert ("L215" in found) == (sum(shares) > 1)


def test_tolerance_is_half_a_unit_of_the_last_digit() -> None:
    written = ["0.125", " 0.1250 ", ".5", "1", "0.000", "5e-1", "12.5e-2", "0.12345678901234567890", "1e-400", "0e9"]
    expected = [5e-4, 5e-5, 1e-6, 1e-6, 5e-4, 1e-6, 5e-4, 1e-6, 1e-6, 1e-6]
    assert [tolerance(text) for text in written] == pytest.approx(expected)
