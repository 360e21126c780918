"""``abawkit groups suggest``: proxy groups, for data that come without subject ids.

Which clips imitate one seed video is guessed from transcripts that say nearly the same, which clips show one person
from a feature store. Both are guesses and are called so in every file and report. What is done with them is another
matter: ``resplit --groups``, folds, and the bootstrap by group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawkit import __version__
from abawkit.data.groups import Groups, write_groups
from abawkit.data.labels import load_official
from abawkit.data.splits.resplit import find_split
from abawkit.errors import UsageError
from abawkit.features.store import FeatureStore, list_stores
from abawkit.features.summary import find_store
from abawkit.fileio import write_json
from abawkit.jobs.grouping.clusters import SIMILARITY
from abawkit.jobs.grouping.guess import Found, by_store, by_text
from abawkit.jobs.grouping.overlap import Crossing, Overlap, cross, overlap
from abawkit.layout.folder import ChallengeFolder
from abawkit.progress import SILENT, Progress
from abawkit.workspace import Workspace

PROXY = "proxy: guessed, not subject ids"

#: ``--by text`` means the transcripts, not a store of text features.
TEXT = "text"

#: Above this share of the clips one group counts as suspiciously large.
LARGE = 0.1

#: Below this share of clips that are not alone the groups hardly tell anything.
ALONE = 0.2


@dataclass(frozen=True)
class Guess:
    """One file of proxy groups.

    Attributes:
        groups: The groups, as written.
        found: How they were guessed.
        clips: Number of clips of the challenge.
        sizes: Number of clips of each group, largest first.
        overlaps: How the groups lie across the sides of each split.
    """

    groups: Groups
    found: Found
    clips: int
    sizes: tuple[int, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def largest(self) -> float:
        """The largest group's share of the clips that have a group."""
        return self.sizes[0] / sum(self.sizes)

    @property
    def shared(self) -> float:
        """Share of the clips with a group that are not alone in it."""
        return 1 - sum(size == 1 for size in self.sizes) / sum(self.sizes)

    @property
    def estimate(self) -> str:
        """How right the groups are, in words; empty when it is unknown."""
        right = self.found.method.get("pairs_right")
        if right is None or right != right:
            return ""
        remark = "nearly all" if right > 0.995 else f"about {100 * right:.0f} %"
        return f"{remark} of the pairs of clips in one group are right, judged by the official split"

    @property
    def warnings(self) -> list[str]:
        """What speaks against these groups, in words."""
        warnings = []
        if len(self.sizes) > 1 and self.largest > LARGE:
            remark = (
                f"the largest group has {100 * self.largest:.0f} % of the clips: several groups may have been merged"
            )
            warnings.append(remark)
        if len(self.sizes) == 1:
            warnings.append("all clips are in one group: this says nothing")
        if self.shared < ALONE:
            remark = f"only {100 * self.shared:.0f} % of the clips share a group with another one"
            warnings.append(f"{remark}: this hardly shows which belong together")
        return warnings

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises; the file beside the groups holds the same."""
        return {
            "path": str(self.groups.path),
            "kind": self.groups.kind,
            "note": PROXY,
            "by": self.found.by,
            "method": dict(self.found.method),
            "clips": self.clips,
            "groups": len(self.sizes),
            "groups_of_one": sum(size == 1 for size in self.sizes),
            "median_size": float(np.median(self.sizes)),
            "largest_size": self.sizes[0],
            "largest_share": self.largest,
            "ungrouped": dict(self.found.ungrouped),
            "estimate": self.estimate,
            "overlap": [found.to_json() for found in self.overlaps],
            "warnings": self.warnings,
            "digest": self.groups.digest,
            "tool": f"abawkit {__version__}",
        }


@dataclass(frozen=True)
class Suggestion:
    """What was guessed.

    Attributes:
        guesses: One per file.
        crossing: How persons and seed videos cross; None when only one of them was guessed.
        remarks: What was not done and how to have it done.
    """

    guesses: tuple[Guess, ...]
    crossing: Crossing | None
    remarks: tuple[str, ...]

    @property
    def chosen(self) -> Guess:
        """The guess to split by: persons where there are any."""
        return next((guess for guess in self.guesses if guess.groups.kind == "proxy_person"), self.guesses[0])

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return {
            "note": PROXY,
            "files": [guess.to_json() for guess in self.guesses],
            "crossing": None if self.crossing is None else self.crossing.to_json(),
            "choose": str(self.chosen.groups.path),
            "remarks": list(self.remarks),
        }


def suggest(
    workspace: Workspace,
    by: Sequence[str] = (),
    *,
    split: str | None = None,
    out: Path | None = None,
    clusters: int | None = None,
    similarity: float = SIMILARITY,
    progress: Progress = SILENT,
) -> Suggestion:
    """Writes files of proxy groups and returns them.

    Args:
        workspace: The workspace.
        by: ``text``: seed videos by the transcripts, to ``seed.csv``; a modality, or a feature store's name, folder or
            signature: persons by it, to ``person.csv`` (of several stores: ``person-<modality>.csv``). Default: the
            transcripts and the vision store, as far as they are there.
        split: Name of a split whose sides are looked at besides those of the official one.
        out: Folder of the files; default: ``groups`` in the workspace.
        clusters: How many persons there are, where that is known.
        similarity: How alike transcripts of one seed video are: their mean cosine, in (0, 1).
        progress: What to report to.

    Raises:
        UsageError: There is neither transcript nor store, an argument makes no sense, or a file is not ours to replace.
        FindingsError: The label files have errors.
        AbawkitError: A store lacks a shard.
    """
    if not 0 < similarity < 1:
        raise UsageError("this is not a similarity", got=f"{similarity:g}", expected="a number between 0 and 1")
    folder = ChallengeFolder.open(workspace.data, workspace.task)
    official = load_official(folder)
    sides = {"official": {"train": official.train.ids, "valid": official.valid.ids, "test": official.test_ids}}
    if split is not None and split != "official":
        other = find_split(workspace, "2:1", split)
        sides[split] = {"train": other.train.ids, "valid": other.valid.ids, "test": other.test_ids}
    ids = sorted({clip for side in sides["official"].values() for clip in side})
    of_side = {clip: number for number, side in enumerate(sides["official"].values()) for clip in side}
    place = workspace.root / "groups" if out is None else out
    texts, stores, remarks = _sources(workspace, by)
    for store in stores:
        store.require_whole()
    if clusters is not None and not stores:
        raise UsageError("the number of clusters is one of persons, and no feature store is given", got=str(clusters))
    names = ["seed"] * texts + ["person" if len(stores) == 1 else f"person-{s.spec.modality}" for s in stores]
    paths = [_free(place / f"{name}.csv") for name in names]

    guesses = []
    if texts:
        found = by_text(workspace, folder, ids, similarity, progress)
        if found is None:
            if by:
                raise UsageError("no clip has a transcript of words", todo="abawkit transcribe")
            remarks.append("no clip has a transcript, so seed videos were not guessed: abawkit transcribe")
            paths = paths[1:]
        else:
            guesses.append((paths.pop(0), found))
    for store, path in zip(stores, paths, strict=True):
        guesses.append((path, by_store(store, ids, of_side, clusters, progress)))
    if not guesses:
        raise UsageError(
            "there is nothing to guess groups from",
            path=workspace.root,
            got="\n".join(remarks),
            todo="abawkit transcribe for seed videos, abawkit extract --modality vision for persons",
        )
    made = tuple(_write(workspace, path, found, len(ids), sides) for path, found in guesses)
    seeds = [guess.groups for guess in made if guess.groups.kind == "proxy_seed"]
    persons = [guess.groups for guess in made if guess.groups.kind == "proxy_person"]
    crossing = cross(persons[0], seeds[0]) if seeds and persons else None
    return Suggestion(made, crossing, tuple(remarks))


def _sources(workspace: Workspace, by: Sequence[str]) -> tuple[bool, list[FeatureStore], list[str]]:
    """Returns whether to look at the transcripts, which stores to look at, and what is not there."""
    if by:
        stores = [find_store(workspace.features, wanted) for wanted in dict.fromkeys(by) if wanted != TEXT]
        twice = [m for m, count in Counter(store.spec.modality for store in stores).items() if count > 1]
        if twice:
            raise UsageError("two feature stores of one modality", got=f"{twice[0]}", todo="give one of them")
        return TEXT in by, stores, []
    stores = [store for store in list_stores(workspace.features) if store.spec.modality == "vision"]
    lite = workspace.settings.extract.preset == "lite"
    stores = [store for store in stores if (store.spec.name == "lite") == lite] or stores
    if len(stores) > 1:
        names = ", ".join(f"vision/{store.path.name}" for store in stores)
        raise UsageError(
            "there are several stores of vision features",
            path=workspace.features,
            got=names,
            todo=f"say which: abawkit groups suggest --by text --by vision/{stores[0].path.name}",
        )
    lacking = "there are no vision features, so persons were not guessed: abawkit extract --modality vision"
    return True, stores, [] if stores else [lacking]


def _free(path: Path) -> Path:
    """Returns ``path``.

    Raises:
        UsageError: There is a file that this command has not written.
    """
    if path.exists() and not path.with_suffix(".json").exists():
        raise UsageError(
            "there is a file of this name that was not made by this command",
            path=path,
            todo="rename it, or choose another folder: --out DIR",
        )
    return path


def _write(
    workspace: Workspace, path: Path, found: Found, clips: int, sides: Mapping[str, Mapping[str, Sequence[str]]]
) -> Guess:
    groups = Groups(path, found.of, found.kind)
    sizes = tuple(sorted(Counter(found.of.values()).values(), reverse=True))
    guess = Guess(groups, found, clips, sizes, tuple(overlap(name, groups, split) for name, split in sides.items()))
    # The record first: it says that the file next to it may be overwritten.
    write_json(path.with_suffix(".json"), guess.to_json() | {"path": path.name})
    write_groups(path, workspace.task, found.of, found.kind)
    return guess
