"""Installs small packages with entry points into a folder, without an installer."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def install(folder: Path, name: str, code: str, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Writes the module ``name`` and its metadata into ``folder``, as an installer does into site-packages.

    Args:
        folder: It is or will be on the path.
        name: Name of the package and of its only module.
        code: The module's source.
        entry_points: Group → name → ``module:object``.
    """
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, entries in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def installed(example: Path, folder: Path) -> dict[str, str]:
    """Installs an example's package into the new ``folder`` and returns an environment that finds it."""
    folder.mkdir()
    project = tomllib.loads((example / "pyproject.toml").read_text())
    (module,) = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    code = (example / module).read_text()
    install(folder, module.removesuffix(".py"), code, project["project"]["entry-points"])
    return dict(os.environ, PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]))
