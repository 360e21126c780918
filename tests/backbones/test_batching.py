import warnings
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.backbones.batching import Computing, batches, computing, forward
from abawkit.errors import AbawkitError


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50)), st.integers(1, 120), st.booleans())
def test_batches_hold_every_item_once_within_the_budget(lengths: list[int], budget: int, equal: bool) -> None:
    made = batches(lengths, budget=budget, equal=equal)
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        inside = [lengths[index] for index in batch]
        assert len(batch) == 1 or len(batch) * max(inside) <= budget
        assert not equal or len(set(inside)) == 1
    assert made == batches(lengths, budget=budget, equal=equal)


def test_full_device_halves_the_batch() -> None:
    sizes: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [item * 10 for item in batch]

    how = Computing()
    assert forward(run, [1, 2, 3, 4, 5], how) == [10, 20, 30, 40, 50]
    assert sizes == [5, 2, 3, 1, 2]
    assert forward(run, [6, 7, 8, 9], how) == [60, 70, 80, 90]
    assert sizes[5:] == [2, 2]  # what did not fit is not tried again


def test_what_is_computed_is_not_recorded_and_nobody_talks(capsys: pytest.CaptureFixture[str]) -> None:
    matrix = torch.ones(2, 2, requires_grad=True)
    with computing(Computing(precision="bfloat16")):
        made = matrix @ matrix
        warnings.warn("chatter", stacklevel=1)
    assert made.dtype == torch.bfloat16 and made.is_inference()
    with computing(Computing()):
        assert (matrix @ matrix).dtype == torch.float32
    assert (matrix @ matrix).requires_grad and capsys.readouterr() == ("", "")


def test_a_single_item_that_does_not_fit() -> None:
    def run(_: Sequence[int]) -> list[int]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(AbawkitError, match="too little memory"):
        forward(run, [1, 2], Computing())


def test_other_errors_are_not_hidden() -> None:
    def run(_: Sequence[int]) -> list[int]:
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        forward(run, [1, 2], Computing())
