"""The networks against ``tests/plain.py``, outputs and gradients, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from abawkit.models.clips import Packed
from abawkit.models.encoders.attention import Attention
from abawkit.models.encoders.pooled import Mlp
from abawkit.models.fusion.concat import Concat
from abawkit.models.network import Inputs, Network, NetworkConfig, SlotConfig, draw_kept
from abawkit.models.pooling import attention_pool, pool_joined
from abawkit.optim.losses import CccMse
from tests import plain

#: Frames per clip: none, one, a few, and one clip that is longer than all others together.
LENGTHS = [4, 1, 0, 7, 3000, 3]
DIM = {"text": 5, "audio": 6, "vision": 4, "motion": 3}
HIDDEN = {"text": 8, "audio": 8, "vision": 8, "motion": 4}
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-10}

Values = dict[str, Any]


def frames(dim: int, seed: int = 0, lengths: Sequence[int] = LENGTHS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in lengths]


def batch(*modalities: str) -> Values:
    """Clips of these modalities: text of length 1 or missing, and frames."""
    values: Values = {m: frames(DIM[m], seed=len(m)) for m in modalities if m != "text"}
    if "text" in modalities:
        text = torch.randn(len(LENGTHS), DIM["text"], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        values["text"] = nn.functional.normalize(text, dim=1)
        values["text"][1] = 0.0  # missing
    return values


def inputs(values: Values, ready: Values | None = None) -> Inputs:
    """What a network takes: missing text has no frame."""
    clips = {}
    for slot, own in values.items():
        if slot == "text":
            own = [row[None] if bool(row.any()) else row[None][:0] for row in own]
        clips[slot] = Packed.of(own)
    here = torch.ones(len(LENGTHS), dtype=torch.bool)
    present = {slot: own.present for slot, own in clips.items()} | dict.fromkeys(ready or {}, here)
    return Inputs(clips, ready or {}, present)


def predict(network: Network, values: Values, **more: Any) -> Tensor:
    return network(inputs(values), **more).prediction


def truth() -> Tensor:
    return torch.rand(len(LENGTHS), 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def randomised(model: Any) -> Any:
    """The model in float64 and eval mode, with random parameters."""
    generator = torch.Generator().manual_seed(3)
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def slot(modality: str, dropout: float = 0.45, *, hidden: int | None = None, frozen: bool = False) -> SlotConfig:
    kind = Mlp if modality == "text" else Attention
    return SlotConfig(kind(hidden=hidden or HIDDEN[modality], dropout=dropout), DIM[modality], frozen)


def unimodal(modality: str, dropout: float = 0.45) -> Network:
    network: Network = randomised(Network(NetworkConfig({modality: slot(modality, dropout)}, 6, head_dropout=dropout)))
    return network


def renamed(own: plain.State, modality: str) -> plain.State:
    """The parameters of a slot's own network under the names of the plain form."""
    return {name.removeprefix(f"{modality}_"): value for name, value in own.items()}


def fusion(*modalities: str, frozen: Sequence[str] = (), modality_dropout: float = 0.3) -> Network:
    """A network that fuses, whose only dropout is that of whole modalities."""
    slots = {m: slot(m, 0.0, frozen=m in frozen) for m in modalities}
    config = NetworkConfig(slots, 6, Concat(hidden=7, dropout=0.0), modality_dropout=modality_dropout)
    network: Network = randomised(Network(config))
    return network


def same_with_gradients(
    model: nn.Module, ours: Tensor, reference: Callable[[plain.State], Tensor], *, frozen: Sequence[str] = ()
) -> None:
    """Compares outputs, and the gradients of the loss for every parameter (none for those of ``frozen``)."""
    copies = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    expected = reference(copies)
    torch.testing.assert_close(ours, expected, **EXACT)
    CccMse().value(truth(), ours).backward()  # type: ignore[no-untyped-call]
    plain.loss(truth(), expected, 0.7).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if name.split("_encoder.")[0] in frozen:
            assert parameter.grad is None, name
            continue
        gradient = copies[name].grad
        assert parameter.grad is not None and gradient is not None, name
        torch.testing.assert_close(parameter.grad, gradient, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("lengths", [LENGTHS, [1], [0, 0], [12_500, 1, 2]])
def test_pooling_and_its_gradients_are_those_of_the_padded_form(lengths: list[int]) -> None:
    clips = frames(5, lengths=lengths)
    weight = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    bias = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    ours, expected = attention_pool(Packed.of(clips), weight, bias), plain.pooling(clips, weight, bias)
    torch.testing.assert_close(ours, expected, **EXACT)
    towards = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    got = torch.autograd.grad((ours * towards).sum(), [weight, bias])
    torch.testing.assert_close(got, torch.autograd.grad((expected * towards).sum(), [weight, bias]), **EXACT)


def test_pooling_passes_gradcheck() -> None:
    clips = frames(5, lengths=[4, 1, 0, 9])
    weight = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, b: attention_pool(Packed.of(clips), w, b), (weight, bias))


@pytest.mark.parametrize("level", [0.0, 2e3, -2e3])
def test_pooling_of_large_scores_is_finite(level: float) -> None:
    clips = [clip * 100 + level for clip in frames(3, lengths=[50, 1])]
    weight = torch.tensor([30.0, -20.0, 5.0], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64)
    ours, expected = attention_pool(Packed.of(clips), weight, bias), plain.pooling(clips, weight, bias)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad(ours.sum(), weight)
    assert bool(torch.isfinite(gradient).all())


def test_half_precision_frames_are_read_as_they_are() -> None:
    halves = [clip.half() for clip in frames(5)]
    weight, bias = torch.randn(5, generator=torch.Generator().manual_seed(1)), torch.zeros(())
    pooled = attention_pool(Packed.of(halves), weight, bias)
    assert pooled.dtype == torch.float32 and pooled[2].tolist() == [0.0] * 5
    expected = plain.pooling([clip.double() for clip in halves], weight.double(), bias.double())
    torch.testing.assert_close(pooled.double(), expected, rtol=0, atol=2e-6)


def test_frames_in_another_order_pool_to_the_same() -> None:
    clips = frames(5)
    weight, bias = torch.randn(5, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    turned = [clip.flip(0) for clip in clips]
    ours, other = (attention_pool(Packed.of(each), weight, bias) for each in (clips, turned))
    torch.testing.assert_close(ours, other, **EXACT)


def test_the_pooling_of_a_gpu_is_the_same() -> None:
    clips = frames(5)
    found = []
    for pool in (attention_pool, pool_joined):
        weight = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
        pooled = pool(Packed.of(clips), weight, torch.tensor(0.5, dtype=torch.float64))
        found.append((pooled.detach(), *torch.autograd.grad(pooled.square().sum(), weight)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("modality", ["text", "audio", "vision", "motion"])
def test_encoders_and_unimodal_networks_are_their_formulas(modality: str) -> None:
    values = batch(modality)
    network = unimodal(modality)
    own = {name: value.detach() for name, value in network.encoder(modality).named_parameters()}
    embedding = network.encode(modality, inputs(values).clips[modality])
    torch.testing.assert_close(embedding, plain.encoder(modality, values[modality], own), **EXACT)

    def reference(own: plain.State) -> Tensor:
        return plain.stage(modality, values[modality], renamed(own, modality), "encoder.")

    same_with_gradients(network, predict(network, values), reference)


@pytest.mark.parametrize(
    ("modalities", "frozen"),
    [
        (("text", "audio", "vision"), ()),  # F1 and F3
        (("text", "audio", "vision", "motion"), ("motion",)),  # F2 and F4
        (("text", "audio", "vision"), ("text", "audio", "vision")),  # F5
    ],
)
def test_fusion_is_its_formula(modalities: tuple[str, ...], frozen: tuple[str, ...]) -> None:
    values = batch(*modalities)
    network = fusion(*modalities, frozen=frozen)
    ours = predict(network, values)
    assert ours.shape == (len(LENGTHS), 6)
    same_with_gradients(network, ours, lambda own: plain.fusion(values, own), frozen=frozen)


def test_vectors_that_are_ready_need_no_frames() -> None:
    values = batch("text", "audio", "motion")
    network = fusion("text", "audio", "motion", frozen=("motion",))
    own = dict(network.encoder("motion").named_parameters())
    ready = {"motion": plain.encoder("motion", values["motion"], own)}
    ours = network(inputs({m: values[m] for m in ("text", "audio")}, ready)).prediction
    assert torch.allclose(ours, predict(network, values), rtol=1e-12, atol=1e-12)
    same_with_gradients(network, ours, lambda own: plain.fusion(values, own), frozen=("motion",))


def test_training_with_modality_dropout_is_its_formula() -> None:
    values = batch("text", "audio", "vision", "motion")
    network = fusion("text", "audio", "vision", "motion", frozen=("motion",)).train()
    seen = set()
    for seed in range(6):  # whatever the draw is made of, the same seed gives it again
        torch.manual_seed(seed)
        kept = draw_kept(len(LENGTHS), 4, 0.3)
        seen |= {tuple(row) for row in kept.tolist()}
        torch.manual_seed(seed)
        network.zero_grad()

        def reference(own: plain.State, kept: Tensor = kept) -> Tensor:
            return plain.head(plain.dropped(plain.embeddings(values, own), kept, 0.3), own)

        same_with_gradients(network, predict(network, values), reference, frozen=("motion",))
    assert len(seen) > 5


@pytest.mark.parametrize(("modalities", "probability"), [(2, 0.3), (3, 0.3), (4, 0.3), (2, 0.9)])
def test_modality_dropout_keeps_one(modalities: int, probability: float) -> None:
    torch.manual_seed(0)
    kept = draw_kept(20_000, modalities, probability)
    assert kept.shape == (20_000, modalities) and bool(kept.any(dim=1).all())
    # A modality is kept with 1 - p, or as the one that a sample which lost all of them keeps.
    expected = 1 - probability + probability**modalities / modalities
    assert kept.double().mean(dim=0).tolist() == pytest.approx([expected] * modalities, abs=0.015)
    # One draw per sample and modality: both of a pair are dropped as often as chance has it.
    none_of_two = (~kept[:, 0] & ~kept[:, 1]).double().mean()
    pair = probability**2 - probability**modalities * (1 if modalities == 2 else 2 / modalities)
    assert float(none_of_two) == pytest.approx(pair, abs=0.015)


def test_nothing_is_dropped_in_eval_mode_or_at_rate_zero() -> None:
    values = batch("text", "audio")
    network = fusion("text", "audio")
    expected = plain.fusion(values, dict(network.named_parameters()))
    torch.testing.assert_close(predict(network, values), expected, **EXACT)
    still = fusion("text", "audio", modality_dropout=0.0).train()
    torch.testing.assert_close(predict(still, values), expected, **EXACT)


def test_leaving_a_modality_out_is_its_vector_at_zero() -> None:
    values = batch("text", "audio", "motion")
    network = fusion("text", "audio", "motion")
    own = {name: value.detach() for name, value in network.named_parameters()}
    embeddings = plain.embeddings(values, own)
    for index, modality in enumerate(("text", "audio", "motion")):
        expected = plain.head([e * 0 if i == index else e for i, e in enumerate(embeddings)], own)
        torch.testing.assert_close(predict(network, values, without=modality), expected, **EXACT)


def test_where_dropout_is_in_the_encoders_and_the_head() -> None:
    """Between GELU and the last LayerNorm of an encoder, and before the linear head."""
    everything = unimodal("text", dropout=0.45).train()
    for module in everything.modules():
        if isinstance(module, nn.Dropout):
            module.p = 1.0
    own = renamed(dict(everything.named_parameters()), "text")
    values = batch("text")
    text = values["text"]
    embedding = everything.encode("text", inputs(values).clips["text"])
    torch.testing.assert_close(embedding, own["encoder.feature.4.bias"].expand_as(embedding), **EXACT)
    torch.testing.assert_close(predict(everything, values), own["head.1.bias"].expand(len(text), 6), **EXACT)
    torch.manual_seed(0)
    some = Mlp(hidden=20_000).build(DIM["text"]).double().train()
    own = {name: value.detach() for name, value in some.named_parameters()}
    with torch.no_grad():
        made = some(inputs(values).clips["text"])
    before = plain.gelu(
        plain.linear(
            plain.layer_norm(text, own["feature.0.weight"], own["feature.0.bias"]),
            own["feature.1.weight"],
            own["feature.1.bias"],
        )
    )
    for row, value in zip(made, before, strict=True):
        # What was dropped comes out as one value, that of a zero: so the draw can be read off.
        level, times = torch.unique(row, return_counts=True)
        kept = row != level[times.argmax()]
        assert float(kept.double().mean()) == pytest.approx(0.55, abs=0.02)
        expected = plain.layer_norm(value * kept / 0.55, own["feature.4.weight"], own["feature.4.bias"])
        torch.testing.assert_close(row, expected, **EXACT)


def test_where_dropout_is_in_the_fusion_head() -> None:
    """After the LayerNorm and after GELU: with an identity and a bias of 100 between them both can be counted."""
    torch.manual_seed(0)
    head = Concat(hidden=4).build({"text": 4}, 4).double().train()
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            parameter.copy_(torch.eye(4) if parameter.ndim == 2 else torch.zeros(4))
            if name == "mlp.0.weight":
                parameter.fill_(1.0)
            if name == "mlp.2.bias":
                parameter.fill_(100.0)
        fused = torch.tensor([[3.0, -1.0, -1.0, -1.0]], dtype=torch.float64).expand(20_000, 4)
        made = head({"text": fused}, {})
    normed = 3 / (3 + 1e-5) ** 0.5  # of the first value, whose mean is 0 and variance 3
    first = made[:, 0]
    second_dropped = first == 0
    first_dropped = (first - 100 / 0.55).abs() < 1e-6
    torch.testing.assert_close(
        first[~second_dropped & ~first_dropped].unique(),
        torch.tensor([(100 + normed / 0.55) / 0.55], dtype=torch.float64),
        rtol=0,
        atol=1e-6,
    )
    assert float(second_dropped.double().mean()) == pytest.approx(0.45, abs=0.015)
    assert float(first_dropped.double().mean()) == pytest.approx(0.45 * 0.55, abs=0.015)


def test_a_frozen_encoder_stays_in_eval_mode() -> None:
    network = fusion("text", "audio", "motion", frozen=("motion",)).train()
    assert not any(module.training for module in network.encoder("motion").modules())
    assert all(module.training for module in network.encoder("audio").modules())
    assert not any(parameter.requires_grad for parameter in network.encoder("motion").parameters())
