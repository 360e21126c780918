"""How people look: a drawn person at a webcam, whose mouth, brows and eyes follow the emotions.

Lengths are in half face heights: the chin is at y = 1, x is to the viewer's right, y down, the origin between the
eyes and the nose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from abawkit.jobs.synthetic.ballots import Array, shown
from abawkit.jobs.synthetic.movement import Head
from abawkit.media.canvas import fill
from abawkit.media.images import resize

Picture = NDArray[np.uint8]

#: Standard deviation of the face's own noise, in the unit of :func:`~abawkit.jobs.synthetic.ballots.shown`.
FACE_NOISE = 1.7

#: How far people let their faces go: the smaller, the closer all faces are to a neutral one.
EXPRESSIVENESS = 0.75

#: What a unit of each emotion does to the face: rows in the official order of the emotions.
#: smile, mouth open, brows raised, inner brows raised, frown, eyes wide, cheeks raised, tilt
EXPRESSIONS = np.array(
    [
        [0.10, 0.04, 0.38, 0.10, 0.00, 0.10, 0.00, 0.08],  # Admiration: raised brows, tilted head, half a smile
        [0.25, 0.26, 0.05, 0.00, 0.00, -0.30, 0.25, 0.00],  # Amusement: laughing mouth, narrow eyes
        [-0.14, -0.10, -0.20, 0.00, 0.42, -0.08, 0.00, 0.00],  # Determination: frown, pressed lips
        [-0.32, 0.02, 0.00, 0.45, 0.05, -0.15, 0.00, -0.04],  # Empathic Pain: oblique brows, corners down
        [0.05, 0.34, 0.22, 0.00, 0.00, 0.34, 0.00, 0.00],  # Excitement: wide eyes, wide open mouth
        [0.42, -0.02, 0.00, 0.00, -0.05, 0.00, 0.30, -0.02],  # Joy: broad smile, raised cheeks
    ]
)

SKIN = ((247, 214, 190), (236, 193, 160), (219, 170, 132), (190, 138, 100), (150, 102, 72), (106, 71, 51))
HAIR = ((38, 28, 24), (72, 48, 34), (110, 74, 44), (164, 120, 70), (205, 170, 112), (120, 118, 118), (134, 60, 34))
SHIRTS = ((70, 92, 128), (128, 70, 76), (76, 112, 92), (60, 60, 70), (206, 196, 180), (150, 128, 90), (98, 84, 130))
WALLS = ((206, 200, 190), (180, 190, 196), (196, 182, 170), (160, 170, 160), (216, 212, 204), (150, 156, 172))


@dataclass(frozen=True)
class Look:
    """What one person looks like; colours are RGB in 0 … 255, lengths in half face heights.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of hair, brows and beard.
        shirt: Colour of the clothes.
        iris: Colour of the eyes.
        width: Half the width of the face.
        jaw: How much the face narrows towards the chin.
        eye: Size of the eyes.
        brow: Thickness of the brows.
        lips: Thickness of the lips.
        style: Hair: 0 short, 1 long, 2 fringe, 3 bun.
        glasses: Whether the person wears them.
        beard: Whether the person has one.
        room: Seed of the room behind the person.
        place: Where the face is in a picture: x and y of its middle and its half height, in picture heights.
    """

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    shirt: tuple[int, int, int]
    iris: tuple[int, int, int]
    width: float
    jaw: float
    eye: float
    brow: float
    lips: float
    style: int
    glasses: bool
    beard: bool
    room: int
    place: tuple[float, float, float]


def draw_look(rng: np.random.Generator) -> Look:
    """Returns a random person's looks."""
    style = int(rng.integers(4))
    return Look(
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        shirt=SHIRTS[rng.integers(len(SHIRTS))],
        iris=((70, 50, 36), (60, 90, 120), (70, 100, 70))[rng.integers(3)],
        width=float(rng.uniform(0.72, 0.82)),
        jaw=float(rng.uniform(0.10, 0.24)),
        eye=float(rng.uniform(0.92, 1.1)),
        brow=float(rng.uniform(0.05, 0.08)),
        lips=float(rng.uniform(0.85, 1.2)),
        style=style,
        glasses=bool(rng.random() < 0.2),
        beard=bool(style == 0 and rng.random() < 0.35),
        room=int(rng.integers(2**31)),
        place=(
            float(rng.uniform(0.55, 0.68)),
            float(rng.uniform(0.46, 0.52)),
            float(rng.uniform(0.26, 0.31)),
        ),
    )


def express(rng: np.random.Generator, labels: Array) -> Array:
    """Returns the expression, ``[8]`` in the order of :data:`EXPRESSIONS`, of a clip with ``labels`` ``[6]``."""
    return np.asarray(1.2 * np.tanh(EXPRESSIVENESS * shown(rng, labels, FACE_NOISE) @ EXPRESSIONS / 1.2), np.float64)


def room(look: Look, width: int, height: int) -> Picture:
    """Returns the picture ``uint8 [height, width, 3]`` of the room behind the person."""
    rng = np.random.default_rng(look.room)
    wall = np.array(WALLS[rng.integers(len(WALLS))], np.float64)
    light = rng.normal(0, 12, size=(3, 4, 1)) + rng.normal(0, 3, size=(3, 4, 3))
    picture = resize(np.clip(wall + light, 0, 255).astype(np.uint8), height, width)
    for _ in range(int(rng.integers(1, 4))):  # a shelf, a window, a print
        left, top = rng.uniform(-0.1, 1.0) * width, rng.uniform(-0.1, 0.5) * height
        right, bottom = left + rng.uniform(0.15, 0.4) * width, top + rng.uniform(0.15, 0.5) * height
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        colour = np.clip(wall + rng.normal(0, 35) + rng.normal(0, 8, size=3), 20, 245)
        inner = corners + np.array([[1.5, 1.5], [-1.5, 1.5], [-1.5, -1.5], [1.5, -1.5]])
        fill(picture, np.vstack([corners, inner]), (4, 8), (0.8 * colour, colour))
    return picture


@dataclass(frozen=True)
class Drawing:
    """The shapes of a person with one expression, from back to front.

    Attributes:
        points: Corners of all shapes, one after the other, ``[P, 2]``.
        depth: Per corner, ``[P]``: the nearer to the viewer, the more it moves as the head turns.
        follow: Per corner, ``[P]``: 1 for the head, less for what moves less than the head.
        tilt: Per corner, ``[P]``: how far it is turned clockwise about the neck in any case (radians).
        stops: Where each shape ends in ``points``.
        colours: Of each shape, ``[S, 3]``.
    """

    points: Array
    depth: Array
    follow: Array
    tilt: Array
    stops: tuple[int, ...]
    colours: Array


def draw(picture: Picture, drawing: Drawing, origin: tuple[float, float], scale: float, head: Head) -> None:
    """Draws a person into ``picture``, in place.

    Args:
        picture: RGB ``uint8 [H, W, 3]``.
        drawing: The person.
        origin: Middle of the face at rest (x, y in pixels).
        scale: Half the height of the face (pixels).
        head: Where the head is now.
    """
    points = drawing.points + drawing.depth[:, None] * np.array([head.yaw, head.pitch])
    # the head turns about the neck, which is below the face
    x, y = points[:, 0], points[:, 1] - 1
    roll = head.roll * drawing.follow + drawing.tilt
    cos, sin = np.cos(roll), np.sin(roll)
    moved = np.column_stack(
        [x * cos - y * sin + head.x * drawing.follow, x * sin + y * cos + 1 + head.y * drawing.follow]
    )
    fill(picture, np.array(origin) + scale * moved, drawing.stops, drawing.colours)


class _Pen:
    """Collects the shapes of a drawing."""

    def __init__(self) -> None:
        self.outlines: list[Array] = []
        self.colours: list[Array] = []
        self.depths: list[float] = []
        self.follows: list[float] = []

    def fill(self, outline: Array, colour: ArrayLike, depth: float = 0.0, follow: float = 1.0) -> None:
        """Adds a filled outline ``[N, 2]``."""
        self.outlines.append(outline)
        self.colours.append(np.asarray(colour, np.float64))
        self.depths.append(depth)
        self.follows.append(follow)

    def line(self, points: Array, width: float, colour: ArrayLike, depth: float = 0.0) -> None:
        """Adds a ribbon of ``width`` along ``points`` ``[N, 2]``, thinner towards its ends."""
        along = np.empty_like(points)
        along[1:-1], along[0], along[-1] = points[2:] - points[:-2], points[1] - points[0], points[-1] - points[-2]
        half = width / 2 * _taper(len(points)) / (np.hypot(along[:, 0], along[:, 1]) + 1e-9)
        across = np.column_stack([-half * along[:, 1], half * along[:, 0]])
        self.fill(np.concatenate([points + across, (points - across)[::-1]]), colour, depth)

    def finish(self, tilt: float) -> Drawing:
        """Returns the drawing, with the head tilted clockwise by ``tilt`` (radians)."""
        sizes = [len(outline) for outline in self.outlines]
        follow = np.repeat(self.follows, sizes)
        return Drawing(
            points=np.concatenate(self.outlines),
            depth=np.repeat(self.depths, sizes),
            follow=follow,
            tilt=np.where(follow == 1, tilt, 0.0),
            stops=tuple(np.cumsum(sizes).tolist()),
            colours=np.clip(self.colours, 0, 255),
        )


@cache
def _taper(count: int) -> Array:
    return np.asarray(0.55 + 0.45 * np.sin(np.linspace(0, np.pi, count)), np.float64)


def sketch(look: Look, expression: Array, *, speaking: float = 0.0, blink: float = 0.0) -> Drawing:
    """Returns the drawing of a person.

    Args:
        look: Who it is.
        expression: Of the clip, ``[8]`` (see :data:`EXPRESSIONS`).
        speaking: How far speech opens the mouth, in [0, 1].
        blink: How far the eyes are shut, in [0, 1].
    """
    smile, opened, raised, sad, frown, wide, cheeks, tilt = (float(value) for value in expression)
    pen = _Pen()
    skin, hair = np.array(look.skin, np.float64), np.array(look.hair, np.float64)
    shade, glow = 0.84 * skin, 1.04 * skin + 5

    if look.style in (1, 2):
        pen.fill(_ellipse(0, 0.1, 1.22 * look.width, 1.25, squareness=2.6), 0.85 * hair, depth=-0.3)
    if look.style == 3:
        pen.fill(_ellipse(0, -1.2, 0.3, 0.26), 0.9 * hair, depth=-0.2)
    pen.fill(_shoulders(), look.shirt, follow=0.3)
    pen.fill(_ellipse(0, 1.42, 0.42, 0.16), 0.78 * np.array(look.shirt), follow=0.3)
    pen.fill(np.array([[-0.32, 0.5], [0.32, 0.5], [0.36, 1.4], [0, 1.52], [-0.36, 1.4]]), 0.78 * skin, depth=-0.1)
    for side in (-1, 1):
        pen.fill(_ellipse(side * (look.width + 0.02), 0.08, 0.11, 0.2), shade, depth=-0.15)
    outline = _ellipse(0, 0, look.width, 1.0, squareness=2.25)
    outline[:, 0] *= 1 - look.jaw * np.maximum(0, outline[:, 1]) ** 2
    pen.fill(outline, shade)
    pen.fill(0.955 * outline - [0.012, 0.02], skin, depth=0.04)
    pen.fill(_ellipse(-0.08, -0.5, 0.36, 0.16), glow, depth=0.2)
    blush = skin + np.array([14, -16, -12]) * (0.4 + 0.5 * max(0.0, cheeks))
    for side in (-1, 1):
        pen.fill(_ellipse(side * 0.44, 0.28 - 0.08 * cheeks, 0.16, 0.1), blush, depth=0.2)
    if look.beard:
        _draw_beard(pen, look, outline, 0.6 * hair + 0.4 * skin)
    _draw_hair(pen, look, hair)
    for side in (-1, 1):
        _draw_eye(pen, look, side, wide, cheeks, blink, skin)
        _draw_brow(pen, look, side, raised, sad, frown, 0.75 * hair)
    if frown > 0.25:
        for side in (-1, 1):
            crease = np.array([[side * 0.05, -0.42], [side * 0.04, -0.34], [side * 0.05, -0.26]])
            pen.line(crease, 0.03 * min(1.0, frown), shade, depth=0.22)
    nose = np.array([[-0.1, 0.22], [-0.05, 0.29], [0.0, 0.27], [0.05, 0.29], [0.1, 0.22]])
    pen.line(np.array([[0.03, -0.1], [0.07, 0.08], [0.1, 0.2]]), 0.035, 0.9 * skin, depth=0.3)
    pen.line(nose, 0.05, 0.74 * skin, depth=0.32)
    if cheeks > 0.1 or smile > 0.3:
        strength = float(np.clip(0.5 * cheeks + 0.5 * smile, 0.1, 1))
        for side in (-1, 1):
            fold = np.array([[side * 0.2, 0.24], [side * 0.33, 0.36], [side * 0.38, 0.5 - 0.05 * smile]])
            pen.line(fold, 0.035 * strength, shade, depth=0.24)
    _draw_mouth(pen, look, smile, opened + 0.3 * speaking, skin)
    if look.glasses:
        for side in (-1, 1):
            ring = np.vstack([_ellipse(side * 0.34, -0.04, 0.235, 0.2), [[side * 0.34 + 0.235, -0.04]]])
            pen.line(ring, 0.045, (40, 38, 44), depth=0.26)
        pen.line(np.array([[-0.11, -0.06], [0, -0.09], [0.11, -0.06]]), 0.05, (40, 38, 44), depth=0.26)
    return pen.finish(0.8 * tilt)


def _ellipse(x: float, y: float, half_width: float, half_height: float, squareness: float = 2.0) -> Array:
    """Returns a closed outline ``[40, 2]``; a squareness above 2 fills out the corners."""
    return np.asarray(_unit_ellipse(squareness) * [half_width, half_height] + [x, y], np.float64)


@cache
def _unit_ellipse(squareness: float) -> Array:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    unit = np.column_stack([np.cos(angle), np.sin(angle)])
    return np.asarray(np.sign(unit) * np.abs(unit) ** (2 / squareness), np.float64)


def _shoulders() -> Array:
    t = np.linspace(-1, 1, 21)
    top = 1.35 + 0.65 * np.abs(t) ** 3
    return np.vstack([np.column_stack([1.75 * t, top]), [[1.9, 4.0], [-1.9, 4.0]]])


def _draw_hair(pen: _Pen, look: Look, colour: Array) -> None:
    angle = np.linspace(np.pi * 1.02, np.pi * 1.98, 25)
    rise = (0.98, 1.2, 1.18, 1.1)[look.style]
    crown = np.column_stack([1.03 * look.width * np.cos(angle), -0.12 + rise * np.sin(angle)])
    t = np.linspace(1, -1, 15)
    line = (
        -0.74 + 0.1 * t + 0.22 * np.abs(t) ** 6,  # short, parted
        -0.76 + 0.5 * np.abs(t) ** 3,  # long, middle parting
        -0.52 + 0.05 * np.cos(9 * t) + 0.25 * np.abs(t) ** 6,  # fringe
        -0.8 + 0.45 * np.abs(t) ** 4,  # tied back
    )[look.style]
    pen.fill(np.vstack([crown, np.column_stack([0.97 * look.width * t, line])]), colour, depth=0.05)
    shine = np.column_stack([0.5 * look.width * np.linspace(-1, 0.6, 9), -0.12 - 0.86 * rise * np.ones(9)])
    pen.line(shine, 0.06, 1.25 * colour + 12, depth=0.05)


def _draw_beard(pen: _Pen, look: Look, outline: Array, colour: Array) -> None:
    low = outline[outline[:, 1] > 0.25]
    low = low[np.argsort(-low[:, 0])]
    t = np.linspace(-1, 1, 15)
    pen.fill(np.vstack([low, np.column_stack([0.9 * look.width * t, 0.3 + 0.12 * np.cos(np.pi * t / 2)])]), colour)


def _draw_eye(pen: _Pen, look: Look, side: int, wide: float, cheeks: float, blink: float, skin: Array) -> None:
    middle = np.array([side * 0.34, -0.06])
    open_now = 1 - blink
    upper = look.eye * max(0.012, 0.105 * (1 + 0.75 * wide) * open_now)
    lower = look.eye * max(0.012, 0.07 * (1 + 0.25 * wide - 0.75 * cheeks) * open_now)
    t = np.linspace(-1, 1, 15)
    arch = 1 - t**2
    x = 0.17 * look.eye * t
    lid = np.column_stack([x, -upper * arch])
    pen.fill(middle + np.vstack([lid, np.column_stack([x, lower * arch])[::-1]]), (246, 244, 240), depth=0.18)
    for radius, colour in ((0.095, look.iris), (0.05, (18, 14, 14))):
        disc = _ellipse(0, -0.012, radius, radius)
        bound = 1 - (disc[:, 0] / (0.17 * look.eye)) ** 2
        disc[:, 1] = np.clip(disc[:, 1], -upper * bound, lower * bound)
        pen.fill(middle + disc, colour, depth=0.2)
    if open_now > 0.6:
        pen.fill(middle + _ellipse(0.03, -0.04, 0.022, 0.022), (255, 255, 255), depth=0.2)
    pen.line(middle + lid, 0.045, 0.3 * skin, depth=0.18)
    pen.line(middle + np.column_stack([x, lower * arch + 0.01]), 0.02, 0.75 * skin, depth=0.18)


def _draw_brow(pen: _Pen, look: Look, side: int, raised: float, sad: float, frown: float, colour: Array) -> None:
    t = np.linspace(0, 1, 9)  # from the nose outwards
    x = 0.15 + 0.4 * t - 0.06 * frown * (1 - t)
    y = -0.33 - 0.13 * raised - (0.05 + 0.03 * raised) * np.sin(np.pi * t**0.8)
    y += (1 - t) * (0.15 * frown - 0.17 * sad) + t * (0.09 * sad - 0.02 * frown)
    pen.line(np.column_stack([side * x, y]), look.brow * 1.4, colour, depth=0.22)


def _draw_mouth(pen: _Pen, look: Look, smile: float, opened: float, skin: Array) -> None:
    lips = 0.62 * skin + [62, 8, 14]
    t = np.linspace(-1, 1, 21)
    arch = 1 - t**2
    x = (0.27 + 0.09 * max(-0.3, smile) - 0.05 * max(0.0, opened)) * t
    gap = float(np.clip(0.5 * opened, 0.0, 0.42))
    middle = 0.55 + (0.2 if smile > -0.12 else 0.14) * (smile + 0.12) * (arch - 0.55)
    upper, lower = middle - 0.3 * gap * arch, middle + 0.75 * gap * arch
    thick = look.lips * (1 + np.clip(2.2 * opened, -0.6, 0.15))
    above = upper - 0.055 * thick * arch**0.6 * (1 - 0.25 * np.exp(-((t / 0.18) ** 2)))
    below = lower + 0.08 * thick * arch**0.7
    pen.fill(np.column_stack([np.r_[x, x[::-1]], np.r_[above, below[::-1]]]), lips, depth=0.26)
    if gap > 0.02:
        inner = 0.94 * x
        pen.fill(np.column_stack([np.r_[inner, inner[::-1]], np.r_[upper, lower[::-1]]]), (74, 26, 30), depth=0.26)
        teeth = upper + np.minimum(0.085, 0.7 * (lower - upper))
        pen.fill(np.column_stack([np.r_[inner, inner[::-1]], np.r_[upper, teeth[::-1]]]), (248, 246, 240), depth=0.26)
        if gap > 0.14:
            pen.fill(_ellipse(0, float(lower[10]) - 0.25 * gap, 0.5 * float(x[-1]), 0.22 * gap), (196, 96, 98), 0.26)
    else:
        pen.line(np.column_stack([x, upper]), 0.03, 0.45 * lips, depth=0.26)
