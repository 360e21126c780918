import numpy as np

from abawkit.media.canvas import fill


def test_the_last_polygon_is_on_top_and_edges_are_smooth() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    below = np.array([[5, 5], [30, 5], [30, 30], [5, 30]])
    above = np.array([[10.5, 10.5], [20.5, 10.5], [10.5, 20.5]])
    fill(picture, np.vstack([below, above]), (4, 7), [(200, 0, 0), (0, 0, 200)])
    assert picture[28, 28].tolist() == [200, 0, 0]
    assert picture[12, 12].tolist() == [0, 0, 200]
    assert not picture[35:, 35:].any()
    assert len(np.unique(picture[..., 2])) > 3  # the slanted edge is mixed


def test_a_shape_outside_changes_nothing() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    fill(picture, np.array([[20.0, 20.0], [30.0, 20.0], [30.0, 30.0]]), (3,), [(255, 255, 255)])
    assert not picture.any()
