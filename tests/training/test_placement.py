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

from abawkit.models.encoders import attention
from abawkit.models.network import Network
from abawkit.models.pooling import pool_joined
from abawkit.optim.losses import CccMse
from abawkit.optim.optimizer import adamw, parameter_groups
from abawkit.optim.schedules import Constant
from abawkit.runs.records import Environment
from abawkit.runs.run import Run
from abawkit.systems.loader import load_system
from abawkit.training import stage, train_run, work
from abawkit.training.batches import ClipData, row_batches
from abawkit.training.loop import FitPlan, predict_rows, train_epoch
from abawkit.training.placement import (
    AHEAD,
    RESERVE,
    InPlace,
    Link,
    Placed,
    Resident,
    Shipment,
    Streamed,
    describe,
    for_one_pass,
    place,
    resident_bytes,
)
from abawkit.training.train import train
from abawkit.workspace import Workspace

#: Missing clips, clips of one frame, a very long one; batches of eight leave a last one of five.
LENGTHS = [4, 1, 0, 7, 3000, 3, 5, 2, 9, 1, 1, 6, 0, 2, 8, 3, 5, 4, 2, 1, 11]
DIM: dict[str, int] = {"text": 6, "audio": 16, "vision": 8, "motion": 3}
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
    frames: dict[str, Sequence[Tensor]] = {
        "text": [random(min(n, 1), DIM["text"]) for n in LENGTHS],
        "audio": [random(n, DIM["audio"]).half() for n in LENGTHS],
        "vision": [random(n, DIM["vision"]) for n in reversed(LENGTHS)],
        "motion": [random(n, DIM["motion"]) for n in LENGTHS],
    }
    truth = torch.rand(count, 6, generator=generator)
    ids = tuple(f"{n:05d}" for n in range(count))
    present = {slot: np.array([len(clip) > 0 for clip in own]) for slot, own in frames.items()}
    return ClipData(ids, frames, truth, present, {"motion": random(count, 4)})


def placed(kind: str, data: ClipData) -> Placed:
    return {"resident": Resident, "streamed": Streamed}[kind](data, "cpu")


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("steps", list(STEPS.values()), ids=list(STEPS))
def test_batches_are_those_of_the_clips_in_place(kind: str, steps: list[list[int]]) -> None:
    data = clips()
    for side in (data, replace(data, truth=None), data.only(["audio"]), data.only(["text"])):
        count = 0
        for ours, expected in zip(placed(kind, side).batches(steps), InPlace(side).batches(steps), strict=True):
            rows = steps[count]
            count += 1
            assert set(ours.inputs.clips) == set(expected.inputs.clips) and set(ours.inputs.ready) == {"motion"}
            assert torch.equal(ours.inputs.ready["motion"], expected.inputs.ready["motion"])
            for slot, present in expected.inputs.present.items():
                assert torch.equal(ours.inputs.present[slot], present)
            if side.truth is not None:
                assert ours.truth is not None and torch.equal(ours.truth, side.truth[rows])
            for slot, packed in ours.inputs.clips.items():
                plain = expected.inputs.clips[slot]
                assert packed.lengths == plain.lengths and torch.equal(packed.present, plain.present)
                assert all(
                    a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(packed.frames, plain.frames, strict=True)
                )
                joined = type(plain).joined(plain.frames)
                assert packed.values is not None and packed.clip is not None
                assert torch.equal(packed.values, joined.values) and torch.equal(packed.clip, joined.clip)
        assert count == len(steps)


def trained(kind: str, missing: str = "zero") -> dict[str, Any]:
    """Two epochs of F2's fusion stage with all its dropout; what comes of them."""
    data = clips()
    sizes = {"training.hidden": 7, "training.motion_hidden": 4, "training.fusion_hidden": 9, "fusion.missing": missing}
    torch.manual_seed(1)
    network = Network(load_system("F2", sizes).network("fusion", DIM, 6))
    optimizer = adamw(parameter_groups(network, lr=1e-2), 1e-2)
    side = InPlace(data) if kind == "in place" else placed(kind, data)
    plan = FitPlan("fusion", 1, 1, 8, [CccMse()], Constant(), clip_norm=0.5, seed=3)
    losses = [train_epoch(network, optimizer, side, plan, epoch) for epoch in range(2)]
    predicted = predict_rows(network, lambda batch: network(batch.inputs).prediction, side)
    return {"loss": torch.tensor(losses), "prediction": torch.from_numpy(predicted)} | network.state_dict()


@pytest.mark.parametrize("missing", ["zero", "token"])
@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("joined", [False, True], ids=["clip by clip", "as on a GPU"])
def test_training_is_the_same_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, joined: bool, kind: str, missing: str
) -> None:
    if joined:
        as_on_a_gpu(monkeypatch)
    expected, ours = trained("in place", missing), trained(kind, missing)
    assert ours.keys() == expected.keys() and ("audio_token" in ours) == (missing == "token")
    different = [name for name, values in expected.items() if not torch.equal(values, ours[name])]
    assert not different
    assert all(bool(values.isfinite().all()) for values in ours.values())


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "attention_pool", lambda clips, w, b: clips.fill(pool_joined(clips, w, b)))


class Late(Link):
    """A way on which a copy happens only when the processor waits for it, or at the end: as on a very busy GPU."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.under_way: list[tuple[Shipment, Mapping[str, Tensor]]] = []

    def send(self, buffers: Mapping[str, Tensor]) -> Shipment:
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
            pairs = zip(ours.inputs.clips[modality].frames, plain.inputs.clips[modality].frames, strict=True)
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
    network = Network(load_system("F2").network("fusion", DIM, 6))
    optimizer = adamw(parameter_groups(network, lr=1e-2), 1e-2)

    class Stops(CccMse):
        def __call__(self, *given: Any) -> Tensor:
            raise KeyboardInterrupt

    plan = FitPlan("fusion", 1, 1, 2, [Stops()], Constant(), seed=3)
    data = replace(clips(), ready={"motion": torch.zeros(len(LENGTHS), 128)})
    with pytest.raises(KeyboardInterrupt) as caught:
        train_epoch(network, optimizer, Streamed(data, "cpu"), plan, 0)
    assert caught.tb and not frame_threads(), "although the traceback still holds the frame"


def test_frames_are_resident_where_they_fit() -> None:
    data = clips()
    small = data.only(["vision"])
    needed, own = resident_bytes(data), resident_bytes(small)
    packed = sum(LENGTHS) * (DIM["audio"] * 2 + DIM["vision"] * 4)
    assert needed > packed and resident_bytes(data.only([])) == 0 and own < needed

    def kinds(sides: list[ClipData], free: int) -> list[type]:
        return [type(each) for each in place(sides, "cpu", free)]

    assert kinds([data, small], RESERVE + needed + own) == [Resident, Resident]
    assert kinds([data, small], RESERVE + needed + own - 1) == [Resident, Streamed]
    assert kinds([data, small], RESERVE + needed - 1) == [Streamed, Resident]
    assert kinds([data, data.only([])], 0) == [Streamed, Resident]
    assert isinstance(for_one_pass(data, "cpu"), InPlace) and isinstance(for_one_pass(data, "cpu:0"), Streamed)


def test_it_is_said_where_the_frames_are() -> None:
    data = clips()
    gib = torch.empty(1 << 18, 1024, dtype=torch.float16, device="meta")
    large = replace(data, frames={"audio": [gib, gib[:0], gib]})
    sides: list[Any] = [Resident(data.only([]), "cpu"), Streamed(data.only([]), "cpu")]
    assert describe(sides, "cuda:0") == ""
    for side in sides:
        side.clips = large
    assert (
        describe(sides, "cuda:0") == "1.00 GiB of frames in the memory of cuda:0, 1.00 GiB of frames streamed to cuda:0"
    )


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes training take the path of a GPU, on the processor under another name, with so many free bytes."""

    def make(free: int) -> None:
        monkeypatch.setattr(work, "pick_device", lambda wanted: "cpu:0")
        monkeypatch.setattr(train_run, "describe", lambda *about: Environment.model_construct())
        monkeypatch.setattr(stage, "free_bytes", lambda device: free)
        as_on_a_gpu(monkeypatch)

    return make


def test_a_whole_training_is_the_same_wherever_the_frames_are(extracted_copy: Path, on_a_device: Any) -> None:
    """F2 resident and streamed: the same bits; and within 1e-4 of what it is clip by clip."""
    settings = {"training.dropout": 0.0, "training.modality_dropout": 0.0, "training.lr": 1e-4}  # else chaotic
    workspace = Workspace.open(extracted_copy, environ={}, overrides=settings)
    made: dict[str, Run] = {}
    for name, free in (("in place", None), ("resident", 1 << 40), ("streamed", 0)):
        if free is not None:
            on_a_device(free)
        runs = workspace.runs
        made[name] = train(workspace, "F2")
        for folder in (runs, workspace.stages):
            folder.rename(extracted_copy / f"{name}-{folder.name}")
        made[name] = Run.open(extracted_copy / f"{name}-{runs.name}" / made[name].path.name)
    log = {name: (run.path / "train.log").read_text() for name, run in made.items()}
    assert "in the memory of cpu:0" in log["resident"] and "streamed" not in log["resident"]
    assert "streamed to cpu:0" in log["streamed"] and "memory" not in log["streamed"]
    assert made["resident"].metrics == made["streamed"].metrics
    for file in ("predictions/valid.csv", "predictions/test.csv", "history.csv", "model.safetensors"):
        assert (made["resident"].path / file).read_bytes() == (made["streamed"].path / file).read_bytes()
    predicted = [made[name].predictions("valid", workspace.task).values for name in ("in place", "resident")]
    np.testing.assert_allclose(*predicted, atol=1e-4)
    assert predicted[0].std() > 1e-3
