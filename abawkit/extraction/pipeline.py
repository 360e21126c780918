"""Extraction: decode in worker processes, embed where the model is, write segment by segment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from abawkit.data.transcripts import made_by, mixed_transcripts
from abawkit.extraction.decode import DecodingPool, decoding_pool
from abawkit.extraction.embed import embed_segment
from abawkit.extraction.extractors import extractors_and_specs
from abawkit.extraction.failures import list_failures
from abawkit.extraction.plan import Plan, make_plan, read_source
from abawkit.extraction.report import Extraction, StoreReport
from abawkit.extraction.request import ExtractRequest
from abawkit.extraction.select import Shard, official_clips
from abawkit.features.spec import Extractor, Modality
from abawkit.features.store import MANIFEST, FeatureStore
from abawkit.features.writer import StoreWriter, open_for_writing
from abawkit.fileio import human_bytes
from abawkit.findings import Finding
from abawkit.layout.folder import Clip
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace


def extract(
    workspace: Workspace,
    *,
    modalities: Sequence[Modality] | None = None,
    splits: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    limit: int | None = None,
    shard: Shard | None = None,
    retry_failed: bool = False,
    extractors: Sequence[str | Extractor] = (),
    progress: Progress = SILENT,
) -> Extraction:
    """Extracts what is not yet extracted and returns what the stores now hold: :func:`run_extraction` for notebooks.

    The keywords are explained in :class:`abawkit.extraction.request.ExtractRequest`.
    """
    request = ExtractRequest(modalities, splits, only, limit, shard, retry_failed, extractors)
    return run_extraction(workspace, request, progress)


def run_extraction(workspace: Workspace, request: ExtractRequest, progress: Progress = SILENT) -> Extraction:
    """Extracts what is not yet extracted and returns what the stores now hold.

    Args:
        workspace: The workspace; the preset and the models come from its settings.
        request: Which features of which clips.
        progress: What to report to.

    A modality that none of the clips has gets no store, and a clip that lacks it is recorded as missing. A clip that
    cannot be decoded is recorded as failed, with the reason, and the others are done. After a kill at any moment, the
    same request continues from the last complete segment.

    Raises:
        UsageError: There is no challenge folder, or a modality, split, clip or extractor is unknown.
        AbawkitError: A model is missing, an installed extractor cannot be used, the disk is full, or a worker process
            died.
    """
    everyone = official_clips(workspace)
    clips = request.select(workspace, everyone)
    wanted = sorted(clip.id for members in clips.values() for clip in members)
    # Not of the shard alone: one that happens to have no such clip is still a shard of the store.
    of_all_shards = replace(request, shard=None).select(workspace, everyone)
    shard = None if request.shard is None else (request.shard.number, request.shard.count)
    opened: dict[Path, FeatureStore] = {}
    reports: dict[Path, StoreReport] = {}
    pairs = extractors_and_specs(workspace, request)
    with decoding_pool(workspace.settings.extract.workers) as pool:
        for extractor, spec in pairs:
            path = workspace.features / spec.modality / spec.folder
            if workspace.sources["extract.dtype"] != "default" and spec.dtype != workspace.settings.extract.dtype:
                progress.say(f"{spec.modality}: always stored as {spec.dtype}; extract.dtype does not apply")
            sources = (read_source(extractor, clip) for members in of_all_shards.values() for clip in members)
            if not (path / MANIFEST).exists() and not any(sources):
                # A store in which every clip is missing would be trained on without a warning.
                progress.say(f"{spec.modality}: none of the {len(wanted)} clips has a source for it: no store is made")
                continue
            with open_for_writing(path, spec, shard=shard) as writer:
                plan = _plan(workspace, request, clips, extractor, writer.store)
                _report_plan(plan, progress)
                _extract_plan(plan, extractor, writer, pool, progress)
                if request.all_clips:
                    writer.finish()
            opened[path] = FeatureStore.open(path)
            reports[path] = StoreReport.of(opened[path], wanted, plan.clips)
    failures = list_failures(workspace.features, progress, opened)
    texts = [store for store in opened.values() if store.spec.modality == "text"]
    findings = [finding for store in texts for finding in _mixed(everyone, store)]
    for finding in findings:
        progress.say(f"{finding.code}: {finding.message}" + (f" ({finding.got})" if finding.got else ""))
    return Extraction(tuple(reports.values()), failures, tuple(findings))


def plan_extraction(workspace: Workspace, request: ExtractRequest) -> list[Plan]:
    """Returns what :func:`run_extraction` would do with the same request; nothing is written.

    Raises:
        UsageError: As :func:`run_extraction`.
        AbawkitError: A model is missing, an installed extractor cannot be used, or a store is damaged.
    """
    clips = request.select(workspace, official_clips(workspace))
    plans = []
    for extractor, spec in extractors_and_specs(workspace, request):
        path = workspace.features / spec.modality / spec.folder
        store = FeatureStore.open(path) if (path / MANIFEST).exists() else FeatureStore(path, spec, {})
        plans.append(_plan(workspace, request, clips, extractor, store))
    return plans


def _mixed(clips: Mapping[str, Sequence[Clip]], store: FeatureStore) -> list[Finding]:
    """Returns the findings on a text store whose transcripts are of several recognisers."""
    made = {split: [made_by(store.source(c.id)) for c in some if c.id in store] for split, some in clips.items()}
    return mixed_transcripts(made)


def _plan(
    workspace: Workspace,
    request: ExtractRequest,
    clips: Mapping[str, Sequence[Clip]],
    extractor: Extractor,
    store: FeatureStore,
) -> Plan:
    settings = workspace.settings.extract
    return make_plan(
        clips,
        extractor,
        store,
        segment_clips=settings.segment_clips,
        retry_failed=request.retry_failed,
        workers=settings.workers,
    )


def _report_plan(plan: Plan, progress: Progress) -> None:
    if plan.clips:
        todo = ", ".join(f"{split} {count}" for split, count in plan.todo.items() if count)
        space = f"about {human_bytes(plan.bytes_needed)} of {human_bytes(plan.bytes_free)} free"
        progress.say(f"{plan.modality}: {plan.clips} clips to do ({todo}), {plan.done} done; {space}")
    if plan.changed:
        progress.say(f"{plan.modality}: the sources of {plan.changed} clips changed; they are extracted again")
    if plan.bytes_needed > plan.bytes_free:
        progress.say(f"{plan.modality}: this may not fit on the disk of {plan.path.parent}")


def _extract_plan(
    plan: Plan, extractor: Extractor, writer: StoreWriter, pool: DecodingPool, progress: Progress
) -> None:
    if not plan.clips:
        return
    with progress.task(f"extract {plan.modality}", plan.clips + plan.done) as task:
        if plan.done:
            task.advance(plan.done, "already there")
        # One stream over all segments: the workers decode the next one while a segment is written.
        clips = [clip for segment in plan.segments for clip, _ in segment]
        with closing(pool.load(extractor, clips, task)) as loaded:
            for segment in plan.segments:
                writer.add(embed_segment(extractor, writer.spec, segment, islice(loaded, len(segment))))
