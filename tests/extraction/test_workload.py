"""An extractor's workload decides where its clips are worked on, how many at once, and what space is planned."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from abawkit.extraction.decode import decoding_pool
from abawkit.extraction.embed import embed_segment
from abawkit.extraction.plan import make_plan
from abawkit.extractors.lite import lite_extractors
from abawkit.features.spec import FeatureSpec, Loaded, Workload
from abawkit.features.store import FeatureStore
from abawkit.layout.folder import Clip
from abawkit.progress import SILENT


@dataclass(frozen=True)
class Where:
    """Its value is the process that decoded the clip; its digest the one that was asked for it."""

    workload: Workload
    spec = FeatureSpec("audio", "where", 3, "where/1", dtype="float32")

    def source(self, clip: Clip) -> str:
        return str(os.getpid())

    def load(self, clip: Clip) -> Loaded:
        return Loaded(np.full((1, 3), os.getpid(), np.float32))

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[Any], NDArray[np.float32]]]:
        size = np.full((1, 3), len(batch), np.float32)
        return [(size, np.zeros(1, np.float32)) for _ in batch]


def clips(count: int) -> list[Clip]:
    return [Clip(f"{number:05d}") for number in range(count)]


@pytest.mark.parametrize("in_workers", [True, False])
def test_where_clips_are_decoded(in_workers: bool) -> None:
    with decoding_pool(1) as pool, SILENT.task("decode") as task:
        results = list(pool.load(Where(Workload(in_workers=in_workers)), clips(3), task))
    processes = {float(result.data[0, 0]) for result in results if isinstance(result, Loaded)}
    assert len(processes) == 1 and (processes != {float(os.getpid())}) == in_workers


@pytest.mark.parametrize(("most", "sizes"), [(2, [2, 2, 2, 2, 1]), (32, [5] * 5)])
def test_how_many_clips_are_embedded_at_once(most: int, sizes: list[int]) -> None:
    extractor = Where(Workload(group_clips=most))
    loaded = (extractor.load(clip) for clip in clips(5))
    made = embed_segment(extractor, extractor.spec, [(clip, "") for clip in clips(5)], loaded)
    assert [int(features.values[0, 0]) for features in made] == sizes


@pytest.mark.parametrize("many_files", [True, False])
def test_where_sources_are_read(tmp_path: Path, many_files: bool) -> None:
    extractor = Where(Workload(many_files=many_files))
    store = FeatureStore(tmp_path / "store", extractor.spec, {})
    plan = make_plan({"train": clips(4096)}, extractor, store, segment_clips=4096, workers=2)
    processes = {source for _, source in plan.segments[0]}
    assert (str(os.getpid()) in processes) != many_files


def test_the_space_that_is_planned(tmp_path: Path) -> None:
    extractor = Where(Workload(frames=10))
    store = FeatureStore(tmp_path / "store", extractor.spec, {})
    assert make_plan({"train": clips(7)}, extractor, store, segment_clips=4).bytes_needed == 7 * 10 * (3 * 4 + 4)


def test_only_texts_are_read_in_this_process_and_only_crops_are_many_files() -> None:
    workloads = {modality: extractor.workload for modality, extractor in lite_extractors().items()}
    assert [m for m, workload in workloads.items() if not workload.in_workers] == ["text"]
    assert [m for m, workload in workloads.items() if workload.many_files] == ["vision"]
    assert workloads["text"].group_clips == 128
