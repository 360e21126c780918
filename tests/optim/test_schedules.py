"""Rates from epoch to epoch, by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abawkit.optim.schedules import Constant, Cosine, Plateau, Replay

NAN = float("nan")
SCORES = [0.1, 0.2, 0.2, 0.2, NAN, 0.2, 0.19, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]


def rates(config: Any, scores: list[float] = SCORES, *, resume_after: int | None = None) -> list[list[float]]:
    """The rates of two groups in each epoch; the state can be carried to new objects after some epochs."""

    def fresh() -> tuple[torch.optim.Optimizer, Any]:
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.005)]
        optimizer = torch.optim.AdamW(groups)
        return optimizer, config.build(optimizer, len(scores), 10)

    optimizer, schedule = fresh()
    found = []
    for epoch, score in enumerate(scores):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step(score)
        if epoch == resume_after:
            state = optimizer.state_dict(), schedule.state_dict()
            optimizer, schedule = fresh()
            optimizer.load_state_dict(state[0])
            schedule.load_state_dict(state[1])
    return found


def test_plateau_halves_after_four_epochs_without_a_better_score() -> None:
    """max(3, 10 // 3) = 3 epochs are waited for; a score of nan is not better."""
    found = [first for first, _ in rates(Plateau())]
    assert found == pytest.approx([0.1] * 6 + [0.05] * 6 + [0.025])
    assert [second for _, second in rates(Plateau())] == pytest.approx([rate / 20 for rate in found])
    assert [first for first, _ in rates(Plateau(factor=0.1, patience=0))][3] == pytest.approx(0.01)


def test_cosine_warms_up_and_falls_to_nothing() -> None:
    found = [first for first, _ in rates(Cosine(warmup=2))]
    expected = [0.1 / 3, 0.2 / 3] + [0.05 * (1 + math.cos(math.pi * e / 11)) for e in range(11)]
    assert found == pytest.approx(expected)


def test_constant_and_replay() -> None:
    assert rates(Constant()) == [[0.1, 0.005]] * len(SCORES)
    wanted = [0.1 / (epoch + 1) for epoch in range(len(SCORES))]
    found = rates(Replay(wanted), [NAN] * len(SCORES))
    assert [first for first, _ in found] == pytest.approx(wanted)
    assert [second for _, second in found] == pytest.approx([rate / 20 for rate in wanted])


@pytest.mark.parametrize("config", [Plateau(), Cosine(), Constant(), Replay([0.3, 0.2, 0.1])])
@pytest.mark.parametrize("after", [0, 5])
def test_a_saved_state_continues_the_same(config: Any, after: int) -> None:
    assert rates(config, resume_after=after) == rates(config)


@pytest.mark.parametrize("make", [lambda: Plateau(factor=1.0), lambda: Cosine(warmup=-1)])
def test_what_cannot_be_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()


@given(st.lists(st.sampled_from([0.1, 0.2, 0.200001, 0.3, 0.4, NAN]), min_size=1, max_size=40), st.integers(1, 30))
def test_plateau_is_a_loop(tail: list[float], patience: int) -> None:
    """From a first score above zero; better is more than 1e-4 of the best."""
    scores = [0.15, *tail]
    wait, best, bad, rate, expected = max(3, patience // 3), -math.inf, 0, 0.1, []
    for score in scores:
        expected.append(rate)
        if score > best * 1.0001 or best == -math.inf:
            best, bad = score, 0
        else:
            bad += 1
        if bad > wait:
            rate, bad = rate / 2, 0
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, found = Plateau().build(optimizer, len(scores), patience), []
    for score in scores:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(score)
    assert found == pytest.approx(expected)


def test_replay_gives_its_rates_whatever_the_base() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.4, 0.04)]
    optimizer = torch.optim.SGD(groups)
    schedule = Replay([0.3, 0.1]).build(optimizer, 2, 10)
    found = []
    for _ in range(2):
        found += [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        schedule.step(NAN)
    assert found == pytest.approx([0.3, 0.03, 0.1, 0.01])
