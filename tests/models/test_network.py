"""What stands in for absent and left-out slots, heads, and vectors that are ready."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from abawkit.models.clips import Packed
from abawkit.models.encoders.attention import Attention
from abawkit.models.encoders.pooled import Mlp
from abawkit.models.encoders.recurrent import Gru
from abawkit.models.fusion.concat import Concat
from abawkit.models.network import Inputs, Network, NetworkConfig, SlotConfig

Missing = Literal["zero", "token"]
DIM = {"text": 3, "audio": 4, "vision": 5}
ENCODERS: dict[str, Any] = {
    "text": Mlp(hidden=6, dropout=0.0), "audio": Attention(hidden=6, dropout=0.0), "vision": Gru(hidden=6, dropout=0.0),
}  # fmt: skip
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-12}
both = pytest.mark.parametrize("missing", ["zero", "token"])


def network(
    missing: Missing, *, heads: tuple[str, ...] = (), frozen: tuple[str, ...] = (), rate: float = 0.0
) -> Network:
    torch.manual_seed(1)
    slots = {slot: SlotConfig(ENCODERS[slot], DIM[slot], slot in frozen) for slot in DIM}
    config = NetworkConfig(
        slots, 6, Concat(hidden=7, dropout=0.0), heads, head_dropout=0.0, missing=missing, modality_dropout=rate
    )
    made = Network(config).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    return made.eval()


def inputs(gone: dict[str, int] | None = None) -> Inputs:
    """Three clips; ``gone`` names a clip that lacks a slot."""
    generator = torch.Generator().manual_seed(0)
    clips = {}
    for slot, dim in DIM.items():
        own = [torch.randn(1 if slot == "text" else n, dim, generator=generator).double() for n in (2, 5, 3)]
        if gone and slot in gone:
            own[gone[slot]] = own[gone[slot]][:0]
        clips[slot] = Packed.of(own)
    return Inputs(clips, {}, {slot: own.present for slot, own in clips.items()})


def ready(made: Network, given: Inputs, slots: tuple[str, ...]) -> Inputs:
    vectors = {slot: made.encode(slot, given.clips[slot]).detach() for slot in slots}
    return Inputs({s: c for s, c in given.clips.items() if s not in slots}, vectors, given.present)


@both
def test_vectors_that_are_ready_are_those_of_the_encoder(missing: Missing) -> None:
    made, given = network(missing), inputs({"audio": 1})
    expected = made(given)
    for slots in (("audio",), ("text", "audio", "vision")):
        there = ready(made, given, slots)
        torch.testing.assert_close(made(there).prediction, expected.prediction, **EXACT)
        for slot in DIM:
            torch.testing.assert_close(
                made(there, without=slot).prediction, made(given, without=slot).prediction, **EXACT
            )


def test_with_zeros_a_left_out_slot_is_zeros_behind_its_encoder() -> None:
    made, given = network("zero"), inputs()
    vectors = {slot: made.encode(slot, given.clips[slot]) for slot in DIM}
    for slot in DIM:
        own = {other: value * (other != slot) for other, value in vectors.items()}
        assert made.fusion_head is not None
        torch.testing.assert_close(made(given, without=slot).prediction, made.fusion_head(own, {}), **EXACT)
    lacking = made(inputs({"audio": 1})).vectors["audio"][1]
    zeros = made.encode("audio", Packed.of([torch.zeros(1, DIM["audio"], dtype=torch.float64)]))[0]
    torch.testing.assert_close(lacking, zeros, **EXACT)  # the authors': a clip that lacks it is a frame of zeros


def test_with_tokens_a_left_out_slot_is_one_that_the_clip_lacks() -> None:
    made = network("token")
    for slot in DIM:
        left_out = made(inputs(), without=slot)
        lacking = torch.stack([made(inputs({slot: row})).prediction[row] for row in range(3)])
        torch.testing.assert_close(left_out.prediction, lacking, **EXACT)
        token = made.token(slot)
        assert token is not None
        expected = made.encode(slot, Packed.of([token.detach()[None]])).expand(3, -1)
        torch.testing.assert_close(left_out.vectors[slot], expected, **EXACT)


@both
@pytest.mark.parametrize("slots_ready", [(), ("audio",)])
def test_modality_dropout_follows_the_policy(missing: Missing, slots_ready: tuple[str, ...]) -> None:
    """Zeros: the kept are scaled by 1 / (1 - p). Tokens: nothing is scaled, the dropped are the token."""
    made = network(missing, rate=0.4, frozen=slots_ready)
    given = ready(made, inputs(), slots_ready)
    plain = {slot: made.encode(slot, inputs().clips[slot]) for slot in DIM}
    made.train()
    seen = {slot: set() for slot in DIM}  # type: ignore[var-annotated]
    for seed in range(12):
        torch.manual_seed(seed)
        output = made(given)
        for slot, vectors in output.vectors.items():
            for row, vector in enumerate(vectors):
                kept = plain[slot][row] / 0.6 if missing == "zero" else plain[slot][row]
                token = made.token(slot)
                gone = (
                    torch.zeros(6, dtype=torch.float64)
                    if token is None
                    else made.encode(slot, Packed.of([token.detach()[None]]))[0]
                )
                which = [bool(torch.allclose(vector, each, rtol=0, atol=1e-10)) for each in (kept, gone)]
                assert sum(which) == 1
                seen[slot].add(which[0])
    assert all(values == {True, False} for values in seen.values())


def test_heads_are_for_those_who_have_them() -> None:
    made, given = network("zero", heads=("audio",)), inputs()
    output = made(given)
    assert list(output.heads) == ["audio"] and output.heads["audio"].shape == (3, 6)
    torch.testing.assert_close(output.heads["audio"], made.audio_head(output.vectors["audio"]), **EXACT)  # type: ignore[operator]


def test_what_was_dropped_is_not_present() -> None:
    seen: dict[str, Tensor] = {}

    class Watching(torch.nn.Module):
        def forward(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
            seen.update(present)
            return vectors["text"]

    made = network("zero")
    made.fusion_head = Watching()  # type: ignore[assignment]
    made(inputs({"audio": 1}), without="vision")
    assert {slot: own.tolist() for slot, own in seen.items()} == {
        "text": [True] * 3, "audio": [True, False, True], "vision": [False] * 3,
    }  # fmt: skip


def test_a_network_without_fusion_has_one_slot() -> None:
    slots = {slot: SlotConfig(ENCODERS[slot], DIM[slot]) for slot in ("text", "audio")}
    with pytest.raises(ValueError, match="one slot"):
        Network(NetworkConfig(slots, 6))


@both
def test_modality_dropout_never_drops_all(missing: Missing) -> None:
    seen: dict[str, Tensor] = {}

    class Watching(torch.nn.Module):
        def forward(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
            seen.update(present)
            return vectors["text"]

    made, given = network(missing, rate=0.9), inputs()
    made.fusion_head = Watching()  # type: ignore[assignment]
    made.train()
    dropped = 0
    for seed in range(40):
        torch.manual_seed(seed)
        made(given)
        kept = torch.stack([seen[slot] for slot in DIM], dim=1)
        assert bool(kept.any(dim=1).all())
        dropped += int((~kept).sum())
    assert dropped > 40 * 3  # of 360; by chance about 240


def test_a_head_has_the_dropout_of_heads() -> None:
    torch.manual_seed(0)
    made = Network(NetworkConfig({"text": SlotConfig(Mlp(hidden=1, dropout=0.0), 3)}, 1, head_dropout=0.3)).train()
    with torch.no_grad():  # the vector is 1, and so is the head's weight
        for name, parameter in made.named_parameters():
            parameter.fill_(1.0 if name in ("text_encoder.feature.4.bias", "text_head.1.weight") else 0.0)
    clips = Packed.of(list(torch.ones(10_000, 3).split(1)))
    output = made(Inputs({"text": clips}, {}, {"text": clips.present})).prediction
    assert float((output == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(output[output != 0].unique(), torch.tensor([1 / 0.7]))
