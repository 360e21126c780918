"""Which models are known, where a model lies on this machine, and what its files say, without loading it.

Nothing here ever downloads (:mod:`abawkit.backbones.fetch` does): a model that is not there is an error that says
how to get it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from abawkit.backbones.files import known_file
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import digest_file, read_json


@dataclass(frozen=True)
class ModelRef:
    """A model as somebody named it.

    Attributes:
        id_or_folder: Id on the Hugging Face hub (``thenlper/gte-base``) or a local folder.
        revision: Branch, tag or commit on the hub; None: what the cache holds as ``main``.
        licence: Licence of the weights, where it is known.
    """

    id_or_folder: str
    revision: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class KnownModel:
    """One row of the table of models that the paper and its rivals used.

    Attributes:
        ref: Id, revision and licence.
        modality: What it embeds.
        dim: Values per frame.
        pooling: How its output becomes one vector per text or frame (``frames``: it is not pooled).
    """

    ref: ModelRef
    modality: Literal["text", "audio", "vision"]
    dim: int
    pooling: Literal["mean", "cls", "frames"]


#: Model id → what is known about it, at a pinned revision. The first of each modality is the default.
KNOWN: Mapping[str, KnownModel] = {
    model.ref.id_or_folder: model
    for model in (
        KnownModel(
            ModelRef("thenlper/gte-base", "c078288308d8dee004ab72c6191778064285ec0c", "MIT"), "text", 768, "mean"
        ),
        KnownModel(
            ModelRef("google-bert/bert-large-uncased", "6da4b6a26a1877e173fca3225479512db81a5e5b", "Apache-2.0"),
            "text",
            1024,
            "cls",
        ),
        KnownModel(
            ModelRef(
                "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
                "6eba34a2485ea31cb03600241787c3a5edab8626",
                "CC BY-NC-SA 4.0",
            ),
            "audio",
            1024,
            "frames",
        ),
        KnownModel(
            ModelRef("facebook/wav2vec2-base-960h", "22aad52d435eb6dbaf354bdad9b0da84ce7d6156", "Apache-2.0"),
            "audio",
            768,
            "frames",
        ),
        KnownModel(
            ModelRef("facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415", "Apache-2.0"),
            "vision",
            768,
            "cls",
        ),
        KnownModel(
            ModelRef("google/vit-base-patch16-224-in21k", "b4569560a39a0f1af58e3ddaf17facf20ab919b0", "Apache-2.0"),
            "vision",
            768,
            "cls",
        ),
    )
}

#: The default speech recogniser, which makes the words that text features are made from.
RECOGNISER = ModelRef("openai/whisper-large-v3-turbo", "41f01f3fe87f28c78e2fbf8b568835947dd65ed9", "MIT")

_WEIGHTS = "*.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
#: Files besides the weights that decide what a model computes.
_SETTINGS = re.compile(
    r"(generation_)?config\.json|(pre)?processor_config\.json|.*\.safetensors\.index\.json|tokenizer.*\.(json|model)|"
    r"special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt|.*\.(spm|bpe\.model)|spiece\.model"
)


def model_ref(name: str) -> ModelRef:
    """Returns the reference of a folder, an id or ``ID@REVISION``; of a known id with pinned revision and licence.

    >>> model_ref("thenlper/gte-base").licence, model_ref("thenlper/gte-base@v2").revision
    ('MIT', 'v2')

    Raises:
        UsageError: There is no revision after the @.
    """
    if "@" in name and not Path(name).expanduser().is_dir():
        name, _, revision = name.partition("@")
        if not revision:
            raise UsageError("a model without the revision after the @", got=f"{name}@", expected=f"{name}@COMMIT")
        return replace(model_ref(name), revision=revision)
    if name == RECOGNISER.id_or_folder:
        return RECOGNISER
    return KNOWN[name].ref if name in KNOWN else ModelRef(name)


def is_commit(revision: str | None) -> bool:
    """Returns whether a revision is the full name of a commit, which unlike a branch or a tag never changes."""
    return re.fullmatch(r"[0-9a-f]{40}", revision or "") is not None


def is_offline() -> bool:
    """Returns whether nobody may ask the hub: ``HF_HUB_OFFLINE`` is set, which ``--offline`` does."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def stay_offline() -> None:
    """Sets ``HF_HUB_OFFLINE`` for this process and those that it starts.

    Nothing here downloads anyway; with it, a library that asks the hub of its own accord fails at once instead of
    waiting for a network that is not there, and a model that is missing is only advised to be got elsewhere.
    """
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True  # it reads the environment once, when it is loaded


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
        # Not snapshot_download: without network it refuses a snapshot that lacks files which nobody needs.
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
    return complete(cached, ref, "a whole copy of the model in the Hugging Face cache", _how_to_get(ref))


def command_with(name: str, where: str) -> str:
    """Returns the command that uses the model of that name, when it lies at ``where`` (folder, file or id).

    >>> command_with("thenlper/gte-base", "FOLDER")
    'abawkit extract --model text=FOLDER'
    """
    known = model_ref(name).id_or_folder
    if known_file(known) is not None:
        return f"abawkit extract --faces detect --set extract.yunet_model={where}"
    if known == RECOGNISER.id_or_folder:
        return f"abawkit transcribe --model {where}"
    return f"abawkit extract --model {KNOWN[known].modality if known in KNOWN else 'MODALITY'}={where}"


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
    """Returns ``folder`` when a whole model with safetensors weights is in it.

    Raises:
        AbawkitError: The configuration or the weights are missing, or the weights are pickled only.
    """
    if not (folder / "config.json").is_file():
        raise AbawkitError("there is no config.json in the model folder", path=folder, expected=expected, todo=todo)
    if any(folder.glob(_WEIGHTS)):
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


def weights_digest(folder: Path) -> str:
    """Returns the SHA-256 over names and contents of weights, configuration, tokenizer, processor and code files.

    Sixty-four hexadecimal digits. Code counts where the model names some as its own; README files and the like do not.
    A file that did not change since it was last hashed in this process is not read again.
    """
    sha, coded = hashlib.sha256(), bool(own_code(folder))
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        counts = path.match(_WEIGHTS) or _SETTINGS.fullmatch(path.name) or (coded and path.suffix == ".py")
        if counts and path.is_file():
            state = path.stat()
            sha.update(f"{path.name}\0{_file_digest(path, state.st_size, state.st_mtime_ns)}\n".encode())
    return sha.hexdigest()


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    return digest_file(path)


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the model's ``config.json``, read without transformers.

    Raises:
        AbawkitError: It cannot be read, has no ``hidden_size``, is of a model with a decoder, or asks for code from
            elsewhere.
    """
    config = read_json(folder / "config.json", "a model configuration")
    hidden = config.get("hidden_size")
    if not isinstance(hidden, int) or hidden < 1 or config.get("is_encoder_decoder"):
        raise AbawkitError(
            "this model cannot be used as a feature extractor",
            path=folder / "config.json",
            got=f"model_type {config.get('model_type')!r}, hidden_size {hidden!r}",
            expected="an encoder (BERT, Wav2Vec2, HuBERT, WavLM, DINOv2, ViT …) with a hidden_size",
        )
    refuse_code(folder, config)
    return config


def own_code(folder: Path) -> list[str]:
    """Returns what a model names as its own code (``modeling_own.OwnModel``), sorted; mostly none.

    Its ``config.json`` names that of the model, ``tokenizer_config.json`` that of the tokenizer.
    """
    named: set[str] = set()
    for file in ("config.json", "tokenizer_config.json"):
        try:
            code = read_json(folder / file, "a configuration").get("auto_map")
        except AbawkitError:  # whoever opens the model says so
            continue
        values = code.values() if isinstance(code, Mapping) else [code]
        for value in values:  # a tokenizer's can be a pair, of which one is null
            named.update(name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str))
    return sorted(named)


def check_own_code(name: str, folder: Path) -> None:
    """Returns when the code that the model brings may be run: all of it is the hub's at a commit that was named.

    Args:
        name: The model, as it was named.
        folder: Where it lies.

    Raises:
        UsageError: It is a local folder, or no commit is named, or some of its code is in another repository, which a
            commit does not pin.
    """
    ref = model_ref(name)
    if not is_commit(ref.revision) or folder.name != ref.revision:
        raise UsageError(
            "code that comes with a model is run only at a pinned revision",
            got=name,
            expected="ID@COMMIT, with the 40 hexadecimal digits of the commit whose code you have read",
        )
    if elsewhere := [code for code in own_code(folder) if "--" in code]:
        raise UsageError(
            f"the model's code is in another repository, which its revision does not pin: {elsewhere[0]}",
            path=folder,
            todo="take a model whose repository holds its code",
        )


def refuse_code(folder: Path, config: Mapping[str, Any]) -> None:
    """Returns when the model in ``folder`` asks for no code from elsewhere.

    Raises:
        AbawkitError: Its configuration does: transformers would fetch a kernel from the hub and run it.
    """
    for key, value in _entries(config):
        if (key.lstrip("_").startswith("attn_implementation") and value not in (None, "eager", "sdpa")) or (
            key == "quantization_config" and value is not None
        ):
            raise AbawkitError(
                "this model asks for code from outside transformers",
                path=folder / "config.json",
                got=f"{key}: {value!r}"[:160],
                expected="a plain float32 or float16 model",
                todo=f"remove {key!r} from its config.json if you trust its source",
            )


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield key, value
        if isinstance(value, Mapping):
            yield from _entries(value)


def read_processor(folder: Path, part: Literal["feature_extractor", "image_processor"]) -> dict[str, Any]:
    """Returns the settings of the model's preprocessing, from either of the two files that transformers writes.

    Raises:
        AbawkitError: There is none.
    """
    nested = folder / "processor_config.json"
    if nested.is_file():
        settings = read_json(nested, "settings of a processor").get(part)
        if isinstance(settings, dict):
            return settings
    return read_json(folder / "preprocessor_config.json", "settings of the model's preprocessing")


@dataclass(frozen=True)
class ModelFolder:
    """A model on this machine, as a feature's specification names it. Made without torch and transformers.

    Attributes:
        path: Its folder.
        name: Short name for people and folder names (``gte-base``).
        model: Model id, without the revision, or local folder as it was given.
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
        AbawkitError: See :func:`resolve` and :func:`read_config`.
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


def _readme_licence(folder: Path) -> str | None:
    readme = folder / "README.md"
    head = readme.read_bytes()[:4096].decode(errors="replace") if readme.is_file() else ""
    found = re.search(r"^license:[ \t]*([\w.+-]+)", head, re.MULTILINE)
    return found.group(1) if found else None
