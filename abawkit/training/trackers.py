"""Trackers: other programs that draw the epochs of a training (the setting ``training.trackers``).

TensorBoard's event files are written into the run's folder wherever TensorBoard is installed; Weights & Biases and
trackio are used only when they are named. All of them write to this machine and nowhere else, unless
``training.trackers_online`` or the program's own environment variable (``WANDB_MODE``, ``TRACKIO_SPACE_ID``) says
otherwise. They are given numbers and hyper-parameters, never a clip id.

A training that continues after an interruption sends all epochs again, from its history, and what was there before is
replaced: no epoch is there twice, and none is lost.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from operator import methodcaller
from pathlib import Path
from typing import Any, Protocol

from abawkit.errors import AbawkitError, UsageError
from abawkit.progress import SILENT, Progress

_PROJECT = "abawkit"


class Tracker(Protocol):
    """What draws the epochs of one run."""

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begins the run of this folder afresh, named like it, with these hyper-parameters."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Takes one epoch: a row of the history, with ``stage``, ``epoch`` (from 1), ``loss``, ``score`` and ``lr``."""

    def end(self) -> None:
        """Finishes the run, trained to its end or not."""


def curves(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a row of the history that can be drawn: the curve's name, with its stage → the value.

    A score of nan (of a constant prediction, or of a refit) is left out.

    >>> curves({"stage": "text", "epoch": 3, "loss": 0.5, "score": float("nan"), "lr": 0.001})
    {'text/loss': 0.5, 'text/lr': 0.001}
    """
    values = {f"{row['stage']}/{key}": float(row[key]) for key in ("loss", "score", "lr")}
    return {name: value for name, value in values.items() if math.isfinite(value)}


class TensorBoard:
    """Event files in the run's folder: ``tensorboard --logdir runs``."""

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begins an event file in place of earlier ones."""
        from torch.utils.tensorboard import SummaryWriter

        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        # A TensorBoard that is looking at an earlier file forgets what it read from it.
        self._writer = SummaryWriter(str(folder), purge_step=0)
        lines = ["|hyper-parameter|value|", "|-|-|", *(f"|{key}|{value}|" for key, value in config.items())]
        self._writer.add_text("hyper-parameters", "\n".join(lines))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Adds the epoch, so that it can be seen at once."""
        for name, value in curves(row).items():
            self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def end(self) -> None:
        """Closes the event file."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, offline in ``wandb/`` in the run's folder; ``wandb sync`` would upload it.

    Args:
        online: Send it to the server that the machine is logged in to.
    """

    def __init__(self, online: bool) -> None:
        self._online = online

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begins the run; what it would find out by itself about machine, code and console is switched off."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = import_module("wandb")

        for earlier in folder.glob("wandb/offline-run-*"):
            shutil.rmtree(earlier)
        self._run = wandb.init(
            project=_PROJECT,
            name=folder.name,
            id=folder.name,
            dir=str(folder),
            config=dict(config),
            resume="allow" if self._online else None,
            mode="online" if self._online else None if "WANDB_MODE" in os.environ else "offline",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
        self._step = 0

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Adds the epoch, unless the server has it from before an interruption."""
        if self._step >= self._run.step:
            if row["epoch"] == 1:
                self._run.define_metric(f"{row['stage']}/*", step_metric=f"{row['stage']}/epoch")
            self._run.log(curves(row) | {f"{row['stage']}/epoch": int(row["epoch"])}, step=self._step)
        self._step += 1

    def end(self) -> None:
        """Finishes the run."""
        self._run.finish()


class Trackio:
    """A run in trackio's local database: ``trackio show --project abawkit``.

    Args:
        online: Let trackio contact the hub to find the user's name.
    """

    def __init__(self, online: bool) -> None:
        self._online = online or "TRACKIO_SPACE_ID" in os.environ or "TRACKIO_SERVER_URL" in os.environ

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begins the run in place of an earlier one of this name."""
        from huggingface_hub import constants

        trackio = import_module("trackio")

        before = constants.HF_HUB_OFFLINE
        try:
            constants.HF_HUB_OFFLINE = before or not self._online
            with contextlib.redirect_stdout(io.StringIO()):  # stdout is for results
                with contextlib.suppress(ValueError):  # there is no project of ours yet
                    for run in trackio.Api().runs(_PROJECT):
                        if run.name == folder.name:
                            run.delete()
                self._run = trackio.init(
                    _PROJECT, folder.name, config=dict(config), embed=False, auto_log_gpu=False, auto_log_cpu=False
                )
        finally:
            constants.HF_HUB_OFFLINE = before
        self._step = 0

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Adds the epoch."""
        self._run.log(curves(row) | {f"{row['stage']}/epoch": int(row["epoch"])}, step=self._step)
        self._step += 1

    def end(self) -> None:
        """Finishes the run."""
        with contextlib.redirect_stdout(io.StringIO()):
            import_module("trackio").finish()


#: Name in the setting, which is also that of the package and of the extra that installs it → how it is made.
TRACKERS: Mapping[str, Callable[[bool], Tracker]] = {
    "tensorboard": lambda online: TensorBoard(),
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def chosen_trackers(names: Sequence[str], *, online: bool = False) -> dict[str, Tracker]:
    """Returns the trackers that the setting names; ``auto`` is TensorBoard where it is installed.

    Args:
        names: ``auto``, ``tensorboard``, ``wandb``, ``trackio``.
        online: Whether they may send something.

    Raises:
        UsageError: One that is named is not installed.
    """
    wanted = [name for name in names if name != "auto"]
    if absent := [name for name in wanted if find_spec(name) is None]:
        raise UsageError(
            f"the tracker {absent[0]} is not installed",
            got=f"training.trackers = {', '.join(names)}",
            todo=f"pip install 'abawkit[{absent[0]}]', or leave it out of training.trackers",
        )
    if "auto" in names and "tensorboard" not in wanted and find_spec("tensorboard") is not None:
        wanted.append("tensorboard")
    return {name: TRACKERS[name](online) for name in wanted}


class Tracking:
    """All trackers of one run. One that fails is reported once and left out from then on; the training continues.

    Args:
        trackers: Name → tracker, each begun.
        progress: What to report to.
    """

    def __init__(self, trackers: Mapping[str, Tracker], progress: Progress = SILENT) -> None:
        self._trackers = dict(trackers)
        self._progress = progress
        self._sent: set[tuple[str, int]] = set()

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begins the run with every tracker."""
        self._each(methodcaller("begin", folder, config))

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Gives every tracker the epochs that it does not have yet."""
        for row in rows if self._trackers else ():
            key = (str(row["stage"]), int(row["epoch"]))
            if key not in self._sent:
                self._sent.add(key)
                self._each(methodcaller("epoch", row))

    def end(self) -> None:
        """Ends every tracker."""
        self._each(methodcaller("end"))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except AbawkitError:
                raise  # the signal to stop
            except Exception as error:  # whatever a program of others makes of the disk or the network
                del self._trackers[name]
                why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
                self._progress.say(f"{name} failed, the training continues without it ({why})")


#: No trackers.
UNTRACKED = Tracking({})


@contextlib.contextmanager
def tracked(
    trackers: Mapping[str, Tracker], folder: Path, config: Mapping[str, Any], progress: Progress = SILENT
) -> Iterator[Tracking]:
    """Begins the trackers for the time of the block, and ends them however it ends.

    Args:
        trackers: Of :func:`chosen_trackers`, or others.
        folder: The run's folder.
        config: Hyper-parameters, by name.
        progress: What to report to.
    """
    tracking = Tracking(trackers, progress)
    tracking.begin(folder, config)
    try:
        yield tracking
    finally:
        tracking.end()
