"""Models from the Hugging Face hub: the only place that downloads, and only when it is asked to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abawkit.backbones.hub import KNOWN, complete, model_ref, resolve
from abawkit.backbones.loading import first_line
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import locked
from abawkit.progress import SILENT, Progress

#: Weights that can be read without running code, and what belongs to them. Nothing of subfolders (other formats).
_WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "README.md", "LICENSE*")
_UNWANTED = ("*/*",)

#: How long another process that fetches the same model is waited for (seconds).
_PATIENCE = 6 * 3600.0


def fetch(name: str, *, revision: str | None = None, to: Path | None = None, progress: Progress = SILENT) -> Path:
    """Downloads a model and returns its folder; what is there already is not downloaded again.

    Args:
        name: Model id on the hub.
        revision: Commit, tag or branch; default: the pinned one of a known model, else ``main``.
        to: A folder of its own, to be taken to another machine; default: the Hugging Face cache, where
            ``abawkit extract`` looks for it.
        progress: What to report to.

    Of several processes that fetch one model, the first downloads and the others wait for it.

    Raises:
        UsageError: ``name`` is a folder.
        AbawkitError: There is no such model or revision, it may not be had without an agreement, the hub cannot be
            reached, or the model has no safetensors weights.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import logging

    if Path(name).expanduser().is_dir():
        raise UsageError("this is a folder: there is nothing to fetch", path=name)
    ref = model_ref(name)
    wanted = revision or ref.revision
    target = to if to is not None else Path(constants.HF_HUB_CACHE) / ".abawkit" / name.replace("/", "--")
    licence = f"; licence: {ref.licence}" if ref.licence else ""
    progress.say(f"fetching {name} at {wanted or 'main'}{licence}")
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it tells each of its retries as a warning; what failed is told below
    with locked(target, f"fetching {name}", wait=_PATIENCE):
        try:
            folder = snapshot_download(
                name,
                revision=wanted,
                local_dir=to,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
            )
        except Exception as error:  # whatever the network and the hub make of it
            raise _explained(name, wanted, error) from error
    return complete(Path(str(folder)), ref, "a model with config.json and model.safetensors")


def _explained(name: str, revision: str | None, error: Exception) -> AbawkitError:
    from huggingface_hub import errors

    told: Mapping[type[Exception], tuple[str, str]] = {
        errors.GatedRepoError: (
            "this model is given out only after an agreement on its page",
            "agree there, then give a token: hf auth login",
        ),
        errors.RevisionNotFoundError: (f"the model has no revision {revision}", "leave out --revision"),
        errors.RepositoryNotFoundError: ("there is no such model on the hub", "look at the spelling of its id"),
        errors.HFValidationError: ("this is no model id", "give it as ORGANISATION/NAME"),
    }
    for kind, (message, todo) in told.items():
        if isinstance(error, kind):
            return AbawkitError(f"{name}: {message}", got=first_line(error), todo=todo)
    return AbawkitError(
        f"{name} cannot be downloaded",
        got=first_line(error),
        todo="run it on a machine with network: "
        f"abawkit models fetch {name} --to FOLDER; then copy FOLDER here and give it as the model",
    )


def known_models() -> list[dict[str, Any]]:
    """Returns the table of known models: id, modality, values per frame, licence, revision, and where it lies here."""
    rows = []
    for name, known in KNOWN.items():
        try:
            path = resolve(known.ref, offline=True)
        except AbawkitError:
            path = None
        size = None if path is None else sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        rows.append(
            {
                "model": name,
                "modality": known.modality,
                "dim": known.dim,
                "licence": known.ref.licence,
                "revision": known.ref.revision,
                "path": None if path is None else str(path),
                "bytes": size,
            }
        )
    return rows
