"""Extraction: decode in worker processes, embed where the model is, write segment by segment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from abawkit.data.transcripts import made_by, mixed_transcripts
from abawkit.device import pick_device, share_processor
from abawkit.extraction.decode import DecodingPool, decoding_pool
from abawkit.extraction.embed import embed_segment
from abawkit.extraction.failures import list_failures, too_many
from abawkit.extraction.plan import Plan, make_plan
from abawkit.extraction.select import Shard, chosen, official_clips, select_clips
from abawkit.extractors.sources import TEXT_FILES, Transcripts
from abawkit.features.spec import MODALITIES, Extractor, FeatureSpec, Modality, Status
from abawkit.features.store import MANIFEST, FeatureStore
from abawkit.features.writer import StoreWriter, open_for_writing
from abawkit.fileio import human_bytes
from abawkit.findings import Finding
from abawkit.layout.folder import Clip
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace


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
        extracted: Clips that were made just now.
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


def extractors_for(workspace: Workspace, modalities: Sequence[Modality]) -> dict[Modality, Extractor]:
    """Returns the extractors of the workspace's preset for these modalities.

    Raises:
        AbawkitError: A model of the preset ``paper`` is not on this machine.
        UsageError: There are no transcripts of the name in the settings.
    """
    settings = workspace.settings.extract
    words = Transcripts.of(workspace.transcripts, settings.transcripts) if "text" in modalities else TEXT_FILES
    if settings.preset == "lite":
        from abawkit.extractors.lite import lite_extractors

        return lite_extractors(words)
    from abawkit.backbones.batching import Computing
    from abawkit.extractors.paper import paper_extractors

    share_processor()
    device = pick_device(settings.device)
    fast = settings.precision == "bfloat16" or (settings.precision == "auto" and device != "cpu")
    batch = None if settings.batch == "auto" else settings.batch
    how = Computing(device, "bfloat16" if fast else "float32", batch)
    return paper_extractors(settings, modalities=modalities, transcripts=words, how=how)


def extract(
    workspace: Workspace,
    *,
    modalities: Sequence[Modality] | None = None,
    splits: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    limit: int | None = None,
    shard: Shard | None = None,
    retry_failed: bool = False,
    extractors: Mapping[Modality, Extractor] | None = None,
    progress: Progress = SILENT,
) -> Extraction:
    """Extracts what is not yet extracted and returns what the stores now hold.

    Args:
        workspace: The workspace; the preset and the models come from its settings.
        modalities: Which modalities; default: all.
        splits: ``train``, ``valid``, ``test``; default: all that are there.
        only: Ids of the clips; default: all of the splits.
        limit: At most so many clips, the first by id.
        shard: One part of the clips. Other processes can do the other shards at the same time; the store counts as
            whole when all of them are done.
        retry_failed: Try clips again that failed before.
        extractors: Other extractors than the preset's.
        progress: What to report to.

    A modality that not one of the clips has gets no store, and a clip that lacks it is recorded as missing; a clip that
    cannot be decoded is recorded as failed, with the reason, and the work goes on. Killed at any moment, it goes on
    from the last whole segment.

    Raises:
        UsageError: There is no challenge folder, or a modality, split or clip is unknown.
        AbawkitError: A model is missing, the disk is full, or a worker process died.
    """
    names = chosen("modality", modalities, MODALITIES)
    everyone = official_clips(workspace)
    clips = select_clips(workspace, splits, only, limit, shard, everyone=everyone)
    wanted = sorted(clip.id for members in clips.values() for clip in members)
    available = _made(workspace, names, extractors)
    reports: dict[Path, tuple[FeatureStore, StoreReport]] = {}
    # Not of the shard alone: one that happens to have no such clip is still a shard of the store.
    of_all_shards = select_clips(workspace, splits, only, limit, everyone=everyone)
    with decoding_pool(workspace.settings.extract.workers) as pool:
        for modality in names:
            extractor, spec = available[modality]
            path = workspace.features / modality / spec.folder
            if workspace.sources["extract.dtype"] != "default" and spec.dtype != workspace.settings.extract.dtype:
                progress.say(f"{modality}: stored as {spec.dtype}, whatever extract.dtype says")
            there = (extractor.source(clip) for members in of_all_shards.values() for clip in members)
            if not (path / MANIFEST).exists() and not any(there):
                # A store in which every clip is missing would be trained on without a word.
                progress.say(f"{modality}: none of the {len(wanted)} clips has what it is made from: no store is made")
                continue
            with open_for_writing(path, spec, shard=None if shard is None else (shard.number, shard.count)) as writer:
                plan = _plan(workspace, clips, extractor, writer.store, retry_failed=retry_failed)
                _tell(plan, progress)
                _run(plan, extractor, writer, pool, progress)
                if not (splits or only or limit):
                    writer.finish()
            store = FeatureStore.open(path)
            reports[path] = store, _report(store, wanted, plan.clips)
    opened = {path: store for path, (store, _) in reports.items()}
    failures = list_failures(workspace.features, progress, opened)
    texts = [store for store in opened.values() if store.spec.modality == "text"]
    findings = [finding for store in texts for finding in _mixed(everyone, store)]
    for finding in findings:
        progress.say(f"{finding.code}: {finding.message}" + (f" ({finding.got})" if finding.got else ""))
    return Extraction(tuple(report for _, report in reports.values()), failures, tuple(findings))


def _mixed(clips: Mapping[str, Sequence[Clip]], store: FeatureStore) -> list[Finding]:
    """Returns the findings on a text store whose transcripts were not all made alike."""
    made = {split: [made_by(store.source(c.id)) for c in some if c.id in store] for split, some in clips.items()}
    return mixed_transcripts(made)


def plan_extraction(
    workspace: Workspace,
    *,
    modalities: Sequence[Modality] | None = None,
    splits: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    limit: int | None = None,
    shard: Shard | None = None,
    retry_failed: bool = False,
    extractors: Mapping[Modality, Extractor] | None = None,
) -> list[Plan]:
    """Returns what :func:`extract` would do with the same arguments; nothing is written.

    Raises:
        UsageError: As :func:`extract`.
        AbawkitError: A model is missing, or a store is damaged.
    """
    clips = select_clips(workspace, splits, only, limit, shard)
    plans = []
    for extractor, spec in _made(workspace, chosen("modality", modalities, MODALITIES), extractors).values():
        path = workspace.features / spec.modality / spec.folder
        store = FeatureStore.open(path) if (path / MANIFEST).exists() else FeatureStore(path, spec, {})
        plans.append(_plan(workspace, clips, extractor, store, retry_failed=retry_failed))
    return plans


def _made(
    workspace: Workspace, modalities: Sequence[Modality], extractors: Mapping[Modality, Extractor] | None
) -> dict[Modality, tuple[Extractor, FeatureSpec]]:
    """Returns each modality's extractor, and the spec of its store."""
    made = extractors if extractors is not None else extractors_for(workspace, modalities)
    policy = workspace.settings.extract.on_damage
    found = {}
    for modality in modalities:
        spec = made[modality].spec
        if policy != "keep":
            spec = replace(spec, preprocessing={**spec.preprocessing, "on_damage": policy})
        found[modality] = (made[modality], spec)
    return found


def _plan(
    workspace: Workspace,
    clips: Mapping[str, Sequence[Clip]],
    extractor: Extractor,
    store: FeatureStore,
    *,
    retry_failed: bool,
) -> Plan:
    settings = workspace.settings.extract
    return make_plan(
        clips,
        extractor,
        store,
        segment_clips=settings.segment_clips,
        retry_failed=retry_failed,
        workers=settings.workers,
    )


def _tell(plan: Plan, progress: Progress) -> None:
    if plan.clips:
        todo = ", ".join(f"{split} {count}" for split, count in plan.todo.items() if count)
        room = f"about {human_bytes(plan.bytes_needed)} of {human_bytes(plan.bytes_free)} free"
        progress.say(f"{plan.modality}: {plan.clips} clips to do ({todo}), {plan.done} done; {room}")
    if plan.changed:
        progress.say(f"{plan.modality}: {plan.changed} clips have another source than before; made anew")
    if plan.bytes_needed > plan.bytes_free:
        progress.say(f"{plan.modality}: this may not fit on the disk of {plan.path.parent}")


def _run(plan: Plan, extractor: Extractor, writer: StoreWriter, pool: DecodingPool, progress: Progress) -> None:
    if not plan.clips:
        return
    with progress.task(f"extract {plan.modality}", plan.clips + plan.done) as task:
        if plan.done:
            task.advance(plan.done, "already there")
        # One stream over all segments: the workers go on while a segment is written.
        clips = [clip for segment in plan.segments for clip, _ in segment]
        with closing(pool.load(extractor, clips, task)) as loaded:
            for segment in plan.segments:
                writer.add(embed_segment(extractor, writer.spec, segment, islice(loaded, len(segment))))


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
