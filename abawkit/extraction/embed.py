"""Decoded clips → features: groups for the model, and what is recorded of clips that give none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import AbawkitError, Damage, MediaError, ModalityMissing
from abawkit.extraction.failures import Note
from abawkit.features.spec import ClipFeatures, Extractor, FeatureSpec, Loaded, Status
from abawkit.layout.folder import Clip

#: Most bytes of decoded clips that are given to the model at once.
_GROUP_BYTES = 96 * 2**20


def embed_segment(
    extractor: Extractor, spec: FeatureSpec, segment: Sequence[tuple[Clip, str]], loaded: Iterator[Loaded | Exception]
) -> list[ClipFeatures]:
    """Returns the features of a segment's clips, sorted by id.

    Clips go to the model in groups that depend on the segment's list alone, never on interruption or workers.

    Args:
        extractor: Whose model it is.
        spec: What the store's features are; it says what becomes of damaged clips.
        segment: Clips and the digests of their sources.
        loaded: For each clip what was decoded, or the exception that says why nothing was.

    Raises:
        AbawkitError: The device has too little memory for a single clip.
    """
    strict = spec.preprocessing.get("on_damage") == "fail"
    made: list[ClipFeatures] = []
    group: list[tuple[str, str, Loaded]] = []
    waiting = 0  # bytes

    def flush() -> None:
        made.extend(_embed_group(extractor, spec, group))
        group.clear()

    for (clip, source), result in zip(segment, loaded, strict=True):
        # A damaged clip counts as failed or joins the group, as the store's policy says; an exception is recorded.
        damage = [w for w in result.warnings if isinstance(w, Damage)] if isinstance(result, Loaded) else []
        if damage and strict:
            made.append(_without_frames(spec, clip.id, source, "load", MediaError(f"damaged: {'; '.join(damage)}")))
        elif isinstance(result, Loaded):
            group.append((clip.id, source, result))
            waiting += result.data.nbytes
            if len(group) == extractor.workload.group_clips or waiting >= _GROUP_BYTES:
                flush()
                waiting = 0
        else:
            made.append(_without_frames(spec, clip.id, source, "load", result))
    flush()
    return sorted(made, key=lambda features: features.clip)


def _embed_group(
    extractor: Extractor, spec: FeatureSpec, group: Sequence[tuple[str, str, Loaded]]
) -> list[ClipFeatures]:
    if not group:
        return []
    try:
        embedded = extractor.embed([loaded for _, _, loaded in group])
        if len(embedded) != len(group):
            raise ValueError(f"embed returned the features of {len(embedded)} clips, not of {len(group)}")
    except AbawkitError:
        raise
    except Exception as error:
        # One clip that the model cannot take must not fail its neighbours.
        if len(group) > 1:
            return [features for member in group for features in _embed_group(extractor, spec, [member])]
        clip, source, _ = group[0]
        return [_without_frames(spec, clip, source, "embed", error)]
    return [
        _checked(spec, clip, source, loaded, values, times)
        for (clip, source, loaded), (values, times) in zip(group, embedded, strict=True)
    ]


def _checked(
    spec: FeatureSpec, clip: str, source: str, loaded: Loaded, values: NDArray[Any], times: NDArray[np.float32]
) -> ClipFeatures:
    with np.errstate(over="ignore"):
        stored = np.asarray(values, dtype=spec.dtype)
    if stored.shape[1:] != (spec.dim,) or times.shape != stored.shape[:1]:
        got = f"values of shape {stored.shape} and times of shape {times.shape}"
        error = AbawkitError("embed returned arrays of another shape", got=got, expected=f"(T, {spec.dim}) and (T,)")
        return _without_frames(spec, clip, source, "embed", error)
    bad = int(stored.size - np.isfinite(stored).sum())
    if bad:
        error = AbawkitError(f"{bad} of {stored.size} values are not finite in {spec.dtype}")
        return _without_frames(spec, clip, source, "embed", error)
    if len(stored) == 0:
        return _without_frames(spec, clip, source, "embed", AbawkitError("no frames came out"))
    odd = Note("load", "", "; ".join(loaded.warnings), facts=loaded.facts)
    note = odd.to_text() if loaded.warnings or loaded.facts else ""
    return ClipFeatures(clip, Status.PRESENT, stored, times, source, note)


def _without_frames(spec: FeatureSpec, clip: str, source: str, step: str, error: BaseException) -> ClipFeatures:
    status = Status.MISSING if isinstance(error, ModalityMissing) else Status.FAILED
    nothing = np.zeros((0, spec.dim), dtype=spec.dtype)
    return ClipFeatures(clip, status, nothing, np.zeros(0, np.float32), source, Note.of(step, error).to_text())
