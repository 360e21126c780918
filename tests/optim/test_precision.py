"""In half precision the forward pass, in float32 the loss."""

import torch

from abawkit.models.clips import Packed
from abawkit.models.network import Inputs, Network
from abawkit.optim.precision import autocast, in_dtype
from abawkit.systems.loader import load_system


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
