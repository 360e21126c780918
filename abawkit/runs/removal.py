"""``abawkit runs rm`` and ``runs gc``: removes runs that nothing refers to, and stage checkpoints that no run uses."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from abawkit.errors import UsageError
from abawkit.fileio import locked, storage_errors
from abawkit.runs.records import CONFIG, METRICS
from abawkit.runs.run import find_folder
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Removable:
    """A folder that could be removed.

    Attributes:
        path: The folder.
        size: Of its files, in bytes.
        named_by: Files that name it: the records of refits, ensembles and submissions, and the ledger.
    """

    path: Path
    size: int
    named_by: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Returns ``path``, ``bytes`` and ``named_by``."""
        return {"path": str(self.path), "bytes": self.size, "named_by": [str(path) for path in self.named_by]}


def find_removable(workspace: Workspace, names: Sequence[str]) -> list[Removable]:
    """Returns the runs of these names, finished or not, with what else names them.

    A run that is named by an ensemble which is to be removed as well is not named by it.

    Args:
        workspace: The workspace.
        names: Whole names, or beginnings that only one run has.

    Raises:
        UsageError: No run has such a name, or several have.
    """
    chosen = dict.fromkeys(find_folder(workspace, name).name for name in names)
    records = [path for path in workspace.runs.glob(f"*/{CONFIG}") if path.parent.name not in chosen]
    for pattern in ("*.json", "ledger.csv"):
        records += workspace.submissions.rglob(pattern)
    texts = {path: _text(path) for path in sorted(records)}
    return [
        Removable(
            workspace.runs / name,
            _size(workspace.runs / name),
            tuple(path for path, text in texts.items() if name in text),
        )
        for name in chosen
    ]


def remove(found: Sequence[Removable], *, force: bool = False) -> None:
    """Removes runs; what is removed is gone.

    Args:
        found: From :func:`find_removable`.
        force: Remove also what one of these names, which then cannot be made again.

    Raises:
        UsageError: One of them is named, and not ``force``; nothing is removed.
        AbawkitError: Another process works on one of them.
    """
    named = [one for one in found if one.named_by]
    if named and not force:
        raise UsageError(
            f"{len(named)} of these runs cannot be removed: a refit, an ensemble or a submission is made from them\n"
            + "\n".join(f"  {one.path.name}: {path}" for one in named for path in one.named_by),
            todo="give --force to remove them anyway; what names them can then no longer be made again",
        )
    for one in found:
        with locked(one.path, "working on this run"), storage_errors(one.path):
            # First what makes it a run: a removal that is killed leaves no half run behind.
            for name in (METRICS, CONFIG):
                (one.path / name).unlink(missing_ok=True)
            shutil.rmtree(one.path)


def unused_stages(workspace: Workspace) -> list[Removable]:
    """Returns the stage checkpoints that no run names, finished or not, largest first.

    They are trained again when a system needs them.
    """
    texts = [_text(path) for path in workspace.runs.glob(f"*/{CONFIG}")]
    folders = [path for path in workspace.stages.iterdir() if path.is_dir()] if workspace.stages.is_dir() else []
    unused = [folder for folder in folders if not any(_signature(folder) in text for text in texts)]
    return sorted((Removable(path, _size(path)) for path in unused), key=lambda one: (-one.size, one.path.name))


def remove_stages(workspace: Workspace) -> list[Removable]:
    """Removes the stage checkpoints that no run names, and returns them.

    A run is recorded before its stages are trained, so what is being trained now is named.

    Raises:
        AbawkitError: Another process works on one of them.
    """
    removed = unused_stages(workspace)
    for one in removed:
        with locked(one.path, "training this stage"), storage_errors(one.path):
            (one.path / "stage.json").unlink(missing_ok=True)
            shutil.rmtree(one.path)
    return removed


def _signature(folder: Path) -> str:
    return folder.name.rpartition("-")[2]


def _text(path: Path) -> str:
    with storage_errors(path):
        return path.read_text(encoding="utf-8", errors="replace")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
