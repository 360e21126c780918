"""``abawkit runs import``: a checkpoint of the paper's authors' released script becomes a run that predicts.

Such a file is ``{"epoch", "model_state_dict", "best_pearson", …}``. A fusion file has ``text_encoder.…``,
``audio_encoder.…``, ``vision_encoder.…``, perhaps ``motion_encoder.…``, and ``fusion_head.…``; a stage file has the
same names without the encoder's prefix, and ``head.1``. It says neither which features nor which clips it was trained
on: the features are those of the workspace, and the clips are what the user says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abawkit.data.splits.files import NOT_SAFE, Split
from abawkit.data.splits.resplit import find_split
from abawkit.device import pick_device
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.foreign.tensors import load_tensors
from abawkit.features.spec import MODALITIES, Modality
from abawkit.features.store import FeatureStore, choose_store
from abawkit.fileio import digest_file, digest_json, locked, storage_errors
from abawkit.metrics import score
from abawkit.models.network import Network
from abawkit.progress import SILENT, Progress
from abawkit.runs.records import METRICS, TOOL, CheckpointClaims, ClipIds, ImportRecord, RunMetrics, SideScores
from abawkit.runs.run import Run
from abawkit.systems.schema import FUSION, System
from abawkit.training.checkpoint import save_weights
from abawkit.training.environment import describe
from abawkit.training.predict import predict, test_ids
from abawkit.workspace import Workspace

#: A validation r that is further from the one in the file was not got on these features and clips.
_FAR = 0.005


@dataclass(frozen=True)
class _Checkpoint:
    """One file: its arrays by name, and what else it says."""

    path: Path
    arrays: Mapping[str, Any]
    epoch: float | None
    best: float | None

    @property
    def is_fusion(self) -> bool:
        return any(key.startswith("fusion_head.") or "_encoder." in key for key in self.arrays)

    def size(self, *keys: str) -> int | None:
        """Returns the length of the first of these arrays that is there."""
        shapes = [np.shape(self.arrays[key]) for key in keys if key in self.arrays]
        return next((shape[0] for shape in shapes if shape), None)


def import_run(
    workspace: Workspace,
    files: Sequence[Path],
    *,
    split: str | None = None,
    features: Mapping[str, str] | None = None,
    modalities: Mapping[Path, Modality] | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Makes a run of a fusion file, with any stage files that belong to it, or of one stage file, and returns it.

    The sizes are read off the tensors. The run predicts the validation clips and the test clips that are there.

    Args:
        workspace: The workspace, whose feature stores it predicts on.
        files: At most one fusion file and at most one stage file per modality.
        split: Name of the split that it was trained on, which only the user can know. None: the run predicts, and can
            be neither scored nor combined with others, because it may have been trained on the clips.
        features: Modality → which store, where there are several.
        modalities: File → modality, for stage files that could be of several.
        progress: What to report to.

    Raises:
        UsageError: These files do not match, or the split or features are missing.
        AbawkitError: A file is damaged, holds more than numbers (nothing in it is ever run), or does not fit: every
            missing, unknown or wrongly shaped tensor is named.
    """
    checkpoints = [_read(path) for path in files]
    fusion, stages = _sort(workspace, checkpoints, features or {}, modalities or {})
    wanted = _encoders_of(fusion) if fusion is not None else tuple(stages)
    if foreign := sorted(set(stages) - set(wanted)):
        raise UsageError(
            f"the fusion file has no {foreign[0]} encoder",
            path=stages[foreign[0]].path,
            expected=", ".join(wanted),
            todo="leave this stage file out",
        )
    stores = {modality: _store(workspace, modality, features or {}) for modality in wanted}
    system, weights = _fit_together(fusion, stages, stores, len(workspace.task.targets))
    chosen = None if split is None else find_split(workspace, "2:1", split)
    record = _record(workspace, checkpoints, chosen, stores, system, list(stages))
    path = workspace.runs / f"imported-{split or 'unknown'}-{digest_json(record.to_json())[:8]}"
    if (path / METRICS).exists():
        progress.say(f"{path.name} is already there")
        return Run.open(path)
    claims = {c.path.name: CheckpointClaims(epoch=c.epoch, best_pearson=c.best) for c in checkpoints}
    device = pick_device(workspace.settings.training.device)
    with locked(path, "importing this run"), storage_errors(path):
        record.write(path)
        clips = ClipIds(train=(), valid=())
        if chosen is not None:
            clips = ClipIds(train=chosen.train.ids, valid=chosen.valid.ids)
            describe(path, device, {str(m): store for m, store in stores.items()}, chosen).write(path)
        clips.write(path)
        save_weights(path / "model.safetensors", weights)
        metrics = RunMetrics(scores={}, files=claims)
        run = Run(path, record, metrics)
        valid = predict(workspace, run, "valid", progress=progress)
        if chosen is not None:
            scores = score(workspace.task, chosen.valid.values, valid.of(chosen.valid.ids))
            scores.require_defined(path.name)
            metrics = metrics.model_copy(update={"scores": {"valid": SideScores.of(scores)}})
            best = (fusion or checkpoints[0]).best
            if best is not None and not abs(scores.primary - best) <= _FAR:
                progress.say(
                    f"its r is {scores.primary:.4f} on the validation clips of {chosen.name}, and the file says "
                    f"{best:.4f}: it was trained on other features, or chosen on another split"
                )
        _predict_test(workspace, run, stores, progress)
        metrics.write(path)
    return Run.open(path)


def _read(path: Path) -> _Checkpoint:
    try:
        with path.open("rb") as stream:
            content = load_tensors(stream, path)
    except OSError as error:
        raise UsageError("this file cannot be read", path=path, got=str(error.strerror)) from error
    except AbawkitError as error:
        raise AbawkitError(
            error.message,
            path=path,
            got=error.got,
            expected="a checkpoint of tensors and numbers; nothing else in a file is ever run",
            todo="in the program that made it: torch.save({'model_state_dict': model.state_dict()}, FILE)",
        ) from error
    arrays = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(arrays, dict) or not arrays:
        raise AbawkitError(
            "this is not a checkpoint of the authors' script",
            path=path,
            got=f"keys {', '.join(map(str, content))[:100]}" if isinstance(content, dict) else type(content).__name__,
            expected="a dictionary with model_state_dict, and in it tensors by name",
        )
    epoch, best = (content.get(key) for key in ("epoch", "best_pearson"))
    return _Checkpoint(path, {str(k): v for k, v in arrays.items()}, _number(epoch), _number(best))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _encoders_of(fusion: _Checkpoint) -> tuple[Modality, ...]:
    return tuple(m for m in MODALITIES if any(key.startswith(f"{m}_encoder.") for key in fusion.arrays))


def _store(workspace: Workspace, modality: Modality, features: Mapping[str, str]) -> FeatureStore:
    lite = workspace.settings.extract.preset == "lite"
    return choose_store(workspace.features, modality, lite=lite, wanted=features.get(modality))


def _sort(
    workspace: Workspace,
    checkpoints: Sequence[_Checkpoint],
    features: Mapping[str, str],
    named: Mapping[Path, Modality],
) -> tuple[_Checkpoint | None, dict[Modality, _Checkpoint]]:
    """Returns the fusion file, and each stage file under its modality, in the order of concatenation."""
    fusions = [c for c in checkpoints if c.is_fusion]
    found: dict[Modality, _Checkpoint] = {}
    for checkpoint in (c for c in checkpoints if not c.is_fusion):
        modality = named.get(checkpoint.path) or _modality_of(workspace, checkpoint, features)
        if modality in found:
            raise UsageError(f"two files of the {modality} stage", path=found[modality].path, got=str(checkpoint.path))
        found[modality] = checkpoint
    if len(fusions) != 1 and (fusions or len(found) != 1):
        raise UsageError(
            "these files do not make one run",
            got=f"{len(fusions)} fusion file(s), {len(found)} stage file(s)",
            expected="one fusion file, with or without stage files; or one stage file alone",
            todo="import them one by one",
        )
    return (fusions[0] if fusions else None), {m: found[m] for m in MODALITIES if m in found}


def _modality_of(workspace: Workspace, checkpoint: _Checkpoint, features: Mapping[str, str]) -> Modality:
    """Returns the modality of a stage file: text by its names, the others by how many values a frame has."""
    if any(key.startswith("feature.") for key in checkpoint.arrays):
        return "text"
    dim = checkpoint.size("proj.0.weight", "proj.0.bias")
    fitting: list[Modality] = []
    known: list[str] = []
    for modality in MODALITIES[1:]:
        try:
            store = _store(workspace, modality, features)
        except UsageError:
            continue
        known.append(f"{modality} {store.spec.dim}")
        if store.spec.dim == dim:
            fitting.append(modality)
    if len(fitting) == 1:
        return fitting[0]
    raise UsageError(
        "it is not clear of which modality this stage file is",
        path=checkpoint.path,
        got=f"{dim} values per frame",
        expected=f"the size of one of the feature stores: {', '.join(known) or 'there are none'}",
        todo=f"say which it is: abawkit runs import audio={checkpoint.path.name}",
    )


def _fit_together(
    fusion: _Checkpoint | None,
    stages: Mapping[Modality, _Checkpoint],
    stores: Mapping[Modality, FeatureStore],
    targets: int,
) -> tuple[System, dict[str, Tensor]]:
    """Returns the system that the files are of, and the weights as a run's model file names them.

    Raises:
        AbawkitError: Something does not fit; everything that does not is named.
    """
    system = _system_of(fusion, stages, stores)
    inputs = {str(modality): store.spec.dim for modality, store in stores.items()}
    problems: list[str] = []
    weights: dict[str, Tensor] = {}
    if fusion is not None:
        shapes = _shapes(system, FUSION, inputs, targets)
        problems += _problems(fusion, shapes)
        weights |= {key: _tensor(value) for key, value in fusion.arrays.items() if key in shapes}
    for modality, stage in stages.items():
        # A stage file has the same names without the encoder's prefix, and its head's: head.1.
        shapes = {
            key.removeprefix(f"{modality}_encoder.").removeprefix(f"{modality}_"): shape
            for key, shape in _shapes(system, modality, inputs, targets).items()
        }
        problems += _problems(stage, shapes)
        for key, value in stage.arrays.items():
            ours = f"{modality}_{key}" if key.startswith("head.") else f"{modality}_encoder.{key}"
            weights[f"stage.{modality}.{ours}"] = _tensor(value)
    if problems:
        raise AbawkitError(
            f"{len(problems)} thing(s) do not fit\n" + "\n".join(f"  {problem}" for problem in problems),
            path=", ".join(str(c.path) for c in [fusion, *stages.values()] if c is not None),
            expected="a checkpoint of the authors' script, made on features of the sizes that the stores have: "
            + ", ".join(f"{modality} {store.spec.dim}" for modality, store in stores.items()),
            todo="import a complete checkpoint, on the features that it was trained on: --features MODALITY=STORE",
        )
    return system, weights


def _system_of(
    fusion: _Checkpoint | None, stages: Mapping[Modality, _Checkpoint], stores: Mapping[Modality, FeatureStore]
) -> System:
    """Returns the paper's system with the sizes that the tensors have."""
    slots: dict[str, Any] = {}
    for modality in stores:
        source = fusion or stages[modality]
        part = ("" if fusion is None else f"{modality}_encoder.") + ("feature" if modality == "text" else "proj")
        hidden = source.size(*(f"{part}.{end}" for end in ("1.weight", "1.bias", "4.weight", "4.bias")))
        text, motion = modality == "text", modality == "motion"
        encoder = {"kind": "mlp" if text else "attention"} | ({"hidden": hidden} if hidden else {})
        slots[modality] = {"encoder": encoder, "normalize": text, "frozen": motion}
    table: dict[str, Any] = {"name": "imported", "title": "a checkpoint of the authors' script", "slots": slots}
    if fusion is not None:
        size = fusion.size("fusion_head.mlp.2.weight", "fusion_head.mlp.2.bias")
        table["fusion"] = {"kind": "concat"} | ({"hidden": size} if size else {})
    return System.model_validate(table)


def _shapes(system: System, stage: str, inputs: Mapping[str, int], targets: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a network's tensors by name."""
    with torch.device("meta"):
        network = Network(system.network(stage, inputs, targets))
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def _problems(checkpoint: _Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Returns one line for everything in the file that is not as ``shapes`` says."""
    found = [f"{key} is missing" for key in shapes if key not in checkpoint.arrays]
    found += [f"{key} is unknown" for key in checkpoint.arrays if key not in shapes]
    for key, expected in shapes.items():
        if key not in checkpoint.arrays:
            continue
        array = checkpoint.arrays[key]
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            found.append(f"{key} is not a tensor of floating-point numbers")
        elif array.shape != expected:
            words = ", ".join(map(str, expected))
            found.append(f"{key} has the shape ({', '.join(map(str, array.shape))}), not ({words})")
        elif not np.isfinite(array).all():
            found.append(f"{key} holds values that are not finite")
    return [f"{checkpoint.path.name}: {problem}" for problem in found]


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, np.ndarray):
        return torch.empty(0)  # it is among the problems, which end the import
    return torch.from_numpy(np.array(value, dtype=np.float32))


def _record(
    workspace: Workspace,
    checkpoints: Sequence[_Checkpoint],
    split: Split | None,
    stores: Mapping[Modality, FeatureStore],
    system: System,
    heads: list[str],
) -> ImportRecord:
    names = " and ".join(c.path.name for c in checkpoints)
    origin = f"imported from {names}; " + (
        "nobody said which clips it was trained on"
        if split is None
        else f"that it was trained on the split {split.name} is the word of whoever imported it"
    )
    ratio = "2:1" if split is None else split.ratio
    return ImportRecord(
        kind="import",
        format=2,
        task=workspace.task.name,
        system=system.name,
        split=None if split is None else split.name,
        seed=None,
        ratio=ratio,
        definition=system.model_copy(update={"ratio": ratio, "source": origin}).to_json(),
        inputs={modality: store.spec.dim for modality, store in stores.items()},
        features={modality: f"{modality}/{store.path.name}" for modality, store in stores.items()},
        signatures={modality: store.spec.signature for modality, store in stores.items()},
        heads=heads,
        files={c.path.name: digest_file(c.path) for c in checkpoints},
        scorable=split is not None,
        origin=origin,
        subject_safe=split is not None and split.subject_safe,
        subject_note=NOT_SAFE if split is None else split.note,
        tool=TOOL,
    )


def _predict_test(workspace: Workspace, run: Run, stores: Mapping[Modality, FeatureStore], progress: Progress) -> None:
    ids = test_ids(workspace)
    absent = [clip for clip in ids if any(clip not in store for store in stores.values())]
    if absent:
        progress.say(
            f"{len(absent)} of {len(ids)} test clips have no features yet: abawkit extract, then: "
            f"abawkit predict {run.name} --on test"
        )
    elif ids:
        predict(workspace, run, "test", progress=progress)
