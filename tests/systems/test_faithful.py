"""Every row of the method, pinned, each with the paper's section; and the traps of the authors' script, not repeated.

Values are looked up in the systems; behaviour is looked at from outside, in what a training leaves behind: a run's
weights before and after fusion, its history, and its predictions against ``tests/plain.py``.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from abawkit.challenge import EMI
from abawkit.features.store import FeatureStore
from abawkit.metrics import score
from abawkit.runs.run import Run
from abawkit.settings import Settings
from abawkit.systems.loader import find_systems, load_system
from abawkit.training.train import train
from abawkit.workspace import Workspace
from tests import plain
from tests.random_stores import DIMS, TRAIN, random_stores, random_workspace

#: Path in a system → its value, and where the paper has it ("script": the authors' released one).
TABLE: dict[str, tuple[Any, str]] = {
    **{f"slots.{slot}.encoder.hidden": (384, "Sec. 4.8") for slot in ("text", "audio", "vision")},
    "slots.motion.encoder.hidden": (128, "Sec. 4.8"),
    "fusion.hidden": (384, "Sec. 4.8"),
    **{f"slots.{slot}.encoder.dropout": (0.45, "Sec. 4.8") for slot in ("text", "audio", "vision", "motion")},
    "fusion.dropout": (0.45, "Sec. 4.8"),
    "training.head_dropout": (0.45, "script"),
    "fusion.modality_dropout": (0.3, "Sec. 4.6"),
    "training.loss": ([{"weight": 1.0, "on": "prediction", "kind": "ccc_mse", "alpha": 0.7}], "Sec. 4.5, Eq. 1"),
    "training.lr": (2e-4, "Sec. 4.8"),
    "training.weight_decay": (1e-2, "Sec. 4.8"),
    "training.clip_norm": (1.0, "Sec. 4.8"),
    "training.batch_size": (16, "Sec. 4.8"),
    "training.encoder_lr_scale": (0.05, "Sec. 4.6"),
    "training.schedule": ({"kind": "plateau", "factor": 0.5, "patience": None}, "Sec. 4.8"),
    "training.patience": (10, "Sec. 4.8"),
    "training.min_delta": (1e-4, "script"),
    "training.epochs": (50, "Sec. 4.8"),
    "slots.motion.epochs": (100, "Sec. 4.8"),
    "training.stages": ("unimodal, then fusion", "Sec. 4.1"),
    "fusion.missing": ("zero", "script"),
    **{f"slots.{slot}.normalize": (slot == "text", "Sec. 4.2") for slot in ("text", "audio", "vision", "motion")},
    **{f"slots.{slot}.encoder.kind": ("attention", "Sec. 4.4") for slot in ("audio", "vision", "motion")},
    "slots.text.encoder.kind": ("mlp", "Sec. 4.4"),
    "fusion.kind": ("concat", "Sec. 4.6"),
    # Not the paper's: nothing of the sort.
    "training.accumulate": (1, "script"),
    "training.ema": (None, "script"),
    "training.precision": ("float32", "script"),
    **{f"slots.{slot}.frozen": (slot == "motion", "Sec. 4.6") for slot in ("text", "audio", "vision", "motion")},
    **{f"slots.{slot}.epochs": (None, "Sec. 4.8") for slot in ("text", "audio", "vision")},
    **{f"slots.{slot}.patience": (None, "Sec. 4.8") for slot in ("text", "audio", "vision", "motion")},
    "fusion.epochs": (None, "Sec. 4.8"),
    "fusion.patience": (None, "Sec. 4.8"),
}
#: What F5 has otherwise: Sec. 5.2, and the script's example.
OF_F5 = {"fusion.hidden": 128, "fusion.patience": 15, "fusion.epochs": 100} | {
    f"slots.{slot}.frozen": True for slot in ("text", "audio", "vision")
}


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Path → value of a system's JSON object, down to losses and schedules."""
    if not isinstance(tree, dict) or prefix in ("training.schedule.",):
        return {prefix[:-1]: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.")
    return found


@pytest.mark.parametrize("system", ["F1", "F2", "F3", "F4", "F5"])
def test_hyper_parameters(system: str) -> None:
    own = {"name", "title", "source", "note", "ratio", "paper"}
    record = {key: value for key, value in load_system(system).to_json().items() if key not in own}
    found = {path: value for path, value in flat(record).items() if path.split(".")[-1] not in _NAMES}
    slots = tuple(f"slots.{slot}." for slot in record["slots"])
    expected = {
        path: OF_F5.get(path, value) if system == "F5" else value
        for path, (value, _) in TABLE.items()
        if not path.startswith("slots.") or path.startswith(slots)
    }
    assert found == expected, "every key is in the table, and has its value"


#: Keys of a slot that say which features it takes, not how it is trained.
_NAMES = ("modality", "features", "extract")


def test_the_seed_is_42() -> None:
    """Sec. 4.8."""
    assert Settings().training.seed == 42


def test_the_five_systems() -> None:
    """Sec. 5.2 and Table 5."""
    three = ("text", "audio", "vision")
    expected = {
        "F1": (three, "2:1", (0.4373, 0.506)),
        "F2": ((*three, "motion"), "2:1", (0.4386, 0.506)),
        "F3": (three, "4:1", (0.4717, 0.570)),
        "F4": ((*three, "motion"), "4:1", (0.4722, 0.562)),
        "F5": (three, "2:1", (0.4400, 0.491)),
    }
    for name, (modalities, ratio, paper) in expected.items():
        system = load_system(name)
        assert (system.modalities, system.ratio, (system.paper.valid, system.paper.test)) == (modalities, ratio, paper)


def test_the_fifteen_rows_of_table_3() -> None:
    scores = sorted(
        system.paper.valid
        for system in (load_system(found.name) for found in find_systems())
        if system.source == "paper, Table 3" and system.paper.valid is not None
    )
    vision, audio = (0.1084, 0.1343, 0.1260, 0.1134, 0.1512, 0.1535), (0.1428, 0.3088, 0.35, 0.36, 0.36, 0.3650)
    assert scores == sorted([*vision, *audio, 0.4070, 0.4076, 0.3400])


def test_who_is_frozen_and_what_drops_out_during_fusion() -> None:
    """Sec. 4.6: text, audio and vision are tuned, motion never (ours; the paper does not say); F5: nothing is."""
    for name in ("F1", "F2", "F3", "F4", "F5"):
        system = load_system(name)
        config = system.network("fusion", dict.fromkeys(system.slots, 4), 6)
        frozen = [slot for slot, own in config.slots.items() if own.frozen]
        motion = ["motion"] if "motion" in system.slots else []
        assert frozen == (list(system.slots) if name == "F5" else motion)
        assert config.modality_dropout == 0.3
        for slot in system.slots:  # each is trained in its own stage
            assert not system.network(slot, {slot: 4}, 6).slots[slot].frozen


def trained(root: Path, system: str, **changes: Any) -> tuple[Run, Workspace]:
    """A run of the system on random stores, and its workspace."""
    if not (root / "abawkit.toml").exists():
        random_workspace(root)
    overrides = {f"training.{key}": value for key, value in changes.items()}
    workspace = Workspace.open(root, environ={}, overrides=overrides)
    return train(workspace, system), workspace


@pytest.fixture(scope="module")
def f2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Workspace]:
    """F2 with everything as it is but the most epochs."""
    stages = ("text", "audio", "vision", "motion", "fusion")
    most = {f"{stage}_epochs": 18 for stage in stages}
    return trained(tmp_path_factory.mktemp("faithful"), "F2", lr=2e-3, **most)


def weights_of(run: Run) -> dict[str, Tensor]:
    return {name: value.double() for name, value in load_file(run.path / "model.safetensors").items()}


def test_the_sizes_of_the_networks(f2: tuple[Run, Workspace]) -> None:
    """Sec. 4.4 (encoders), 4.6 (1,280 concatenated values with motion, 1,152 without) and 4.8 (sizes)."""
    shapes = {name: tuple(value.shape) for name, value in weights_of(f2[0]).items()}
    for modality, dim in DIMS.items():
        hidden, part = (128 if modality == "motion" else 384), ("feature" if modality == "text" else "proj")
        for prefix in (f"{modality}_encoder", f"stage.{modality}.{modality}_encoder"):
            expected = {"0.weight": (dim,), "1.weight": (hidden, dim), "1.bias": (hidden,), "4.weight": (hidden,)}
            assert {key: shapes[f"{prefix}.{part}.{key}"] for key in expected} == expected
            if modality != "text":
                assert shapes[f"{prefix}.attn.weight"] == (1, dim)
        assert shapes[f"stage.{modality}.{modality}_head.1.weight"] == (6, hidden)
    assert shapes["fusion_head.mlp.0.weight"] == (3 * 384 + 128,)
    assert shapes["fusion_head.mlp.2.weight"] == (384, 1280) and shapes["fusion_head.mlp.5.weight"] == (6, 384)


def test_a_run_predicts_what_the_plain_networks_do(f2: tuple[Run, Workspace]) -> None:
    """Sec. 4.2: text is L2-normalised and nothing else is; missing text is zeros, any other one zero frame.

    No clip is left out because a modality is missing: one of the traps.
    """
    run, workspace = f2
    weights = weights_of(run)
    predictions = run.predictions("valid", workspace.task)
    assert set(predictions.ids) == set(run.valid_ids) and len(run.train_ids) == TRAIN
    values: dict[str, Any] = {}
    for modality, dim in DIMS.items():
        store = FeatureStore.open(workspace.features / modality / "random-0")
        clips = [torch.from_numpy(np.array(store.frames(clip), np.float64)) for clip in predictions.ids]
        assert any(not len(clip) for clip in clips)
        values[modality] = (
            torch.stack([clip[0] if len(clip) else torch.zeros(dim, dtype=torch.float64) for clip in clips])
            if modality == "text"
            else clips
        )

    def close(prefix: str, expected: Tensor) -> None:
        got = predictions.table[[prefix + target for target in EMI.targets]].to_numpy()
        np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=2e-5)

    embeddings = plain.embeddings(values, weights)
    close("", plain.head(embeddings, weights))
    for index, modality in enumerate(DIMS):
        prefix = f"stage.{modality}."
        own = {
            name.removeprefix(prefix).replace(f"{modality}_", ""): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        close(f"{modality}:", plain.stage(modality, values[modality], own, "encoder."))
        without = [embedding * (i != index) for i, embedding in enumerate(embeddings)]
        close(f"without-{modality}:", plain.head(without, weights))


def test_schedule_stopping_and_the_best_state(f2: tuple[Run, Workspace]) -> None:
    """Sec. 4.8 and the script: the rate halves after max(3, patience // 3) epochs that did not improve on the best.

    A stage stops after ``patience`` epochs without an improvement of more than 1e-4. The best state of the encoders
    and of the head comes back, not the head's alone (trap): the saved weights have the best epoch's score.
    """
    run, workspace = f2
    history = pd.read_csv(run.path / "history.csv")
    table = run.predictions("valid", workspace.task)
    stopped = 0
    for name, rows in history.groupby("stage", sort=False):
        rates, best, best_epoch = replayed(rows["score"].tolist(), lr=2e-3, patience=10)
        assert rows["lr"].tolist() == pytest.approx(rates, rel=1e-12), name
        assert len(rows) - 1 - best_epoch == 10 or len(rows) == 18, name
        stopped += len(rows) < 18
        summary = run.metrics.stages[str(name)]
        assert summary.best_epoch == best_epoch + 1 and summary.best_score == pytest.approx(best)
        prefix = "" if name == "fusion" else f"{name}:"
        values = table.table[[prefix + target for target in EMI.targets]].to_numpy()
        assert score(EMI, table.truth_of(table.ids), values).primary == pytest.approx(best, abs=1e-5), name
    assert stopped and history["lr"].min() < 2e-3  # else this test has seen neither


def replayed(scores: list[float], *, lr: float, patience: int) -> tuple[list[float], float, int]:
    """The rates, the best score and its epoch that follow from the scores."""
    rates, rate, waited, level = [], lr, 0, -np.inf
    best, best_epoch = -np.inf, -1
    for epoch, value in enumerate(scores):
        rates.append(rate)
        if value > best + 1e-4:
            best, best_epoch = value, epoch
        # ReduceLROnPlateau's own idea of better: by one part in ten thousand.
        if value > level * (1 + 1e-4):
            level, waited = value, 0
        else:
            waited += 1
        if waited > max(3, patience // 3):
            rate, waited = rate * 0.5, 0
    return rates, best, best_epoch


def test_the_plateau_of_f5_is_longer(tmp_path: Path) -> None:
    """The script: 15 // 3 = 5 epochs for F5's fusion stage, 3 for its unimodal stages."""
    most = {"text_epochs": 1, "audio_epochs": 1, "vision_epochs": 1, "fusion_epochs": 25}
    run, _ = trained(tmp_path, "F5", lr=2e-2, **most)
    history = pd.read_csv(run.path / "history.csv")
    rows = history[history["stage"] == "fusion"]
    rates, _, best_epoch = replayed(rows["score"].tolist(), lr=2e-2, patience=15)
    assert rows["lr"].tolist() == pytest.approx(rates) and rows["lr"].nunique() > 1
    assert len(rows) == 25 or len(rows) - 1 - best_epoch == 15
    shorter, *_ = replayed(rows["score"].tolist(), lr=2e-2, patience=10)
    assert shorter != rates


def moved(run: Run, modality: str) -> list[tuple[str, Tensor, Tensor]]:
    """Name, value after the stage, and value after fusion of each of the encoder's parameters."""
    weights = weights_of(run)
    prefix = f"stage.{modality}.{modality}_encoder."
    names = [name.removeprefix(prefix) for name in weights if name.startswith(prefix)]
    return [(name, weights[prefix + name], weights[f"{modality}_encoder.{name}"]) for name in names]


ONE_STEP = {
    **{f"{stage}_epochs": 1 for stage in ("text", "audio", "vision", "motion", "fusion")},
    **{"batch_size": TRAIN, "lr": 1e-2, "weight_decay": 2.0},
}


def test_one_step_of_fusion_is_adamw_at_a_twentieth_of_the_rate(tmp_path: Path) -> None:
    """Sec. 4.6 and 4.8. AdamW's first step is ``-rate · (sign(gradient) + decay · weight)``, whatever the gradient.

    So the rate and the decay of each group can be read off the weights. The motion encoder stays as it was: in the
    authors' script its gradients pile up and its dropout stays on.
    """
    run, _ = trained(tmp_path, "F2", **ONE_STEP)
    rate, decay = 1e-2 * 0.05, 2.0
    for modality in ("text", "audio", "vision"):
        for name, before, after in moved(run, modality):
            step = (after - before + rate * decay * before).abs() / rate
            if name == "attn.bias":  # the softmax cancels it: no gradient, decay alone
                assert float(step) == pytest.approx(0, abs=1e-2)
            else:
                assert float(step.median()) == pytest.approx(1, abs=0.02), (modality, name)
                assert float(step.max()) < 1.02
    for _, before, after in moved(run, "motion"):
        assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("changes", "still"),
    [
        ({"encoder_lr_scale": 0.0}, True),
        # With gradients this small AdamW's epsilon is what divides: nearly no step, but for the decay (none here).
        ({"clip_norm": 1e-14, "weight_decay": 0.0}, True),
        ({"clip_norm": 1e14, "weight_decay": 0.0}, False),
    ],
)
def test_the_rate_and_the_clipped_norm_are_those_asked_for(
    tmp_path: Path, changes: dict[str, float], still: bool
) -> None:
    """Sec. 4.6 and 4.8: the norm of all gradients together is clipped, those of the encoders too."""
    run, _ = trained(tmp_path, "F1", **ONE_STEP | changes)
    for modality in ("text", "audio", "vision"):
        step = max(float((after - before).abs().max()) for _, before, after in moved(run, modality))
        assert (step < 1e-8) == still


def test_frozen_encoders_stay_as_their_stages_left_them(tmp_path: Path) -> None:
    """Sec. 5.2: F5."""
    run, _ = trained(tmp_path, "F5", **ONE_STEP)
    for modality in ("text", "audio", "vision"):
        for _, before, after in moved(run, modality):
            assert torch.equal(before, after)


def test_a_stale_stage_is_never_taken(tmp_path: Path) -> None:
    """A trap: the script silently takes whatever stage files lie in its output folder."""

    def stages() -> set[str]:
        return {path.name for path in (tmp_path / "stages").glob("*-*") if path.is_dir()}

    trained(tmp_path, "F1", **ONE_STEP)
    first = stages()
    trained(tmp_path, "F1", **ONE_STEP | {"alpha": 0.5})
    second = stages()
    shutil.rmtree(tmp_path / "features")
    random_stores(Workspace.open(tmp_path, environ={}), seed=1)
    trained(tmp_path, "F1", **ONE_STEP)
    assert [len(first), len(second), len(stages())] == [3, 6, 9]
