"""In half precision the forward pass, in float32 the loss."""

import pytest
import torch

from abawkit.models.clips import Packed
from abawkit.models.network import Inputs, Network
from abawkit.optim.losses import CccMse, total_loss
from abawkit.optim.precision import Precision, autocast, in_dtype
from abawkit.systems.loader import load_system
from tests import plain


def test_bfloat16_is_for_the_forward_pass_only() -> None:
    network = Network(load_system("F1").network("text", {"text": 3}, 6)).eval()
    clips = Packed.of(list(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).split(1)))
    inputs = Inputs({"text": clips}, {}, {"text": clips.present})
    plain = network(inputs)
    assert in_dtype(plain, torch.float32) is plain
    with autocast("float32", torch.device("cpu")):
        assert torch.equal(network(inputs).prediction, plain.prediction)
    with autocast("bfloat16", torch.device("cpu")):
        half = network(inputs)
    assert half.prediction.dtype == torch.bfloat16
    back = in_dtype(half, torch.float32)
    assert {each.dtype for each in (back.prediction, *back.heads.values(), *back.vectors.values())} == {torch.float32}
    torch.testing.assert_close(back.prediction, plain.prediction, rtol=0, atol=0.05)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_loss_of_a_half_precise_prediction_is_float32(precision: Precision) -> None:
    network = Network(load_system("F1").network("text", {"text": 3}, 6)).eval()
    clips = Packed.of(list(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).split(1)))
    truth = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))
    with autocast(precision, torch.device("cpu")):
        half = network(Inputs({"text": clips}, {}, {"text": clips.present}))
    assert half.prediction.dtype == getattr(torch, precision)
    loss = total_loss([CccMse()], in_dtype(half, torch.float32), truth, {})
    assert loss.dtype == torch.float32
    expected = plain.loss(truth.double(), half.prediction.detach().double(), 0.7)
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())
