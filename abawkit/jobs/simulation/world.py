"""What is simulated before there are features: clips, persons, seed videos, labels, lengths, missing text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.challenge import EMI
from abawkit.errors import UsageError
from abawkit.jobs.simulation.label_model import (
    PERSON_SHARE,
    SEED_SHARE,
    Array,
    draw_latents,
    draw_votes,
    mixing,
    vote_chances,
)

SPLITS = ("train", "valid", "test")
#: Labels of the test clips are drawn as those of the validation clips: the paper says nothing of them.
LIKE = {"train": "train", "valid": "valid", "test": "valid"}

CLIPS_PER_SEED_VIDEO = 8
CLIPS_PER_PERSON = 30

#: Lengths are log-normal: median (seconds) and standard deviation of the logarithm.
LENGTH = (6.42, 0.352)
#: The shortest and the longest clips of the official data (seconds): split → place in it → length. The second is clip
#: 11694, of 12,500 frames. The two long ones are there from a quarter of the official size and at the full size on.
ONE_FRAME = 0.064
LONG_IN_TRAIN = (4711, 225.5, 0.25)
OUTLIER_IN_VALID = (11694 - 8072, 1249.91, 1.0)

#: Shares of clips without words, "missing text embeddings" in Table 2.
NO_TEXT = {"train": 0.0567, "valid": 0.0634, "test": 0.0634}

_LEAST = 20
#: Keys of the random streams, so that one more draw somewhere changes nothing elsewhere.
_DEAL, _SEEDS, _PERSONS, _CLIPS, _VOTES, _LENGTHS, _TEXT = range(7)


def stream(seed: int, *key: int) -> np.random.Generator:
    """Returns the random generator of one purpose: the same whatever else is drawn."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, *key])))


def split_sizes(clips: int | None = None, scale: float | None = None) -> dict[str, int]:
    """Returns the number of clips of each split, in the official proportions.

    Args:
        clips: Number of labelled clips, training and validation together; test clips come on top.
        scale: Size as a multiple of the official one; default 1.

    Raises:
        UsageError: Both are given, or there would be too few clips for a split or too many for ids of five digits.

    >>> split_sizes()
    {'train': 8072, 'valid': 4588, 'test': 4586}
    >>> split_sizes(clips=1500)
    {'train': 956, 'valid': 544, 'test': 543}
    """
    if clips is not None and scale is not None:
        raise UsageError("the size is given twice", expected="--clips or --scale", todo="leave one of them out")
    labelled = EMI.counts["train"] + EMI.counts["valid"]
    if scale is not None and not 0 < scale < 100:
        raise UsageError("this is not a scale", got=f"{scale:g}", expected="more than 0, at most about 5.7")
    count = clips if clips is not None else round(labelled * (1.0 if scale is None else scale))
    train = round(count * EMI.counts["train"] / labelled)
    sizes = {"train": train, "valid": count - train, "test": round(count * EMI.counts["test"] / labelled)}
    most = 10 ** (EMI.ids.digits or 0)
    if min(sizes.values()) < _LEAST or sum(sizes.values()) > most:
        got = ", ".join(f"{size} {name}" for name, size in sizes.items())
        raise UsageError(
            "this is not a size for a challenge", got=got, expected=f"{_LEAST} clips per split, {most} at most in all"
        )
    return sizes


@dataclass(frozen=True)
class World:
    """Everything about the simulated clips but their features, in the order of their ids.

    Attributes:
        seed: What it was drawn from.
        sizes: ``train``, ``valid``, ``test`` → number of clips; ids run on in this order.
        ids: N clip ids.
        persons: Number of each clip's person, ``[N]``; nobody is in two splits.
        videos: Number of the seed video that each clip imitates, ``[N]``; they recur in all splits.
        chances: Probability that a rater votes for each emotion, ``[N, 6]``.
        labels: Shares of the raters' votes, ``[N, 6]``.
        seconds: Lengths, ``[N]``.
        silent: Whether the clip has no words, ``[N]``.
    """

    seed: int
    sizes: Mapping[str, int]
    ids: tuple[str, ...]
    persons: NDArray[np.int64]
    videos: NDArray[np.int64]
    chances: Array
    labels: Array
    seconds: Array
    silent: NDArray[np.bool_]

    def rows(self, split: str) -> slice:
        """Returns where the split's clips are."""
        start = sum(self.sizes[name] for name in SPLITS[: SPLITS.index(split)])
        return slice(start, start + self.sizes[split])

    @cached_property
    def shown(self) -> Array:
        """How strongly a clip shows each emotion: its chance to the power of 3/4, standardised per emotion, ``[N, 6]``.

        The power makes the rare emotions less of an outlier where they are shown.
        """
        power = self.chances**0.75
        return np.asarray((power - power.mean(axis=0)) / power.std(axis=0), np.float64)

    def frames(self, rate: float | None) -> NDArray[np.int64]:
        """Returns the frames of each clip at so many per second (``[N]``, at least 1); None: one per clip.

        Clips of 50 frames per second have whole strides only, as wav2vec2 does; others have a last frame that is cut.
        """
        if rate is None:
            return np.ones(len(self.ids), np.int64)
        exact = self.seconds * rate
        counts = np.floor(exact + 1e-6) if rate >= 50 else np.ceil(exact - 1e-6)
        return np.maximum(counts, 1).astype(np.int64)


def draw_world(seed: int, sizes: Mapping[str, int], fitted: Mapping[str, Any]) -> World:
    """Returns the clips of a simulated challenge.

    Args:
        seed: Same seed and sizes, same world.
        sizes: From :func:`split_sizes`.
        fitted: ``betas`` (per split) and ``excitement_joy`` of ``calibrated.json``.
    """
    total = sum(sizes.values())
    mix = mixing(fitted["excitement_joy"])
    videos_in_all = max(6, total // CLIPS_PER_SEED_VIDEO)
    of_videos = draw_latents(stream(seed, _SEEDS), videos_in_all, mix, even=True)
    deal, votes, lengths, words = (stream(seed, key) for key in (_DEAL, _VOTES, _LENGTHS, _TEXT))
    persons, videos, chances, silent = [], [], [], []
    people = 0
    for number, split in enumerate(SPLITS):
        size = sizes[split]
        here = max(2, round(size / CLIPS_PER_PERSON))
        who = deal.permutation(np.arange(size) % here)
        what = deal.permutation(deal.permutation(videos_in_all)[np.arange(size) % videos_in_all])
        of_persons = draw_latents(stream(seed, _PERSONS, number), here, mix, even=True)
        own = draw_latents(stream(seed, _CLIPS, number), size, mix)
        latents = (
            np.sqrt(SEED_SHARE) * of_videos[what]
            + np.sqrt(PERSON_SHARE) * of_persons[who]
            + np.sqrt(1 - SEED_SHARE - PERSON_SHARE) * own
        )
        chances.append(vote_chances(latents, fitted["betas"][LIKE[split]]))
        persons.append(people + who)
        videos.append(what)
        people += here
        quiet = np.zeros(size, bool)
        quiet[words.permutation(size)[: round(NO_TEXT[split] * size)]] = True
        silent.append(quiet)
    every = np.concatenate(chances)
    digits = EMI.ids.digits or 0
    return World(
        seed=seed,
        sizes=dict(sizes),
        ids=tuple(str(number).zfill(digits) for number in range(total)),
        persons=np.concatenate(persons),
        videos=np.concatenate(videos),
        chances=every,
        labels=draw_votes(votes, every),
        seconds=_lengths(lengths, sizes),
        silent=np.concatenate(silent),
    )


def _lengths(rng: np.random.Generator, sizes: Mapping[str, int]) -> Array:
    median, spread = LENGTH
    seconds = np.asarray(median * np.exp(spread * rng.standard_normal(sum(sizes.values()))), np.float64)
    size = sizes["train"] / EMI.counts["train"]
    for start, (place, length, least) in ((0, LONG_IN_TRAIN), (sizes["train"], OUTLIER_IN_VALID)):
        if size >= least:
            seconds[start + int(place * min(size, 1.0))] = length
    seconds[0] = seconds[sizes["train"]] = ONE_FRAME
    return seconds
