"""Pictures as arrays: reading, resizing, and the descriptors that need OpenCV."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from abawkit.errors import MediaError

#: Values of :func:`hog` for the 64×64 picture that it takes.
HOG_VALUES = 324
HOG_SIDE = 64

_PICTURES = ("JPEG", "PNG", "BMP", "WEBP")

# Workers are processes: OpenCV's own threads would fight for the same cores.
cv2.setNumThreads(1)
# What is wrong with a picture is said by an exception, not on stderr.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Returns the picture as RGB ``uint8 [H, W, 3]``, upright by its EXIF orientation; grey pictures as RGB.

    Raises:
        MediaError: The file does not exist, or no complete picture can be decoded from it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError("cannot be read", path=path, got=error.strerror) from error
    # libpng complains on stderr about a file that ends early, before OpenCV can say so.
    whole = not data.startswith(b"\x89PNG") or b"IEND" in data[-64:]
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data and whole else None
    except cv2.error:
        decoded = None
    if decoded is None:
        got = "an empty file" if not data else "a broken or truncated picture, or no picture"
        raise MediaError("cannot be decoded", path=path, got=got, expected="a JPEG or PNG picture")
    picture: NDArray[np.uint8] = decoded
    return picture


def check_picture(data: bytes, *, whole: bool = False) -> str | None:
    """Returns what is wrong with a picture file, None when nothing is.

    Args:
        data: The file's bytes; without ``whole`` its beginning will do, as far as the header goes.
        whole: Decode every row. False: read the header only.
    """
    # Not with OpenCV, which cannot read a header without the picture and complains on stderr about broken ones.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=_PICTURES)
            if whole:
                picture.load()
    except UnidentifiedImageError:
        return "not a JPEG, PNG, BMP or WebP picture"
    except Exception as error:  # a decoder of broken bytes raises anything
        return str(error)[:80] or type(error).__name__
    return None if min(picture.size) > 0 else f"a picture of {picture.width}×{picture.height} pixels"


def resize(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Returns the picture ``uint8 [height, width]`` or ``[height, width, 3]``.

    Area average when it gets smaller, bilinear when it gets larger; the aspect ratio is not kept.
    """
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: NDArray[np.uint8] = cv2.resize(picture, (width, height), interpolation=method)
    return resized


def grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the luma of an RGB picture, ``uint8 [H, W]`` (0.299 R + 0.587 G + 0.114 B)."""
    luma: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return luma


@cache
def _hog() -> Any:
    return cv2.HOGDescriptor((HOG_SIDE, HOG_SIDE), (32, 32), (16, 16), (16, 16), 9)


def hog(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns histograms of oriented gradients of a grey picture, ``float32 [324]`` in [0, 1].

    Args:
        picture: ``uint8 [64, 64]``.

    Nine unsigned directions in cells of 16×16 pixels, 3×3 overlapping blocks of 2×2 cells, each block normalised
    (L2-Hys), so the values do not depend on contrast. A plain picture gives zeros.
    """
    values: NDArray[np.float32] = _hog().compute(picture)
    return values.reshape(HOG_VALUES)


def dct_low(picture: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """Returns the ``count``×``count`` lowest coefficients of the orthonormal cosine transform, ``float32 [count²]``.

    Args:
        picture: Grey, ``uint8 [H, W]`` with even H and W; 0 black to 255 white counts as -1 to 1.
        count: Frequencies per axis.

    The coefficients are divided by ``sqrt(H W)``: the first is the picture's mean, all are in [-2, 2].

    >>> dct_low(np.full((8, 8), 255, np.uint8), 2).round(3).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    scaled = picture.astype(np.float32) / 127.5 - 1
    low: NDArray[np.float32] = cv2.dct(scaled)[:count, :count].reshape(-1) / np.float32(np.sqrt(scaled.size))
    return low


def optical_flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns how far each pixel moved from one grey picture to the next, ``float32 [H, W, 2]`` (right, down; pixels).

    Farnebäck's method: three pyramid levels, windows of 15 pixels, two iterations.
    """
    flow: NDArray[np.float32] = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 2, 5, 1.2, 0)
    return flow
