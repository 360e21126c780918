"""Resident, streamed and in place: the same batches to the bit, wherever the frames are.

A machine without a GPU runs the same classes on the processor, without pinned memory and streams.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from abawkit.features.spec import Modality
from abawkit.models import encoders
from abawkit.models.encoders import EncoderConfig
from abawkit.models.flat import flatten
from abawkit.models.fusion import FusionConfig, FusionModel
from abawkit.models.pooling import Packed, attention_pool, pool_together
from abawkit.runs.records import Environment
from abawkit.runs.run import Run
from abawkit.training import stages
from abawkit.training import train as training
from abawkit.training.batches import ClipData, row_batches
from abawkit.training.loop import AutogradTrainer, FitPlan
from abawkit.training.placement import (
    AHEAD,
    RESERVE,
    InPlace,
    Link,
    Placed,
    Resident,
    Shipment,
    Streamed,
    passing,
    place,
    resident_bytes,
    told,
)
from abawkit.workspace import Workspace

#: Missing clips, clips of one frame, a very long one; batches of eight leave a last one of five.
LENGTHS = [4, 1, 0, 7, 3000, 3, 5, 2, 9, 1, 1, 6, 0, 2, 8, 3, 5, 4, 2, 1, 11]
DIM: dict[Modality, int] = {"text": 6, "audio": 16, "vision": 8, "motion": 3}
STEPS: dict[str, list[list[int]]] = {
    "shuffled, with a short last batch": list(row_batches(21, 8, seed=5)),
    "one clip each": list(row_batches(21, 1, seed=1)),
    "one batch": [list(range(21))],
    "a subset, some twice": [[4, 20, 4], [2], [0, 12]],
    "without any frames": [[2, 12], [12]],
    "none": [],
}


def clips() -> ClipData:
    """As F2's fusion stage has them: motion is frozen and embedded."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    count = len(LENGTHS)
    frames: dict[Modality, Sequence[Tensor]] = {
        "audio": [random(n, DIM["audio"]).half() for n in LENGTHS],
        "vision": [random(n, DIM["vision"]) for n in reversed(LENGTHS)],
        "motion": [random(n, DIM["motion"]) for n in LENGTHS],
    }
    truth = torch.rand(count, 6, generator=generator)
    ids = tuple(f"{n:05d}" for n in range(count))
    return ClipData(ids, random(count, DIM["text"]), frames, truth, {}, {"motion": random(count, 4)})


def placed(kind: str, data: ClipData) -> Placed:
    return {"resident": Resident, "streamed": Streamed}[kind](data, "cpu")


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("steps", list(STEPS.values()), ids=list(STEPS))
def test_batches_are_those_of_the_clips_in_place(kind: str, steps: list[list[int]]) -> None:
    data = clips()
    for side in (data, replace(data, truth=None), data.only("audio"), data.only("text")):
        count = 0
        for ours, expected in zip(placed(kind, side).batches(steps), InPlace(side).batches(steps), strict=True):
            rows = steps[count]
            count += 1
            assert set(ours.inputs) == set(expected.inputs) and set(ours.ready) == {"motion"}
            assert torch.equal(ours.ready["motion"], expected.ready["motion"])
            if side.truth is not None:
                assert ours.truth is not None and torch.equal(ours.truth, side.truth[rows])
            for modality, values in ours.inputs.items():
                plain = expected.inputs[modality]
                if isinstance(values, Tensor):
                    assert isinstance(plain, Tensor) and torch.equal(values, plain)
                    continue
                assert isinstance(values, Packed) and len(values) == len(rows)
                assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(values, plain, strict=True))
                by_hand = Packed.of(plain)
                assert torch.equal(values.values, by_hand.values) and torch.equal(values.clip, by_hand.clip)
                assert torch.equal(values.empty, by_hand.empty) and values.lengths == by_hand.lengths
        assert count == len(steps)


def trained(kind: str, *, learned: bool = False) -> dict[str, Any]:
    """Two epochs of F2's fusion stage with all its dropout; what comes of them."""
    data = clips()
    torch.manual_seed(1)
    own = {m: EncoderConfig("mlp" if m == "text" else "attention", DIM[m], 4 if m == "motion" else 7) for m in DIM}
    own["audio"] = replace(own["audio"], learned_missing=learned)
    model = FusionModel(FusionConfig(own, 6, 9, frozen=("motion",)))
    parameters = [p for p in model.parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(flatten([parameters]), lr=1e-2)
    sides = [] if kind == "in place" else [placed(kind, data)]
    trainer = AutogradTrainer(model, lambda batch: model(batch.inputs, batch.ready), data, adamw, sides)
    plan = FitPlan("fusion", 1, 1, 8, 0.5, 0.7, 1e-4, 0.5, seed=3, checkpoint_seconds=60.0)
    losses = [trainer.epoch(plan, epoch) for epoch in range(2)]
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = {"loss": torch.tensor(losses), "prediction": torch.from_numpy(trainer.predict(data))}
    return found | model.state_dict() | gradients


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("pool", [attention_pool, pool_together], ids=["kernel", "as on a GPU"])
def test_training_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch, pool: Any, kind: str, learned: bool) -> None:
    monkeypatch.setattr(encoders, "attention_pool", pool)
    expected, ours = trained("in place", learned=learned), trained(kind, learned=learned)
    assert ours.keys() == expected.keys() and "gradient of audio_encoder.attn.weight" in ours
    different = [name for name, values in expected.items() if not torch.equal(values, ours[name])]
    assert not different
    assert all(bool(values.isfinite().all()) for values in ours.values())


def test_the_pooling_of_a_gpu_is_that_of_the_kernel() -> None:
    frames = clips().frames["audio"]
    weight = torch.randn(DIM["audio"], generator=torch.Generator().manual_seed(2))
    found = []
    for pool in (attention_pool, pool_together):
        own = weight.clone().requires_grad_()
        pooled = pool(frames, own, torch.tensor(0.5))
        pooled.square().sum().backward()
        found.append((pooled.detach(), own.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


class Late(Link):
    """A way on which a copy happens only when the processor waits for it, or at the end: as on a very busy GPU."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.under_way: list[tuple[Shipment, Mapping[Modality, Tensor]]] = []

    def send(self, buffers: Mapping[Modality, Tensor]) -> Shipment:
        shipment = Shipment({modality: torch.full_like(values, torch.nan) for modality, values in buffers.items()})
        self.under_way.append((shipment, dict(buffers)))
        return shipment

    def sent(self, shipment: Shipment) -> None:
        while any(each is shipment for each, _ in self.under_way):
            first, buffers = self.under_way.pop(0)
            for modality, values in buffers.items():
                first.values[modality].copy_(values)


def test_a_buffer_is_not_filled_before_its_frames_have_left() -> None:
    data, steps, late = clips(), list(row_batches(21, 2, seed=1)), Late()
    made = list(Streamed(data, "cpu", link=late).batches(steps))
    assert len(late.under_way) == AHEAD, "the others were waited for, and only when their buffers were needed"
    late.sent(late.under_way[-1][0])
    for ours, plain in zip(made, InPlace(data).batches(steps), strict=True):
        for modality in ("audio", "vision"):
            pairs = zip(ours.inputs[modality], plain.inputs[modality], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)


class Counted(list[Tensor]):
    """Clips that count how often they are read, and fail at one of them."""

    reads = 0
    fails: Tensor | None = None

    def __getitem__(self, row: Any) -> Any:
        self.reads += 1
        clip = super().__getitem__(row)
        if clip is self.fails:
            raise OSError("the store is gone")
        return clip


def frame_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("frames")]


def test_an_error_of_the_thread_reaches_the_caller() -> None:
    data = clips()
    audio = Counted(data.frames["audio"])
    audio.fails = list.__getitem__(audio, 5)
    streamed = Streamed(replace(data, frames={"audio": audio}), "cpu")
    seen = 0
    with pytest.raises(OSError, match="the store is gone"):
        for _ in streamed.batches([[row] for row in range(21)]):
            seen += 1
    assert seen == 5 and not frame_threads()


def test_the_thread_ends_with_its_consumer_and_is_never_far_ahead() -> None:
    audio = Counted(clips().frames["audio"])
    streamed = Streamed(replace(clips(), frames={"audio": audio}), "cpu")
    audio.reads = 0
    batches = streamed.batches([[row] for row in range(21)])
    next(batches)
    assert frame_threads()
    time.sleep(0.05)
    before = audio.reads
    assert 1 < before <= 3 * (1 + AHEAD), "of three buffers' shapes and of the batches that are on their way"
    batches.close()
    assert not frame_threads()
    time.sleep(0.02)
    assert audio.reads == before


def test_training_that_fails_ends_the_thread() -> None:
    data = clips()
    weight = torch.nn.Parameter(torch.zeros(1))

    def forward(batch: Any) -> Tensor:
        raise KeyboardInterrupt

    adamw = torch.optim.AdamW(flatten([[weight]]))
    trainer = AutogradTrainer(torch.nn.Linear(1, 1), forward, data, adamw, [Streamed(data, "cpu")])
    plan = FitPlan("fusion", 1, 1, 2, 0.5, 0.7, 1e-4, 0.5, seed=3, checkpoint_seconds=60.0)
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.epoch(plan, 0)
    assert caught.tb and not frame_threads(), "although the traceback still holds the frame"


def test_frames_are_resident_where_they_fit() -> None:
    data = clips()
    small = data.only("vision")
    needed, own = resident_bytes(data), resident_bytes(small)
    packed = sum(LENGTHS) * (DIM["audio"] * 2 + DIM["vision"] * 4)
    assert needed > packed and resident_bytes(data.only("text")) == 0 and own < needed

    def kinds(sides: list[ClipData], free: int) -> list[type]:
        return [type(each) for each in place(sides, "cpu", free)]

    assert kinds([data, small], RESERVE + needed + own) == [Resident, Resident]
    assert kinds([data, small], RESERVE + needed + own - 1) == [Resident, Streamed]
    assert kinds([data, small], RESERVE + needed - 1) == [Streamed, Resident]
    assert kinds([data, data.only("text")], 0) == [Streamed, Resident]
    assert isinstance(passing(data, "cpu"), InPlace) and isinstance(passing(data, "cpu:0"), Streamed)


def test_it_is_told_where_the_frames_are() -> None:
    data = clips()
    gib = torch.empty(1 << 18, 1024, dtype=torch.float16, device="meta")
    large = replace(data, frames={"audio": [gib, gib[:0], gib]})
    sides: list[Any] = [Resident(data.only("text"), "cpu"), Streamed(data.only("text"), "cpu")]
    assert told(sides, "cuda:0") == ""
    for side in sides:
        side.clips = large
    assert told(sides, "cuda:0") == "1.00 GiB of frames in the memory of cuda:0, 1.00 GiB of frames streamed to cuda:0"


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes training take the path of a GPU, on the processor under another name, with so many free bytes."""

    def make(free: int) -> None:
        monkeypatch.setattr(training, "pick_device", lambda wanted: "cpu:0")
        monkeypatch.setattr(training, "describe", lambda *about: Environment.model_construct())
        monkeypatch.setattr(stages, "free_bytes", lambda device: free)
        monkeypatch.setattr(encoders, "attention_pool", pool_together)

    return make


def test_a_whole_training_is_the_same_wherever_the_frames_are(extracted_copy: Path, on_a_device: Any) -> None:
    """F2 by autograd, resident and streamed: the same bits; and within 1e-4 of what the compiled epochs give."""
    settings = {"training.dropout": 0.0, "training.modality_dropout": 0.0, "training.lr": 1e-4}  # else chaotic
    workspace = Workspace.open(extracted_copy, environ={}, overrides=settings)
    made: dict[str, Run] = {}
    for name, free in (("compiled", None), ("resident", 1 << 40), ("streamed", 0)):
        if free is not None:
            on_a_device(free)
        runs = workspace.runs
        made[name] = training.train(workspace, "F2")
        for folder in (runs, workspace.stages):
            folder.rename(extracted_copy / f"{name}-{folder.name}")
        made[name] = Run.open(extracted_copy / f"{name}-{runs.name}" / made[name].path.name)
    log = {name: (run.path / "train.log").read_text() for name, run in made.items()}
    assert "in the memory of cpu:0" in log["resident"] and "streamed" not in log["resident"]
    assert "streamed to cpu:0" in log["streamed"] and "memory" not in log["streamed"]
    assert made["resident"].metrics == made["streamed"].metrics
    for file in ("predictions/valid.csv", "predictions/test.csv", "history.csv", "model.safetensors"):
        assert (made["resident"].path / file).read_bytes() == (made["streamed"].path / file).read_bytes()
    predicted = [made[name].predictions("valid", workspace.task).values for name in ("compiled", "resident")]
    np.testing.assert_allclose(*predicted, atol=1e-4)
    assert predicted[0].std() > 1e-3
