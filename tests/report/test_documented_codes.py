"""docs/findings.md is the table of codes: it has every code, with what the program says of it."""

import re
from pathlib import Path

from abawkit.findings import CODES

DOCUMENT = Path(__file__).parents[2] / "docs" / "findings.md"


def rows() -> list[list[str]]:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| [A-Z][0-9]{3} ", line)
    ]


def test_the_table_has_exactly_the_codes_and_what_they_are() -> None:
    documented = [(code, *about) for code, *about, _ in rows()]
    assert sorted(documented) == sorted((code, *known) for code, known in CODES.items())


def test_every_code_says_what_to_do() -> None:
    assert all(len(todo) > 10 for *_, todo in rows())
