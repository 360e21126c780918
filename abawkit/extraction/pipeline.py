"""Extraction: decode in worker processes, embed where the model is, write segment by segment."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.data.labels import load_official
from abawkit.data.layout import ChallengeFolder, Clip
from abawkit.device import pick_device
from abawkit.errors import AbawkitError, ModalityMissing, UsageError
from abawkit.extraction.failures import Note, write_failures
from abawkit.extraction.plan import Plan, make_plan
from abawkit.features.spec import MODALITIES, ClipFeatures, Extractor, FeatureSpec, Loaded, Modality, Status
from abawkit.features.store import FeatureStore, StoreWriter, list_stores, open_for_writing
from abawkit.progress import SILENT, Progress, Task
from abawkit.workers import worker_pool
from abawkit.workspace import Workspace

SPLITS = ("train", "valid", "test")

#: Clips decoded ahead of the model, per worker: bounds memory whatever the number of clips.
_AHEAD = 4


@dataclass(frozen=True)
class StoreReport:
    """What is in one feature store for the clips that were asked for."""

    modality: Modality
    path: Path
    signature: str
    clips: int
    present: int
    missing: int
    failed: int
    frames: int
    extracted: int

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()}


@dataclass(frozen=True)
class Extraction:
    """What an extraction did: the stores, and the list of failures when there are any."""

    stores: tuple[StoreReport, ...]
    failures: Path | None

    @property
    def failed(self) -> int:
        """Number of clips that failed, over all stores."""
        return sum(store.failed for store in self.stores)

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        failures = None if self.failures is None else str(self.failures)
        return {"stores": [store.to_json() for store in self.stores], "failures": failures}


def extractors_for(workspace: Workspace, modalities: Sequence[Modality]) -> dict[Modality, Extractor]:
    """Returns the extractors of the workspace's preset for these modalities.

    Raises:
        AbawkitError: A model of the preset ``paper`` is not on this machine.
    """
    settings = workspace.settings.extract
    if settings.preset == "lite":
        from abawkit.extractors.lite import lite_extractors

        return lite_extractors()
    from abawkit.extractors.motion import OpenFaceMotion
    from abawkit.extractors.paper import paper_extractors

    named: dict[Modality, str | None] = {
        "text": settings.text_model,
        "audio": settings.audio_model,
        "vision": settings.vision_model,
    }
    models = {modality: model for modality, model in named.items() if model is not None}
    with_model = [modality for modality in modalities if modality in named]
    made = paper_extractors(models, modalities=with_model, device=pick_device(settings.device))
    return made | {"motion": OpenFaceMotion()}


def extract(
    workspace: Workspace,
    *,
    modalities: Sequence[Modality] | None = None,
    splits: Sequence[str] | None = None,
    retry_failed: bool = False,
    extractors: Mapping[Modality, Extractor] | None = None,
    progress: Progress = SILENT,
) -> Extraction:
    """Extracts what is not yet extracted and returns what the stores now hold.

    Args:
        workspace: The workspace; the preset and the models come from its settings.
        modalities: Which modalities; default: all.
        splits: ``train``, ``valid``, ``test``; default: all that are there.
        retry_failed: Try clips again that failed before.
        extractors: Other extractors than the preset's.
        progress: What to report to.

    A clip that lacks a modality is recorded as missing; one that cannot be decoded is recorded as failed, with the
    reason, and the work goes on. Killed at any moment, it goes on from the last whole segment.

    Raises:
        UsageError: There is no challenge folder, or a modality or split is unknown.
        AbawkitError: A model is missing, the disk is full, or a worker process died.
    """
    chosen = _chosen("modality", modalities, MODALITIES)
    folder = ChallengeFolder.open(workspace.data, workspace.task)
    official = load_official(folder)
    ids = {"train": official.train.ids, "valid": official.valid.ids, "test": official.test_ids}
    wanted = sorted({clip for name in _chosen("split", splits, SPLITS) for clip in ids[name]})
    clips = [folder.clip(clip) for clip in wanted]
    available = extractors if extractors is not None else extractors_for(workspace, chosen)
    reports = []
    with _workers(workspace.settings.extract.workers) as pool:
        for modality in chosen:
            extractor = available[modality]
            path = workspace.features / modality / extractor.spec.folder
            with open_for_writing(path, extractor.spec) as writer:
                plan = make_plan(
                    clips,
                    extractor,
                    writer.store,
                    segment_clips=workspace.settings.extract.segment_clips,
                    retry_failed=retry_failed,
                )
                if plan.changed:
                    progress.say(f"{modality}: {plan.changed} clips have another source than before; made anew")
                _run(plan, extractor, writer, pool, progress)
            reports.append(_report(FeatureStore.open(path), wanted, plan.clips))
    failures = workspace.features / "failures.csv"
    # The list is of all stores, also those that this call was not about.
    listed = write_failures(failures, list_stores(workspace.features))
    return Extraction(tuple(reports), failures if listed else None)


def _chosen(what: str, wanted: Sequence[Any] | None, known: Sequence[Any]) -> list[Any]:
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"unknown {what}", got=str(name), expected=", ".join(known))
    return [name for name in known if not wanted or name in wanted]


def _run(plan: Plan, extractor: Extractor, writer: StoreWriter, pool: _Pool, progress: Progress) -> None:
    if not plan.clips:
        return
    modality = extractor.spec.modality
    with progress.task(f"extract {modality}", plan.clips + plan.done) as task:
        if plan.done:
            task.advance(plan.done, "already there")
        for segment in plan.segments:
            loaded = pool.load(extractor, [clip for clip, _ in segment], task)
            writer.add(_embed(extractor, segment, loaded))


def _embed(
    extractor: Extractor, segment: Sequence[tuple[Clip, str]], loaded: Iterator[Loaded | Exception]
) -> list[ClipFeatures]:
    """Returns the segment's features; clips go to the model in groups that depend on the segment's list alone."""
    spec = extractor.spec
    made: list[ClipFeatures] = []
    group: list[tuple[str, str, Loaded]] = []

    def flush() -> None:
        made.extend(_embed_group(extractor, group))
        group.clear()

    for (clip, source), result in zip(segment, loaded, strict=True):
        if isinstance(result, Loaded):
            group.append((clip.id, source, result))
            if len(group) == 32:
                flush()
        else:
            made.append(_without_frames(spec, clip.id, source, "load", result))
    flush()
    return sorted(made, key=lambda features: features.clip)


def _embed_group(extractor: Extractor, group: Sequence[tuple[str, str, Loaded]]) -> list[ClipFeatures]:
    if not group:
        return []
    try:
        embedded = extractor.embed([loaded for _, _, loaded in group])
    except AbawkitError:
        raise
    except Exception as error:
        # One clip that the model cannot take must not fail its neighbours.
        if len(group) > 1:
            return [features for member in group for features in _embed_group(extractor, [member])]
        clip, source, _ = group[0]
        return [_without_frames(extractor.spec, clip, source, "embed", error)]
    return [
        _checked(extractor.spec, clip, source, loaded, values, times)
        for (clip, source, loaded), (values, times) in zip(group, embedded, strict=True)
    ]


def _checked(
    spec: FeatureSpec, clip: str, source: str, loaded: Loaded, values: NDArray[Any], times: NDArray[np.float32]
) -> ClipFeatures:
    with np.errstate(over="ignore"):
        stored = np.asarray(values, dtype=spec.dtype)
    bad = int(stored.size - np.isfinite(stored).sum())
    if bad:
        error = AbawkitError(f"{bad} of {stored.size} values are not finite in {spec.dtype}")
        return _without_frames(spec, clip, source, "embed", error)
    if len(stored) == 0:
        return _without_frames(spec, clip, source, "embed", AbawkitError("no frames came out"))
    note = Note("load", "", "; ".join(loaded.warnings)).to_text() if loaded.warnings else ""
    return ClipFeatures(clip, Status.PRESENT, stored, times, source, note)


def _without_frames(spec: FeatureSpec, clip: str, source: str, step: str, error: BaseException) -> ClipFeatures:
    status = Status.MISSING if isinstance(error, ModalityMissing) else Status.FAILED
    nothing = np.zeros((0, spec.dim), dtype=spec.dtype)
    return ClipFeatures(clip, status, nothing, np.zeros(0, np.float32), source, Note.of(step, error).to_text())


def _report(store: FeatureStore, ids: Sequence[str], extracted: int) -> StoreReport:
    status = [store.status(clip) for clip in ids]
    return StoreReport(
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


class _Pool:
    """Decodes clips in order, in worker processes that are started when the first media clip comes."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def load(self, extractor: Extractor, clips: Sequence[Clip], task: Task) -> Iterator[Loaded | Exception]:
        """Yields each clip's decoded form, or the exception that says why there is none, in order."""
        if extractor.spec.modality == "text":  # a small file each: a process would cost more than it saves
            for clip in clips:
                yield _load(extractor, clip)
                task.advance(1, clip.id)
            return
        if self._executor is None:
            self._executor = worker_pool(self._workers)
        waiting: deque[tuple[Clip, Future[Loaded | Exception]]] = deque()
        ahead = self._workers * _AHEAD
        try:
            for upcoming in (*clips, *[None] * ahead):
                if upcoming is not None:
                    waiting.append((upcoming, self._executor.submit(_load, extractor, upcoming)))
                if waiting and (upcoming is None or len(waiting) > ahead):
                    yield waiting[0][1].result()
                    task.advance(1, waiting.popleft()[0].id)
        except BrokenProcessPool as error:
            near = ", ".join(clip.id for clip, _ in waiting)
            raise AbawkitError(
                "a decoding process died, most often for lack of memory",
                got=f"clips in work: {near}",
                todo="run it again with fewer --workers; nothing finished is lost",
            ) from error

    def close(self, *, now: bool) -> None:
        """Ends the workers; ``now`` does not wait for what they are doing."""
        if self._executor is None:
            return
        # concurrent.futures has no public way to end a worker that is in the middle of a clip of twenty minutes.
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=not now, cancel_futures=True)
        if now:
            for process in processes:
                process.terminate()


@contextmanager
def _workers(wanted: int) -> Iterator[_Pool]:
    pool = _Pool(wanted or len(os.sched_getaffinity(0)))
    try:
        yield pool
    except BaseException:
        pool.close(now=True)
        raise
    pool.close(now=False)


def _load(extractor: Extractor, clip: Clip) -> Loaded | Exception:
    try:
        return extractor.load(clip)
    except AbawkitError as error:
        return error
    except Exception as error:  # any exception at all is this clip's failure, and has to survive pickling
        return AbawkitError(f"{type(error).__name__}: {error}", path=clip.video or clip.audio)
