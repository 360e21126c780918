"""The networks against ``tests/plain.py``, outputs and gradients, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from abawkit.models.encoders import EncoderConfig, UnimodalModel, make_encoder
from abawkit.models.fusion import FusionConfig, FusionModel, drop_modalities
from abawkit.models.pooling import attention_pool
from abawkit.training.losses import ccc_mse_loss
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
    """What a model with these modalities takes: text of length 1 or missing, and clips."""
    values: Values = {m: frames(DIM[m], seed=len(m)) for m in modalities if m != "text"}
    if "text" in modalities:
        text = torch.randn(len(LENGTHS), DIM["text"], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        values["text"] = nn.functional.normalize(text, dim=1)
        values["text"][1] = 0.0  # missing
    return values


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


def encoder(modality: str, dropout: float = 0.45, **changes: int) -> EncoderConfig:
    sizes = {"inputs": DIM[modality], "hidden": HIDDEN[modality]} | changes
    return EncoderConfig("mlp" if modality == "text" else "attention", **sizes, dropout=dropout)


def fusion(*modalities: str, frozen: Sequence[str] = (), modality_dropout: float = 0.3) -> FusionModel:
    """A fusion model whose only dropout is that of whole modalities."""
    config = FusionConfig(
        encoders={m: encoder(m, dropout=0.0) for m in modalities},
        targets=6,
        hidden=7,
        dropout=0.0,
        modality_dropout=modality_dropout,
        frozen=frozen,
    )
    model: FusionModel = randomised(FusionModel(config))
    return model


def same_with_gradients(
    model: nn.Module, ours: Tensor, reference: Callable[[plain.State], Tensor], *, frozen: Sequence[str] = ()
) -> None:
    """Compares outputs, and the gradients of the loss for every parameter (none for those of ``frozen``)."""
    copies = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    expected = reference(copies)
    torch.testing.assert_close(ours, expected, **EXACT)
    ccc_mse_loss(truth(), ours, 0.7).backward()  # type: ignore[no-untyped-call]
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
    ours, expected = attention_pool(clips, weight, bias), plain.pooling(clips, weight, bias)
    torch.testing.assert_close(ours, expected, **EXACT)
    towards = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    got = torch.autograd.grad((ours * towards).sum(), [weight, bias])
    torch.testing.assert_close(got, torch.autograd.grad((expected * towards).sum(), [weight, bias]), **EXACT)


def test_pooling_passes_gradcheck() -> None:
    clips = frames(5, lengths=[4, 1, 0, 9])
    weight = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, b: attention_pool(clips, w, b), (weight, bias))


@pytest.mark.parametrize("level", [0.0, 2e3, -2e3])
def test_pooling_of_large_scores_is_finite(level: float) -> None:
    clips = [clip * 100 + level for clip in frames(3, lengths=[50, 1])]
    weight = torch.tensor([30.0, -20.0, 5.0], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64)
    ours, expected = attention_pool(clips, weight, bias), plain.pooling(clips, weight, bias)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad(ours.sum(), weight)
    assert bool(torch.isfinite(gradient).all())


def test_half_precision_frames_are_read_as_they_are() -> None:
    halves = [clip.half() for clip in frames(5)]
    weight, bias = torch.randn(5, generator=torch.Generator().manual_seed(1)), torch.zeros(())
    pooled = attention_pool(halves, weight, bias)
    assert pooled.dtype == torch.float32 and pooled[2].tolist() == [0.0] * 5
    expected = plain.pooling([clip.double() for clip in halves], weight.double(), bias.double())
    torch.testing.assert_close(pooled.double(), expected, rtol=0, atol=2e-6)


def test_frames_in_another_order_pool_to_the_same() -> None:
    clips = frames(5)
    weight, bias = torch.randn(5, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    turned = [clip.flip(0) for clip in clips]
    torch.testing.assert_close(attention_pool(clips, weight, bias), attention_pool(turned, weight, bias), **EXACT)


@pytest.mark.parametrize("modality", ["text", "audio", "vision", "motion"])
def test_encoders_and_unimodal_models_are_their_formulas(modality: str) -> None:
    values = batch(modality)[modality]
    alone = randomised(make_encoder(encoder(modality)))
    own = {name: value.detach() for name, value in alone.named_parameters()}
    torch.testing.assert_close(alone(values), plain.encoder(modality, values, own), **EXACT)
    model = randomised(UnimodalModel(encoder(modality), 6))
    same_with_gradients(model, model(values), lambda own: plain.stage(modality, values, own, "encoder."))


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
    model = fusion(*modalities, frozen=frozen)
    ours = model(values)
    assert ours.shape == (len(LENGTHS), 6)
    same_with_gradients(model, ours, lambda own: plain.fusion(values, own), frozen=frozen)


def test_embeddings_that_are_ready_need_no_frames() -> None:
    values = batch("text", "audio", "motion")
    model = fusion("text", "audio", "motion", frozen=("motion",))
    ready = {"motion": plain.encoder("motion", values["motion"], dict(model.encoder("motion").named_parameters()))}
    ours = model({m: values[m] for m in ("text", "audio")}, ready)
    assert torch.allclose(ours, model(values), rtol=1e-12, atol=1e-12)
    same_with_gradients(model, ours, lambda own: plain.fusion(values, own), frozen=("motion",))


def test_training_with_modality_dropout_is_its_formula() -> None:
    values = batch("text", "audio", "vision", "motion")
    model = fusion("text", "audio", "vision", "motion", frozen=("motion",)).train()
    ones = [torch.ones(len(LENGTHS), 1, dtype=torch.float64) for _ in values]
    seen = set()
    for seed in range(6):  # whatever the draw is made of, the same seed gives it again
        torch.manual_seed(seed)
        kept = torch.cat(drop_modalities(ones, 0.3), dim=1) != 0
        seen |= {tuple(row) for row in kept.tolist()}
        torch.manual_seed(seed)
        model.zero_grad()

        def reference(own: plain.State, kept: Tensor = kept) -> Tensor:
            return plain.head(plain.dropped(plain.embeddings(values, own), kept, 0.3), own)

        same_with_gradients(model, model(values), reference, frozen=("motion",))
    assert len(seen) > 5


@pytest.mark.parametrize(("modalities", "probability"), [(2, 0.3), (3, 0.3), (4, 0.3), (2, 0.9)])
def test_modality_dropout_keeps_one_and_scales(modalities: int, probability: float) -> None:
    torch.manual_seed(0)
    samples = 20_000
    made = drop_modalities([torch.ones(samples, 2 + m, dtype=torch.float64) for m in range(modalities)], probability)
    for block in made:
        assert bool((block == block[:, :1]).all())  # whole modalities, not single values
        assert torch.unique(block).tolist() == pytest.approx([0, 1 / (1 - probability)])
    kept = torch.stack([block[:, 0] != 0 for block in made], dim=1)
    assert bool(kept.any(dim=1).all())
    # A modality is kept with 1 - p, or as the one that a sample which lost all of them keeps.
    expected = 1 - probability + probability**modalities / modalities
    assert kept.double().mean(dim=0).tolist() == pytest.approx([expected] * modalities, abs=0.015)
    # One draw per sample and modality: both of a pair are dropped as often as chance has it.
    none_of_two = (~kept[:, 0] & ~kept[:, 1]).double().mean()
    pair = probability**2 - probability**modalities * (1 if modalities == 2 else 2 / modalities)
    assert float(none_of_two) == pytest.approx(pair, abs=0.015)


def test_nothing_is_dropped_in_eval_mode_or_at_rate_zero() -> None:
    values = batch("text", "audio")
    model = fusion("text", "audio")
    expected = plain.fusion(values, dict(model.named_parameters()))
    torch.testing.assert_close(model(values), expected, **EXACT)
    still = fusion("text", "audio", modality_dropout=0.0).train()
    torch.testing.assert_close(still(values), expected, **EXACT)


def test_leaving_a_modality_out_is_its_embedding_at_zero() -> None:
    values = batch("text", "audio", "motion")
    model = fusion("text", "audio", "motion")
    own = {name: value.detach() for name, value in model.named_parameters()}
    embeddings = plain.embeddings(values, own)
    for index, modality in enumerate(("text", "audio", "motion")):
        expected = plain.head([e * 0 if i == index else e for i, e in enumerate(embeddings)], own)
        torch.testing.assert_close(model.fuse_without(model.embed(values), modality), expected, **EXACT)


def test_where_dropout_is_in_the_encoders_and_the_head() -> None:
    """Between GELU and the last LayerNorm of an encoder, and before the linear head."""
    everything = randomised(UnimodalModel(encoder("text", dropout=1.0), 6)).train()
    own = dict(everything.named_parameters())
    text = batch("text")["text"]
    embedding = everything.encoder(text)
    torch.testing.assert_close(embedding, own["encoder.feature.4.bias"].expand_as(embedding), **EXACT)
    torch.testing.assert_close(everything(text), own["head.1.bias"].expand(len(text), 6), **EXACT)
    torch.manual_seed(0)
    some = make_encoder(encoder("text", dropout=0.45, hidden=20_000)).double().train()
    own = {name: value.detach() for name, value in some.named_parameters()}
    with torch.no_grad():
        made = some(text)
    before = plain.gelu(
        plain.linear(
            plain.layer_norm(text, own["feature.0.weight"], own["feature.0.bias"]),
            own["feature.1.weight"],
            own["feature.1.bias"],
        )
    )
    for row, values in zip(made, before, strict=True):
        # What was dropped comes out as one value, that of a zero: so the draw can be read off.
        level, times = torch.unique(row, return_counts=True)
        kept = row != level[times.argmax()]
        assert float(kept.double().mean()) == pytest.approx(0.55, abs=0.02)
        expected = plain.layer_norm(values * kept / 0.55, own["feature.4.weight"], own["feature.4.bias"])
        torch.testing.assert_close(row, expected, **EXACT)


def test_where_dropout_is_in_the_fusion_head() -> None:
    """After the LayerNorm and after GELU: with an identity and a bias of 100 between them both can be counted."""
    torch.manual_seed(0)
    config = FusionConfig(encoders={"text": EncoderConfig("mlp", 5, 4)}, targets=4, hidden=4, modality_dropout=0.0)
    head = FusionModel(config).double().fusion_head.train()
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            parameter.copy_(torch.eye(4) if parameter.ndim == 2 else torch.zeros(4))
            if name == "mlp.0.weight":
                parameter.fill_(1.0)
            if name == "mlp.2.bias":
                parameter.fill_(100.0)
        fused = torch.tensor([[3.0, -1.0, -1.0, -1.0]], dtype=torch.float64).expand(20_000, 4)
        made = head(fused)
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
    model = fusion("text", "audio", "motion", frozen=("motion",)).train()
    assert not any(module.training for module in model.encoder("motion").modules())
    assert all(module.training for module in model.encoder("audio").modules())
    assert not any(parameter.requires_grad for parameter in model.encoder("motion").parameters())
