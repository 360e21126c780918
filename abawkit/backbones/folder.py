"""A model on this machine, as a feature's specification names it: opened without torch and transformers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from abawkit.backbones.cache import WEIGHTS, resolve
from abawkit.backbones.config import read_config
from abawkit.backbones.known import model_ref
from abawkit.backbones.own_code import own_code
from abawkit.fileio import digest_file

#: Files besides the weights that decide what a model computes.
_SETTINGS = re.compile(
    r"(generation_)?config\.json|(pre)?processor_config\.json|.*\.safetensors\.index\.json|tokenizer.*\.(json|model)|"
    r"special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt|.*\.(spm|bpe\.model)|spiece\.model"
)


@dataclass(frozen=True)
class ModelFolder:
    """A model on this machine, as a feature's specification names it. Made without torch and transformers.

    Attributes:
        path: Its folder.
        name: Short name for people and folder names (``gte-base``).
        model: Model id, without the revision, or local folder as it was named.
        revision: Its commit, for a model from the hub's cache; else the revision asked for.
        weights: See :func:`weights_digest`.
        licence: From the table of known models, else from the model's README.
        dim: Values per frame.
    """

    path: Path
    name: str
    model: str
    revision: str | None
    weights: str
    licence: str | None
    dim: int


def _hidden_size(folder: Path) -> int:
    size: int = read_config(folder)["hidden_size"]
    return size


def open_folder(name: str, *, width: Callable[[Path], int] = _hidden_size) -> ModelFolder:
    """Returns what there is to know about a model, by id or local folder, before it is loaded.

    Args:
        name: Model id (``ID`` or ``ID@REVISION``) or local folder.
        width: Returns the values per frame of a model folder, and raises when it is not the kind of model wanted.

    Raises:
        AbawkitError: See :func:`abawkit.backbones.cache.resolve` and :func:`abawkit.backbones.config.read_config`.
    """
    ref = model_ref(name)
    path = resolve(ref)
    cached = path.parent.name == "snapshots"
    return ModelFolder(
        path=path,
        name=re.sub(r"[^\w.-]+", "-", Path(ref.id_or_folder).expanduser().resolve().name),
        model=ref.id_or_folder,
        revision=path.name if cached else ref.revision,
        weights=weights_digest(path),
        licence=ref.licence or _readme_licence(path),
        dim=width(path),
    )


def weights_digest(folder: Path) -> str:
    """Returns the SHA-256 over names and contents of weights, configuration, tokenizer, processor and code files.

    Sixty-four hexadecimal digits. Code counts where the model names some as its own; README files and the like do not.
    A file that did not change since it was last hashed in this process is not read again.
    """
    sha, coded = hashlib.sha256(), bool(own_code(folder))
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        counts = path.match(WEIGHTS) or _SETTINGS.fullmatch(path.name) or (coded and path.suffix == ".py")
        if counts and path.is_file():
            state = path.stat()
            sha.update(f"{path.name}\0{_file_digest(path, state.st_size, state.st_mtime_ns)}\n".encode())
    return sha.hexdigest()


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    return digest_file(path)


def _readme_licence(folder: Path) -> str | None:
    readme = folder / "README.md"
    head = readme.read_bytes()[:4096].decode(errors="replace") if readme.is_file() else ""
    found = re.search(r"^license:[ \t]*([\w.+-]+)", head, re.MULTILINE)
    return found.group(1) if found else None
