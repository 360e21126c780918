"""Fits the constants of `abawkit simulate` and writes them: python bench/calibrate.py [FILE]."""

import sys
from pathlib import Path

from abawkit.cli.console import progress_for
from abawkit.jobs.simulation.constants import CALIBRATED, calibrate, to_text

if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else CALIBRATED
    target.write_text(to_text(calibrate(progress_for(False))), encoding="utf-8")
    print(f"wrote {target}")
