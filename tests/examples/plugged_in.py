"""Makes an example importable, with its entry points, as ``pip install`` would: without a package index."""

import os
import tomllib
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def plugged_in(example: Path, folder: Path) -> dict[str, str]:
    """Returns an environment in which the example's package is installed, in the new ``folder``."""
    project = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module in example.glob("*.py"):
        (folder / module.name).write_text(module.read_text())
    root = Path(__file__).parents[2]
    return dict(os.environ, PYTHONPATH=os.pathsep.join([str(folder), str(root)]))
