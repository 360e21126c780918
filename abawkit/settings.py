"""Settings: what can be set, and where each value comes from.

A setting is taken from the flag, else from the environment (``ABAWKIT_EXTRACT_PRESET``), else from ``abawkit.toml``,
else from the default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from abawkit.errors import UsageError

_ENV_PREFIX = "ABAWKIT_"
#: Names the workspace, where the working folder does not.
ENV_WORKSPACE = "ABAWKIT_WORKSPACE"
#: What the keys of a system begin with; those that are not settings are checked when a system is loaded.
_OF_SYSTEM = ("slots.", "fusion.", "training.")
#: Settings that have another name now.
_SUCCESSORS = {"training.threads": "training.workers"}


def _listed(value: Any) -> Any:
    """Returns the words of a text with commas between them; ``none`` and an empty text have none."""
    if not isinstance(value, str):
        return value
    words = tuple(word.strip() for word in value.split(",") if word.strip())
    return () if words == ("none",) else words


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExtractSettings(_Section):
    """Feature extraction."""

    preset: Literal["lite", "paper"] = Field("paper", description="feature set: paper (transformers) or lite (weak)")
    workers: int = Field(0, ge=0, le=256, description="decoding processes; 0: one per core")
    segment_clips: int = Field(128, ge=1, le=4096, description="clips per segment file")
    max_failures: str = Field(
        "1%",
        pattern=r"^[0-9]+(\.[0-9]+)?%$|^[0-9]+$",
        coerce_numbers_to_str=True,
        description="exit with 4 when more clips of a modality failed: a number or a share",
    )
    on_damage: Literal["keep", "fail"] = Field(
        "keep", description="a clip of which only a part can be decoded: keep that part (with a warning), or fail"
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="floating-point type of the stores")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    text_model: str | None = Field(None, description="text encoder: model id (ID or ID@REVISION) or local folder")
    trust_remote_code: bool = Field(
        False, description="run the code that a text model brings; only for one named at a commit, ID@COMMIT"
    )
    text_pooling: Literal["cls", "mean"] | None = Field(
        None, description="sentence embedding: the first token (cls) or the mean; default: as the model was trained"
    )
    text_tokens: bool = Field(False, description="one vector per token, for recurrent text models, in its own store")
    transcripts: str = Field(
        "auto",
        description="words: auto (text/ files, else the workspace's), folder (text/ only), or the name of transcripts",
    )
    batch: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="most texts, pictures or pieces of sound in one forward pass; auto: what suits the device"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the matrix products; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    whisper_model: str = Field(
        "openai/whisper-large-v3-turbo", description="speech recogniser: model id or local folder"
    )
    whisper_language: str | None = Field(None, description="language code, such as en; default: found in each clip")
    whisper_batch: int = Field(0, ge=0, description="windows of 30 s in one pass; 0: 4 on a CPU, 32 on a GPU")
    whisper_no_speech: float = Field(0.6, ge=0, le=1, description="above it, an improbable text counts as no speech")
    whisper_log_probability: float = Field(-1.0, le=0, description="a text of a lower mean is not believed")
    whisper_compression: float = Field(2.4, gt=0, description="a text of a higher ratio repeats itself: not believed")
    whisper_silence_db: float = Field(-60.0, le=0, description="sound that is nowhere louder (dB) is silence")
    audio_model: str | None = Field(None, description="wav2vec2-family model: model id or local folder")
    vision_model: str | None = Field(None, description="vision model: model id or local folder")
    vision_pooling: Literal["cls", "patch-mean"] = Field("cls", description="vision: first token, or mean of patches")
    vision_fps: float = Field(5.0, gt=0, le=1000, description="frames of the video per second, by their timestamps")
    vision_frames: int = Field(400, ge=1, description="most crops or frames of one clip, spread evenly")
    faces: Literal["organiser", "detect", "full-frame"] = Field(
        "organiser", description="what the vision model sees: the organisers' crops, faces found here, or full frames"
    )
    no_face: Literal["full-frame", "missing"] = Field(
        "full-frame", description="a clip without a face or crop: take its full frames, or record it as missing"
    )
    face_margin: float = Field(0.25, ge=0, le=4, description="share of the face's box that is added to it")
    face_detector: Literal["auto", "yunet", "haar"] = Field(
        "auto", description="yunet, haar (part of OpenCV), or auto: yunet where its file is on this machine"
    )
    yunet_model: str | None = Field(None, description="YuNet's ONNX file; default: the one in the Hugging Face cache")
    motion: Literal["openface", "flow"] = Field("openface", description="OpenFace, or statistics of optical flow")
    motion_confidence: bool = Field(False, description="append OpenFace's confidence to the 23 values")
    openface_bin: str | None = Field(None, description="OpenFace's FeatureExtraction; default: CSVs in openface/")
    openface_timeout: float = Field(30.0, gt=0, description="seconds it may take per second of video, at least 60")
    audio_layers: str = Field("-1", description="audio layer: -1 is the last; mean:K is the mean of the last K")
    audio_vad: bool = Field(False, description="append arousal, dominance and valence of the model's emotion head")


class SplitSettings(_Section):
    """Splits."""

    seed: int = Field(42, ge=0, description="seed of resplit")


class TrainingSettings(_Section):
    """Training. Keys of a system, such as ``training.lr``, can stand beside these: see ``Settings.system``."""

    seed: int = Field(42, ge=0, description="seed of the training")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    workers: int = Field(0, ge=0, le=1024, description="trainings side by side on a CPU; 0: one per core")
    checkpoint_seconds: float = Field(10.0, ge=0, description="save the state for resuming this often")
    trackers: Annotated[
        tuple[Literal["auto", "tensorboard", "wandb", "trackio"], ...],
        BeforeValidator(_listed),
    ] = Field(
        ("auto",),
        description="who draws the epochs: tensorboard, wandb, trackio; auto: TensorBoard if it is installed; or none",
    )
    trackers_online: bool = Field(False, description="let wandb send the numbers to its server; else nothing is sent")


class SubmitSettings(_Section):
    """Choosing runs and writing the submission."""

    min_shared: int = Field(50, ge=2, description="fewest shared held-out clips on which runs are ranked or combined")


class Settings(_Section):
    """All settings of a workspace."""

    task: str = Field("emi", description="challenge track")
    data: str | None = Field(None, description="the challenge folder, relative to the workspace")
    extract: ExtractSettings = ExtractSettings()
    split: SplitSettings = SplitSettings()
    training: TrainingSettings = TrainingSettings()
    submit: SubmitSettings = SubmitSettings()
    system: Mapping[str, Any] = Field(
        default_factory=dict,
        exclude=True,
        description="keys of a system that replace its own: path or short name → value",
    )


@dataclass(frozen=True)
class Setting:
    """One resolved setting: ``key``, ``value`` and the ``source`` that it came from."""

    key: str
    value: Any
    source: str


def setting_keys() -> dict[str, str]:
    """Returns every setting's key and what it means.

    >>> setting_keys()["extract.preset"]
    'feature set: paper (transformers) or lite (weak)'
    """
    keys: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        if field.exclude:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            for inner, inner_field in field.annotation.model_fields.items():
                keys[f"{name}.{inner}"] = inner_field.description or ""
        else:
            keys[name] = field.description or ""
    return keys


def read_settings(
    path: Path, overrides: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[Settings, dict[str, str]]:
    """Returns the resolved settings, and setting key → where its value came from.

    Args:
        path: The ``abawkit.toml``.
        overrides: Setting key → value from flags; a value of None is not an override.
        environ: The process environment.

    Raises:
        UsageError: The file is no TOML, or a setting is unknown or has a bad value.
    """
    flags = [Setting(key, value, "flag") for key, value in _known(overrides.items(), "flag") if value is not None]
    layers = [*_file_layer(path), *_environment_layer(environ), *flags]
    sources = {key: "default" for key in setting_keys()} | {layer.key: layer.source for layer in layers}
    values = {layer.key: layer.value for layer in layers}
    system = {key: value for key, value in values.items() if key not in setting_keys()}
    built = _build({key: value for key, value in values.items() if key not in system}, sources)
    return built.model_copy(update={"system": system}), sources


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns ``section.name`` → value of nested mappings.

    >>> flatten({"split": {"seed": 42}, "task": "emi"})
    {'split.seed': 42, 'task': 'emi'}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _known(items: Any, source: str) -> Iterator[tuple[str, Any]]:
    keys = setting_keys()
    for key, value in items:
        if key in _SUCCESSORS:
            raise UsageError(
                "this setting has another name now", path=source, got=key, expected=_SUCCESSORS[key], todo="rename it"
            )
        if key not in keys and not key.startswith(_OF_SYSTEM):
            raise _unknown(key, source, list(keys))
        yield key, value


def _unknown(key: str, source: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return UsageError(
        "unknown setting",
        path=source,
        got=key,
        expected=near[0] if near else "a key that `abawkit config show` lists",
        todo=f"did you mean {near[0]}?" if near else "remove it",
    )


def _file_layer(path: Path) -> list[Setting]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("is not valid TOML", path=path, got=str(error), todo="correct the line") from error
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path=path) from error
    return [Setting(key, value, str(path)) for key, value in _known(flatten(tree).items(), str(path))]


def _environment_layer(environ: Mapping[str, str]) -> list[Setting]:
    names = {_ENV_PREFIX + key.replace(".", "_").upper(): key for key in setting_keys()}
    layer = []
    for name in sorted(environ):
        # Typer's completion uses names such as _ABAWKIT_COMPLETE, which do not begin with the prefix.
        if not name.startswith(_ENV_PREFIX) or name == ENV_WORKSPACE:
            continue
        section, _, key = name.removeprefix(_ENV_PREFIX).lower().partition("_")
        if name in names:
            layer.append(Setting(names[name], environ[name], f"environment {name}"))
        elif section in ("training", "fusion"):
            layer.append(Setting(f"{section}.{key}", environ[name], f"environment {name}"))
        else:
            raise _unknown(name, "environment", [*names, ENV_WORKSPACE])
    return layer


def _build(flat: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, inner = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[inner] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        depth = 2 if str(first["loc"][0]) in tree and isinstance(tree[str(first["loc"][0])], dict) else 1
        key = ".".join(str(part) for part in first["loc"][:depth])
        # A setting of two kinds (auto, or a number) has an error for each.
        messages = dict.fromkeys(one["msg"] for one in error.errors() if one["loc"][:depth] == first["loc"][:depth])
        raise UsageError(
            f"bad value of {key}",
            path=sources.get(key),
            got=repr(first["input"]),
            expected=", or: ".join(messages),
            todo="correct it",
        ) from error
