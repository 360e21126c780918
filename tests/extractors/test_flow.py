import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.extractors.flow import STATISTICS, flow_statistics, pair_statistics


def _uniform(right: float, down: float, height: int = 30, width: int = 40) -> np.ndarray:
    return np.broadcast_to(np.float32([right, down]), (height, width, 2)).copy()


def test_a_uniform_shift() -> None:
    mean, std, top, energy, angle, spread = pair_statistics(_uniform(0.0, -2.0), 0.1)
    assert (mean, top, energy) == pytest.approx((5.0, 5.0, 25.0), rel=1e-5)  # 2 of 40 pixels in a tenth of a second
    assert angle == pytest.approx(-np.pi / 2) and (std, spread) == pytest.approx((0, 0), abs=1e-3)
    np.testing.assert_allclose(pair_statistics(_uniform(0.0, -2.0), 0.2)[:3], [2.5, 0, 2.5], atol=1e-5)


def test_statistics_against_naive_formulas() -> None:
    flow = np.random.default_rng(0).normal(0.5, 1, (12, 20, 2)).astype(np.float32)
    vectors = [complex(right, down) for right, down in flow.reshape(-1, 2)]
    unit = 100 / 20 * 0.1 / 0.08
    sizes = [abs(vector) * unit for vector in vectors]
    mean = sum(sizes) / len(sizes)
    together = abs(sum(vectors)) / sum(abs(vector) for vector in vectors)
    expected = [
        mean,
        (sum((size - mean) ** 2 for size in sizes) / len(sizes)) ** 0.5,
        max(sizes),
        sum(size**2 for size in sizes) / len(sizes),
        np.angle(sum(vectors)),
        (-2 * np.log(together)) ** 0.5,
    ]
    np.testing.assert_allclose(pair_statistics(flow, 0.08), expected, rtol=1e-4)


def test_no_movement_and_opposite_movement() -> None:
    assert not pair_statistics(_uniform(0, 0), 0.1).any()
    apart = _uniform(1, 0)
    apart[:, :20, 0] = -1
    assert pair_statistics(apart, 0.1)[5] == pytest.approx(np.pi)


def test_wild_flow_stays_in_float16() -> None:
    wild = pair_statistics(_uniform(1e6, -1e6), 0.05)
    assert np.isfinite(wild.astype(np.float16)).all()


@given(
    st.lists(st.tuples(st.floats(0.01, 0.6), st.floats(0, 50)), min_size=1, max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_temporal_statistics_against_naive_loops(steps: list[tuple[float, float]]) -> None:
    times = np.cumsum([step for step, _ in steps]).astype(np.float32)
    pairs = np.zeros((len(steps), 6), np.float32)
    pairs[:, 0] = [speed for _, speed in steps]
    values = flow_statistics(pairs, times)
    assert values.shape == (len(steps), len(STATISTICS)) and values.dtype == np.float32
    speed = pairs[:, 0].astype(np.float64)
    limit = speed.mean() + speed.std()
    for index, time in enumerate(times):
        near = np.abs(times - time) <= 0.5
        if np.isclose(np.abs(times - time), 0.5, atol=2e-3).any():
            continue  # at the very edge of the window
        assert values[index, 3] == pytest.approx(speed[near].std(), abs=1e-3)
        assert values[index, 7] == pytest.approx((speed[near] > limit).mean(), abs=1e-5)


def test_a_burst() -> None:
    pairs = np.ones((60, 6), np.float32)
    pairs[30:33, 0] = 20
    values = flow_statistics(pairs, (np.arange(60) / 10).astype(np.float32))
    burst, deviation = values[:, STATISTICS.index("burst_ratio")], values[:, STATISTICS.index("temporal_std")]
    assert burst[31] == pytest.approx(3 / 11) and burst[0] == burst[-1] == 0
    assert deviation[31] > 5 and deviation[0] == 0
