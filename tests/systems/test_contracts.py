"""What every system of the package keeps, whatever its encoders, fusion and losses."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from abawkit.challenge import EMI
from abawkit.data.splits.resplit import resplit
from abawkit.metrics import score
from abawkit.models.clips import Packed
from abawkit.models.network import Inputs, Network
from abawkit.optim.optimizer import adamw
from abawkit.optim.schedules import Constant
from abawkit.progress import SILENT
from abawkit.runs.run import Run
from abawkit.systems.loader import find_systems, load_system
from abawkit.systems.schema import System
from abawkit.training.batches import ClipData
from abawkit.training.loop import FitPlan, predict_rows, train_epoch
from abawkit.training.placement import InPlace
from abawkit.training.predict import predict
from abawkit.training.train import refit, train
from abawkit.workspace import Workspace
from tests.examples.plugin_package import EXAMPLES
from tests.random_stores import DIMS, random_workspace

SYSTEMS = [found.name for found in find_systems()]
#: Sizes with which a test takes moments; everything else is the system's own.
SMALL = {"training.hidden": 8, "training.motion_hidden": 4, "training.fusion_hidden": 8}
every_system = pytest.mark.parametrize("name", SYSTEMS)


def network_of(name: str, **overrides: Any) -> tuple[System, Network]:
    """The system's last network with random weights, in float64 and eval mode."""
    system = load_system(name, SMALL | {key.replace("__", "."): value for key, value in overrides.items()})
    torch.manual_seed(3)
    inputs = {slot: DIMS[own.modality] for slot, own in system.slots.items()}
    network = Network(system.network(system.final, inputs, 6)).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * 0.3)
    return system, network


def clips_of(system: System, lengths: list[int], dims: Mapping[str, int] = DIMS) -> dict[str, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return {
        slot: [
            torch.randn(min(n, 1) if own.encoder.kind == "mlp" else n, dims[own.modality], generator=generator).double()
            for n in lengths
        ]
        for slot, own in system.slots.items()
    }


def predicted(network: Network, frames: dict[str, list[Tensor]], rows: list[int], without: str | None = None) -> Tensor:
    packed = {slot: Packed.of([own[row] for row in rows]) for slot, own in frames.items()}
    inputs = Inputs(packed, {}, {slot: own.present for slot, own in packed.items()})
    with torch.no_grad():
        return network(inputs, without).prediction


@every_system
def test_order_and_batch_do_not_matter(name: str) -> None:
    """A clip's prediction is its own: alone, in any order, beside one of 12,500 frames, and with one frame."""
    system, network = network_of(name)
    frames = clips_of(system, [3, 1, 40, 12_500, 7, 0])
    together = predicted(network, frames, [0, 1, 2, 3, 4, 5])
    for order in ([5, 4, 3, 2, 1, 0], [2, 0]):
        torch.testing.assert_close(predicted(network, frames, order), together[order], rtol=0, atol=1e-9)
    for row in range(6):
        torch.testing.assert_close(predicted(network, frames, [row]), together[[row]], rtol=0, atol=1e-9)
    assert bool(torch.isfinite(together).all()) and together.std() > 1e-3


@every_system
@pytest.mark.parametrize("missing", ["zero", "token"])
def test_any_subset_of_slots_can_be_missing(name: str, missing: str) -> None:
    system, network = network_of(name, fusion__missing=missing)
    slots = list(system.slots)
    subsets = [each for size in range(len(slots) + 1) for each in combinations(slots, size)]
    frames = clips_of(system, [5] * len(subsets))
    for row, gone in enumerate(subsets):
        for slot in gone:
            frames[slot][row] = frames[slot][row][:0]
    together = predicted(network, frames, list(range(len(subsets))))
    assert bool(torch.isfinite(together).all())
    for slot in slots:
        left_out = predicted(network, frames, list(range(len(subsets))), without=slot)
        same = [row for row, gone in enumerate(subsets) if slot in gone]
        if missing == "token" and system.fusion is not None:  # a missing slot and one that is left out are the same
            torch.testing.assert_close(left_out[same], together[same], rtol=0, atol=1e-9)
        assert len(slots) == 1 or not torch.allclose(left_out, together)


@every_system
def test_it_overfits_32_clips(name: str) -> None:
    """Without dropout, at a high rate: r > .95 on the clips that it learns from, as any processor reaches."""
    system = load_system(
        name,
        {"training.hidden": 32, "training.motion_hidden": 32, "training.dropout": 0.0, "fusion.modality_dropout": 0.0},
    )
    dims = dict.fromkeys(DIMS, 64)  # more than there are clips, so that even a linear layer can
    inputs = {slot: dims[own.modality] for slot, own in system.slots.items()}
    torch.manual_seed(0)
    network = Network(system.network(system.final, inputs, 6))
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    frames: dict[str, list[Tensor]] = {
        slot: [clip.float() for clip in own] for slot, own in clips_of(system, [4] * 32, dims).items()
    }
    truth = torch.from_numpy(np.random.default_rng(0).multinomial(3, np.full(7, 1 / 7), 32)[:, :6] / 3).float()
    present = {slot: np.ones(32, bool) for slot in frames}
    data = InPlace(ClipData(tuple(f"{n:05d}" for n in range(32)), frames, truth, present, {}))
    optimizer = adamw([{"params": list(network.parameters()), "lr": 1e-2}], 0.0)
    plan = FitPlan("any", 400, 400, 16, system.loss(system.final), Constant(), seed=1)
    reached = 0.0
    for epoch in range(plan.epochs):
        train_epoch(network, optimizer, data, plan, epoch)
        if epoch % 10 == 9:
            values = predict_rows(network, lambda batch: network(batch.inputs).prediction, data)
            reached = score(EMI, truth.numpy().astype(np.float64), values).mean_pearson
            if reached > 0.95:
                break
    assert reached > 0.95


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = random_workspace(tmp_path_factory.mktemp("contracts")).root
    few = {f"training.{stage}_epochs": 3 for stage in ("text", "audio", "vision", "motion", "fusion")}
    sizes = SMALL | few | {"training.epochs": 3, "training.batch_size": 8, "training.lr": 1e-3}
    opened = Workspace.open(root, environ={}, overrides=sizes | {"training.checkpoint_seconds": 0})
    resplit(opened, "4:1")
    return opened


def trained(workspace: Workspace, name: str, progress: Any = SILENT) -> Run:
    features = dict.fromkeys(load_system(name).modalities, "random-0")
    return train(workspace, name, features=features, progress=progress)


def files(run: Run) -> dict[str, bytes]:
    names = ("model.safetensors", "predictions/valid.csv", "predictions/test.csv", "history.csv", "metrics.json")
    return {name: (run.path / name).read_bytes() for name in names}


class Interrupted:
    """A progress that ends the program after some epochs of all."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def task(self, what: str, total: int | None = None, unit: str = "clips") -> Iterator[Any]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.left -= amount if note else 0
        if self.left < 0:
            raise KeyboardInterrupt

    def say(self, message: str) -> None:
        pass


@pytest.mark.parametrize("name", ["table3/audio-wav2vec2-lstm", str(EXAMPLES / "custom_system.toml")])
def test_systems_of_one_stage_are_refitted(name: str, workspace: Workspace) -> None:
    """On all labelled clips, for the epochs and at the rates of the parent."""
    parent = trained(workspace, name)
    made = refit(workspace, parent)
    (stage,) = parent.metrics.stages
    best = parent.metrics.stages[stage].best_epoch
    assert made.train_ids == parent.train_ids | set(parent.valid_ids) and made.parent == parent.name
    assert [row["lr"] for row in made.history(stage)] == [row["lr"] for row in parent.history(stage)][:best]
    assert len(made.predictions("test", workspace.task).ids) == len(parent.predictions("test", workspace.task).ids)


@every_system
def test_interrupted_anywhere_it_comes_to_the_same_bits(name: str, workspace: Workspace, tmp_path: Path) -> None:
    """Deterministic, resumed after every epoch, saved and loaded, with every column."""
    run = trained(workspace, name)
    expected = files(run)
    for folder in (workspace.runs, workspace.stages):
        folder.rename(tmp_path / f"first-{folder.name}")
    interrupts = 0
    while True:
        try:
            again = trained(workspace, name, Interrupted(after=interrupts % 2))
            break
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts >= 2 and files(again) == expected
    before = (again.path / "predictions/valid.csv").read_bytes()
    (again.path / "predictions/valid.csv").unlink()
    predict(workspace, again, "valid")
    assert (again.path / "predictions/valid.csv").read_bytes() == before, "saved and loaded"
    table = again.predictions("valid", workspace.task).table
    system = load_system(name)
    for slot in system.slots if system.fusion is not None else ():
        assert np.isfinite(table[[f"{slot}:Joy", f"without-{slot}:Joy"]].to_numpy()).all()
    assert np.isfinite(table["Joy"]).all() and {f"frames.{slot}" for slot in system.slots} <= set(table.columns)
