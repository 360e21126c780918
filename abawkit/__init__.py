"""From the organisers' challenge folder to a checked leaderboard CSV.

Every command of the command line is one function that a notebook can call::

    import abawkit

    workspace = abawkit.Workspace.open("my-workspace")
    abawkit.extract(workspace)
    abawkit.resplit(workspace, ratio="4:1")
    abawkit.train(workspace, system="F4")
    abawkit.submit(workspace, out="submissions/team.csv")

The names are loaded when they are first used, so that ``import abawkit`` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing: Ctrl-C during an import that comes before __main__ shows a traceback
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Workspace": "abawkit.workspace",
    "init_workspace": "abawkit.workspace",
    "validate": "abawkit.data.checks.validate",
    "stats": "abawkit.data.stats.tables",
    "resplit": "abawkit.data.splits.resplit",
    "fold": "abawkit.data.splits.resplit",
    "extract": "abawkit.extraction.pipeline",
    "ExtractRequest": "abawkit.extraction.request",
    "import_features": "abawkit.extraction.import_features",
    "export_features": "abawkit.features.foreign.exports",
    "list_features": "abawkit.features.summary",
    "find_store": "abawkit.features.summary",
    "verify_features": "abawkit.features.verify",
    "compact_features": "abawkit.features.compaction",
    "train": "abawkit.training.train",
    "predict": "abawkit.training.predict",
    "evaluate": "abawkit.evaluation.scores",
    "compare": "abawkit.evaluation.paired",
    "ensemble": "abawkit.evaluation.ensemble",
    "submit": "abawkit.submission.write",
    "check": "abawkit.submission.form",
    "demo": "abawkit.jobs.demo",
    "simulate": "abawkit.jobs.simulation.simulate",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'abawkit' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
