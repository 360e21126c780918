"""How long the commands take that must answer at once, as whole processes, beside a bare Python."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("abawkit"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "abawkit --help": [PROGRAM, "--help"],
    "abawkit --version": [PROGRAM, "--version"],
    "abawkit check FILE": [PROGRAM, "check", "team.csv"],
}
ROUNDS = 9


def main() -> None:
    """Prints the median wall time of each command, all taken in turn so that a slow moment hits all alike."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "team.csv").write_text("x\n")
        seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(ROUNDS):
            for name, command in COMMANDS.items():
                began = time.perf_counter()
                subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                seconds[name].append(time.perf_counter() - began)
    floor = statistics.median(seconds["python -c pass"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:20s} {median:.3f} s  ({median / floor:.1f} times a bare Python)")


if __name__ == "__main__":
    main()
