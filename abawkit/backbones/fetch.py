"""Models from the Hugging Face hub: the only place that downloads, and only when it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from abawkit.backbones.cache import cached_file, complete, resolve
from abawkit.backbones.files import YUNET, KnownFile, known_file
from abawkit.backbones.known import KNOWN, RECOGNISER, ModelRef, is_commit, model_ref
from abawkit.backbones.loading import first_line
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import digest_file, locked
from abawkit.progress import SILENT, Progress

#: Weights that can be read without running code, and what belongs to them. Nothing of subfolders (other formats).
_WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "README.md", "LICENSE*")
_UNWANTED = ("*/*",)
#: A model's own code, to be read and run: at a commit only.
_CODE = ("*.py",)

#: How long another process that fetches the same model is waited for (seconds).
_PATIENCE = 6 * 3600.0


def fetch(name: str, *, to: Path | None = None, progress: Progress = SILENT) -> Path:
    """Downloads a model and returns its folder; what is there already is not downloaded again.

    Args:
        name: Model id on the hub, or ``ID@REVISION`` with a commit, tag or branch; default: the pinned commit of a
            known model, else ``main``. Or ``yunet``, of which the single file is fetched and its path returned.
        to: A folder of its own, to be taken to another machine; default: the Hugging Face cache, where
            ``abawkit extract`` looks for it.
        progress: What to report to.

    Of several processes that fetch one model, the first downloads and the others wait for it.

    Raises:
        UsageError: ``name`` is a folder.
        AbawkitError: There is no such model or revision, it needs an agreement on its page, the hub cannot be
            reached, or the model has no safetensors weights.
    """
    from huggingface_hub import snapshot_download

    if Path(name).expanduser().is_dir():
        raise UsageError("this is a folder: there is nothing to fetch", path=name)
    ref = model_ref(name)
    if (known := known_file(ref.id_or_folder)) is not None:
        return fetch_file(known, revision=ref.revision, to=to, progress=progress)
    wanted = _WANTED + (_CODE if is_commit(ref.revision) else ())
    folder = _download(
        lambda: snapshot_download(
            ref.id_or_folder,
            revision=ref.revision,
            local_dir=to,
            allow_patterns=list(wanted),
            ignore_patterns=list(_UNWANTED),
        ),
        ref,
        to,
        progress,
    )
    return complete(folder, ref, "a model with config.json and model.safetensors")


def fetch_file(
    known: KnownFile, *, revision: str | None = None, to: Path | None = None, progress: Progress = SILENT
) -> Path:
    """Downloads a model that is a single file, and returns its path. At the pinned revision its digest is compared.

    Args:
        known: The file.
        revision: Commit, tag or branch; default: the pinned commit. The digest of another revision's file is not known
            and not compared.
        to: As of :func:`fetch`.
        progress: What to report to.

    Raises:
        AbawkitError: As :func:`fetch`; or it is not the published file, which then is not kept.
    """
    from huggingface_hub import hf_hub_download

    wanted = revision or known.revision
    ref = ModelRef(known.repository, wanted, known.licence)
    path = _download(
        lambda: hf_hub_download(known.repository, known.file, revision=wanted, local_dir=to), ref, to, progress
    )
    sha256 = digest_file(path)
    if wanted == known.revision and sha256 != known.sha256:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise AbawkitError(
            f"what came is not the published file of {known.repository}",
            path=path,
            got=f"SHA-256 {sha256}",
            expected=f"SHA-256 {known.sha256}",
            todo="check the proxy or mirror between this machine and the hub, then fetch it again",
        )
    return path


def _download(download: Callable[[], str], ref: ModelRef, to: Path | None, progress: Progress) -> Path:
    """Returns what ``download`` returns; one process at a time runs it."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    name = ref.id_or_folder
    target = to if to is not None else Path(constants.HF_HUB_CACHE) / ".abawkit" / name.replace("/", "--")
    licence = f"; licence: {ref.licence}" if ref.licence else ""
    progress.say(f"fetching {name} at {ref.revision or 'main'}{licence}")
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it warns of each retry; the failure is raised below
    with locked(target, f"fetching {name}", wait=_PATIENCE):
        try:
            return Path(download())
        except Exception as error:  # the network and the hub raise anything
            raise _explained(name, ref.revision, error) from error


def _explained(name: str, revision: str | None, error: Exception) -> AbawkitError:
    from huggingface_hub import errors

    known: Mapping[type[Exception], tuple[str, str]] = {
        errors.GatedRepoError: (
            "this model can be downloaded only after an agreement on its page",
            "agree there, then log in: hf auth login",
        ),
        errors.RevisionNotFoundError: (f"the model has no revision {revision}", f"leave out @{revision}"),
        errors.RepositoryNotFoundError: ("there is no such model on the hub", "check the spelling of its id"),
        errors.HFValidationError: ("this is not a model id", "write it as ORGANISATION/NAME"),
    }
    for kind, (message, todo) in known.items():
        if isinstance(error, kind):
            return AbawkitError(f"{name}: {message}", got=first_line(error), todo=todo)
    return AbawkitError(
        f"{name} cannot be downloaded",
        got=first_line(error),
        todo="run it on a machine with network: "
        f"abawkit models fetch {name} --to FOLDER; then copy FOLDER here and name it as the model",
    )


def known_models() -> list[dict[str, Any]]:
    """Returns the table of known models: id, what it makes, values per frame, licence, revision, where it lies here.

    Besides the models of the modalities it has the speech recogniser and the face detector, which make no frames.
    """
    rows = [_row(known.ref, known.modality, known.dim, _found(known.ref)) for known in KNOWN.values()]
    rows.append(_row(RECOGNISER, "transcript", None, _found(RECOGNISER)))
    faces = ModelRef(YUNET.repository, YUNET.revision, YUNET.licence)
    rows.append(_row(faces, "faces", None, cached_file(YUNET.repository, YUNET.file)))
    return rows


def _found(ref: ModelRef) -> Path | None:
    try:
        return resolve(ref)
    except AbawkitError:
        return None


def _row(ref: ModelRef, modality: str, dim: int | None, path: Path | None) -> dict[str, Any]:
    files = [] if path is None else [file for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file()]
    return {
        "model": ref.id_or_folder,
        "modality": modality,
        "dim": dim,
        "licence": ref.licence,
        "revision": ref.revision,
        "path": None if path is None else str(path),
        "bytes": None if path is None else sum(file.stat().st_size for file in files),
    }
