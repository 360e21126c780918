"""Work in several processes: order, exceptions, a process that dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from abawkit.errors import AbawkitError, UsageError
from abawkit.workers import in_processes


class Bar:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


def square(number: int) -> tuple[int, int]:
    if number == -1:
        raise UsageError("a bad number")
    if number == -2:
        os._exit(9)
    return number * number, os.getpid()


@pytest.mark.parametrize("below", [0, 1000])
def test_results_come_in_order(below: int) -> None:
    bar = Bar()
    found = list(in_processes(square, range(300), workers=2, bar=bar, chunk=7, inline_below=below))
    assert [result for result, _ in found] == [number**2 for number in range(300)] and bar.done == 300
    assert ({process for _, process in found} == {os.getpid()}) == (below == 1000)


@pytest.mark.parametrize(("number", "error"), [(-1, UsageError), (-2, AbawkitError)])
def test_errors_reach_the_caller(number: int, error: type[AbawkitError]) -> None:
    with pytest.raises(error) as caught:
        list(in_processes(square, [1, number, *range(50)], workers=2, bar=Bar(), chunk=2, inline_below=0))
    assert ("died" in str(caught.value)) == (number == -2)


SCRIPT = """
import abawkit
abawkit.extract(abawkit.Workspace.open(".", environ={}), modalities=["audio"], limit=3)
"""


@pytest.mark.parametrize("guarded", [False, True])
def test_a_script_is_told_how_to_start_workers(fresh: Path, guarded: bool) -> None:
    """Workers import the script that starts them: without a guard they would do its work too."""
    lines = SCRIPT.splitlines()
    body = "\n".join(["def main():", *("    " + line for line in lines), "if __name__ == '__main__':", "    main()"])
    (fresh / "script.py").write_text(body if guarded else SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=fresh, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == guarded
    assert ("below `if __name__ == '__main__':`" in done.stderr) == (not guarded), done.stderr
