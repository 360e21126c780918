"""A workspace: the folder in which a team works, with its settings.

A workspace is a folder with an ``abawkit.toml``. It names the challenge folder, which is only ever read, and
holds everything that abawkit writes: ``transcripts/``, ``features/``, ``splits/``, ``stages/``, ``runs/``,
``submissions/``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abawkit.challenge import TASKS, Task
from abawkit.errors import UsageError
from abawkit.fileio import write_text
from abawkit.settings import ENV_WORKSPACE, Setting, Settings, flatten, read_settings, setting_keys

CONFIG_NAME = "abawkit.toml"
#: Its presence says that the workspace's labels and features are simulated.
SIMULATION = "simulation.json"


def find_root(start: Path) -> Path | None:
    """Returns the folder of the workspace that ``start`` is, or lies in; None where there is none."""
    return next((folder for folder in (start, *start.parents) if (folder / CONFIG_NAME).is_file()), None)


@dataclass(frozen=True)
class Workspace:
    """An opened workspace.

    Attributes:
        root: The folder.
        task: The challenge track.
        settings: The resolved settings.
        sources: Setting key → where its value came from (``flag``, ``environment``, a file, ``default``).
    """

    root: Path
    task: Task
    settings: Settings
    sources: Mapping[str, str]

    @classmethod
    def open(
        cls,
        start: Path | str | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        task: Task | None = None,
    ) -> Workspace:
        """Returns the workspace that holds ``start``: it or the nearest folder above it with an ``abawkit.toml``.

        Args:
            start: A folder; default: ``ABAWKIT_WORKSPACE``, else the working folder.
            overrides: Setting key → value from flags; a value of None is not an override.
            environ: Default: the process environment.
            task: The challenge track, for tracks that are not in :data:`abawkit.challenge.TASKS`.

        Raises:
            UsageError: There is no workspace, or a setting is unknown or has a bad value.
        """
        environ = os.environ if environ is None else environ
        start = Path(start if start is not None else environ.get(ENV_WORKSPACE, ".")).absolute()
        root = find_root(start)
        if root is None:
            raise UsageError(
                "this folder is not a workspace, nor is one above it",
                path=start,
                expected=f"a folder with {CONFIG_NAME}",
                todo="abawkit init DATA  (writes it here; DATA is the challenge folder), or try: abawkit demo",
            )
        settings, sources = read_settings(root / CONFIG_NAME, overrides or {}, environ)
        if task is None:
            if settings.task not in TASKS:
                raise UsageError(
                    "unknown challenge track",
                    path=sources["task"],
                    got=settings.task,
                    expected=", ".join(sorted(TASKS)),
                    todo="correct `task`",
                )
            task = TASKS[settings.task]
        workspace = cls(root, task, settings, sources)
        workspace._refuse_data_as_workspace()
        return workspace

    def _refuse_data_as_workspace(self) -> None:
        if self.settings.data is None:
            return
        data = (self.root / self.settings.data).resolve()
        if self.root.resolve().is_relative_to(data):
            raise UsageError(
                "the workspace lies in the challenge folder, which is never written to",
                path=self.root / CONFIG_NAME,
                got=f"data = {self.settings.data!r}",
                todo=f"make another folder, move {CONFIG_NAME} there and set `data` to the challenge folder",
            )

    @property
    def data(self) -> Path:
        """The challenge folder.

        Raises:
            UsageError: No challenge folder is set.
        """
        if self.settings.data is None:
            raise UsageError(
                "no challenge folder is set",
                path=self.root / CONFIG_NAME,
                expected='data = "FOLDER"',
                todo=f"write that line into {CONFIG_NAME}, or run: abawkit init DATA --force",
            )
        return self.root / Path(self.settings.data).expanduser()

    @property
    def simulated(self) -> bool:
        """Whether ``abawkit simulate`` made it: no score here says anything about real clips."""
        return (self.root / SIMULATION).is_file()

    @property
    def features(self) -> Path:
        """Feature stores."""
        return self.root / "features"

    @property
    def transcripts(self) -> Path:
        """Transcripts made by a speech recogniser."""
        return self.root / "transcripts"

    @property
    def splits(self) -> Path:
        """Splits."""
        return self.root / "splits"

    @property
    def stages(self) -> Path:
        """Stage checkpoints, shared between systems."""
        return self.root / "stages"

    @property
    def runs(self) -> Path:
        """Runs and ensembles."""
        return self.root / "runs"

    @property
    def submissions(self) -> Path:
        """Submissions."""
        return self.root / "submissions"

    def resolved(self) -> list[Setting]:
        """Returns every setting with its value and source, in the order of the settings."""
        flat = flatten(self.settings.model_dump())
        own = [Setting(key, flat[key], self.sources[key]) for key in setting_keys()]
        return [*own, *(Setting(key, value, self.sources[key]) for key, value in self.settings.system.items())]


def init_workspace(
    root: Path, data: Path, *, preset: str = "paper", seed: int | None = None, force: bool = False
) -> Path:
    """Writes ``abawkit.toml`` into ``root`` and returns its path.

    Args:
        root: The workspace.
        data: The challenge folder.
        preset: ``paper`` or ``lite``.
        seed: Seed of splits and trainings; default: the settings' own.
        force: Write it again when there is one.

    Raises:
        UsageError: There is one already and ``force`` is not set, or ``root`` lies in the challenge folder.
    """
    path = root / CONFIG_NAME
    if path.exists() and not force:
        raise UsageError("there is one already", path=path, todo="edit it, or give --force to write it again")
    if root.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            "the workspace would lie in the challenge folder, which is never written to",
            path=root,
            todo="make a folder for your work elsewhere, go there and run: abawkit init DATA",
        )
    try:
        shown = data.resolve().relative_to(root.resolve())
    except ValueError:
        shown = data.resolve()
    text = shown.as_posix().replace("\\", "\\\\").replace('"', '\\"')
    lines = [f'data = "{text}"', "", "[extract]", f'preset = "{preset}"', ""]
    if seed is not None:
        lines += ["[split]", f"seed = {seed}", "", "[training]", f"seed = {seed}", ""]
    write_text(path, "# Settings of this workspace; `abawkit config show` lists them all.\n" + "\n".join(lines))
    return path
