"""Simulated features: frames of noise, in which persons, seed videos and the six emotions leave their marks.

A frame of clip i in one modality, before it is scaled, is::

    noise  +  who and what (the same in every frame)  +  inside · carrier(t)  +  outside · (1 - carrier(t))

Every entry of the noise is standard normal and independent. "Who and what" are directions of the modality with
coefficients of the clip's person, its seed video and itself: nuisance that says nothing about the emotions but who
shows them. The carrier is one stretch of 30 % of the frames: in it the six directions of the emotions (and a seventh
that all carriers share, so that attention can find them) have the coefficients

    g · shown + sqrt(1 - g²) · error,        g the modality's strength per emotion,

outside it they have a clip's own distraction. The error is in part common to all modalities, in part the person's and
the seed video's: modalities agree in some of their errors, and so do clips of one person. ``inside`` is scaled so that
a clip's mean over its frames does not depend on how long it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from abawkit.features.spec import MODALITIES, Modality
from abawkit.jobs.simulation.label_model import EMOTIONS, Array
from abawkit.jobs.simulation.world import World, stream

Floats = NDArray[np.float32]

#: Share of the frames that carry the signal, and how strong a clip's distraction outside is beside its signal.
CARRIER, DISTRACTION = 0.3, 0.5

#: Shares of the variance of an error: common to all modalities; the person's and the seed video's.
COMMON, OF_PERSON, OF_VIDEO = 0.3, 0.15, 0.05

#: Keys of the random streams; those of the modalities follow.
_ERRORS, _DIRECTIONS, _MODALITY = 100, 101, 200
_OF_CLIPS, _OF_PERSONS, _OF_VIDEOS, _NUISANCE, _PLACES, _FRAMES, _MEANS = range(7)
#: The directions are the model's, not the data's: they are the same in every simulation.
_MODEL = 20240


@dataclass(frozen=True)
class Shape:
    """What one modality's features look like.

    Attributes:
        dim: Values per frame.
        rate: Frames per second; None: one frame per clip.
        persons: Number of directions in which persons differ.
        videos: Number of directions in which seed videos differ: many for words, hardly any for pictures of the person.
        clips: Number of directions in which clips differ for no reason.
        nuisance: Standard deviation of each of these, the noise of one value being 1.
        signal: The same for the directions of the emotions.
        scale: What everything is multiplied with at the end, so that sizes are like those of the real model.
    """

    dim: int
    rate: float | None
    persons: int
    videos: int
    clips: int
    nuisance: float
    signal: float
    scale: float


SHAPES: Mapping[Modality, Shape] = {
    "text": Shape(768, None, persons=8, videos=48, clips=16, nuisance=4.0, signal=4.0, scale=0.03),
    "audio": Shape(1024, 50.0, persons=48, videos=16, clips=16, nuisance=3.0, signal=1.5, scale=0.1),
    "vision": Shape(768, 10.0, persons=64, videos=4, clips=16, nuisance=3.0, signal=1.5, scale=0.5),
    "motion": Shape(23, 10.0, persons=4, videos=2, clips=2, nuisance=1.0, signal=1.5, scale=0.5),
}


@cache
def _normal_quantiles() -> Floats:
    """Returns the normal quantiles of 65,536 equally likely values: a draw is one look-up of a 16-bit number."""
    quantiles: Array = ndtri((np.arange(2**16) + 0.5) / 2**16)
    return quantiles.astype(np.float32)


@cache
def directions(modality: Modality) -> Floats:
    """Returns the modality's unit directions ``[6 + 1 + persons + videos + clips, D]``: emotions, carrier, nuisance."""
    shape = SHAPES[modality]
    count = EMOTIONS + 1 + shape.persons + shape.videos + shape.clips
    drawn = stream(_MODEL, _DIRECTIONS, MODALITIES.index(modality)).standard_normal((count, shape.dim))
    unit: Array = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit.astype(np.float32)


@dataclass(frozen=True)
class Signal:
    """One modality's features of a world, not yet frame by frame.

    Attributes:
        world: The clips.
        modality: Which modality.
        strength: Per emotion g in [0, 1]; 0: the features say nothing about it.
    """

    world: World
    modality: Modality
    strength: Sequence[float]

    @property
    def shape(self) -> Shape:
        """What the features look like."""
        return SHAPES[self.modality]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each clip, ``[N]``; 0 where the clip lacks the modality."""
        lengths = self.world.frames(self.shape.rate)
        return np.where(self.world.silent, 0, lengths) if self.modality == "text" else lengths

    def _stream(self, *key: int) -> np.random.Generator:
        return stream(self.world.seed, _MODALITY + MODALITIES.index(self.modality), *key)

    @cached_property
    def inside(self) -> Array:
        """Coefficients of the emotions' directions in a clip's carrier, standardised, ``[N, 6]``."""
        common = _errors(self.world, lambda *key: stream(self.world.seed, _ERRORS, *key))
        error = np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * _errors(self.world, self._stream)
        strength = np.array(self.strength)
        return np.asarray(strength * self.world.shown + np.sqrt(1 - strength**2) * error, np.float64)

    @cached_property
    def _nuisance(self) -> Array:
        shape, world, rng = self.shape, self.world, self._stream(_NUISANCE)
        persons = rng.standard_normal((world.persons.max() + 1, shape.persons))[world.persons]
        videos = rng.standard_normal((world.videos.max() + 1, shape.videos))[world.videos]
        return np.hstack([persons, videos, rng.standard_normal((len(world.ids), shape.clips))])

    @cached_property
    def _places(self) -> tuple[Array, Array]:
        """Where each clip's carrier begins, as a share of where it can (``[N]``), and its distraction ``[N, 6]``."""
        rng = self._stream(_PLACES)
        count = len(self.world.ids)
        return rng.random(count), rng.standard_normal((count, EMOTIONS))

    @cached_property
    def carriers(self) -> NDArray[np.int64]:
        """Frames of each clip that carry its signal, ``[N]``: at least one."""
        return np.asarray(np.clip(np.rint(CARRIER * self.lengths), 1, np.maximum(self.lengths, 1)), np.int64)

    def _levels(self, rows: slice) -> tuple[Floats, Floats]:
        """Returns a frame of each clip without its noise, outside the carrier and inside it, ``[n, D]`` each."""
        shape = self.shape
        lengths, carriers = np.maximum(self.lengths[rows], 1), self.carriers[rows]
        stretch = (lengths / carriers)[:, None]
        whole = (lengths == carriers)[:, None]
        rest = np.where(whole, 0.0, lengths[:, None] / np.maximum(lengths - carriers, 1)[:, None])
        nuisance = shape.nuisance * self._nuisance[rows]
        none = np.zeros((len(lengths), 1))
        outside = np.hstack([shape.signal * DISTRACTION * rest * self._places[1][rows], none, nuisance])
        inside = np.hstack([shape.signal * stretch * self.inside[rows], none + shape.signal, nuisance])
        return self._mixed(outside), self._mixed(inside)

    def _mixed(self, coefficients: Array) -> Floats:
        # Not a matrix product, whose last bits depend on how many threads the machine gives it.
        mixed = np.einsum("nk,kd->nd", coefficients.astype(np.float32), directions(self.modality))
        return np.asarray(mixed, np.float32)

    def pooled(self) -> Floats:
        """Returns each clip's mean over its frames, before scaling, ``[N, D]``: drawn at once and not frame by frame.

        It is distributed as the means of :meth:`frames` are. Clips that lack the modality have zeros.
        """
        count = len(self.world.ids)
        outside, inside = self._levels(slice(0, count))
        lengths = np.maximum(self.lengths, 1)
        share = (self.carriers / lengths)[:, None].astype(np.float32)
        noise = self._stream(_MEANS).standard_normal(outside.shape, dtype=np.float32)
        means = outside + share * (inside - outside) + noise / np.sqrt(lengths)[:, None].astype(np.float32)
        return np.asarray(np.where((self.lengths == 0)[:, None], 0.0, means), np.float32)

    def frames(self, first: int, last: int) -> Iterator[NDArray[np.float16]]:
        """Yields the frames of the clips ``first`` to ``last - 1``, float16 ``[T, D]`` each, ``[0, D]`` where lacking.

        The noise is drawn from the seed, the modality and ``first``: the same call gives the same bytes.
        """
        dim, scale = self.shape.dim, np.float32(self.shape.scale)
        rows = slice(first, last)
        outside, inside = (scale * level for level in self._levels(rows))
        table = scale * _normal_quantiles()
        rng = self._stream(_FRAMES, first)
        for row, (length, carrier, place) in enumerate(
            zip(self.lengths[rows], self.carriers[rows], self._places[0][rows], strict=True)
        ):
            # Four 16-bit numbers at a time: twenty times as fast as drawing normal values.
            drawn = rng.integers(0, 2**64, -(-length * dim // 4), dtype=np.uint64).view(np.uint16)[: length * dim]
            values = table.take(drawn, mode="wrap").reshape(length, dim)
            begin = int(place * (length - carrier + 1)) if length else 0
            values[:begin] += outside[row]
            values[begin : begin + carrier] += inside[row]
            values[begin + carrier :] += outside[row]
            yield values.astype(np.float16)


def _errors(world: World, streams: Callable[..., np.random.Generator]) -> Array:
    """Returns standard normal errors ``[N, 6]``, in part the person's and the seed video's."""
    of_persons = streams(_OF_PERSONS).standard_normal((world.persons.max() + 1, EMOTIONS))[world.persons]
    of_videos = streams(_OF_VIDEOS).standard_normal((world.videos.max() + 1, EMOTIONS))[world.videos]
    own = streams(_OF_CLIPS).standard_normal((len(world.ids), EMOTIONS))
    rest = 1 - OF_PERSON - OF_VIDEO
    return np.asarray(np.sqrt(OF_PERSON) * of_persons + np.sqrt(OF_VIDEO) * of_videos + np.sqrt(rest) * own, np.float64)
