"""Which extractors an extraction runs, and the specification of each one's store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from abawkit.device import pick_device, share_processor
from abawkit.errors import UsageError
from abawkit.extraction.request import ExtractRequest
from abawkit.extraction.select import chosen
from abawkit.extractors.installed import installed_extractor, spec_of
from abawkit.extractors.sources import TEXT_FILES, Transcripts
from abawkit.features.spec import MODALITIES, Extractor, FeatureSpec, Modality
from abawkit.workspace import Workspace


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


def extractors_and_specs(workspace: Workspace, request: ExtractRequest) -> list[tuple[Extractor, FeatureSpec]]:
    """Returns the extractors that a request means, in the order of the modalities, each with its store's specification.

    Raises:
        UsageError: A modality or an extractor is unknown, or the extractors are not of the modalities that are wanted.
        AbawkitError: A model is not on this machine, or an installed extractor cannot be used.
    """
    modalities = chosen("modality", request.modalities, MODALITIES)
    if request.extractors:
        found = [_named(workspace, extractor) for extractor in request.extractors]
        made = {spec.modality for _, spec in found}
        if request.modalities and made != set(modalities):
            raise UsageError(
                "the extractors make other modalities than those that are wanted",
                got=", ".join(sorted(made)),
                expected=", ".join(modalities),
                todo="leave out --modality: an extractor's modality is known",
            )
        found.sort(key=lambda pair: MODALITIES.index(pair[1].modality))
    else:
        preset = extractors_for(workspace, modalities)
        found = [(preset[modality], preset[modality].spec) for modality in modalities]
    policy = workspace.settings.extract.on_damage
    if policy != "keep":
        found = [
            (extractor, replace(spec, preprocessing={**spec.preprocessing, "on_damage": policy}))
            for extractor, spec in found
        ]
    return found


def _named(workspace: Workspace, wanted: str | Extractor) -> tuple[Extractor, FeatureSpec]:
    if not isinstance(wanted, str):
        return wanted, wanted.spec
    extractor = installed_extractor(wanted, workspace)
    return extractor, spec_of(wanted, extractor)
