"""The names of the ensemble methods, in the order of their simplicity; :mod:`abawkit.evaluation.combine` has them."""

from typing import Literal

Method = Literal["best", "mean", "zmean", "rank", "rweighted", "greedy-shared", "nnls", "greedy", "ridge"]
#: ``auto`` takes the simplest within one standard error of the best.
MethodChoice = Literal["auto", "best", "mean", "zmean", "rank", "rweighted", "greedy-shared", "nnls", "greedy", "ridge"]

#: Nothing of these is fitted to labels, so their own predictions of the shared clips do not flatter.
LABEL_FREE: tuple[Method, ...] = ("mean", "zmean", "rank")
