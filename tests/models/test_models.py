"""The networks against a second writing of them in plain padded PyTorch, in float64."""

import pytest
import torch
from torch import Tensor, nn

from abawkit.models.encoders import AttentionEncoder, EncoderConfig, TextMLPEncoder, UnimodalModel, make_encoder
from abawkit.models.fusion import FusionConfig, FusionModel, drop_modalities
from abawkit.models.pooling import attention_pool

LENGTHS = [4, 1, 7, 3]


@pytest.fixture
def clips() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in LENGTHS]


def padded_attention(clips: list[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Linear scorer, softmax with a mask over a padded batch, weighted sum."""
    longest = max(len(clip) for clip in clips)
    batch = torch.full((len(clips), longest, clips[0].shape[1]), 7.7, dtype=torch.float64)
    mask = torch.zeros(len(clips), longest, dtype=torch.bool)
    for row, clip in enumerate(clips):
        batch[row, : len(clip)] = clip
        mask[row, : len(clip)] = True
    scores = nn.functional.linear(batch, weight[None], bias[None]).squeeze(-1).masked_fill(~mask, float("-inf"))
    return (torch.softmax(scores, dim=1).unsqueeze(-1) * batch).sum(dim=1)


def test_pooling_and_its_gradients_are_those_of_the_padded_form(clips: list[Tensor]) -> None:
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn((), dtype=torch.float64, requires_grad=True)
    ours, plain = attention_pool(clips, weight, bias), padded_attention(clips, weight, bias)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    target = torch.randn(4, 5, dtype=torch.float64)
    gradient = torch.autograd.grad((ours * target).sum(), [weight, bias])
    expected = torch.autograd.grad((plain * target).sum(), [weight, bias])
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_pooling_passes_gradcheck(clips: list[Tensor]) -> None:
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, b: attention_pool([*clips, torch.zeros(0, 5)], w, b), (weight, bias))


def test_a_clip_without_frames_is_zero_and_half_precision_is_read(clips: list[Tensor]) -> None:
    halves = [clip.half() for clip in clips]
    weight, bias = torch.randn(5), torch.zeros(())
    pooled = attention_pool([halves[0], torch.zeros(0, 5, dtype=torch.float16)], weight, bias)
    assert pooled.dtype == torch.float32 and pooled[1].tolist() == [0.0] * 5
    expected = padded_attention([halves[0].double()], weight.double(), bias.double())[0]
    torch.testing.assert_close(pooled[0].double(), expected, rtol=0, atol=1e-6)


def test_frames_in_another_order_pool_to_the_same(clips: list[Tensor]) -> None:
    weight, bias = torch.randn(5, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    turned = [clip.flip(0) for clip in clips]
    torch.testing.assert_close(attention_pool(clips, weight, bias), attention_pool(turned, weight, bias))


def plain_projection(x: Tensor, parameters: dict[str, Tensor], prefix: str) -> Tensor:
    """LayerNorm → Linear → GELU → LayerNorm from the formulas (dropout is the identity in eval mode)."""

    def norm(value: Tensor, number: int) -> Tensor:
        centred = value - value.mean(dim=1, keepdim=True)
        scaled = centred / torch.sqrt((centred**2).mean(dim=1, keepdim=True) + 1e-5)
        return scaled * parameters[f"{prefix}.{number}.weight"] + parameters[f"{prefix}.{number}.bias"]

    hidden = norm(x, 0) @ parameters[f"{prefix}.1.weight"].T + parameters[f"{prefix}.1.bias"]
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return norm(gelu, 4)


def randomised(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def test_encoders_are_their_formulas(clips: list[Tensor]) -> None:
    text = randomised(TextMLPEncoder(EncoderConfig("mlp", 5, 8)))
    x = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(
        text(x), plain_projection(x, dict(text.named_parameters()), "feature"), atol=1e-10, rtol=0
    )
    audio = randomised(AttentionEncoder(EncoderConfig("attention", 5, 8)))
    own = dict(audio.named_parameters())
    pooled = padded_attention(clips, own["attn.weight"][0], own["attn.bias"][0])
    torch.testing.assert_close(audio(clips), plain_projection(pooled, own, "proj"), atol=1e-10, rtol=0)


def fusion(**changes: object) -> FusionModel:
    config = {
        "encoders": {
            "text": EncoderConfig("mlp", 5, 8),
            "audio": EncoderConfig("attention", 5, 8),
            "motion": EncoderConfig("attention", 5, 4),
        },
        "targets": 6,
        "hidden": 7,
        "frozen": ("motion",),
        **changes,
    }
    return FusionModel(FusionConfig(**config))  # type: ignore[arg-type]


def test_parameter_names_are_those_of_the_authors_checkpoints() -> None:
    def both(*names: str) -> set[str]:
        return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}

    expected = both(*(f"text_encoder.feature.{i}" for i in (0, 1, 4)), *(f"fusion_head.mlp.{i}" for i in (0, 2, 5)))
    for modality in ("audio", "motion"):
        expected |= both(f"{modality}_encoder.attn", *(f"{modality}_encoder.proj.{i}" for i in (0, 1, 4)))
    assert set(fusion().state_dict()) == expected
    assert set(UnimodalModel(EncoderConfig("mlp", 5, 8), 6).state_dict()) == both(
        *(f"encoder.feature.{i}" for i in (0, 1, 4)), "head.1"
    )


def test_fusion_is_its_formula(clips: list[Tensor]) -> None:
    model = randomised(fusion())
    own = {name: value for name, value in model.named_parameters()}
    text = torch.randn(4, 5, dtype=torch.float64)
    embeddings = [plain_projection(text, own, "text_encoder.feature")]
    for modality in ("audio", "motion"):
        pooled = padded_attention(
            clips, own[f"{modality}_encoder.attn.weight"][0], torch.zeros((), dtype=torch.float64)
        )
        embeddings.append(plain_projection(pooled, own, f"{modality}_encoder.proj"))
    fused = torch.cat(embeddings, dim=1)
    centred = fused - fused.mean(dim=1, keepdim=True)
    normed = centred / torch.sqrt((centred**2).mean(dim=1, keepdim=True) + 1e-5)
    normed = normed * own["fusion_head.mlp.0.weight"] + own["fusion_head.mlp.0.bias"]
    hidden = normed @ own["fusion_head.mlp.2.weight"].T + own["fusion_head.mlp.2.bias"]
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    expected = hidden @ own["fusion_head.mlp.5.weight"].T + own["fusion_head.mlp.5.bias"]
    given = {"text": text, "audio": clips, "motion": clips}
    torch.testing.assert_close(model(given), expected, rtol=0, atol=1e-9)
    ready = {"motion": model.encoder("motion")(clips)}
    torch.testing.assert_close(model({"text": text, "audio": clips}, ready), expected, rtol=0, atol=1e-9)


def test_the_frozen_encoder_stays_in_eval_mode_without_gradients(clips: list[Tensor]) -> None:
    model = fusion().double().train()
    assert not model.encoder("motion").training and model.encoder("audio").training
    model({"text": torch.randn(4, 5, dtype=torch.float64), "audio": clips, "motion": clips}).sum().backward()
    assert all(p.grad is None for p in model.encoder("motion").parameters())
    assert all(p.grad is not None for name, p in model.encoder("audio").named_parameters())


def test_modality_dropout_keeps_one_and_its_expectation() -> None:
    torch.manual_seed(0)
    ones = [torch.ones(20_000, 2), torch.ones(20_000, 3)]
    dropped = drop_modalities(ones, 0.3)
    kept = torch.stack([block[:, 0] != 0 for block in dropped], dim=1)
    assert bool(kept.any(dim=1).all())
    assert torch.unique(dropped[0]).tolist() == pytest.approx([0, 1 / 0.7])
    # A modality is kept with .7, or as the spare of a sample that lost both: .7 + .09 / 2.
    assert kept.double().mean(dim=0).tolist() == pytest.approx([0.745, 0.745], abs=0.01)
    assert bool((dropped[1] == dropped[1][:, :1]).all())  # whole modalities, not single values


def test_leaving_a_modality_out_is_its_embedding_at_zero(clips: list[Tensor]) -> None:
    model = randomised(fusion())
    embeddings = model.embed({"text": torch.randn(4, 5, dtype=torch.float64), "audio": clips, "motion": clips})
    expected = model.fuse([embeddings[0], torch.zeros_like(embeddings[1]), embeddings[2]])
    torch.testing.assert_close(model.fuse_without(embeddings, "audio"), expected)


def test_unknown_encoder() -> None:
    with pytest.raises(ValueError, match="unknown encoder kind"):
        make_encoder(EncoderConfig("conv", 5))
