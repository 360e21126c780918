"""Where a model lies on this machine: in a folder of its own or in the Hugging Face cache.

Nothing here downloads (:mod:`abawkit.backbones.fetch` does): a model that is not there is an error that says how to
get it.
"""

from __future__ import annotations

import re
from pathlib import Path

from abawkit.backbones.files import known_file
from abawkit.backbones.known import ModelRef, command_with, model_ref
from abawkit.backbones.offline import is_offline
from abawkit.errors import AbawkitError

WEIGHTS = "*.safetensors"

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")


def resolve(ref: ModelRef) -> Path:
    """Returns the folder on this machine that holds the model: a local folder as it is, else the hub's cache.

    Args:
        ref: The model. A folder of that name wins over a hub id.

    Raises:
        AbawkitError: The model is not on this machine, its folder is incomplete, or its weights are pickled only.
    """
    name = ref.id_or_folder
    local = Path(name).expanduser()
    if local.is_dir():
        return complete(local, ref, "its configuration (config.json) and its weights (model.safetensors)")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is None or name.startswith("."):
        raise AbawkitError("there is no such model folder", path=name, expected="a folder with config.json")

    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        # Not snapshot_download: without network it refuses a snapshot without files that are not needed.
        config = try_to_load_from_cache(name, "config.json", revision=ref.revision)
    except HFValidationError:
        config = None
    if not isinstance(config, str):
        raise AbawkitError(
            f"the model {name} is not on this machine" + (f" (licence: {ref.licence})" if ref.licence else ""),
            got="neither a folder of that name nor a copy in the Hugging Face cache",
            expected=f"revision {ref.revision}" if ref.revision else None,
            todo=_how_to_get(ref),
        )
    cached = Path(config).parent
    return complete(cached, ref, "a complete copy of the model in the Hugging Face cache", _how_to_get(ref))


def _how_to_get(ref: ModelRef) -> str:
    pinned = model_ref(ref.id_or_folder).revision
    name = ref.id_or_folder if ref.revision in (None, pinned) else f"{ref.id_or_folder}@{ref.revision}"
    elsewhere = (
        f"`abawkit models fetch {name} --to FOLDER` on a machine with network, "
        f"then `{command_with(ref.id_or_folder, 'FOLDER')}` here"
    )
    here = "" if is_offline() else f"`abawkit models fetch {name}`; or "
    return f"{here}{elsewhere}; or `abawkit extract --preset lite`, which needs no model"


def complete(folder: Path, ref: ModelRef, expected: str, todo: str | None = None) -> Path:
    """Returns ``folder``, after a check that it has a configuration and safetensors weights.

    Raises:
        AbawkitError: The configuration or the weights are missing, or the weights are pickled only.
    """
    if not (folder / "config.json").is_file():
        raise AbawkitError("there is no config.json in the model folder", path=folder, expected=expected, todo=todo)
    if any(folder.glob(WEIGHTS)):
        return folder
    pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if not pickled:
        raise AbawkitError("there are no weights in the model folder", path=folder, expected=expected, todo=todo)
    raise AbawkitError(
        f"the weights of {ref.id_or_folder} are only there in a format that can run code when it is loaded",
        path=folder,
        got=", ".join(pickled[:4]),
        expected="model.safetensors",
        todo="download the model's safetensors revision, or, if you trust its source, convert it once with "
        "transformers: load it and `save_pretrained` it to a new folder",
    )


def cached_file(repository: str, name: str) -> Path | None:
    """Returns one file of a repository of the hub from the Hugging Face cache; None when it is not there.

    A known file is looked for at its pinned revision, then, as any other file, at ``main``.
    """
    from huggingface_hub import try_to_load_from_cache

    known = known_file(repository)
    revisions = [known.revision, None] if known is not None and known.file == name else [None]
    for revision in revisions:
        found = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None
