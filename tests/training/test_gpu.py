"""Training on a GPU: what the processor gives, wherever the frames are, without waiting for the device in a step.

What needs no GPU to be shown runs everywhere. On a machine with one, where only torch, numpy, scipy, h5py, numba and
pytest are needed: ``python -m pytest --noconftest -p no:cacheprovider tests/training/test_gpu.py``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from abawkit.features.spec import Modality
from abawkit.models import encoders
from abawkit.models.encoders import EncoderConfig, UnimodalModel
from abawkit.models.flat import flatten
from abawkit.models.fusion import FusionConfig, FusionModel
from abawkit.models.pooling import pool_together
from abawkit.training.batches import ClipData
from abawkit.training.loop import AutogradTrainer, FitPlan, predict_rows
from abawkit.training.placement import Batch, InPlace, Placed, Resident, Streamed, free_bytes, passing

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda:0", marks=needs_gpu)]
KINDS: dict[str, Callable[[ClipData, str], Placed]] = {"resident": Resident, "streamed": Streamed}
DIM: dict[Modality, int] = {"text": 12, "audio": 32, "vision": 16, "motion": 8}
PLAN = FitPlan("fusion", 1, 1, 16, 1.0, 0.7, 1e-4, 0.5, seed=3, checkpoint_seconds=60.0)


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
    frames: dict[Modality, Sequence[Tensor]] = {}
    for modality, dim in DIM.items():
        if modality != "text":
            lengths = torch.randint(0, 40, (count,), generator=generator).tolist()
            lengths[count // 2] = 4000
            signal = truth @ torch.randn(6, dim, generator=generator)
            noisy = [signal[row] + torch.randn(n, dim, generator=generator) for row, n in enumerate(lengths)]
            frames[modality] = [clip.half() for clip in noisy]
    text = truth @ torch.randn(6, DIM["text"], generator=generator)
    return ClipData(tuple(f"{n:05d}" for n in range(count)), text, frames, truth, {}, {})


def adamw(parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(flatten([list(parameters)]), lr=2e-3, fused=True)


def f2(device: str, kind: str) -> dict[str, Tensor]:
    """What the encoders and then fusion predict after three epochs each, without dropout."""
    data, found = clips(), {}
    torch.manual_seed(1)
    own = {m: EncoderConfig("mlp" if m == "text" else "attention", dim, 24, dropout=0.0) for m, dim in DIM.items()}
    fusion = FusionModel(FusionConfig(own, 6, 24, dropout=0.0, modality_dropout=0.0, frozen=("motion",)))

    def trained(model: torch.nn.Module, side: ClipData, forward: Callable[[Batch], Tensor]) -> Tensor:
        model.to(device)
        optimizer = adamw([p for p in model.parameters() if p.requires_grad])
        placed = [] if kind == "in place" else [KINDS[kind](side, device)]
        trainer = AutogradTrainer(model, forward, side, optimizer, placed)
        for epoch in range(3):
            trainer.epoch(PLAN, epoch)
        return torch.from_numpy(trainer.predict(side))

    for modality in DIM:
        torch.manual_seed(2)
        alone = UnimodalModel(own[modality], 6)
        found[modality] = trained(alone, data.only(modality), lambda b, m=modality, n=alone: n(b.inputs[m]))
        fusion.encoder(modality).load_state_dict(alone.encoder.state_dict())
    motion = fusion.encoder("motion").to(device)
    side = data.only("motion")
    there = InPlace(side) if kind == "in place" else passing(side, device)
    embedded = predict_rows(motion, lambda batch: cast(Tensor, motion(batch.inputs["motion"])), there)
    data = replace(data, ready={"motion": torch.from_numpy(embedded).float()})
    found["fusion"] = trained(fusion, data, lambda batch: fusion(batch.inputs, batch.ready))
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_f2_is_that_of_the_processor_wherever_the_frames_are(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = f2("cpu", "in place")
    monkeypatch.setattr(encoders, "attention_pool", pool_together)  # as on a GPU; without effect on one
    resident, streamed = f2(device, "resident"), f2(device, "streamed")
    for name, values in expected.items():
        assert torch.equal(resident[name], streamed[name]), name
        torch.testing.assert_close(resident[name], values, rtol=0, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
        assert values.std(dim=0).min() > 1e-3, "all the same: nothing was learned"


def epoch(kind: str, device: str, batch: int, count: int, around: Any) -> None:
    """Trains fusion of text and audio for an epoch, the second and later steps of it within ``around``."""
    data = replace(clips(count).only("audio"), text=clips(count).text)
    own = {m: EncoderConfig("mlp" if m == "text" else "attention", DIM[m], 24) for m in ("text", "audio")}
    model = FusionModel(FusionConfig(own, 6, 24)).to(device)
    optimizer = adamw(list(model.parameters()))

    class Watched:
        clips = data

        def batches(self, steps: Any) -> Any:
            made = KINDS[kind](data, device).batches(steps)
            yield next(made)
            with around:
                yield from made

    side = Watched()
    trainer = AutogradTrainer(model, lambda batch: model(batch.inputs, batch.ready), data, optimizer, [side])
    trainer.epoch(replace(PLAN, batch_size=batch), 0)


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
    monkeypatch.setattr(encoders, "attention_pool", pool_together)
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
