"""Runs the program in a folder, as a person types it."""

import os
from pathlib import Path

from typer.testing import CliRunner, Result

from abawkit.cli.app import app


def run(folder: Path, *arguments: str) -> Result:
    """Returns what the command printed and its exit code."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        os.chdir(before)
