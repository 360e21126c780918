"""Learning-rate schedules: each is a small config that makes one of torch's schedulers, stepped once an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


class Schedule(Protocol):
    """What sets the rates of the next epoch; its state is saved with a training's."""

    def step(self, score: float) -> None:
        """Takes the validation score of the epoch that ended (nan: undefined) and sets the rates of the next one."""

    def state_dict(self) -> dict[str, Any]:
        """Returns its state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a state."""


class ScheduleConfig(Protocol):
    """The shape of a schedule."""

    def build(self, optimizer: Optimizer, epochs: int, patience: int) -> Schedule:
        """Returns a new schedule of the optimiser's rates.

        Args:
            optimizer: Its groups have their first rates.
            epochs: Most epochs of the stage.
            patience: Epochs without improvement before the stage stops.
        """


class _OnScore:
    """Torch's plateau scheduler, which takes the score."""

    def __init__(self, scheduler: ReduceLROnPlateau) -> None:
        self._scheduler = scheduler
        self.state_dict, self.load_state_dict = scheduler.state_dict, scheduler.load_state_dict

    def step(self, score: float) -> None:
        self._scheduler.step(score if math.isfinite(score) else -1.0)


class _OnEpochs:
    """A rate for each epoch, whatever the score; the groups keep their shares of it."""

    def __init__(self, scheduler: LambdaLR) -> None:
        self._scheduler = scheduler

    def step(self, score: float) -> None:
        self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in self._scheduler.state_dict().items() if key != "lr_lambdas"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scheduler.load_state_dict({**state, "lr_lambdas": [None] * len(self._scheduler.base_lrs)})


@dataclass(frozen=True)
class Plateau:
    """Multiplies the rates when the validation score has not grown for some epochs (paper Sec. 4.8).

    Attributes:
        kind: ``plateau``.
        factor: What the rates are multiplied with (paper: .5).
        patience: Epochs without a better score; None: a third of the stage's patience, at least 3 (the authors').
    """

    kind: Literal["plateau"] = "plateau"
    factor: float = 0.5
    patience: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be between 0 and 1, not {self.factor}")

    def build(self, optimizer: Optimizer, epochs: int, patience: int) -> Schedule:
        """Returns a new schedule."""
        own = max(3, patience // 3) if self.patience is None else self.patience
        return _OnScore(ReduceLROnPlateau(optimizer, mode="max", factor=self.factor, patience=own))


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up, then half a cosine down to zero over the stage's epochs.

    Attributes:
        kind: ``cosine``.
        warmup: Epochs of warm-up.
    """

    kind: Literal["cosine"] = "cosine"
    warmup: int = 1

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise ValueError(f"warmup must be at least 0, not {self.warmup}")

    def build(self, optimizer: Optimizer, epochs: int, patience: int) -> Schedule:
        """Returns a new schedule."""

        def share(epoch: int) -> float:
            if epoch < self.warmup:
                return (epoch + 1) / (self.warmup + 1)
            return 0.5 * (1 + math.cos(math.pi * (epoch - self.warmup) / max(1, epochs - self.warmup)))

        return _OnEpochs(LambdaLR(optimizer, share))


@dataclass(frozen=True)
class Constant:
    """The same rates in every epoch."""

    kind: Literal["constant"] = "constant"

    def build(self, optimizer: Optimizer, epochs: int, patience: int) -> Schedule:
        """Returns a new schedule."""
        return _OnEpochs(LambdaLR(optimizer, lambda epoch: 1.0))


@dataclass(frozen=True)
class Replay:
    """The rates that an earlier training had: what a refit follows.

    Attributes:
        rates: Rate of the first parameter group in each epoch; the others keep their shares of it.
    """

    rates: Sequence[float]

    def build(self, optimizer: Optimizer, epochs: int, patience: int) -> Schedule:
        """Returns a new schedule."""
        base = optimizer.param_groups[0]["lr"]
        return _OnEpochs(LambdaLR(optimizer, lambda epoch: self.rates[min(epoch, len(self.rates) - 1)] / base))


#: What a system can name.
KINDS: tuple[type, ...] = (Plateau, Cosine, Constant)
