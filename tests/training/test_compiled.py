"""The compiled epoch against the modules, torch's autograd and torch's AdamW, in float64."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from abawkit.features.spec import Modality
from abawkit.models.encoders import EncoderConfig, UnimodalModel
from abawkit.models.flat import flatten
from abawkit.models.fusion import FusionConfig, FusionModel
from abawkit.training.batches import ClipData
from abawkit.training.compiled import CompiledTrainer, training_threads
from abawkit.training.epoch import _uniform
from abawkit.training.loop import AutogradTrainer, FitPlan

#: Twenty-one clips, some without frames: batches of eight are 4 + 4, 4 + 4 and 3 + 2.
LENGTHS = [4, 1, 0, 7, 300, 3, 5, 2, 9, 1, 1, 6, 0, 2, 8, 3, 5, 4, 2, 1, 11]
DIM: dict[Modality, int] = {"text": 6, "audio": 5, "vision": 8, "motion": 3}
PLAN = FitPlan("text", 1, 1, 8, 0.05, 0.7, 1e-4, 0.5, seed=3, checkpoint_seconds=60.0)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def clips(modalities: Sequence[Modality] = ("text", "audio", "vision"), ready: Sequence[Modality] = ()) -> ClipData:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = len(LENGTHS)
    return ClipData(
        ids=tuple(f"{n:05d}" for n in range(count)),
        text=random(count, DIM["text"]),
        frames={m: [random(n, DIM[m]) for n in LENGTHS] for m in modalities if m != "text" and m not in ready},
        truth=torch.rand(count, 6, generator=generator, dtype=torch.float64),
        present={},
        ready={m: random(count, 4) for m in ready},
    )


def halved(data: ClipData) -> ClipData:
    return replace(data, frames={m: [clip.half() for clip in frames] for m, frames in data.frames.items()})


def encoder(modality: Modality, hidden: int = 7, **changes: Any) -> EncoderConfig:
    kind = "mlp" if modality == "text" else "attention"
    return EncoderConfig(kind, DIM[modality], **({"hidden": hidden, "dropout": 0.0} | changes))


def fusion(modalities: Sequence[Modality], ready: Sequence[Modality], **changes: Any) -> FusionModel:
    encoders = {m: encoder(m, 4 if m in ready else 7, dropout=changes.get("dropout", 0.0)) for m in modalities}
    wanted = {"targets": 6, "hidden": 9, "dropout": 0.0, "modality_dropout": 0.0, "frozen": tuple(ready)} | changes
    return FusionModel(FusionConfig(encoders=encoders, **wanted)).double()


def optimizer(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    flat = flatten([group["params"] for group in groups])
    whole = [{**group, "params": [one]} for group, one in zip(groups, flat, strict=True)]
    return torch.optim.AdamW(whole, lr=1e-2, weight_decay=0.1)


def unimodal(modality: Modality, **changes: Any) -> tuple[Any, Any, Any]:
    torch.manual_seed(1)
    model = UnimodalModel(encoder(modality, **changes), 6).double()
    return model, [{"params": list(model.parameters())}], lambda batch: model(batch.inputs[modality])


def fused(modalities: Sequence[Modality], ready: Sequence[Modality], **changes: Any) -> tuple[Any, Any, Any]:
    torch.manual_seed(1)
    model = fusion(modalities, ready, **changes)
    groups: list[dict[str, Any]] = [{"params": list(model.fusion_head.parameters()), "lr": 1e-2}]
    tuned = [p for m in modalities if m not in ready for p in model.encoder(m).parameters()]
    if tuned:
        groups.append({"params": tuned, "lr": 5e-4})
    return (
        model,
        groups,
        lambda batch: model(batch.inputs, batch.ready),
    )


CASES: dict[str, Any] = {
    "text": (lambda: unimodal("text"), "text", ()),
    "audio": (lambda: unimodal("audio"), "audio", ()),
    "a learned vector for missing clips": (lambda: unimodal("audio", learned_missing=True), "audio", ()),
    "audio of float16": (lambda: unimodal("audio"), "audio", ()),
    "F1": (lambda: fused(("text", "audio", "vision"), ()), "fusion", ()),
    "F2": (lambda: fused(("text", "audio", "motion"), ("motion",)), "fusion", ("motion",)),
    "F5": (lambda: fused(("text", "audio"), ("text", "audio")), "fusion", ("text", "audio")),
}


@pytest.mark.parametrize("name", list(CASES))
def test_two_epochs_are_those_of_autograd(name: str) -> None:
    """Loss, parameters after AdamW with clipped gradients, its running means, and predictions."""
    make, modality, ready = CASES[name]
    data = clips(("text", "audio", "vision"), ready)
    if "float16" in name:
        data = halved(data)
    made: dict[str, Any] = {}
    for kind in ("autograd", "compiled"):
        model, groups, forward = make()
        adamw = optimizer(groups)
        trainer: Any = AutogradTrainer(model, forward, data, adamw)
        if kind == "compiled":
            trainer = CompiledTrainer(model, data, adamw, modality, PLAN.batch_size)
        losses = [trainer.epoch(PLAN, epoch) for epoch in range(2)]
        adamw.param_groups[0]["lr"] /= 2
        losses.append(trainer.epoch(PLAN, 2))
        made[kind] = (losses, model.state_dict(), adamw.state_dict()["state"], trainer.predict(data))
    (losses, own, state, predicted), (expected, theirs, means, prediction) = made["compiled"], made["autograd"]
    assert losses == pytest.approx(expected, rel=1e-10)
    for key, value in theirs.items():
        torch.testing.assert_close(own[key], value, **EXACT, msg=lambda text, key=key: f"{key}: {text}")
    for group in means:
        for key, value in means[group].items():
            torch.testing.assert_close(state[group][key], value, **EXACT, check_dtype=False)
    np.testing.assert_allclose(predicted, prediction, rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 2, 5, 16, 21, 64])
def test_any_size_of_batch(batch: int) -> None:
    made = []
    for kind in ("autograd", "compiled"):
        model, groups, forward = unimodal("audio")
        data, adamw = clips(), optimizer(groups)
        trainer: Any = AutogradTrainer(model, forward, data, adamw)
        if kind == "compiled":
            trainer = CompiledTrainer(model, data, adamw, "audio", batch)
        made.append((trainer.epoch(replace(PLAN, batch_size=batch), 0), groups[0]["params"][0].detach().clone()))
    assert made[0][0] == pytest.approx(made[1][0], rel=1e-9)
    torch.testing.assert_close(made[1][1], made[0][1], rtol=1e-8, atol=1e-8)


def trained(threads: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    model, _, _ = fused(("text", "audio", "vision"), (), dropout=0.45, modality_dropout=0.3)
    model.to(dtype)
    data = halved(clips())
    assert data.text is not None and data.truth is not None
    data = replace(data, text=data.text.to(dtype), truth=data.truth.to(dtype))
    adamw = optimizer([{"params": list(model.parameters())}])
    with training_threads(threads):
        trainer = CompiledTrainer(model, data, adamw, "fusion", 8)
        for epoch in range(3):
            trainer.epoch(PLAN, epoch)
        prediction = trainer.predict(data)
    return {**model.state_dict(), "prediction": torch.from_numpy(prediction)}


def test_one_thread_and_two_give_the_same_bits() -> None:
    one, two = trained(1), trained(2)
    for key, value in one.items():
        assert torch.equal(value, two[key]), key
    assert all(bool(torch.isfinite(value).all()) for value in one.values())


def test_a_state_that_was_loaded_goes_on_with_the_same_bits() -> None:
    """In a new process, and in the same trainer after it has gone on."""

    def begin() -> tuple[Any, Any, Any]:
        model, groups, _ = fused(("text", "audio", "vision"), (), dropout=0.45)
        adamw = optimizer(groups)
        return model, adamw, CompiledTrainer(model, clips(), adamw, "fusion", 8)

    def state_of(model: Any, adamw: Any) -> dict[str, Any]:
        return copy.deepcopy({"model": model.state_dict(), "optimizer": adamw.state_dict()})

    first = begin()
    first[2].epoch(PLAN, 0)
    saved = state_of(*first[:2])
    first[2].epoch(PLAN, 1)
    expected = state_of(*first[:2])
    for model, adamw, trainer in (begin(), first):
        model.load_state_dict(saved["model"])
        adamw.load_state_dict(copy.deepcopy(saved["optimizer"]))
        trainer.epoch(PLAN, 1)
        again = state_of(model, adamw)
        for key, value in expected["model"].items():
            assert torch.equal(again["model"][key], value), key
        for index, values in expected["optimizer"]["state"].items():
            for key, value in values.items():
                assert torch.equal(again["optimizer"]["state"][index][key], value), (index, key)


def test_dropout_is_where_the_modules_have_it() -> None:
    """The predictions of a batch, made again from the numbers that were drawn."""
    model, groups, _ = unimodal("text", dropout=0.45)
    data = clips()
    trainer = CompiledTrainer(model, data, optimizer(groups), "text", 21)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer.epoch(replace(PLAN, batch_size=21), 0)
    network = trainer._memory.network
    from abawkit.training.batches import row_batches

    rows = next(row_batches(21, 21, seed=PLAN.seed))
    samples = 12  # eleven clips of the first part, filled up
    draws = torch.from_numpy(network.draws[0])
    assert bool(((draws >= 0) & (draws < 1)).all())
    masks = [
        (draws[start : start + samples * 7].reshape(samples, 7)[:11] >= 0.45).double() / 0.55
        for start in (0, samples * 7)
    ]
    share = sorted(rows, key=lambda row: 0)[0::2]  # text has one length: the order of the batch
    assert data.text is not None
    model.load_state_dict(before)
    with torch.no_grad():
        x = model.encoder.feature[:3](data.text[share]) * masks[0]
        expected = model.head[1](model.encoder.feature[4](x) * masks[1])
    np.testing.assert_allclose(network.predicted[0, :11], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_modality_dropout_keeps_one_and_scales(probability: float) -> None:
    model, groups, _ = fused(("text", "audio", "vision"), (), modality_dropout=probability)
    data = clips()
    trainer = CompiledTrainer(model, data, optimizer(groups), "fusion", 21)
    seen = []
    for epoch in range(250):
        trainer.epoch(replace(PLAN, batch_size=21), epoch)
        seen += trainer._memory.network.scale.reshape(-1, 3).tolist()
    scale = np.array(seen)
    assert np.unique(scale) == pytest.approx([0, 1 / (1 - probability)])
    kept = scale > 0
    assert kept.any(axis=1).all()
    expected = 1 - probability + probability**3 / 3
    assert kept.mean(axis=0) == pytest.approx([expected] * 3, abs=0.025)
    assert not (kept == kept[:, :1]).all()


def test_the_numbers_are_those_of_splitmix64() -> None:
    def reference(state: int) -> int:
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    seeds = np.array([7, 2**64 - 5], np.uint64)
    out = np.empty(100_001)
    _uniform(seeds, 1, out)
    assert seeds[0] == 7
    for pair in range(3):
        number = reference((2**64 - 5 + (pair + 1) * 0x9E3779B97F4A7C15) % 2**64)
        assert out[2 * pair : 2 * pair + 2].tolist() == [(number >> 40) / 2**24, (number >> 16) % 2**24 / 2**24]
    assert out.min() >= 0 and out.max() < 1
    assert np.histogram(out, 20, (0, 1))[0] == pytest.approx(5000, rel=0.06)
    assert abs(np.corrcoef(out[:-1], out[1:])[0, 1]) < 0.01


def test_what_it_cannot_take() -> None:
    model, groups, _ = unimodal("audio")
    with pytest.raises(ValueError, match="flattened"):
        CompiledTrainer(model, clips(), torch.optim.AdamW([nn.Parameter(torch.zeros(3).double())]), "audio", 8)
    mixed = clips()
    mixed = replace(mixed, frames={"audio": [clip.bfloat16() for clip in mixed.frames["audio"]]})
    with pytest.raises(ValueError, match="bfloat16"):
        CompiledTrainer(model, mixed, optimizer(groups), "audio", 8)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Tanh(),
        nn.GELU("tanh"),
        nn.LayerNorm((3, 7)),
        nn.LayerNorm(7, bias=False),
        nn.LayerNorm(7, elementwise_affine=False),
        nn.Linear(7, 7, bias=False),
    ],
    ids=str,
)
def test_a_layer_without_a_kernel_is_refused(layer: nn.Module) -> None:
    strange = UnimodalModel(encoder("text"), 6)
    strange.head = nn.Sequential(nn.Linear(7, 7), layer, nn.Linear(7, 6))
    strange.double()
    with pytest.raises(TypeError, match=f"no kernel for {type(layer).__name__}"):
        CompiledTrainer(strange, clips(), optimizer([{"params": list(strange.parameters())}]), "text", 8)


def test_an_encoder_without_a_kernel_is_refused() -> None:
    strange = UnimodalModel(encoder("text"), 6).double()
    strange.encoder = nn.LSTM(6, 7).double()
    with pytest.raises(TypeError, match="LSTM"):
        CompiledTrainer(strange, clips(), optimizer([{"params": list(strange.parameters())}]), "text", 8)
