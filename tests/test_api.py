"""What a notebook imports."""

import subprocess
import sys

import pytest

import abawkit


@pytest.mark.parametrize("name", abawkit.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(abawkit, name)
    assert isinstance(value, str) or callable(value)
    assert name in dir(abawkit)


def test_importing_costs_nothing() -> None:
    code = "import sys, abawkit; print('numpy' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = abawkit.nope
