"""Clips decoded ahead in worker processes."""

from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from abawkit.errors import AbawkitError, MediaError
from abawkit.extraction.decode import decoding_pool
from abawkit.features.spec import FeatureSpec, Loaded, Workload
from abawkit.layout.folder import Clip
from abawkit.progress import SILENT


class Counter:
    """A task that remembers how far it came."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


class Growing:
    """Clips of a few bytes first, then of megabytes, as a clip of twenty minutes among short ones; one is broken."""

    spec = FeatureSpec("audio", "growing", 1, "test/1")
    workload = Workload()

    def load(self, clip: Clip) -> Loaded:
        number = int(clip.id)
        if number == 7:
            raise MediaError("broken")
        return Loaded(np.full(2**21 if number >= 480 else 8, number, np.float32))

    def source(self, clip: Clip) -> str:
        return clip.id

    def embed(self, batch: Any) -> Any:
        raise NotImplementedError


def test_every_clip_in_order_whatever_their_sizes() -> None:
    clips = [Clip(f"{number:05d}") for number in range(500)]
    with decoding_pool(2) as pool, SILENT.task("decode") as task:
        for _ in range(2):  # a second modality uses the same processes
            made = list(pool.load(Growing(), clips, task))
            assert len(made) == len(clips)
            for number, result in enumerate(made):
                if number == 7:
                    assert isinstance(result, AbawkitError) and "broken" in str(result)
                else:
                    assert isinstance(result, Loaded) and result.data[0] == number
        assert list(pool.load(Growing(), [], task)) == []


def test_the_last_clip_counts_too() -> None:
    clips = [Clip(f"{number:05d}") for number in range(5)]
    here = Growing()
    here.workload = Workload(in_workers=False)
    for extractor in (Growing(), here):
        task = Counter()
        with decoding_pool(1) as pool, closing(pool.load(extractor, clips, task)) as loaded:
            assert len(list(islice(loaded, len(clips)))) == len(clips)  # and nobody asks for one more
        assert task.done == len(clips)
