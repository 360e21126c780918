"""Training on a GPU: what the processor gives, wherever the frames are, without waiting for the device in a step.

What needs no GPU to be shown runs everywhere. On a machine with one, where only torch, numpy, scipy, h5py and
pytest are needed: ``python -m pytest --noconftest -p no:cacheprovider tests/training/test_gpu.py``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from abawkit.models.encoders import attention
from abawkit.models.encoders.attention import Attention
from abawkit.models.encoders.pooled import Mlp
from abawkit.models.fusion.concat import Concat
from abawkit.models.network import Network, NetworkConfig, SlotConfig
from abawkit.models.pooling import pool_joined
from abawkit.optim.losses import CccMse
from abawkit.optim.optimizer import adamw, parameter_groups
from abawkit.optim.schedules import Constant
from abawkit.training.batches import ClipData
from abawkit.training.loop import FitPlan, predict_rows, train_epoch
from abawkit.training.placement import InPlace, Placed, Resident, Streamed, for_one_pass, free_bytes

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda:0", marks=needs_gpu)]
KINDS: dict[str, Callable[[ClipData, str], Placed]] = {"resident": Resident, "streamed": Streamed}
DIM: dict[str, int] = {"text": 12, "audio": 32, "vision": 16, "motion": 8}
PLAN = FitPlan("fusion", 1, 1, 16, [CccMse()], Constant(), seed=3)


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a training is (cuBLAS reads its setting when it is first used)."""
    if not torch.cuda.is_available():
        yield
        return
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def clips(count: int = 72) -> ClipData:
    """Clips with signal in them; each modality lacks some, one clip is long, and the last batch of 16 has eight."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(count, 6, generator=generator)
    frames: dict[str, Sequence[Tensor]] = {}
    for slot, dim in DIM.items():
        lengths = torch.randint(0, 40, (count,), generator=generator).tolist()
        lengths[count // 2] = 4000
        if slot == "text":
            lengths = [min(n, 1) for n in lengths]
        signal = truth @ torch.randn(6, dim, generator=generator)
        noisy = [signal[row] + torch.randn(n, dim, generator=generator) for row, n in enumerate(lengths)]
        frames[slot] = noisy if slot == "text" else [clip.half() for clip in noisy]
    present = {slot: np.array([len(clip) > 0 for clip in own]) for slot, own in frames.items()}
    return ClipData(tuple(f"{n:05d}" for n in range(count)), frames, truth, present, {})


def slot_config(slot: str, dropout: float, *, frozen: bool = False) -> SlotConfig:
    encoder = Mlp(hidden=24, dropout=dropout) if slot == "text" else Attention(hidden=24, dropout=dropout)
    return SlotConfig(encoder, DIM[slot], frozen)


def f2(device: str, kind: str) -> dict[str, Tensor]:
    """What the encoders and then fusion predict after three epochs each, without dropout."""
    data, found = clips(), {}
    torch.manual_seed(1)
    slots = {slot: slot_config(slot, 0.0, frozen=slot == "motion") for slot in DIM}
    fusion = Network(NetworkConfig(slots, 6, Concat(hidden=24, dropout=0.0)))

    def trained(network: Network, side: ClipData) -> Tensor:
        network.to(device)
        optimizer = adamw(parameter_groups(network, lr=2e-3), 1e-2)
        placed = InPlace(side) if kind == "in place" else KINDS[kind](side, device)
        for epoch in range(3):
            train_epoch(network, optimizer, placed, PLAN, epoch)
        return torch.from_numpy(predict_rows(network, lambda batch: network(batch.inputs).prediction, placed))

    for slot in DIM:
        torch.manual_seed(2)
        alone = Network(NetworkConfig({slot: slot_config(slot, 0.0)}, 6, head_dropout=0.0))
        found[slot] = trained(alone, data.only([slot]))
        fusion.encoder(slot).load_state_dict(alone.encoder(slot).state_dict())
    fusion.to(device)
    side = data.only(["motion"])
    there = InPlace(side) if kind == "in place" else for_one_pass(side, device)
    embedded = predict_rows(fusion, lambda batch: fusion.encode("motion", batch.inputs.clips["motion"]), there)
    data = replace(data, ready={"motion": torch.from_numpy(embedded).float()})
    found["fusion"] = trained(fusion, data)
    return found


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools as on a GPU; without effect on one."""
    monkeypatch.setattr(attention, "attention_pool", lambda clips, w, b: clips.fill(pool_joined(clips, w, b)))


@pytest.mark.parametrize("device", DEVICES)
def test_f2_is_that_of_the_processor_wherever_the_frames_are(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = f2("cpu", "in place")
    as_on_a_gpu(monkeypatch)
    resident, streamed = f2(device, "resident"), f2(device, "streamed")
    for name, values in expected.items():
        assert torch.equal(resident[name], streamed[name]), name
        torch.testing.assert_close(resident[name], values, rtol=0, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
        assert values.std(dim=0).min() > 1e-3, "all the same: nothing was learned"


def epoch(kind: str, device: str, batch: int, count: int, around: Any) -> None:
    """Trains fusion of text and audio for an epoch, the second and later steps of it within ``around``."""
    data = clips(count).only(["text", "audio"])
    slots = {slot: slot_config(slot, 0.45) for slot in data.frames}
    network = Network(NetworkConfig(slots, 6, Concat(hidden=24), modality_dropout=0.3)).to(device)
    optimizer = adamw(parameter_groups(network, lr=2e-3), 1e-2)

    class Watched:
        clips = data

        def batches(self, steps: Any) -> Any:
            made = KINDS[kind](data, device).batches(steps)
            yield next(made)
            with around:
                yield from made

    train_epoch(network, optimizer, Watched(), replace(PLAN, batch_size=batch), 0)


class Operations(TorchDispatchMode):
    """Counts torch's operations; each is a launch or more on a GPU, but for views."""

    VIEWS = ("view", "slice", "select", "transpose", "aten.t.", "unsqueeze", "expand", "detach", "split", "profiler")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not any(view in str(func) for view in self.VIEWS):
            self.names.append(str(func))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("kind", list(KINDS))
def test_operations_per_step_do_not_grow_with_the_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu(monkeypatch)
    found = []
    for batch in (4, 16):
        counts = []
        for steps in (4, 8):
            operations = Operations()
            epoch(kind, "cpu", batch, steps * batch, operations)
            counts.append(len(operations.names))
            asking = [name for name in operations.names if "item" in name or "_local_scalar" in name]
            assert len(asking) == 0, f"a step waits for the device: {asking}"
        found.append((counts[1] - counts[0]) / 4)
    assert found[0] == found[1] < 200, found


@needs_gpu
@pytest.mark.parametrize("kind", list(KINDS))
def test_no_step_waits_for_the_device(kind: str) -> None:
    class Refused:
        def __enter__(self) -> None:
            torch.cuda.set_sync_debug_mode("error")

        def __exit__(self, *about: object) -> None:
            torch.cuda.set_sync_debug_mode("default")

    epoch(kind, "cuda:0", 16, 128, Refused())


@needs_gpu
def test_launches_per_step_do_not_grow_with_the_batch() -> None:
    """But for a few: cuBLAS may cut a product into several."""

    def launches(batch: int, steps: int) -> int:
        epoch("resident", "cuda:0", batch, steps * batch, nullcontext())  # what is made once is made
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            epoch("resident", "cuda:0", batch, steps * batch, nullcontext())
            torch.cuda.synchronize()
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())

    few, many = ((launches(batch, 8) - launches(batch, 4)) / 4 for batch in (4, 16))
    assert 0 < few < 200 and abs(many - few) < 10


@needs_gpu
def test_the_free_bytes_are_those_of_the_card() -> None:
    free, total = free_bytes("cuda:0"), torch.cuda.mem_get_info("cuda:0")[1]
    assert 0 < free <= total
