"""The loop on a task whose outcome is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from abawkit.challenge import EMI
from abawkit.errors import AbawkitError
from abawkit.metrics import score
from abawkit.models.encoders.pooled import Linear
from abawkit.models.network import Network, NetworkConfig, SlotConfig
from abawkit.optim.losses import CccMse
from abawkit.optim.optimizer import adamw, parameter_groups
from abawkit.optim.schedules import Cosine, Plateau, Replay
from abawkit.progress import SILENT
from abawkit.training.batches import ClipData, row_batches
from abawkit.training.loop import Fit, FitPlan, fit, predict_rows
from abawkit.training.placement import InPlace

PLAN = FitPlan("text", 30, 3, 8, [CccMse()], Plateau(), seed=3, checkpoint_seconds=0.0)


def clips(count: int, seed: int) -> ClipData:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(count, 4, generator=generator)
    truth = torch.sigmoid(text @ torch.arange(24.0).reshape(4, 6).sub(12).div(6))
    ids = tuple(f"{n:05d}" for n in range(count))
    return ClipData(ids, {"text": list(text.split(1))}, truth, {"text": np.ones(count, bool)}, {})


def linear(dropout: float = 0.1) -> Network:
    torch.manual_seed(0)
    return Network(NetworkConfig({"text": SlotConfig(Linear(hidden=8), 4)}, 6, head_dropout=dropout))


def run(tmp_path: Path, plan: FitPlan = PLAN, lr: float = 0.05, stop_after: int | None = None) -> tuple[Fit, Network]:
    network = linear()

    def stop(fitted: Fit) -> None:
        if stop_after is not None and len(fitted.history) == stop_after:
            raise KeyboardInterrupt

    fitted = fit(
        network,
        adamw(parameter_groups(network, lr=lr), 1e-2),
        InPlace(clips(40, 1)),
        InPlace(clips(20, 2)),
        plan,
        EMI,
        state=tmp_path / "state.pt",
        on_epoch=stop,
        progress=SILENT,
    )
    return fitted, network


def predicted(network: Network, data: ClipData) -> Any:
    return predict_rows(network, lambda batch: network(batch.inputs).prediction, InPlace(data))


def test_it_learns_and_returns_the_best_epoch(tmp_path: Path) -> None:
    fitted, network = run(tmp_path)
    scores = [row["score"] for row in fitted.history]
    # A linear task with 40 clips: whatever the processor, it is learned far beyond chance (.8 is its usual score).
    assert max(scores) > 0.5 and fitted.best_score >= max(scores) - PLAN.min_delta
    assert fitted.best_score == scores[fitted.best_epoch]
    truth = clips(20, 2).truth
    assert truth is not None
    again = score(EMI, truth.numpy(), predicted(network, clips(20, 2))).mean_pearson
    assert again == pytest.approx(fitted.best_score, abs=1e-6)


def test_it_stops_after_patience_without_improvement(tmp_path: Path) -> None:
    fitted, _ = run(tmp_path, replace(PLAN, epochs=200))
    assert len(fitted.history) - 1 - fitted.best_epoch == PLAN.patience
    assert len(fitted.history) < 200


VARIANTS = {
    "the paper's": PLAN,
    "EMA": replace(PLAN, ema=0.9),
    "cosine": replace(PLAN, schedule=Cosine(warmup=2)),
    "accumulated": replace(PLAN, accumulate=3),
    "bfloat16": replace(PLAN, precision="bfloat16"),
    "replayed": replace(PLAN, schedule=Replay([0.05, 0.02, 0.01, 0.03, 0.01, 0.005, 0.001]), epochs=7),
}


@pytest.mark.parametrize("after", [1, 4])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_an_interrupted_fit_continues_to_the_same_end(tmp_path: Path, name: str, after: int) -> None:
    plan = VARIANTS[name]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    expected, network = run(tmp_path / "a", plan)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", plan, stop_after=after)
    again, resumed = run(tmp_path / "b", plan)
    assert again.history == expected.history and again.best_epoch == expected.best_epoch
    for key, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_what_ema_scores_is_what_it_leaves(tmp_path: Path) -> None:
    fitted, network = run(tmp_path, VARIANTS["EMA"])
    (tmp_path / "plain").mkdir()
    _, other = run(tmp_path / "plain", PLAN)
    assert not torch.equal(network.state_dict()["text_head.1.weight"], other.state_dict()["text_head.1.weight"])
    truth = clips(20, 2).truth
    assert truth is not None
    again = score(EMI, truth.numpy(), predicted(network, clips(20, 2))).mean_pearson
    assert again == pytest.approx(fitted.best_score, abs=1e-6)


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    """Two batches of 20 with a loss that averages over clips have the gradient of one batch of 40."""
    from abawkit.optim.losses import Mse

    made = []
    for name, size, accumulate in (("whole", 40, 1), ("halves", 20, 2)):
        (tmp_path / name).mkdir()
        plan = replace(PLAN, loss=[Mse()], batch_size=size, accumulate=accumulate, epochs=1, seed=3)
        network = linear(dropout=0.0)
        fit(
            network,
            torch.optim.SGD(network.parameters(), lr=0.1),
            InPlace(clips(40, 1)),
            InPlace(clips(20, 2)),
            replace(plan, clip_norm=1e9),
            EMI,
            state=tmp_path / name / "state.pt",
            on_epoch=lambda _: None,
            progress=SILENT,
        )
        made.append(network.state_dict())
    for key, value in made[0].items():
        torch.testing.assert_close(made[1][key], value, rtol=1e-5, atol=1e-6)


def test_the_rate_falls_on_a_plateau(tmp_path: Path) -> None:
    fitted, _ = run(tmp_path, replace(PLAN, epochs=40, patience=30), lr=0.5)
    rates = [row["lr"] for row in fitted.history]
    assert rates[0] == 0.5 and min(rates) <= 0.25


def test_a_loss_that_is_not_finite_stops_with_words(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="loss of the text stage is not finite"):
        run(tmp_path, lr=1e30)


def test_a_constant_prediction_is_not_an_improvement(tmp_path: Path) -> None:
    network = linear()
    with torch.no_grad():
        network.text_head[1].weight.zero_()  # type: ignore[index, union-attr]
    with pytest.raises(AbawkitError, match="the prediction is constant"):
        fit(
            network,
            torch.optim.SGD([network.text_head[1].bias], lr=0.1),  # type: ignore[index, union-attr]
            InPlace(clips(40, 1)),
            InPlace(clips(20, 2)),
            replace(PLAN, epochs=2),
            EMI,
            state=tmp_path / "state.pt",
            on_epoch=lambda fitted: None,
            progress=SILENT,
        )


def test_batches_cover_every_row_once_and_follow_their_seed() -> None:
    first, again, other = (list(row_batches(37, 8, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(row for rows in first for row in rows) == list(range(37)) and len(first[-1]) == 5
