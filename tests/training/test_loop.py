"""The loop on a task whose outcome is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from abawkit.challenge import EMI
from abawkit.errors import AbawkitError
from abawkit.models.flat import flatten
from abawkit.progress import SILENT
from abawkit.training.batches import ClipData, row_batches
from abawkit.training.loop import AutogradTrainer, Fit, FitPlan, fit, predict_rows
from abawkit.training.placement import InPlace

PLAN = FitPlan("text", 30, 3, 8, 1.0, 0.7, 1e-4, 0.5, seed=3, checkpoint_seconds=0.0)


def clips(count: int, seed: int) -> ClipData:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(count, 4, generator=generator)
    truth = torch.sigmoid(text @ torch.arange(24.0).reshape(4, 6).sub(12).div(6))
    ids = tuple(f"{n:05d}" for n in range(count))
    return ClipData(ids, text, {}, truth, {"text": np.ones(count, bool)}, {})


def run(tmp_path: Path, plan: FitPlan = PLAN, lr: float = 0.05, stop_after: int | None = None) -> tuple[Fit, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.1), nn.Linear(4, 6))
    optimizer = torch.optim.AdamW(flatten([list(model.parameters())]), lr=lr)

    def stop(fitted: Fit) -> None:
        if stop_after is not None and len(fitted.history) == stop_after:
            raise KeyboardInterrupt

    fitted = fit(
        model,
        optimizer,
        AutogradTrainer(model, lambda batch: model(batch.inputs["text"]), clips(40, 1), optimizer),
        clips(20, 2),
        plan,
        EMI,
        state=tmp_path / "state.pt",
        on_epoch=stop,
        progress=SILENT,
    )
    return fitted, model


def test_it_learns_and_returns_the_best_epoch(tmp_path: Path) -> None:
    fitted, model = run(tmp_path)
    scores = [row["score"] for row in fitted.history]
    assert max(scores) > 0.8 and fitted.best_score >= max(scores) - PLAN.min_delta
    assert fitted.best_score == scores[fitted.best_epoch]
    prediction = predict_rows(model, lambda batch: model(batch.inputs["text"]), InPlace(clips(20, 2)))
    from abawkit.metrics import score

    truth = clips(20, 2).truth
    assert truth is not None
    assert score(EMI, truth.numpy(), prediction).mean_pearson == pytest.approx(fitted.best_score, abs=1e-12)


def test_it_stops_after_patience_without_improvement(tmp_path: Path) -> None:
    fitted, _ = run(tmp_path, replace(PLAN, epochs=200))
    assert len(fitted.history) - 1 - fitted.best_epoch == PLAN.patience
    assert len(fitted.history) < 200


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_fit_goes_on_to_the_same_end(tmp_path: Path, after: int) -> None:
    whole, model = run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", stop_after=after)
    again, resumed = run(tmp_path / "b")
    assert again.history == whole.history and again.best_epoch == whole.best_epoch
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_rate_falls_on_a_plateau(tmp_path: Path) -> None:
    fitted, _ = run(tmp_path, replace(PLAN, epochs=40, patience=30), lr=0.5)
    rates = [row["lr"] for row in fitted.history]
    assert rates[0] == 0.5 and min(rates) <= 0.25


def test_a_loss_that_is_not_finite_stops_with_words(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="loss of the text stage is not finite"):
        run(tmp_path, lr=1e30)


def test_a_constant_prediction_is_no_improvement(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 6)
    with torch.no_grad():
        model.weight.zero_()
    model.weight.requires_grad_(False)
    optimizer = torch.optim.SGD([model.bias], lr=0.1)
    with pytest.raises(AbawkitError, match="the prediction is constant"):
        fit(
            model,
            optimizer,
            AutogradTrainer(model, lambda batch: model(batch.inputs["text"]), clips(40, 1), optimizer),
            clips(20, 2),
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
