"""How groups lie across the sides of a split, and how groups of two kinds lie across each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from abawkit.data.groups import Groups

_WHAT = {"proxy_seed": "guessed seed video", "proxy_person": "guessed person", "subject": "subject"}
#: The sides that are compared with training, in words.
SIDES = {"valid": "validation", "test": "test"}


@dataclass(frozen=True)
class Shared:
    """What one side shares with the training clips of its split.

    Attributes:
        side: ``valid`` or ``test``.
        clips: Clips of this side that have a group.
        siblings: Those of them with a clip of the same group in training.
        groups: Groups with clips both here and in training.
        chance: Share of siblings (0 to 1) when the clips of both sides are dealt at random to sides of these sizes.
    """

    side: str
    clips: int
    siblings: int
    groups: int
    chance: float

    @property
    def share(self) -> float:
        """Share of the clips that have a sibling in training, 0 to 1."""
        return self.siblings / self.clips


@dataclass(frozen=True)
class Overlap:
    """How groups lie across the sides of one split.

    Attributes:
        split: The split's name.
        kind: Kind of the groups.
        number: Number of groups.
        shared: For validation and test, as far as they have clips with a group and training has.
    """

    split: str
    kind: str
    number: int
    shared: tuple[Shared, ...]

    @property
    def words(self) -> str:
        """What was counted and what it means, in sentences."""
        sentences = []
        for found in self.shared:
            side, both = SIDES[found.side], f"{found.groups} of {self.number} {_WHAT[self.kind]}s"
            sentences.append(
                f"Split {self.split}: {both} have clips in training and in {side}; {percent(found.share)} of the "
                f"{side} clips have a sibling in training ({percent(found.chance)} if clips were dealt at random)"
            )
        return ". ".join([*sentences, self.meaning])

    @property
    def meaning(self) -> str:
        """What the counts mean, in a sentence."""
        if not self.shared:
            return "Too few clips have a group to compare the sides."
        if not any(found.siblings for found in self.shared):
            return "By this guess no group is on two sides."
        if self.kind == "proxy_seed":
            return (
                "Not safe by seed video: what a model learns of one imitation's words it meets again on the other side."
            )
        if self.split == "official":
            return (
                "The organisers kept subjects apart, so these are wrong guesses, two people taken for one: the further "
                "below chance, the better the guess."
            )
        return "Not subject-safe by this guess: one person can be on both sides, which flatters scores."

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {
            "split": self.split,
            "shared_with_training": {
                found.side: {
                    "clips": found.clips,
                    "clips_with_sibling": found.siblings,
                    "share": found.share,
                    "share_by_chance": found.chance,
                    "groups": found.groups,
                }
                for found in self.shared
            },
            "words": self.words,
        }


def overlap(split: str, groups: Groups, sides: Mapping[str, Sequence[str]]) -> Overlap:
    """Returns how the groups lie across the sides of a split.

    Args:
        split: Its name.
        groups: The groups; clips without one are not counted.
        sides: ``train``, ``valid`` and ``test`` → clip ids.

    >>> from pathlib import Path
    >>> groups = Groups(Path("g.csv"), {"a": "ann", "b": "ann", "c": "bob"}, "proxy_person")
    >>> found = overlap("x", groups, {"train": ["a"], "valid": ["b", "c"], "test": []}).shared[0]
    >>> found.siblings, found.clips, found.groups
    (1, 2, 1)
    """
    of = groups.of
    train = [of[clip] for clip in sides["train"] if clip in of]
    shared = []
    for side in SIDES:
        here = [of[clip] for clip in sides[side] if clip in of]
        if train and here:
            there, dealt = set(train), np.random.default_rng(0).permutation(train + here).tolist()
            by_chance = set(dealt[: len(train)])
            siblings = sum(group in there for group in here)
            chance = sum(group in by_chance for group in dealt[len(train) :]) / len(here)
            shared.append(Shared(side, len(here), siblings, len(there & set(here)), chance))
    return Overlap(split, groups.kind, len(groups), tuple(shared))


@dataclass(frozen=True)
class Crossing:
    """How persons and seed videos cross each other.

    Attributes:
        seeds_per_person: Median number of seed videos that a person of two clips and more imitates.
        persons_per_seed: Median number of persons that imitate a seed video of two clips and more.
        tied: Share of the clips (0 to 1) that are connected when neither kind of group may be split.
    """

    seeds_per_person: float
    persons_per_seed: float
    tied: float

    @property
    def words(self) -> str:
        """What that means, in sentences."""
        return (
            f"A guessed person imitates {self.seeds_per_person:g} guessed seed videos, and a seed video is imitated by "
            f"{self.persons_per_seed:g} persons (medians). They cross each other: to keep both whole, "
            f"{percent(self.tied)} of the clips would have to be on one side, so no split can separate both. Choose "
            "persons to split by: the test clips show other people, but very likely imitate the same seed videos."
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return vars(self) | {"words": self.words}


def cross(persons: Groups, seeds: Groups) -> Crossing | None:
    """Returns how the two kinds of groups cross, over the clips that have both; None when there is no such clip."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    clips = sorted(persons.of.keys() & seeds.of.keys())
    if not clips:
        return None
    person = np.unique([persons.of[clip] for clip in clips], return_inverse=True)[1]
    seed = np.unique([seeds.of[clip] for clip in clips], return_inverse=True)[1] + person.max() + 1
    size = int(seed.max()) + 1
    graph = coo_matrix((np.ones(len(clips)), (person, seed)), shape=(size, size))
    part = connected_components(graph, directed=False)[1][person]
    return Crossing(_others(person, seed), _others(seed, person), int(np.bincount(part).max()) / len(clips))


def _others(these: Any, those: Any) -> float:
    """Returns with how many of ``those`` a group of ``these`` of two clips and more has clips, as the median."""
    clips = Counter(these.tolist())
    met = Counter(this for this, _ in set(zip(these.tolist(), those.tolist(), strict=True)))
    counts = [met[this] for this, number in clips.items() if number > 1]
    return float(np.median(counts)) if counts else 1.0


def percent(share: float) -> str:
    """Returns a share as people say it.

    >>> percent(0.5), percent(0.004), percent(1)
    ('50 %', '0.4 %', '100 %')
    """
    return f"{100 * share:.0f} %" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{100 * share:.1f} %"
