"""A network laid out as OpenCV's YuNet, written by hand: it sees a face around every green block of 16×16 pixels.

The ONNX format is protocol buffers, of which only numbers, texts and nested messages are needed.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Side of the faces that it sees (pixels), and of the green block in their middle, which lies on a grid.
SIDE, BLOCK = 48, 16


def paint(picture: NDArray[np.uint8], row: int, column: int, *, scale: int = 1) -> tuple[int, int]:
    """Draws a face at a place of the grid of blocks, in place, and returns its left and top (pixels)."""
    block = BLOCK * scale
    picture[row * block : (row + 1) * block, column * block : (column + 1) * block] = (0, 255, 0)
    margin = (SIDE - BLOCK) // 2 * scale
    return column * block - margin, row * block - margin


def write_yunet(path: Path, *, side: int = SIDE, outputs: tuple[str, ...] = ("cls", "obj", "bbox", "kps")) -> Path:
    """Writes the network; without one of ``outputs`` it is a valid ONNX file and no YuNet."""
    channels = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    nodes, weights, results = [], [], []
    for stride in (8, 16, 32):
        nodes.append(_node("AveragePool", ["input"], f"pool_{stride}", kernel_shape=[stride] * 2, strides=[stride] * 2))
        for kind in outputs:
            count = channels[kind]
            weight, bias = np.zeros((count, 3, 1, 1), np.float32), np.zeros(count, np.float32)
            if count == 1 and stride == BLOCK:  # 1 where the cell is green, below 0 where it is grey
                weight[0, :, 0, 0], bias[0] = np.array([-1, 2, -1]) / 255, -1
            if kind == "bbox":  # the cell's middle, and the logarithm of the side in cells
                bias[:] = 0.5, 0.5, np.log(side / stride), np.log(side / stride)
            name = f"{kind}_{stride}"
            weights += [_tensor(f"w_{name}", weight), _tensor(f"b_{name}", bias)]
            weights.append(_tensor(f"s_{name}", np.array([1, -1, count])))
            nodes += [
                _node("Conv", [f"pool_{stride}", f"w_{name}", f"b_{name}"], f"c_{name}", kernel_shape=[1, 1]),
                _node("Transpose", [f"c_{name}"], f"t_{name}", perm=[0, 2, 3, 1]),
                _node("Reshape", [f"t_{name}", f"s_{name}"], name),
            ]
            results.append(_value(name, [1, (640 // stride) ** 2, count]))
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "tiny")
    graph += b"".join(_field(5, weight) for weight in weights) + _field(11, _value("input", [1, 3, 640, 640]))
    graph += b"".join(_field(12, result) for result in results)
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 11)))
    return path


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    kind, code = (1, "f") if array.dtype.kind == "f" else (7, "q")
    data = struct.pack(f"<{array.size}{code}", *array.ravel().tolist())
    return b"".join(_field(1, size) for size in array.shape) + _field(2, kind) + _field(8, name) + _field(9, data)


def _node(operation: str, inputs: list[str], output: str, **settings: list[int]) -> bytes:
    attributes = [
        _field(1, name) + b"".join(_field(8, value) for value in values) + _field(20, 7)
        for name, values in settings.items()
    ]
    node = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(3, output) + _field(4, operation)
    return node + b"".join(_field(5, attribute) for attribute in attributes)


def _value(name: str, shape: list[int]) -> bytes:
    dims = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))
