"""What a split is drawn from: the labelled clips, which of them may be held out, and which of those stay together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from abawkit.data.groups import Groups, read_groups
from abawkit.data.labels import LabelTable, Official, load_official
from abawkit.data.splits.draw import in_order
from abawkit.errors import UsageError
from abawkit.findings import Finding, Report
from abawkit.layout.folder import ChallengeFolder
from abawkit.workspace import Workspace

Strategy = Literal["random", "stratified"]


@dataclass(frozen=True)
class Pool:
    """What is drawn from, and how.

    Attributes:
        official: The official splits.
        labelled: All labelled clips, the official training clips first.
        seed: The seed.
        strategy: ``random`` or ``stratified``.
        free: Whether official training clips may be held out.
        groups: The groups of the labelled clips, None without any.
        test_shared: Number of test clips that share a group with a labelled clip.
        remarks: What is odd about the groups file, a line each.
        units: Clips that may be held out, those together that stay together, in the order of the draw.
    """

    official: Official
    labelled: LabelTable
    seed: int
    strategy: str
    free: bool
    groups: Groups | None
    test_shared: int
    remarks: tuple[str, ...]
    units: list[list[str]]

    @cached_property
    def labels(self) -> dict[str, NDArray[np.float64]]:
        """Clip id → labels, of all labelled clips."""
        return dict(zip(self.labelled.ids, self.labelled.values, strict=True))

    @property
    def size(self) -> int:
        """How many clips may be held out."""
        return sum(map(len, self.units))

    @property
    def moved_with_group(self) -> int:
        """How many official validation clips go to training because their group has an official training clip."""
        return 0 if self.free else len(self.official.valid) - self.size

    def refuse_fewer_units_than(self, least: int) -> None:
        """Raises when there are too few clips or groups to draw from.

        Raises:
            UsageError: There are fewer than ``least``.
        """
        if len(self.units) >= least:
            return
        got = str(len(self.units))
        if self.moved_with_group:
            got += (
                f": {self.moved_with_group} of {len(self.official.valid)} official validation clips share a group with "
                "an official training clip"
            )
        raise UsageError(
            f"there are too few {'clips' if self.groups is None else 'groups'} that may be held out",
            path=None if self.groups is None else self.groups.path,
            got=got,
            expected=f"at least {least}",
            todo=None if self.free else "give --free, so that official training clips may be held out, too",
        )


def open_pool(workspace: Workspace, seed: int | None, strategy: str, groups: Path | None, free: bool) -> Pool:
    """Returns what a split is drawn from.

    Without ``free``, official training clips stay in training, and with them every clip of their groups.

    Args:
        workspace: The workspace; the challenge folder is only read.
        seed: Default: the setting ``split.seed``.
        strategy: ``random`` or ``stratified``.
        groups: A groups file; clips in it that have no labels are left aside.
        free: Whether official training clips may be held out.

    Raises:
        UsageError: The strategy is unknown, or no clip in the groups file has labels.
        FindingsError: The label files or the groups file have errors.
    """
    if strategy not in get_args(Strategy):
        raise UsageError("unknown strategy", got=strategy, expected=" or ".join(get_args(Strategy)))
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    train, valid = official.train, official.valid
    labelled = LabelTable(train.path, train.ids + valid.ids, np.concatenate([train.values, valid.values]))
    known, test_shared, remarks = None, 0, Report()
    if groups is not None:
        known, test_shared = _known_groups(groups, workspace, labelled, official, remarks)
    of: Mapping[str, str] = {} if known is None else known.of
    staying = set() if free else {of[clip] for clip in train.ids if clip in of}
    ids = [clip for clip in (labelled if free else valid).ids if of.get(clip) not in staying]
    seed = workspace.settings.split.seed if seed is None else seed
    return Pool(
        official=official,
        labelled=labelled,
        seed=seed,
        strategy=strategy,
        free=free,
        groups=known,
        test_shared=test_shared,
        remarks=tuple(_in_a_line(finding) for finding in remarks.findings),
        units=in_order(ids, of, seed),
    )


def _known_groups(
    path: Path, workspace: Workspace, labelled: LabelTable, official: Official, report: Report
) -> tuple[Groups, int]:
    """Returns the groups of the labelled clips, and how many test clips share one of them."""
    given = read_groups(path, workspace.task, report)
    given.tell_strangers((*labelled.ids, *official.test_ids), report)
    report.raise_if_bad(path.name, "correct the groups file")
    of = {clip: group for clip, group in given.of.items() if clip in labelled.rows}
    if not of:
        raise UsageError(
            "none of the clips in the groups file has labels",
            path=path,
            got=", ".join(list(given.of)[:5]),
            expected=f"clips of {official.train.path.name} and {official.valid.path.name}",
        )
    names = set(of.values())
    return Groups(path, of, given.kind), sum(given.of.get(clip) in names for clip in official.test_ids)


def _in_a_line(finding: Finding) -> str:
    place = "" if finding.line is None else f"line {finding.line}: "
    return f"{finding.code} {place}{finding.message}" + ("" if finding.got is None else f" (got {finding.got})")
