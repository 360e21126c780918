"""Drawing on arrays: smooth-edged shapes, for pictures that no camera took."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

_SUBPIXEL_BITS = 4


def fill(picture: NDArray[np.uint8], corners: NDArray[np.floating], stops: Sequence[int], colours: ArrayLike) -> None:
    """Fills polygons in ``picture``, in place, one over the other, with smooth edges.

    Args:
        picture: RGB ``uint8 [H, W, 3]``, contiguous.
        corners: Corners of all polygons, one polygon after the other, ``[P, 2]`` as (x, y) in pixels; fractions
            count, and they may lie outside the picture.
        stops: Where in ``corners`` each polygon ends.
        colours: Red, green, blue in 0 … 255 of each polygon, ``[S, 3]``.

    >>> picture = np.zeros((4, 4, 3), np.uint8)
    >>> fill(picture, np.array([[1, 1], [2, 1], [2, 2], [1, 2]]), (4,), [(255, 0, 0)])
    >>> picture[1, 1].tolist()
    [255, 0, 0]
    """
    fixed = np.round(np.asarray(corners) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    starts = (0, *stops[:-1])
    for start, stop, colour in zip(starts, stops, np.asarray(colours, np.float64).tolist(), strict=True):
        cv2.fillPoly(picture, [fixed[start:stop]], colour, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
