"""What a fusion is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Fusion(nn.Module):
    """Predicts from the vectors of all slots."""

    def forward(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns predictions ``[B, E]``, not bounded to [0, 1].

        Args:
            vectors: Slot → ``[B, H_slot]``, in the system's order; zeros, or the vector of the learned token, where a
                slot was dropped.
            present: Slot → ``bool [B]``: which clips have it, and were not dropped.
        """
        raise NotImplementedError


class FusionConfig(Protocol):
    """The shape of a fusion: a frozen dataclass that a system's TOML fills in."""

    @property
    def kind(self) -> str:
        """The name in a system's TOML."""

    def build(self, sizes: Mapping[str, int], targets: int) -> Fusion:
        """Returns a new fusion of slots with vectors of these sizes, for E ``targets``."""
