"""The choices of `abawkit extract` are those of the settings."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from abawkit.settings import ExtractSettings
from tests.cli.program import run

#: Option → the setting that it stands for, of those that take one of a few words.
CHOICES = {
    "preset": "preset",
    "pooling": "text_pooling",
    "faces": "faces",
    "motion": "motion",
    "dtype": "dtype",
    "precision": "precision",
    "on_damage": "on_damage",
}


def choices_of_setting(name: str) -> set[str]:
    annotation = ExtractSettings.model_fields[name].annotation
    literals = [part for part in get_args(annotation) if get_args(part)] or [annotation]
    return {word for literal in literals for word in get_args(literal)}


@pytest.mark.parametrize("option", CHOICES)
def test_an_option_has_the_choices_of_its_setting(tmp_path: Path, option: str) -> None:
    flag = "--" + option.replace("_", "-")
    result = run(tmp_path, "extract", flag, "nonsense")
    assert result.exit_code == 2 and flag in result.stderr
    offered = result.stderr.partition("'nonsense' is not one of")[2]
    record = json.loads(run(tmp_path, "extract", flag, "nonsense", "--json").stdout)
    assert (record["ok"], record["exit_code"]) == (False, 2) and "nonsense" in record["error"]
    assert set(re.findall(r"'([\w-]+)'", offered)) == choices_of_setting(CHOICES[option])
