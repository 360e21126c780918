"""What has changed since a submission was written: runs, models, weights, splits, stores and saved predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from abawkit.data.splits.files import load_split
from abawkit.errors import AbawkitError
from abawkit.features.store import FeatureStore
from abawkit.runs.records import MODEL, WEIGHTS
from abawkit.runs.run import Run
from abawkit.submission.record import EnsembleEntry, RunEntry, SubmissionRecord, file_hashes
from abawkit.workspace import Workspace


@dataclass(frozen=True)
class Change:
    """Something that is not as it was when a submission was written.

    Attributes:
        kind: ``file``, ``clips``, ``run``, ``model``, ``weights``, ``split``, ``store``, ``saved`` (predictions of the
            run's folder) or ``predictions`` (made again).
        name: Which file, run, split or store.
        message: What changed, in one sentence.
    """

    kind: str
    name: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Returns the attributes."""
        return asdict(self)


def changes_since(workspace: Workspace, record: SubmissionRecord, ids: Sequence[str]) -> list[Change]:
    """Returns what is not as the record says: runs, models, weights, splits, stores and saved predictions.

    Args:
        workspace: The workspace.
        record: ``FILE.json``.
        ids: The clips of the submission.
    """
    found: dict[Change, None] = {}
    entries: list[RunEntry | EnsembleEntry] = [*record.ensembles, *record.runs]
    for entry in entries:
        name = Path(entry.name).name
        try:
            run = Run.open(workspace.runs / name)
        except AbawkitError as error:
            found[Change("run", name, f"run {name} cannot be read: {error.message}")] = None
            continue
        found |= dict.fromkeys(_run_changes(run, entry))
        if isinstance(entry, RunEntry):
            found |= dict.fromkeys(_source_changes(workspace, entry, ids))
    return list(found)


def _run_changes(run: Run, entry: RunEntry | EnsembleEntry) -> list[Change]:
    """Returns what has changed in the folder of a run."""
    found = []
    now = file_hashes(run)
    for file in sorted(entry.files.keys() | now.keys()):
        if entry.files.get(file) != now.get(file):
            kind = {MODEL: "model", WEIGHTS: "weights"}.get(file, "run")
            how = "is gone" if file not in now else "is another one than when the submission was written"
            found.append(Change(kind, run.name, f"{file} of {run.name} {how}"))
    if run.digest() != entry.predictions:
        message = f"the saved predictions of {run.name} are not those that the submission was made from"
        found.append(Change("saved", run.name, message))
    return found


def _source_changes(workspace: Workspace, entry: RunEntry, ids: Sequence[str]) -> list[Change]:
    """Returns what has changed in the split and the feature stores of a run."""
    found = []
    split = entry.split
    if split.name is not None and split.content is not None:
        message = _split_change(workspace, split.name, split.content)
        found += [Change("split", split.name, message)] if message else []
    for slot, store in entry.features.items():
        signature = entry.signatures.get(slot, "")
        if message := _store_change(workspace, store, entry.stores.get(store), signature, ids):
            found.append(Change("store", store, message))
    return found


def _split_change(workspace: Workspace, name: str, content: str) -> str:
    try:
        now = load_split(workspace.splits / Path(name).name, workspace.task).record["content"]
    except AbawkitError as error:
        return f"split {name}: {error.message}"
    return "" if now == content else f"split {name} has other clips or labels than when its runs were trained"


def _store_change(workspace: Workspace, store: str, digest: str | None, signature: str, ids: Sequence[str]) -> str:
    try:
        opened = FeatureStore.open(workspace.features / store)
        if opened.spec.signature != signature:
            return f"the features {store} have another signature: {opened.spec.signature}, it was {signature}"
        # Where the digest was not known when the submission was written, it is not among its differences.
        if digest is not None and opened.content_digest(ids) != digest:
            return f"the features of the test clips in {store} are not those that the submission was made from"
    except AbawkitError as error:
        return f"the features {store}: {error.message}"
    return ""
