"""Label CSVs of every kind of damage, and an oracle that judges them without any code of the package.

The oracle is the rules written a second time, from the description of the data and of the codes. It reads bytes with
the standard library's ``csv`` and plain checks.

1. UTF-8 text; one byte-order mark at the start is understood. Lines end in LF, CR LF or CR and in nothing else. A row
   is one line: neither an id nor a number has a line end in it. Commas; quoted cells as in RFC 4180, so that a
   quotation mark that is not closed in its line, or that text follows, is wrong.
2. A line of nothing but white space is not a row. The first row is the header, exactly; there is at least one more row.
3. A row has seven cells: an id and six numbers.
4. An id is five ASCII digits. Understood too, in this order: white space around it; the name of a media file; ``.0``;
   lost zero padding. No id occurs twice, however it is spelt.
5. A number is written in ASCII digits with at most one point, a sign and an exponent, white space around it allowed; it
   is finite and in [0, 1].
"""

import csv
import io
import math
import re
from dataclasses import dataclass, field

from hypothesis import strategies as st

HEADER = ["Filename", "Admiration", "Amusement", "Determination", "Empathic Pain", "Excitement", "Joy"]
SUFFIXES = ["mp4", "mp3", "mkv", "mov", "mpg", "avi", "webm", "wav", "flac", "m4a", "pkl", "txt", "csv", "npy"]
DIGITS = "0123456789"


@dataclass
class Verdict:
    """What the oracle says of one file.

    Attributes:
        file_errors: Codes that concern the whole file; at least one of them has to be reported.
        row_errors: Line of each bad row → the code of each thing that is wrong with it.
        doubtful: Lines that may be called duplicates of a row that cannot be used itself.
        rows: Id and values of every good row, in order.
    """

    file_errors: set[str] = field(default_factory=set)
    row_errors: dict[int, set[str]] = field(default_factory=dict)
    doubtful: set[int] = field(default_factory=set)
    rows: list[tuple[str, list[float]]] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        return not self.file_errors and not self.row_errors


def judge(data: bytes) -> Verdict:
    """Returns whether ``data`` is a fine label file, and what is in it."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Verdict({"L212"})
    lines = re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))
    rows = [(number, *_cells(line)) for number, line in enumerate(lines, 1)]
    rows = [(number, cells, wrong) for number, cells, wrong in rows if cells or wrong]
    if not rows:
        return Verdict({"L201", "L211"})
    if rows[0][1] != HEADER:
        return Verdict({"L201", "L203", "L210", "L212"})
    if len(rows) == 1:
        return Verdict({"L211"})
    verdict = Verdict()
    seen: set[str] = set()
    perhaps: set[str | None] = set()
    for number, cells, unreadable in rows[1:]:
        if unreadable:
            verdict.row_errors[number] = {unreadable}
            continue
        clip = read_id(cells[0])
        if len(cells) != len(HEADER):
            other = len(cells) == 1 and (";" in cells[0] or "\t" in cells[0])
            verdict.row_errors[number] = {"L203" if other else "L210"}
            perhaps.add(clip)
            continue
        wrong, values = _values(cells[1:])
        if clip is None:
            wrong.add("L204")
        elif clip in seen:
            wrong.add("L206")
        elif clip in perhaps:
            verdict.doubtful.add(number)
        if wrong:
            verdict.row_errors[number] = wrong
        elif clip is not None:
            verdict.rows.append((clip, values))
        if clip is not None:
            seen.add(clip)
    return verdict


def _cells(line: bytes) -> tuple[list[str], str]:
    """Returns the cells, none for a blank line; and the code of what keeps the line from being read, else nothing."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return [], "L212"
    if text.strip() == "":
        return [], ""
    try:
        return next(csv.reader([text], strict=True)), ""
    except csv.Error:
        return [], "L210"


def _values(cells: list[str]) -> tuple[set[str], list[float]]:
    """Returns the codes of what is wrong with the labels, and the good ones."""
    wrong: set[str] = set()
    values = []
    for cell in cells:
        value = read_number(cell)
        if value is None:
            wrong.add("L208")
        elif not 0 <= value <= 1:
            wrong.add("L209")
        else:
            values.append(value)
    return wrong, values


def read_id(text: str) -> str | None:
    """Returns the five digits that ``text`` means, else None."""
    text = text.strip()
    stem, dot, suffix = text.rpartition(".")
    if dot and suffix.lower() in SUFFIXES:
        text = stem
    whole, dot, zeros = text.partition(".")
    if dot and zeros != "" and set(zeros) == {"0"}:
        text = whole
    if text == "" or len(text) > 5 or any(character not in DIGITS for character in text):
        return None
    return "0" * (5 - len(text)) + text


def read_number(text: str) -> float | None:
    """Returns the number that ``text`` is in plain ASCII, None when it is none or not finite."""
    text = text.strip()
    mantissa, e, exponent = text.lower().partition("e")
    if mantissa[:1] in ("+", "-"):
        mantissa = mantissa[1:]
    if exponent[:1] in ("+", "-"):
        exponent = exponent[1:]
    digits = mantissa.replace(".", "", 1)
    if digits == "" or set(digits) - set(DIGITS) or set(exponent) - set(DIGITS) or (e != "") != (exponent != ""):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


# -- strategies ------------------------------------------------------------------------------------------------------

GOOD_NUMBERS = ["0.0", "0.3333333333333333", "0.6666666666666666", "1.0", "0.25", "0.5", "0", "1"]
# fmt: off
ODD_NUMBERS = [
    "1e-3", ".5", "1.", "+0.5", "-0", "-0.0", "00.5", "1E0", "5e-324", "1e-400", "0.5 ", " 0.5", "\t0.5", "0.5\u00a0",
    "nan", "NaN", "inf", "-inf", "Infinity", "0x1", "1_0", "0_1", "٣", "０.５", "1e400", "-1e400", "9" * 400, "-0.1",
    "1.0000000001", "2", "1,0", "0.5.5", "1e", "e5", "1e5.5", "--1", "+", ".", "", " ", "None", "null", "NA", "true",
    "½", "1/3", "0.5%", "0. 5", "1.5", "-1e-9", "1e1", "0.5\x00", "\x00", "\ufeff0.5", "0.5\u200b", "1e-3_0", "0b1",
    "1j", "=1+0", "0.3…",
]
ODD_IDS = [
    "12", "12.0", "12.mp4", "00012.mp4", " 00012", "00012 ", "12.00", "00012.MP4", "12.0.mp4", "12.mp3", "00012.0",
    "\u00a000012", "00012\t", "12.", ".0", ".mp4", "12.mp4.0", "12 .mp4", "000012", "123456", "12.5", "-12", "+12",
    "../../x", "/etc/passwd", "..", "00012/", "raw/00012.mp4", "C:\\00012", "00012.exe", "1e3", "٠٠٠١٢", "０００１２",
    "1\u06602", "", " ", "nan", "Filename", "00012\x00", "00012\ufeff", "\u202e00012", "1_2", "0x12", "00012;00013",
    "00012.mp4 ", "12.NPY", "12.jpg", "²", "00012\n", "\n00012", "<script>", "00012\u2028",
]
#: How a team's tools may spell a good id or number; all of it is understood.
SPELT_IDS = [
    "{:05d}", "{:05d}", "{}", "{}.0", "{:05d}.mp4", "{}.mp4", " {:05d}", "{:05d} ", "{}.00", "{}.0.MP4", "{:03d}.mp3",
]
SPELT_NUMBERS = ["{}", "{}", "{}", " {}", "{} ", "+{}", "0{}", "{}e0", "{}E-00", "\t{}", "{}\u00a0"]
TEXT_INSERTS = [
    '"', '""', '"""', ",", ",,", ";", "\t", "\n", "\r", "\r\n", "\n\n", "\x0b", "\x0c", "\x00", "\x1a", "\x1c", "\x85",
    "\u2028", "\ufeff", "'", "\\", "sep=,\n", "# note\n", '"\n', '\n"', ',"', '",', '"a\nb"', " ", "é", "\ud7ff", "0",
]
ENDS = ["\n"] * 9 + ["\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\n\r", "\n\n"]
ENCODINGS = ["utf-8-sig", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]
# fmt: on
CLIPS = st.integers(0, 40)


@st.composite
def good_rows(draw: st.DrawFn) -> list[list[str]]:
    """A header and one to six rows that are in order."""
    clips = draw(st.lists(CLIPS, min_size=1, max_size=6, unique=True))
    number = st.one_of(st.sampled_from(GOOD_NUMBERS), st.floats(0, 1).map(repr))
    rows = [[f"{clip:05d}", *draw(st.lists(number, min_size=6, max_size=6))] for clip in clips]
    return [list(HEADER), *rows]


def _pick(draw: st.DrawFn, rows: list[list[str]], header: bool = False) -> list[str]:
    return rows[draw(st.integers(0 if header or len(rows) == 1 else 1, len(rows) - 1))] if rows else []


def _odd_number(draw: st.DrawFn, rows: list[list[str]]) -> None:
    row = _pick(draw, rows)
    if row:
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(ODD_NUMBERS))


def _odd_id(draw: st.DrawFn, rows: list[list[str]]) -> None:
    row = _pick(draw, rows)
    if row:
        row[0] = draw(st.sampled_from(ODD_IDS))


def _same_clip(draw: st.DrawFn, rows: list[list[str]]) -> None:
    if len(rows) > 1:
        twin = list(_pick(draw, rows))
        if twin and twin[0].isdigit() and twin[0].isascii():
            spelt = str(int(twin[0]))
            twin[0] = draw(st.sampled_from([twin[0], spelt, spelt + ".0", spelt + ".mp4", " " + twin[0]]))
        rows.insert(draw(st.integers(1, len(rows))), twin)


def _header(draw: st.DrawFn, rows: list[list[str]]) -> None:
    if not rows:
        return
    kind = draw(
        st.sampled_from(["permute", "permute all", "rename", "twice", "case", "space", "drop", "gone", "again"])
    )
    if kind == "permute":
        rows[0] = draw(st.permutations(rows[0]))
    elif kind == "permute all":
        order = draw(st.permutations(range(7)))
        rows[:] = [[row[place] for place in order] if len(row) == 7 else row for row in rows]
    elif kind == "drop" and rows[0]:
        rows[0].pop(draw(st.integers(0, len(rows[0]) - 1)))
    elif kind == "gone":
        rows.pop(0)
    elif kind == "again":
        rows.insert(draw(st.integers(0, len(rows))), list(HEADER))
    elif rows[0]:
        place = draw(st.integers(0, len(rows[0]) - 1))
        old = rows[0][place]
        new = {"rename": "Joyfulness", "twice": "Joy", "case": old.lower(), "space": f" {old}"}
        rows[0][place] = new.get(kind, old)


def _cell_count(draw: st.DrawFn, rows: list[list[str]]) -> None:
    row = _pick(draw, rows, header=True)
    if draw(st.booleans()):
        row.insert(draw(st.integers(0, len(row))), draw(st.sampled_from(["", "0.5", "00012", "x"])))
    elif row:
        row.pop(draw(st.integers(0, len(row) - 1)))


def _trailing_commas(draw: st.DrawFn, rows: list[list[str]]) -> None:
    extra = [""] * draw(st.integers(1, 3))
    for row in rows if draw(st.booleans()) else [_pick(draw, rows, header=True)]:
        row.extend(extra)


def _blank(draw: st.DrawFn, rows: list[list[str]]) -> None:
    line = draw(st.sampled_from([[], [""], ["  "], ["\t"], ["\x0c"], [""] * 7, ["#"], ["\x00"], ["\u00a0"]]))
    rows.insert(draw(st.integers(0, len(rows))), list(line))


def _only_header(draw: st.DrawFn, rows: list[list[str]]) -> None:
    del rows[draw(st.integers(0, 1)) :]


ROW_MUTATIONS = [
    *[_odd_number, _odd_id, _same_clip, _cell_count, _blank] * 4,
    *[_header, _trailing_commas] * 2,
    _only_header,
]


@st.composite
def joined(draw: st.DrawFn, rows: list[list[str]]) -> str:
    """The rows as text, mostly in the usual form."""
    delimiter = draw(st.sampled_from([","] * 6 + [";", "\t", "|", ", "]))
    end = draw(st.sampled_from(ENDS))
    quoting = draw(st.sampled_from(["no", "no", "no", "needed", "all", "some"]))
    decimal = draw(st.sampled_from(["."] * 5 + [","]))
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.replace(".", decimal) if number else cell for cell in row]
        lines.append(delimiter.join(_quoted(cell, quoting, delimiter, draw) for cell in cells))
    return end.join(lines) + draw(st.sampled_from(["", end, end, end]))


def _quoted(cell: str, quoting: str, delimiter: str, draw: st.DrawFn) -> str:
    needed = any(mark in cell for mark in (delimiter, '"', "\n", "\r"))
    if quoting == "all" or (quoting == "needed" and needed) or (quoting == "some" and draw(st.booleans())):
        return '"' + cell.replace('"', '""') + '"'
    return cell


CHANGES = ["row"] * 6 + ["form", "text", "text", "encoding", "bytes"]


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    """A file in order, changed in one to four ways; mostly in one, so that no other damage hides it."""
    rows = draw(good_rows())
    changes = draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=draw(st.sampled_from([1, 1, 1, 2, 4]))))
    for _ in range(changes.count("row")):
        draw(st.sampled_from(ROW_MUTATIONS))(draw, rows)
    text = draw(joined(rows)) if "form" in changes else "\n".join(map(",".join, rows)) + "\n"
    for _ in range(changes.count("text")):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(TEXT_INSERTS)) + text[place + draw(st.integers(0, 2)) :]
    data = text.encode(draw(st.sampled_from(ENCODINGS)) if "encoding" in changes else "utf-8", errors="replace")
    for _ in range(changes.count("bytes")):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.binary(max_size=3)) + data[place + draw(st.integers(0, 3)) :]
    return data


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A table of cells that are each likely, under a header that mostly is right."""
    cell = st.one_of(st.sampled_from(GOOD_NUMBERS), st.sampled_from(ODD_NUMBERS), st.text(max_size=4))
    clip = st.one_of(CLIPS.map("{:05d}".format), CLIPS.map(str), st.sampled_from(ODD_IDS))
    rows = draw(st.lists(st.tuples(clip, st.lists(cell, min_size=5, max_size=7)), max_size=5))
    header = draw(st.sampled_from([HEADER] * 8 + [HEADER[1:], HEADER[::-1], []]))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])))
    writer.writerows([header, *([clip, *cells] for clip, cells in rows)])
    return text.getvalue().encode("utf-8", errors="surrogatepass")


@st.composite
def understood_files(draw: st.DrawFn) -> bytes:
    """A file in order, in any of the forms that are understood."""
    rows = draw(good_rows())
    for row in rows[1:]:
        row[0] = draw(st.sampled_from(SPELT_IDS)).format(int(row[0]))
        row[1:] = [cell if "e" in cell else draw(st.sampled_from(SPELT_NUMBERS)).format(cell) for cell in row[1:]]
        if draw(st.booleans()):
            row[draw(st.integers(1, 6))] = draw(st.sampled_from([".5", "1.", "1e-3", "-0", "-0.0", "5e-324", "1e-400"]))
    quoting, end = draw(st.sampled_from(["no", "all", "some"])), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines = [",".join(_quoted(cell, quoting, ",", draw) for cell in row) for row in rows]
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["", " ", "\t ", "\u00a0"])))
    text = end.join(lines) + draw(st.sampled_from(["", end, end + end]))
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig"])))


ALPHABET = b'0123456789.,,,,\n\n\r"; \t\x00\xef\xbb\xbf\xff\xc3\xa9-+eE_naif\x0b\x0c'
random_bytes = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from(ALPHABET), max_size=200).map(bytes),
    st.lists(st.sampled_from(ALPHABET), max_size=80).map(lambda tail: ",".join(HEADER).encode() + b"\n" + bytes(tail)),
)

#: Any bytes that could lie in a place of a label file; mostly such as are nearly right.
label_files = st.one_of(mutated_files(), mutated_files(), mutated_files(), understood_files(), tables(), random_bytes)
