"""F2 without dropout, two epochs of each stage in float64: what the engine before this one came to.

The numbers in ``f2_two_epochs.json`` are those of the compiled epochs of commit 42304c6, which agreed with its autograd
to 1e-14. Parameters and features are drawn by numpy, so that nothing depends on torch's generator.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from abawkit.models.network import Network
from abawkit.optim.losses import CccMse
from abawkit.optim.optimizer import adamw, parameter_groups
from abawkit.optim.schedules import Constant
from abawkit.systems.loader import load_system
from abawkit.training.batches import ClipData
from abawkit.training.loop import FitPlan, predict_rows, train_epoch
from abawkit.training.placement import InPlace
from abawkit.training.stage import with_frozen

DIM = {"text": 11, "audio": 12, "vision": 9, "motion": 5}
CLIPS = 45
EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "f2_two_epochs.json").read_text())
NO_DROPOUT = {"training.dropout": 0.0, "training.modality_dropout": 0.0}
SIZES = {"training.hidden": 8, "training.motion_hidden": 4, "training.fusion_hidden": 8, "training.batch_size": 8}


def clips() -> ClipData:
    rng = np.random.default_rng(7)
    truth = rng.multinomial(3, np.full(7, 1 / 7), CLIPS)[:, :6] / 3
    frames: dict[str, list[Tensor]] = {}
    for slot, dim in DIM.items():
        towards = rng.normal(size=(6, dim))
        frames[slot] = []
        for row in range(CLIPS):
            count = int(rng.integers(1, 30)) if slot != "text" else 1
            count = 0 if rng.random() < 0.1 else count
            frames[slot].append(torch.from_numpy(rng.normal(size=(count, dim)) + truth[row] @ towards))
    frames["text"] = [torch.nn.functional.normalize(clip, dim=1) for clip in frames["text"]]
    present = {slot: np.array([len(clip) > 0 for clip in own]) for slot, own in frames.items()}
    return ClipData(tuple(f"{n:05d}" for n in range(CLIPS)), frames, torch.from_numpy(truth), present, {})


def digest(values: Tensor) -> float:
    flat = values.detach().double().reshape(-1).numpy()
    return float(flat @ np.cos(np.arange(flat.size)))


def drawn(network: Network, names: dict[str, str]) -> None:
    """Draws parameters in the order of the names that they had in 42304c6 (``names``: then → now)."""
    rng = np.random.default_rng(11)
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name in sorted(names):
            values = parameters[names[name]]
            values.copy_(torch.from_numpy(0.3 * rng.normal(size=tuple(values.shape))))


def compare(stage: str, network: Network, names: dict[str, str], losses: list[float], predicted: Any) -> None:
    expected = EXPECTED[stage]
    assert losses == pytest.approx(expected["losses"], abs=1e-12)
    state = network.state_dict()
    assert set(names.values()) == set(state)
    for then, now in names.items():
        assert digest(state[now]) == pytest.approx(expected["digests"][then], abs=1e-11), now
    assert digest(torch.from_numpy(predicted)) == pytest.approx(expected["prediction"], abs=1e-11)


def trained(network: Network, side: ClipData, encoder_lr_scale: float = 1.0) -> tuple[list[float], Any]:
    plan = FitPlan("any", 2, 10, 8, [CccMse()], Constant(), seed=3)
    optimizer = adamw(parameter_groups(network, lr=2e-3, encoder_lr_scale=encoder_lr_scale), 1e-2)
    losses = [train_epoch(network, optimizer, InPlace(side), plan, epoch) for epoch in range(2)]
    return losses, predict_rows(network, lambda batch: network(batch.inputs).prediction, InPlace(side))


def test_two_epochs_are_those_of_the_engine_before() -> None:
    system, data = load_system("F2", NO_DROPOUT | SIZES), clips()
    stages: dict[str, Network] = {}
    for slot in DIM:
        network = stages[slot] = Network(system.network(slot, DIM, 6)).double()
        names = {name.removeprefix(f"{slot}_"): name for name in network.state_dict()}
        drawn(network, names)
        compare(slot, network, names, *trained(network, data.only([slot])))
    fusion = Network(system.network("fusion", DIM, 6)).double()
    drawn(fusion, {name: name for name in fusion.state_dict() if name.startswith("fusion_head")})
    for slot, network in stages.items():
        fusion.encoder(slot).load_state_dict(network.encoder(slot).state_dict())
    side = with_frozen(data, fusion, "cpu")
    compare("fusion", fusion, {name: name for name in fusion.state_dict()}, *trained(fusion, side, 0.05))
