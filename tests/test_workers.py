"""Work in several processes: order, exceptions, a process that dies."""

import os
import signal
import struct
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
    if number == -3:  # killed, by the system when memory runs out, in the midst of sending a result
        frame = sys._getframe()
        while "result_queue" not in frame.f_locals:
            frame = frame.f_back  # type: ignore[assignment]
        os.write(frame.f_locals["result_queue"]._writer.fileno(), struct.pack("!i", 10**6) + bytes(1000))
        os.kill(os.getpid(), signal.SIGKILL)
    if number == -4:
        raise TimeoutError("its own")
    return number * number, os.getpid()


@pytest.mark.parametrize("below", [0, 1000])
def test_results_come_in_order(below: int) -> None:
    bar = Bar()
    found = list(in_processes(square, range(300), workers=2, bar=bar, chunk=7, inline_below=below))
    assert [result for result, _ in found] == [number**2 for number in range(300)] and bar.done == 300
    assert ({process for _, process in found} == {os.getpid()}) == (below == 1000)


@pytest.mark.parametrize(("number", "error"), [(-1, UsageError), (-2, AbawkitError), (-4, TimeoutError)])
def test_errors_reach_the_caller(number: int, error: type[AbawkitError]) -> None:
    with pytest.raises(error) as caught:
        list(in_processes(square, [1, number, *range(50)], workers=2, bar=Bar(), chunk=2, inline_below=0))
    assert ("died" in str(caught.value)) == (number == -2)


DIES = """
import sys
sys.path.insert(0, {folder!r})
from test_workers import Bar, square
from abawkit.errors import AbawkitError
from abawkit.workers import in_processes
if __name__ == "__main__":
    try:
        list(in_processes(square, [1, -3, *range(50)], workers=2, bar=Bar(), chunk=2, inline_below=0))
    except AbawkitError as error:
        print(error)
"""


def test_a_worker_that_dies_while_it_sends_is_noticed(tmp_path: Path) -> None:
    """concurrent.futures waits for the rest of the result for ever, and Python for concurrent.futures when it exits."""
    (tmp_path / "script.py").write_text(DIES.format(folder=str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "a worker process died" in done.stdout and done.stderr == "" and done.returncode == 0


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
