"""Statistics of optical flow: how much, and in which direction, a picture moves (paper, Sec. 4.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Columns of :func:`flow_statistics`.
STATISTICS = (
    "magnitude_mean",
    "magnitude_std",
    "magnitude_max",
    "temporal_std",
    "energy",
    "angle_mean",
    "angle_std",
    "burst_ratio",
)

#: Width of the centred window of the temporal statistics (s).
WINDOW_SECONDS = 1.0


def pair_statistics(flow: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    """Returns the six statistics that one pair of frames has by itself, ``float32 [6]``.

    Args:
        flow: Displacements (right, down) in pixels, ``float32 [H, W, 2]``.
        seconds: Time between the frames, above 0.

    In order: magnitude mean, standard deviation and maximum over the pixels, energy (mean of the squared
    magnitude), angle mean and angle standard deviation. Magnitude is a speed: percent of the picture's longer
    side per tenth of a second, so that neither size nor frame rate matters; a displacement counts for one longer
    side at most. Angles are circular and weighted with the magnitude: with R the length of the mean of
    ``m exp(iθ)`` over the mean of m, the mean is its direction in radians (-π to π; 0 right, π/2 down), the
    deviation ``sqrt(-2 ln R)``, at most π. Without any movement all six are 0.

    >>> pair_statistics(np.full((4, 10, 2), (1.0, 0.0), np.float32), 0.1).tolist()
    [10.0, 0.0, 10.0, 100.0, 0.0, 0.0]
    """
    longer = max(flow.shape[:2])
    moved = flow.reshape(-1, 2)
    length = np.sqrt(np.square(moved).sum(axis=1))
    total = length.sum(dtype=np.float64)
    if total == 0:
        return np.zeros(6, np.float32)
    speed = np.minimum(length, longer) * np.float32(10 / (longer * seconds))
    right, down = moved.sum(axis=0, dtype=np.float64)
    together = min(1.0, float(np.hypot(right, down) / total))
    spread = min(np.pi, float(np.sqrt(2 * abs(np.log(max(together, 1e-9))))))
    return np.array(
        [speed.mean(), speed.std(), speed.max(), np.square(speed).mean(), np.arctan2(down, right), spread], np.float32
    )


def flow_statistics(pairs: NDArray[np.float32], times: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the eight statistics of every pair of frames, ``float32 [T, 8]``, columns as :data:`STATISTICS`.

    Args:
        pairs: :func:`pair_statistics` of each pair, ``float32 [T, 6]``.
        times: Seconds of each pair's later frame, ``float32 [T]``, increasing.

    The temporal ones are computed over the pairs within half a second before and after (both ends included): temporal
    std is the standard deviation of their magnitude means; burst ratio the share of them whose magnitude mean is more
    than one standard deviation above the mean, both over all pairs of the clip (0 to 1).

    >>> flow_statistics(np.zeros((1, 6), np.float32), np.zeros(1, np.float32)).shape
    (1, 8)
    """
    speed = pairs[:, 0].astype(np.float64)
    burst = speed > speed.mean() + speed.std()
    moments = np.stack([np.ones_like(speed), speed, np.square(speed), burst])
    sums = np.pad(np.cumsum(moments, axis=1), ((0, 0), (1, 0)))
    # A thousandth of a second for times that were rounded.
    half = WINDOW_SECONDS / 2 + 1e-3
    start, stop = np.searchsorted(times, times - half), np.searchsorted(times, times + half)
    count, first, second, bursts = sums[:, stop] - sums[:, start]
    deviation = np.sqrt(np.maximum(0, second / count - np.square(first / count)))
    mean, std, top, energy, angle, angle_std = pairs.T
    columns = [mean, std, top, deviation, energy, angle, angle_std, bursts / count]
    return np.stack(columns, axis=1).astype(np.float32)
