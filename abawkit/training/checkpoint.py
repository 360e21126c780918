"""Model files: safetensors and JSON only, so that a checkpoint outlives library versions and runs no code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from abawkit.errors import AbawkitError
from abawkit.fileio import atomic_path
from abawkit.models.network import Network
from abawkit.runs.records import ModelRecord
from abawkit.systems.schema import System


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


def save_run_model(path: Path, network: Network | None, stages: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Writes a run's model file: the network that predicts, and under ``stage.<slot>.`` each stage's own.

    The run thereby needs no other file to predict with every head. A system of one slot has that slot's stage alone.
    """
    weights = {} if network is None else dict(network.state_dict())
    for slot, stage in stages.items():
        weights |= {f"stage.{slot}.{key}": value for key, value in stage.items()}
    save_weights(path, weights)


def load_run_model(path: Path, record: ModelRecord, targets: int) -> tuple[Network | None, dict[str, Network]]:
    """Returns the network that fuses, and the networks of the slots' own stages, in eval mode.

    A system of one slot has no network that fuses (None); an imported run may lack the stages' heads, and a joint one
    has no stages.

    Args:
        path: The run's ``model.safetensors``.
        record: The run's ``config.json``.
        targets: Number of targets.

    Raises:
        AbawkitError: ``path`` is not a model file of this run.
    """
    system, inputs = System.model_validate(record.definition), record.inputs
    network = None if system.fusion is None else Network(system.network(system.final, inputs, targets))
    slots = system.unimodal if record.heads is None else record.heads
    stages = {slot: Network(system.network(slot, inputs, targets)) for slot in slots}
    weights = load_weights(path)
    if network is not None:
        load_state(network, {key: value for key, value in weights.items() if not key.startswith("stage.")}, path)
    for slot, stage in stages.items():
        prefix = f"stage.{slot}."
        load_state(stage, {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}, path)
    return None if network is None else network.eval(), {slot: stage.eval() for slot, stage in stages.items()}


def load_state(network: Network, weights: Mapping[str, Tensor], path: Path) -> None:
    """Puts the weights into the network.

    Raises:
        AbawkitError: They do not fit.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise _not_ours(path, error) from error


def _not_ours(path: Path, error: Exception) -> AbawkitError:
    return AbawkitError(
        "this model file is not ours, does not fit its record, or is damaged",
        path=path,
        got=" ".join(str(error).split())[:160],
        todo=f"delete the folder {path.parent} and train again",
    )
