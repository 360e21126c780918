"""Model files: safetensors and JSON only, so that a checkpoint outlives library versions and runs no code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from abawkit.errors import AbawkitError
from abawkit.fileio import atomic_path
from abawkit.models.encoders import EncoderConfig, UnimodalModel
from abawkit.models.fusion import FusionConfig, FusionModel
from abawkit.runs.records import ModelRecord
from abawkit.systems.loader import Hyperparameters


def fusion_config(hyper: Hyperparameters, encoders: Mapping[str, EncoderConfig], targets: int) -> FusionConfig:
    """Returns the fusion model of a system: the motion encoder is never updated, nor any other in a frozen system."""
    return FusionConfig(
        encoders=dict(encoders),
        targets=targets,
        hidden=hyper.fusion_hidden,
        dropout=hyper.dropout,
        modality_dropout=hyper.modality_dropout,
        frozen=tuple(m for m in encoders if hyper.frozen_encoders or m == "motion"),
    )


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes named tensors as safetensors, atomically."""
    data = save({key: value.contiguous() for key, value in weights.items()})
    with atomic_path(path) as temporary:  # written by Python, whose errors say that the disk is full
        temporary.write_bytes(data)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file.

    Raises:
        AbawkitError: The file is missing, damaged or of another kind.
    """
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _not_ours(path, error) from error
    return weights


def save_run_model(path: Path, model: FusionModel, stages: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Writes a run's model file: the fusion model, and under ``stage.<modality>.`` each stage's whole model.

    The run thereby needs no other file to predict with every head.
    """
    weights = dict(model.state_dict())
    for modality, stage in stages.items():
        weights |= {f"stage.{modality}.{key}": value for key, value in stage.items()}
    save_weights(path, weights)


def load_run_model(
    path: Path, record: ModelRecord, targets: int
) -> tuple[FusionModel | None, dict[str, UnimodalModel]]:
    """Returns a run's fusion model and the unimodal models of its stages, in eval mode.

    An imported run may lack the stages' heads, or be a single stage without a fusion model (None).

    Args:
        path: The run's ``model.safetensors``.
        record: The run's ``config.json``.
        targets: Number of targets.

    Raises:
        AbawkitError: ``path`` is no model file of this run.
    """
    encoders: dict[str, EncoderConfig] = {
        modality: EncoderConfig(**encoder) for modality, encoder in record.encoders.items()
    }
    hyper = Hyperparameters(**record.definition["hyperparameters"])
    model = FusionModel(fusion_config(hyper, encoders, targets)) if record.fusion else None
    heads = encoders if record.heads is None else record.heads
    stages = {modality: UnimodalModel(encoders[modality], targets) for modality in heads}
    weights = load_weights(path)
    if model is not None:
        load_state(model, {key: value for key, value in weights.items() if not key.startswith("stage.")}, path)
    for modality, stage in stages.items():
        prefix = f"stage.{modality}."
        load_state(stage, {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}, path)
    return None if model is None else model.eval(), {modality: stage.eval() for modality, stage in stages.items()}


def load_state(model: FusionModel | UnimodalModel, weights: Mapping[str, Tensor], path: Path) -> None:
    """Puts the weights into the model.

    Raises:
        AbawkitError: They do not fit.
    """
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise _not_ours(path, error) from error


def _not_ours(path: Path, error: Exception) -> AbawkitError:
    return AbawkitError(
        "this model file is not ours, does not fit its record, or is damaged",
        path=path,
        got=" ".join(str(error).split())[:160],
        todo=f"delete the folder {path.parent} and train again",
    )
