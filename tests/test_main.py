"""Ctrl-C before a command has begun: exit code 130, no traceback."""

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize("number", [signal.SIG_DFL, signal.SIG_IGN])
@pytest.mark.parametrize("imported", ["abawkit.errors", "typer.main", "abawkit.cli.extract"])
def test_ctrl_c_while_modules_are_imported(imported: str, number: signal.Handlers) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "abawkit", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, number),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.split("|")[-1].strip() == imported:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if number == signal.SIG_IGN:  # as a shell without job control has it for what it starts in the background
        assert process.returncode == 0 and "Usage" in out
    else:
        assert process.returncode == 130 and not out
