"""What an extraction did: the stores, and how many of their clips have features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abawkit.extraction.failures import too_many
from abawkit.features.spec import Modality, Status
from abawkit.features.store import FeatureStore
from abawkit.findings import Finding


@dataclass(frozen=True)
class StoreReport:
    """What is in one feature store for the clips that were asked for.

    Attributes:
        modality: Which modality.
        path: The store's folder.
        signature: The store's signature.
        clips: Number of clips that were asked for.
        present: Clips that have frames.
        missing: Clips that lack the modality.
        failed: Clips that could not be decoded or embedded.
        frames: Frames of the present clips.
        extracted: Clips that were extracted just now.
    """

    modality: Modality
    path: Path
    signature: str
    clips: int
    present: int
    missing: int
    failed: int
    frames: int
    extracted: int

    @classmethod
    def of(cls, store: FeatureStore, ids: Sequence[str], extracted: int) -> StoreReport:
        """Returns the report on the clips ``ids`` of a store, of which ``extracted`` were extracted just now."""
        status = [store.status(clip) for clip in ids]
        return cls(
            modality=store.spec.modality,
            path=store.path,
            signature=store.spec.signature,
            clips=len(ids),
            present=status.count(Status.PRESENT),
            missing=status.count(Status.MISSING),
            failed=status.count(Status.FAILED),
            frames=sum(len(store.frames(clip)) for clip in ids),
            extracted=extracted,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()}


@dataclass(frozen=True)
class Extraction:
    """What an extraction did: the stores, the list of failures when there are any, and what is odd about the texts."""

    stores: tuple[StoreReport, ...]
    failures: Path | None
    findings: tuple[Finding, ...] = ()

    def too_many(self, allowed: str) -> list[StoreReport]:
        """Returns the stores in which more clips failed than ``allowed``: a number, or a share such as ``1%``."""
        return [store for store in self.stores if too_many(store.failed, store.clips, allowed)]

    @property
    def failed(self) -> int:
        """Number of clips that failed, over all stores."""
        return sum(store.failed for store in self.stores)

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        failures = None if self.failures is None else str(self.failures)
        findings = [finding.to_json() for finding in self.findings]
        return {"stores": [store.to_json() for store in self.stores], "failures": failures, "findings": findings}
