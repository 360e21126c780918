"""Extractors: each makes one feature of a clip (the protocol is in ``abawkit.features.spec``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.features.spec import Loaded


def finished(loaded: Loaded) -> tuple[NDArray[np.floating[Any]], NDArray[np.float32]]:
    """Returns the values and times of features that need no model; times that are not known are NaN."""
    times = np.full(len(loaded.data), np.nan, np.float32) if loaded.times is None else loaded.times
    return loaded.data, times
