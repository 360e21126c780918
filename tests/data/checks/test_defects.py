"""Each kind of defect is found alone, at its own level and not below it, and among all the others."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from abawkit.challenge import Task
from abawkit.data.checks.validate import validate
from abawkit.findings import CODES, DEPTHS, Depth
from tests.data.defects import DEFECTS, Expected
from tests.data.odd_media import write_odd_media

Found = tuple[str, str, int | None]


@pytest.fixture(scope="session")
def media(media_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(media_files, tmp_path_factory.mktemp("odd") / "media")
    return write_odd_media(folder)


def found(challenge: Path, depth: Depth, task: Task, workers: int = 1) -> Counter[Found]:
    report = validate(challenge, task, level=depth, workers=workers)
    findings = [finding.to_json() for finding in report.findings]
    return Counter((str(f["code"]), os.path.relpath(str(f["path"]), challenge), f["line"]) for f in findings)  # type: ignore[misc]


def wanted(challenge: Path, expected: Iterable[Expected]) -> Counter[Found]:
    return Counter((code, path, _line(challenge / path, text)) for code, path, text in expected)


def _line(path: Path, text: str | None) -> int | None:
    if text is None:
        return None
    (number,) = [number for number, line in enumerate(path.read_bytes().splitlines(), 1) if text.encode() in line]
    return number


@pytest.mark.parametrize("name", DEFECTS)
def test_each_alone_at_its_level_and_not_below(challenge: Path, media: Path, name: str) -> None:
    defect = DEFECTS[name]
    defect.plant(challenge, media)
    deepest = max(DEPTHS.index(CODES[code].level) for code, _, _ in defect.expected)  # type: ignore[arg-type]
    # Those that go with the others are looked for at every level below.
    for depth in DEPTHS if defect.alone else DEPTHS[max(0, deepest - 1) : deepest + 1]:
        assert found(challenge, depth, defect.task) == wanted(challenge, defect.found_at(depth)), depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_all_together(challenge: Path, media: Path, depth: Depth) -> None:
    together = [defect for defect in DEFECTS.values() if not defect.alone]
    for defect in together:
        defect.plant(challenge, media)
    expected = [finding for defect in together for finding in defect.found_at(depth)]
    # In two processes the findings are the same.
    assert found(challenge, depth, together[0].task, workers=2) == wanted(challenge, expected)


def test_every_code_is_planted() -> None:
    codes = {code for defect in DEFECTS.values() for code, _, _ in defect.expected}
    # What the superuser may read as well cannot be planted: test_validate.py has it.
    assert codes == {code for code, about in CODES.items() if about.level in DEPTHS} - {"F109"}
    assert len(DEFECTS) >= 40 and sum(not defect.alone for defect in DEFECTS.values()) >= 40


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_clean_folder_is_clean(challenge: Path, depth: Depth) -> None:
    assert validate(challenge, level=depth).findings == []
