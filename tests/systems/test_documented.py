"""``docs/systems.md`` has every key and every kind, with its default."""

from dataclasses import fields
from pathlib import Path

import pytest

from abawkit.systems.kinds import OWN, default
from abawkit.systems.loader import build_system
from abawkit.systems.overrides import SHORT_NAMES
from abawkit.systems.schema import Fusion, Slot, Training

DOCUMENT = (Path(__file__).parents[2] / "docs" / "systems.md").read_text()


@pytest.mark.parametrize("section", [Slot, Fusion, Training])
def test_every_key_has_a_row(section: type[Slot] | type[Fusion] | type[Training]) -> None:
    for key, field in section.model_fields.items():
        (row,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{key}` |") and _of(line, section)]
        if field.description:
            assert field.description in row


def _of(line: str, section: type) -> bool:
    """Whether the row is in the section's own table: epochs and patience stand in all of them."""
    title = {"Slot": "slots.NAME", "Fusion": "fusion", "Training": "training"}[section.__name__]
    table = DOCUMENT.split(f"## `[{title}]`")[1].split("\n## ")[0]
    return line in table.splitlines()


def test_every_kind_and_its_keys_have_a_row() -> None:
    for what, kinds in OWN.items():
        for kind in kinds:
            (row,) = [
                line for line in DOCUMENT.splitlines() if line.startswith(f"| {what} | `{default(kind, 'kind')}` |")
            ]
            for field in fields(kind):
                assert field.name == "kind" or f"`{field.name} = " in row


def test_the_example_and_the_short_names() -> None:
    import tomllib

    example = DOCUMENT.split("```toml\n")[1].split("```")[0]
    assert build_system(tomllib.loads(example), "example", path=Path("docs/systems.md")).final == "fusion"
    for name in SHORT_NAMES:
        assert name in DOCUMENT or name.removesuffix("_epochs").split(".")[1] in DOCUMENT
