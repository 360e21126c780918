"""The numbers of an OpenFace CSV, read from its bytes by a compiled function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from abawkit.jit import jit

_NEWLINE, _RETURN, _SPACE, _TAB, _MINUS, _POINT, _ZERO, _NINE = (ord(character) for character in "\n\r \t-.09")

#: Powers of ten that float64 holds exactly. A whole number below 2^53 divided by one of them is the nearest float64
#: to the decimal (Clinger, How to read floating point numbers accurately, 1990): what Python's float() gives.
_TENS = 10.0 ** np.arange(16)


#: More digits may not fit: 10^15 is the last power of ten below 2^53.
_MOST_DIGITS = 15


@jit
def _past_blanks(data: NDArray[np.uint8], at: int) -> int:
    while at < len(data) and (data[at] == _SPACE or data[at] == _TAB):
        at += 1
    return at


@jit
def _past_cell(data: NDArray[np.uint8], at: int, separator: int) -> int:
    """Returns where the cell ends that ``at`` is in; -1 when there is anything but ASCII in it."""
    while at < len(data) and data[at] != separator and data[at] != _NEWLINE and data[at] != _RETURN:
        if data[at] > 127:
            return -1
        at += 1
    return at


@jit
def _decimal(data: NDArray[np.uint8], at: int) -> tuple[float, int]:
    """Returns the plain decimal at ``at``, with blanks around it, and where it ends; -1 when there is none."""
    at = _past_blanks(data, at)
    negative = at < len(data) and data[at] == _MINUS
    at += negative
    number, digits, point = np.int64(0), 0, -1
    while at < len(data) and (_ZERO <= data[at] <= _NINE or (data[at] == _POINT and point < 0)):
        if data[at] == _POINT:
            point = digits
        elif digits < _MOST_DIGITS:
            number = 10 * number + (data[at] - _ZERO)
            digits += 1
        else:
            return 0.0, -1
        at += 1
    if digits == 0:
        return 0.0, -1
    value = number / _TENS[digits - point if point >= 0 else 0]
    return -value if negative else value, _past_blanks(data, at)


@jit
def read_cells(
    data: NDArray[np.uint8], separator: int, columns: int, places: NDArray[np.int64], values: NDArray[np.float64]
) -> int:
    """Writes some columns of rows of plain decimals (``-12.345``) into ``values``; nearly all files are such.

    Args:
        data: The file's bytes, ``uint8 [N]``; its first line is the header, which is not read.
        separator: The byte between two cells.
        columns: Number of columns; a row may have more, not fewer.
        places: For each column its place in ``values``, -1 for those that are not wanted, ``int64 [columns]``.
        values: ``float64 [R, C]``, with R at least the number of lines.

    Returns:
        The number of rows; -1 when there is anything but whole rows with decimals of up to 15 digits in ASCII: then
        ``values`` has no meaning.
    """
    at, row = 0, 0
    while at < len(data) and data[at] != _NEWLINE and data[at] != _RETURN:
        at += 1
    while at < len(data):
        if data[at] == _NEWLINE or data[at] == _RETURN:
            at += 1
            continue
        if row == len(values):
            return -1
        column = 0
        while True:
            if column < columns and places[column] >= 0:
                values[row, places[column]], at = _decimal(data, at)
                cell_ends = at >= 0 and _past_cell(data, at, separator) == at
            else:
                at = _past_cell(data, at, separator)
                cell_ends = at >= 0
            if not cell_ends:
                return -1
            column += 1
            if at == len(data) or data[at] != separator:
                break
            at += 1
        if column < columns:
            return -1
        row += 1
    return row
