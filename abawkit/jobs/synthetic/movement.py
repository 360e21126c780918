"""How the head moves: nods, shakes, sways, bounces and jolts, whose strengths follow the emotions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from abawkit.jobs.synthetic.ballots import Array, shown

#: Standard deviation of the movement's own noise, in the unit of :func:`~abawkit.jobs.synthetic.ballots.shown`.
MOVEMENT_NOISE = 1.9

#: What a unit of each emotion does to the logarithm of each movement's amplitude.
#: nod, shake, sway, bounce, jolt
GESTURES = np.array(
    [
        [0.55, -0.20, 0.00, -0.25, -0.20],  # Admiration: slow nods
        [0.10, 0.00, 0.00, 0.65, 0.00],  # Amusement: shoulders and head bounce
        [-0.45, -0.35, -0.50, -0.45, 0.10],  # Determination: still
        [-0.40, 0.70, 0.00, -0.40, -0.30],  # Empathic Pain: shakes the head
        [0.30, 0.25, 0.25, 0.30, 0.65],  # Excitement: everything, in bursts
        [-0.10, 0.00, 0.65, 0.05, -0.10],  # Joy: sways
    ]
)

#: Amplitude of each movement in a neutral clip (half face heights).
RESTING = np.array([0.030, 0.020, 0.035, 0.012, 0.040])


@dataclass(frozen=True)
class Head:
    """Where the head is at one moment.

    Attributes:
        x: To the viewer's right of its resting place (half face heights).
        y: Below its resting place (half face heights).
        yaw: How far the face is turned to the viewer's right, about -0.3 to 0.3.
        pitch: How far it is turned down, about -0.3 to 0.3.
        roll: How far it is tilted clockwise (radians).
    """

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def move(rng: np.random.Generator, labels: Array, times: Array) -> list[Head]:
    """Returns the head at each of ``times`` (seconds, ``[T]``) of a clip with ``labels`` ``[6]``."""
    nod, shake, sway, bounce, jolt = RESTING * np.exp(np.clip(shown(rng, labels, MOVEMENT_NOISE) @ GESTURES, -2.0, 2.0))
    phases = rng.uniform(0, 2 * np.pi, size=5)
    rates = np.array([1.3, 1.7, 0.6, 3.6, 1.0]) * rng.uniform(0.85, 1.15, size=5)
    waves = np.sin(2 * np.pi * rates * times[:, None] + phases)
    # a jolt is a short push every second or so, in a direction of its own
    push = np.maximum(0, waves[:, 4]) ** 6 * jolt
    turn = rng.uniform(0, np.pi)
    rest = rng.normal(0, 0.02, size=3)
    x = sway * waves[:, 2] + 0.6 * shake * waves[:, 1] + push * np.cos(turn)
    y = 0.8 * nod * waves[:, 0] + bounce * waves[:, 3] - push * np.sin(turn)
    yaw = np.clip(rest[0] + 2.0 * shake * waves[:, 1], -0.35, 0.35)
    pitch = np.clip(rest[1] + 2.0 * nod * waves[:, 0], -0.35, 0.35)
    roll = rest[2] + 0.5 * sway * waves[:, 2]
    return [Head(*map(float, row)) for row in np.column_stack([x, y, yaw, pitch, roll])]
