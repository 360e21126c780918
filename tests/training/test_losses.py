import numpy as np
import pytest
import torch

from abawkit.metrics import ccc
from abawkit.training.losses import ccc_mse_loss, ccc_per_target


def test_the_loss_is_equation_1() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((16, 6)), rng.random((16, 6))
    expected = 0.7 * (1 - ccc(truth, prediction).mean()) + 0.3 * ((truth - prediction) ** 2).mean()
    loss = ccc_mse_loss(torch.from_numpy(truth), torch.from_numpy(prediction), 0.7)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_a_constant_target_in_a_batch_gives_finite_gradients() -> None:
    truth = torch.zeros(16, 6, dtype=torch.float64)
    for prediction in (torch.zeros(16, 6, dtype=torch.float64), torch.rand(16, 6, dtype=torch.float64)):
        prediction.requires_grad_()
        ccc_mse_loss(truth, prediction, 0.7).backward()
        assert prediction.grad is not None and bool(torch.isfinite(prediction.grad).all())
    assert ccc_per_target(truth, torch.rand(16, 6)).tolist() == [0.0] * 6


def test_a_batch_of_one() -> None:
    loss = ccc_mse_loss(torch.tensor([[0.5]]), torch.tensor([[0.25]]), 0.7)
    assert float(loss) == pytest.approx(0.7 + 0.3 * 0.0625, abs=1e-5)
