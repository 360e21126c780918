"""Submissions that a platform would refuse, each with the codes that are right for it, and odd ones that pass."""

from collections.abc import Callable, Iterable

import numpy as np

from abawkit.challenge import EMI

#: Ids with and without zeros in front.
IDS = [f"{number:05d}" for number in (7, 12, 345, 9999, *range(12660, 12666))]

Rows = list[list[str]]


def good() -> Rows:
    """Returns the rows of a submission without any defect."""
    rng = np.random.default_rng(0)
    return [list(EMI.header), *([clip, *(f"{value:.6f}" for value in rng.random(6))] for clip in IDS)]


def text_of(rows: Iterable[list[str]], mark: str = ",") -> str:
    """Returns rows as lines."""
    return "".join(mark.join(row) + "\n" for row in rows)


def _cell(row: int, column: int, value: str) -> str:
    rows = good()
    rows[row][column] = value
    return text_of(rows)


def _rows(change: Callable[[Rows], object]) -> str:
    rows = good()
    change(rows)
    return text_of(rows)


def _columns(order: list[int], *, header: bool = True, body: bool = True) -> str:
    rows = good()
    picked = [[row[index] for index in order] for row in rows]
    return text_of([picked[0] if header else rows[0], *(picked[1:] if body else rows[1:])])


def _set_column(rows: Rows, column: int, value: str) -> None:
    for row in rows[1:]:
        row[column] = value


def _header(text: str) -> str:
    return text + "\n" + text_of(good()[1:])


GOOD = text_of(good())
HEADER = ",".join(EMI.header)
LINES = GOOD.splitlines(keepends=True)

#: Name → content, all codes that are to be found, and the line of the first of them (None: of the whole file).
BROKEN: dict[str, tuple[str | bytes, set[str], int | None]] = {
    # the file
    "nothing": ("", {"S512"}, None),
    "spaces and ends of lines": ("\n \n\t\n", {"S512"}, None),
    "byte-order mark": (b"\xef\xbb\xbf" + GOOD.encode(), {"S502"}, 1),
    "UTF-16": (GOOD.encode("utf-16"), {"S513"}, 1),
    "Latin-1": (GOOD.encode().replace(b"Joy", b"J\xf6y"), {"S513"}, 1),
    "bytes in the middle": (GOOD.encode().replace(b"12661,", b"12661\xff,"), {"S513"}, 7),
    "semicolons": (GOOD.replace(",", ";"), {"S503"}, 1),
    "tabs": (GOOD.replace(",", "\t"), {"S503"}, 1),
    "bars": (GOOD.replace(",", "|"), {"S503"}, 1),
    "semicolons and decimal commas": (GOOD.replace(",", ";").replace(".", ","), {"S503", "S508"}, 1),
    "byte-order mark and semicolons": (b"\xef\xbb\xbf" + GOOD.replace(",", ";").encode(), {"S502", "S503"}, 1),
    "cut within a row": (GOOD[:-20], {"S511"}, 11),
    "cut within quotes": (GOOD[:-8].replace("12665,", '12665,"'), {"S511"}, 11),
    "an empty line between rows": (GOOD.replace("12660,", "\n12660,"), {"S511"}, 6),
    "a line of spaces": (GOOD.replace("12660,", "  \n12660,"), {"S511", "S504", "S515"}, 6),
    "HTML": ("<html>\n<body>Sign in</body>\n</html>\n", {"S501"}, 1),
    # the header
    "a header only": (HEADER + "\n", {"S506", "S515"}, None),
    "no header": (text_of(good()[1:]), {"S501"}, 1),
    "lower case": (_header(HEADER.lower()), {"S501"}, 1),
    "spaces in the header": (_header(HEADER.replace(",", ", ")), {"S501"}, 1),
    "an underscore": (_header(HEADER.replace("Empathic Pain", "Empathic_Pain")), {"S501"}, 1),
    "another name of the ids": (_header(HEADER.replace("Filename", "id")), {"S501"}, 1),
    "two columns of one name": (_header(HEADER.replace("Excitement", "Joy")), {"S501"}, 1),
    "two columns swapped": (_columns([0, 2, 1, 3, 4, 5, 6]), {"S501"}, 1),
    "ids in the last column": (_columns([1, 2, 3, 4, 5, 6, 0]), {"S501"}, 1),
    "a column missing": (_columns([0, 1, 2, 3, 4, 5]), {"S501"}, 1),
    "an index before the ids": (
        text_of([["", *good()[0]], *([str(n), *row] for n, row in enumerate(good()[1:]))]),
        {"S501"},
        1,
    ),
    "a column after the last": (text_of([*row, "1"] for row in good()), {"S501"}, 1),
    "a comment before the header": ("# our best\n" + GOOD, {"S501"}, 1),
    # the ids
    "not an id": (_cell(3, 0, "../../x"), {"S504", "S506"}, 4),
    "an empty id": (_cell(3, 0, ""), {"S504", "S506"}, 4),
    "a suffix": (_cell(3, 0, "00345.mp4"), {"S504"}, 4),
    "lost zeros": (_cell(1, 0, "7"), {"S504"}, 2),
    "ids as integers": (_rows(lambda rows: [row.__setitem__(0, str(int(row[0]))) for row in rows[1:]]), {"S504"}, 2),
    "an id as a float": (_cell(8, 0, "12663.0"), {"S504"}, 9),
    "spaces before an id": (_cell(5, 0, " 12660"), {"S504"}, 6),
    "an id that is too long": (_cell(5, 0, "012660"), {"S504", "S506"}, 6),
    "other digits": (_cell(5, 0, "１２６６０"), {"S504", "S506"}, 6),
    "a duplicate": (_cell(3, 0, "00007"), {"S505", "S506"}, 4),
    "a row twice": (GOOD + LINES[-1], {"S505", "S515"}, 12),
    "the file twice": (GOOD + "".join(LINES[1:]), {"S505", "S515"}, 12),
    "the header again": (GOOD + LINES[0], {"S504", "S508", "S515"}, 12),
    "a clip missing": ("".join(LINES[:-1]), {"S506", "S515"}, None),
    "another clip": (GOOD + "99999,.1,.1,.1,.1,.1,.1\n", {"S507", "S515"}, 12),
    "a clip of training": (_cell(10, 0, "20000"), {"S507", "S506"}, 11),
    # the values
    "a word": (_cell(2, 3, "high"), {"S508"}, 3),
    "an empty value": (_cell(2, 3, ""), {"S508"}, 3),
    "nan": (_cell(2, 3, "nan"), {"S508"}, 3),
    "NA": (_cell(2, 3, "NA"), {"S508"}, 3),
    "infinity": (_cell(2, 3, "inf"), {"S508"}, 3),
    "a decimal comma in quotes": (_cell(2, 3, '"0,5"'), {"S508"}, 3),
    "a decimal comma": (_cell(2, 3, "0,5"), {"S511"}, 3),
    "a digit separator": (_cell(2, 3, "0.1_0"), {"S508"}, 3),
    "per cent": (_cell(2, 3, "50%"), {"S508"}, 3),
    "a hexadecimal number": (_cell(2, 3, "0x1p-2"), {"S508"}, 3),
    "a line end in a value": (_cell(2, 3, '"0.5\n"'), {"S508"}, 4),
    "above the range": (_cell(2, 3, "1.000001"), {"S509"}, 3),
    "below the range": (_cell(2, 3, "-0.000001"), {"S509"}, 3),
    "values in per cent": (_cell(4, 6, "55.5"), {"S509"}, 5),
    "a constant column": (_rows(lambda rows: _set_column(rows, 4, "0.500000")), {"S510"}, None),
    "all zero": (_rows(lambda rows: [_set_column(rows, column, "0.0") for column in range(1, 7)]), {"S510"}, None),
    "a short row": (_rows(lambda rows: rows[2].pop()), {"S511"}, 3),
    "a long row": (_rows(lambda rows: rows[2].append("0.1")), {"S511"}, 3),
    # several
    "three defects": (
        GOOD.replace("00007,0", "00007,nan,0", 1).replace("00012,0", "00012,7"),
        {"S509", "S511"},
        2,
    ),
}

#: Name → content, whether ids have to be integers, and the codes of the warnings.
ODD: dict[str, tuple[str | bytes, bool, set[str]]] = {
    "CRLF": (GOOD.replace("\n", "\r\n"), False, set()),
    "a quoted header": (GOOD.replace(HEADER, ",".join(f'"{name}"' for name in EMI.header)), False, set()),
    "everything quoted": (text_of([f'"{cell}"' for cell in row] for row in good()), False, set()),
    "integer ids": (_rows(lambda rows: [row.__setitem__(0, str(int(row[0]))) for row in rows[1:]]), True, set()),
    "no end of the last line": (GOOD.rstrip("\n"), False, set()),
    "empty lines at the end": (GOOD + "\n\r\n", False, set()),
    "an exponent": (_cell(2, 3, "1e-05"), False, set()),
    "no zero before the point": (_cell(2, 3, ".5"), False, set()),
    "integers as values": (_cell(2, 3, "1"), False, set()),
    "minus zero": (_cell(2, 3, "-0.0"), False, set()),
    "fifteen digits": (_cell(2, 3, "0.123456789012345"), False, set()),
    "spaces before numbers": (GOOD.replace(",0.", ", 0."), False, {"S517"}),
    "another order of rows": (text_of([good()[0], *good()[:0:-1]]), False, {"S518"}),
}
