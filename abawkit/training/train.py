"""``abawkit train``: whole systems, one seed or several, and refits on all labelled clips; each leaves a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from abawkit.errors import UsageError
from abawkit.progress import SILENT, Progress
from abawkit.runs.records import TrainedRecord
from abawkit.runs.run import Run
from abawkit.systems.loader import load_system
from abawkit.systems.schema import System
from abawkit.training.campaign import run_all
from abawkit.training.train_run import deterministic
from abawkit.training.work import Request
from abawkit.workspace import Workspace


def train(
    workspace: Workspace,
    system: str = "F4",
    *,
    split: str | None = None,
    seed: int | None = None,
    features: Mapping[str, str] | None = None,
    allow_lite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Trains a system and returns its run; a run that is already finished is returned at once.

    Args:
        workspace: The workspace; keys of a system that its settings name replace the system's own.
        system: A name such as ``F4``, or the path of a TOML file.
        split: Name of the split; default: the one with the ratio that the system asks for.
        seed: Default: the setting ``training.seed``.
        features: Slot or modality → which store, where there are several.
        allow_lite: Train on lite features although the data are of the official size.
        progress: What to report to.

    Killed at any moment, the same call continues from the last saved epoch and comes to the same result.

    Raises:
        UsageError: The split or features are missing (the message says which command makes them).
        FindingsError: The machine has a GPU that torch cannot use.
        AbawkitError: The training failed.
    """
    seeds = [workspace.settings.training.seed if seed is None else seed]
    (run,) = train_many(
        workspace, [system], seeds=seeds, features=features, split=split, allow_lite=allow_lite, progress=progress
    )
    return run


def train_many(
    workspace: Workspace,
    systems: Sequence[str],
    *,
    seeds: Sequence[int],
    features: Mapping[str, str] | None = None,
    split: str | Sequence[str] | None = None,
    allow_lite: bool = False,
    progress: Progress = SILENT,
) -> list[Run]:
    """Trains each system on each split with each seed and returns the runs: by system, then split, then seed.

    Stages that systems share are trained once. On the processor, stages and runs are trained side by side, each in a
    process of one thread, which gives the same bits as each alone; on a GPU they follow one another.

    Args:
        workspace: As :func:`train`.
        systems: Names, or paths of TOML files.
        seeds: At least one.
        features: As :func:`train`, for all of the systems.
        split: As :func:`train`, or several, such as those of a fold set.
        allow_lite: As :func:`train`.
        progress: What to report to.

    Raises:
        UsageError: As :func:`train`, before anything is trained.
        AbawkitError: As :func:`train`.
    """
    overrides = workspace.settings.system
    loaded = [load_system(name, overrides, workspace=workspace.root, sources=workspace.sources) for name in systems]
    splits = [split] if split is None or isinstance(split, str) else list(split)
    requests = [
        Request(workspace, system, each, seed, features or {}, allow_lite)
        for system in loaded
        for each in splits
        for seed in seeds
    ]
    return _trained(requests, progress)


def refit(workspace: Workspace, parent: Run, *, progress: Progress = SILENT) -> Run:
    """Trains a run again on all labelled clips, those of its validation too, and returns the new run.

    Every stage takes as many epochs as the parent's stage took to its best state, at the parent's learning rates;
    nothing is validated and nothing stops early. No clip is left to score it, and its record says so. (The paper's
    4:1 systems had 2,056 more training clips than its 2:1 systems, and went from .506 to .570 on test.)

    Args:
        workspace: The workspace.
        parent: A trained run.
        progress: What to report to.

    Raises:
        UsageError: ``parent`` is an ensemble, imported, or itself a refit.
        AbawkitError: Its split or its features are not those that it was trained on, or the training failed.
    """
    record = parent.record
    if not isinstance(record, TrainedRecord) or parent.parent is not None:
        raise UsageError("only a run that was trained here can be refitted", got=parent.name, todo="abawkit runs list")
    system = System.model_validate(record.definition)
    features = {slot: store.partition("/")[2] for slot, store in record.features.items()}
    request = Request(workspace, system, record.split, record.seed, features, allow_lite=True, parent=parent.name)
    (run,) = _trained([request], progress)
    return run


def _trained(requests: Sequence[Request], progress: Progress) -> list[Run]:
    with deterministic():
        return [Run.open(path) for path in run_all(requests, progress)]
