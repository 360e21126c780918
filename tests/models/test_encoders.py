"""What every kind of encoder keeps, and recurrent and convolutional ones against other forms of them, in float64."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from abawkit.models.clips import GROUP_FRAMES, Packed, in_order
from abawkit.models.encoders import KINDS, Encoder
from abawkit.models.encoders.convolution import Tcn
from abawkit.models.encoders.pooled import Mean, MeanStd, Mlp, Statistics
from abawkit.models.encoders.recurrent import Gru, Lstm
from abawkit.models.pooling import attention_pool, statistics

DIM = 5
LENGTHS = [4, 1, 0, 7, 3000, 3]
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-10}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def frames(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, DIM, generator=generator, dtype=torch.float64) for n in lengths]


def built(config: Any) -> Encoder:
    torch.manual_seed(1)
    encoder: Encoder = config.build(DIM).double().eval()
    return encoder


def clips_for(kind: type, lengths: Sequence[int] = LENGTHS) -> list[Tensor]:
    return frames([min(n, 1) for n in lengths] if kind is Mlp else lengths)


@every_kind
def test_a_clip_does_not_depend_on_its_batch(kind: type) -> None:
    encoder, clips = built(kind(hidden=6)), clips_for(kind)
    together = encoder(Packed.of(clips))
    assert together.shape == (len(clips), encoder.size) and bool(torch.isfinite(together).all())
    order = [5, 3, 0, 4, 2, 1]
    torch.testing.assert_close(encoder(Packed.of([clips[row] for row in order])), together[order], **EXACT)
    for row, clip in enumerate(clips):
        torch.testing.assert_close(encoder(Packed.of([clip])), together[[row]], **EXACT)
        torch.testing.assert_close(encoder(Packed.joined([clip])), together[[row]], **EXACT)


@every_kind
def test_an_absent_clip_is_one_filler_frame(kind: type) -> None:
    encoder, clips = built(kind(hidden=6)), clips_for(kind, [3, 0, 2])
    zero = encoder(Packed.of([torch.zeros(1, DIM, dtype=torch.float64)]))
    torch.testing.assert_close(encoder(Packed.of(clips))[[1]], zero, **EXACT)
    filler = torch.randn(DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    expected = encoder(Packed.of([filler.detach()[None]]))
    packed = Packed.of(clips)
    filled = Packed(packed.frames, packed.present, filler)
    torch.testing.assert_close(encoder(filled)[[1]], expected, **EXACT)
    marked = encoder(filled.without(torch.tensor([True, False, False])))  # its frames count no more
    torch.testing.assert_close(marked[[0, 1]], expected.expand(2, -1), **EXACT)
    torch.testing.assert_close(marked[2], encoder(packed)[2], **EXACT)
    (gradient,) = torch.autograd.grad(encoder(filled).square().sum(), filler)
    assert float(gradient.abs().max()) > 0


@every_kind
@pytest.mark.parametrize("change", [{"hidden": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_sizes_that_cannot_be_are_refused(kind: Any, change: dict[str, Any]) -> None:
    if set(change) <= set(kind.__dataclass_fields__):
        with pytest.raises(ValueError, match=next(iter(change))):
            kind(**change)


@pytest.mark.parametrize("name", ["mean", "mean_std", "statistics", "attention", "linear"])
def test_the_order_of_frames_is_for_recurrent_kinds_only(name: str) -> None:
    (kind,) = [kind for kind in KINDS if kind().kind == name]
    encoder, clips = built(kind(hidden=6)), frames([4, 9])
    turned = [clip.flip(0) for clip in clips]
    torch.testing.assert_close(encoder(Packed.of(clips)), encoder(Packed.of(turned)), **EXACT)


def test_the_mlp_takes_one_frame() -> None:
    with pytest.raises(ValueError, match="several frames"):
        built(Mlp(hidden=3))(Packed.of(frames([1, 2])))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_statistics_are_those_of_numpy(dtype: torch.dtype) -> None:
    clips = [clip.to(dtype) for clip in frames([4, 1, 0, 30])]
    names = ["mean", "std", "min", "max"]
    ours = statistics(Packed.of(clips), names, torch.float64).numpy()
    for row, clip in enumerate(clips):
        values = clip.double().numpy() if len(clip) else np.zeros((1, DIM))
        expected = [values.mean(0), values.std(0), values.min(0), values.max(0)]
        np.testing.assert_allclose(ours[row], np.concatenate(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("config", [Gru, Lstm])
def test_recurrent_encoders_are_torchs_packed_ones(config: Any, bidirectional: bool, layers: int, pooling: Any) -> None:
    """Padded in groups, two networks for two directions: the same as torch's own packed sequences."""
    lengths = [4, 1, 30, 7, 3]
    encoder = built(config(hidden=6, layers=layers, bidirectional=bidirectional, pooling=pooling))
    network = config.network(DIM, 6, layers, bidirectional=bidirectional, batch_first=True).double()
    for level in range(layers):
        for part, suffix in ((encoder.forwards, ""), (encoder.backwards, "_reverse")):  # type: ignore[union-attr]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if len(part) else ():  # type: ignore[arg-type]
                own = getattr(part[level], f"{name}_l0")  # type: ignore[index]
                getattr(network, f"{name}_l{level}{suffix}").data.copy_(own)
    clips = frames(lengths)
    packed = nn.utils.rnn.pack_sequence(clips, enforce_sorted=False)
    states, last = network(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    if pooling == "last":
        top = (last[0] if isinstance(last, tuple) else last)[-2 if bidirectional else -1 :]  # [directions, B, H]
        expected = top.transpose(0, 1).flatten(1)
    else:
        rows = []
        for row, n in enumerate(lengths):
            own = padded[row, :n]
            scores = encoder.attn(own)[:, 0] if pooling == "attention" else torch.zeros(n, dtype=torch.float64)  # type: ignore[operator]
            rows.append(torch.softmax(scores, 0) @ own)
        expected = torch.stack(rows)
    torch.testing.assert_close(encoder(Packed.of(clips)), expected, **EXACT)


def test_dropout_is_between_layers_only() -> None:
    one, two = (Gru(hidden=6, layers=layers, dropout=0.9).build(DIM).double().train() for layers in (1, 2))
    clips = Packed.of(frames([5, 5]))
    assert torch.equal(one(clips), one(clips)) and not torch.equal(two(clips), two(clips))


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_tcn_is_its_formula(pooling: Any) -> None:
    encoder = built(Tcn(hidden=4, levels=3, kernel=3, pooling=pooling))
    own = {name: value.detach().numpy() for name, value in encoder.named_parameters()}
    (clip,) = frames([11])
    x = clip.numpy() @ own["proj.weight"].T + own["proj.bias"]
    for level in range(3):
        weight, bias = own[f"blocks.{level}.weight"], own[f"blocks.{level}.bias"]
        new = np.zeros_like(x)
        for t in range(len(x)):
            for tap in range(3):
                past = t - (2 - tap) * 2**level
                if past >= 0:
                    new[t] += weight[:, :, tap] @ x[past]
            new[t] += bias
        summed = x + torch.nn.functional.gelu(torch.from_numpy(new)).numpy()
        centred = summed - summed.mean(1, keepdims=True)
        x = (
            centred / np.sqrt(summed.var(1, keepdims=True) + 1e-5) * own[f"norms.{level}.weight"]
            + own[f"norms.{level}.bias"]
        )
    expected = x.mean(0) if pooling == "mean" else x[-1]
    np.testing.assert_allclose(encoder(Packed.of([clip])).detach().numpy()[0], expected, rtol=0, atol=1e-10)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_groups_hold_every_clip_once_and_pad_little(lengths: list[int]) -> None:
    clips = [torch.full((n, 2), float(row + 1)) for row, n in enumerate(lengths)]
    groups = list(Packed.of(clips).groups(torch.float64))
    assert sorted(row for group in groups for row in group.rows) == list(range(len(lengths)))
    for group in groups:
        real = [max(1, lengths[row]) for row in group.rows]
        assert group.lengths.tolist() == real and group.frames.shape[1] == max(real)
        assert group.frames.shape[1] * len(real) <= 2 * sum(real)
        assert len(real) == 1 or group.frames.shape[1] * len(real) <= GROUP_FRAMES
        for place, row in enumerate(group.rows):
            own = group.frames[place][group.mask[place]]
            assert own.tolist() == [[float(row + 1) if lengths[row] else 0.0] * 2] * real[place]
    values = in_order([group.rows for group in groups], [group.frames[:, 0, 0] for group in groups])
    assert values.tolist() == [float(row + 1) if n else 0.0 for row, n in enumerate(lengths)]


def test_the_tcn_is_causal_and_its_last_frame_is_the_clips_own() -> None:
    encoder, clips = built(Tcn(hidden=4, levels=3, pooling="last")), frames([11, 7])  # one group: 7 is padded to 11
    ends = torch.cat([encoder(Packed.of([clip])) for clip in clips])
    torch.testing.assert_close(encoder(Packed.of(clips)), ends, **EXACT)
    (group,) = Packed.of(clips).groups(torch.float64)
    assert group.lengths.tolist() == [11, 7]
    later = clips[0].clone()
    later[7:] += 100.0
    states = []
    for clip in (clips[0], later):  # what the last norm gives: a state for each frame
        hook = encoder.norms[-1].register_forward_hook(lambda module, given, made: states.append(made[0]))  # type: ignore[index, union-attr, operator]
        encoder(Packed.of([clip]))
        hook.remove()
    torch.testing.assert_close(states[0][:7], states[1][:7], **EXACT)
    assert not torch.allclose(states[0][7:], states[1][7:])


def test_the_tcn_has_dropout_in_training() -> None:
    encoder = Tcn(hidden=6, dropout=0.9).build(DIM).double().train()
    clips = Packed.of(frames([5, 5]))
    assert not torch.equal(encoder(clips), encoder(clips))
    assert torch.equal(encoder.eval()(clips), encoder(clips))


@pytest.mark.parametrize("lengths", [[9000] * 5, [20_000, 20_000, 17_000, 5]])
def test_a_group_of_several_clips_is_limited(lengths: list[int]) -> None:
    groups = list(Packed.of([torch.ones(n, 1) for n in lengths]).groups(torch.float32))
    assert sorted(row for group in groups for row in group.rows) == list(range(len(lengths)))
    assert all(len(group.rows) == 1 or group.frames[:, :, 0].numel() <= GROUP_FRAMES for group in groups)


def test_vectors_of_joined_clips_are_those_of_clips_where_they_lie() -> None:
    clips = frames([1, 0, 1, 1])
    for packed in (Packed.of(clips), Packed.joined(clips)):
        expected = torch.cat([clip if len(clip) else torch.zeros(1, DIM, dtype=torch.float64) for clip in clips])
        torch.testing.assert_close(packed.vectors(torch.float64), expected, **EXACT)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, Mean | MeanStd | Statistics)])
def test_pooled_kinds_project_their_statistics_in_order(kind: Any) -> None:
    encoder, (clip,) = built(kind(hidden=6)), frames([9])
    values = clip.numpy()
    every = [values.mean(0), values.std(0), values.min(0), values.max(0)][: len(kind.names)]
    expected = encoder.proj(torch.from_numpy(np.concatenate(every))[None])  # type: ignore[operator]
    torch.testing.assert_close(encoder(Packed.of([clip])), expected, **EXACT)


def test_the_buffer_of_conversions_grows_and_outlives_inference_mode() -> None:
    """In a thread of its own, whose buffer is new."""

    def run() -> list[Tensor]:
        with torch.inference_mode():
            first = statistics(Packed.of([torch.ones(2, 3).half()]), ["mean"], torch.float32)
        found = [first]
        for length in (2, 50):  # in the buffer that there is, then in a larger one
            weight = torch.zeros(3, requires_grad=True)
            pooled = attention_pool(Packed.of([torch.full((length, 3), 2.0).half()]), weight, torch.zeros(()))
            found += [pooled.detach(), *torch.autograd.grad(pooled.sum(), weight)]
        return found

    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(run).result()
    for values, expected in zip(found, (1.0, 2.0, 0.0, 2.0, 0.0), strict=True):
        torch.testing.assert_close(values, torch.full_like(values, expected), rtol=0, atol=1e-4)
