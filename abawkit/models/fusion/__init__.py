"""Fusion: from the vectors of all slots to a prediction; each kind is one frozen config and one module, in one file."""

from __future__ import annotations

from abawkit.models.fusion.concat import Concat
from abawkit.models.fusion.fusion import Fusion, FusionConfig

#: The kinds that are part of the package; the entry points ``abawkit.fusions`` add others.
KINDS: tuple[type, ...] = (Concat,)

__all__ = ["KINDS", "Fusion", "FusionConfig"]
