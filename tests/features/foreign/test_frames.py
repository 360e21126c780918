"""The forms in which teams keep one clip's features."""

from typing import Any

import numpy as np
import pytest

from abawkit.errors import AbawkitError
from abawkit.features.foreign.frames import frames_of
from abawkit.features.foreign.pickles import Refused

FRAMES = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
ONE_FRAME = "a single vector is taken as one frame"
SCORES = "[features, scores]: the scores are left aside"
AXIS = "an axis of length 1 before the frames is removed"
WHOLE = "whole numbers are stored as floating-point numbers"


@pytest.mark.parametrize(
    ("value", "expected", "remarks"),
    [
        (FRAMES, FRAMES, ()),
        (FRAMES[0], FRAMES[:1], (ONE_FRAME,)),
        (FRAMES[None], FRAMES, (AXIS,)),
        (FRAMES[None, None], FRAMES, (AXIS,)),
        (FRAMES[:1], FRAMES[:1], ()),
        (FRAMES[:1, None], FRAMES[:1], (AXIS,)),
        (FRAMES.astype(int), FRAMES, (WHOLE,)),
        ([FRAMES, np.ones(3)], FRAMES, (SCORES,)),
        ((FRAMES, np.ones((1, 3))), FRAMES, (SCORES,)),
        ([FRAMES[None], np.ones((1, 3))], FRAMES, (SCORES, AXIS)),
        ([FRAMES, 0.5], FRAMES, (SCORES,)),
        ([FRAMES[0], np.ones(3)], FRAMES[:1], (SCORES, ONE_FRAME)),
        ([FRAMES.tolist(), [0.1, 0.2]], FRAMES, (SCORES,)),
        ([FRAMES], FRAMES, ()),
        (list(FRAMES), FRAMES, ()),
        (list(FRAMES[:2]), FRAMES[:2], ()),  # two vectors of one length are two frames
        ([row[None] for row in FRAMES], FRAMES, ()),
        (FRAMES.tolist(), FRAMES, ()),
        (FRAMES[0].tolist(), FRAMES[:1], (ONE_FRAME,)),
        ({"anything": FRAMES}, FRAMES, ()),
        ({"scores": np.ones(3), "features": FRAMES}, FRAMES, ("the entry 'features' is taken",)),
        ({"arr_0": FRAMES, "arr_1": np.ones(3)}, FRAMES, (SCORES,)),
        (np.zeros((0, 4)), np.zeros((0, 4)), ()),
    ],
    ids=range(23),
)
def test_forms(value: Any, expected: Any, remarks: tuple[str, ...]) -> None:
    found = frames_of(value)
    np.testing.assert_array_equal(found.values, expected)
    assert found.remarks == remarks


SHARED = [1.0] * 1000
BOMB = [SHARED] * 1000
A_MILLION = np.zeros(10**6)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.array(3.0), "not frames"),
        (np.zeros((3, 0)), "not frames"),
        (np.zeros((2, 3, 4)), "not frames"),
        (np.array([[1, np.nan]]), "1 of 2 values are not finite"),
        (np.array([[1, np.inf]]), "not finite"),
        (np.array(["a"]), "an array of text"),
        (np.array([True]), "true/false"),
        (Refused("an array of dates"), "an array of dates"),
        ([Refused("an array of dates"), np.ones(3)], "an array of dates"),
        ([], "empty list"),
        ({}, "several arrays"),
        ({"a": FRAMES, "b": FRAMES}, "none called features"),
        ([np.ones(3), FRAMES], "a list of 2 arrays"),
        ([FRAMES, FRAMES], "a list of 2 arrays"),
        ([FRAMES, FRAMES[:2], np.ones(3)], "a list of 3 arrays"),
        ([[1, 2], [3]], None),
        ([[1, "a"]], "more than numbers"),
        ([1, True], "more than numbers"),
        ([10**400], "too large"),
        ("text", "something of type str"),
        (None, "something of type NoneType"),
        ([None], "something of type NoneType"),
        ([A_MILLION] * 1000, "far longer"),
        ([BOMB] * 1000, "far longer"),
    ],
    ids=range(24),
)
def test_forms_that_are_refused(value: Any, match: str | None) -> None:
    if match is None:  # [1, 2] and the score 3
        assert frames_of(value).remarks == (SCORES, ONE_FRAME)
    else:
        with pytest.raises(AbawkitError, match=match):
            frames_of(value)
