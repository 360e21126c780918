"""A stand-in for OpenFace's FeatureExtraction: a script that writes files as the real one does, or fails as it can."""

from __future__ import annotations

import sys
from pathlib import Path

from abawkit.extractors.openface import COLUMNS

#: What the real program writes with -aus -pose: 17 intensities, 18 presences and the head's pose among other columns.
HEADER = ", ".join(("frame", "face_id", "timestamp", "confidence", "success", *COLUMNS[17:], *COLUMNS[:17], "AU28_c"))

_SCRIPT = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
video, out = Path(arguments["-f"]), Path(arguments["-out_dir"])
assert video.is_absolute() and video.is_file() and "-aus" in sys.argv and "-pose" in sys.argv
print("Attempting to read from file:", video)
def row(number, success=1):
    pose = [10.5, 20.25, 500 + number, 0.1, 0.2, 0.3]
    units = [number / 100 + unit / 10 for unit in range(17)]
    cells = [number, 0, "%.3f" % ((number - 1) / 1000), 0.5 + 0.48 * success, success, *pose, *units, 0]
    return ", ".join(map(str, cells)) + "\\n"
def write(rows):
    (out / (video.stem + ".csv")).write_text({header!r} + "\\n" + "".join(rows))
{body}
"""


def stand_in(folder: Path, body: str) -> Path:
    """Writes the program; ``body`` calls ``write`` with rows, or does something worse."""
    path = folder / "FeatureExtraction"
    path.write_text(_SCRIPT.format(python=sys.executable, header=HEADER, body=body))
    path.chmod(0o755)
    return path
