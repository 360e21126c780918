"""What a bootstrap draws: the groups of clips that are known for a run, or else single clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abawkit.data.groups import Groups, read_groups
from abawkit.data.splits.files import GROUPS, load_split
from abawkit.errors import UsageError
from abawkit.findings import Report
from abawkit.runs.records import METRICS, GroupsRecord
from abawkit.runs.run import Ensemble, Run
from abawkit.workspace import Workspace

#: Fewer groups than this give a rough interval: the bootstrap's theory is one of many groups.
FEW_GROUPS = 30


@dataclass(frozen=True)
class Resampling:
    """What is resampled.

    Attributes:
        groups: The groups; None: by clip.
        keys: One key per clip, in the order of the clips; None: by clip.
        units: How many groups, or clips, there are to draw from.
        ungrouped: Clips without a group, each of which counts as a group of its own.
        report: What was found in the groups file.
    """

    groups: Groups | None
    keys: tuple[str, ...] | None
    units: int
    ungrouped: int = 0
    report: Report = field(default_factory=Report)

    @property
    def words(self) -> str:
        """What is resampled, in words."""
        if self.groups is None:
            return "by clip (clip-level, likely too narrow: clips share persons and seed videos)"
        grouped = self.units - self.ungrouped
        others = f" and {self.ungrouped} clip(s) without a group" if self.ungrouped else ""
        few = f": few, so the interval is rough (fewer than {FEW_GROUPS})" if self.units < FEW_GROUPS else ""
        return f"by {grouped} {self.groups.noun}{others}{few}"

    @property
    def notes(self) -> list[str]:
        """What was found in the groups file, one line per code."""
        first = {finding.code: finding for finding in reversed(self.report.findings)}
        counts = dict(self.report.by_code())
        return [
            f"{found.place}: {found.message}" + (f" (and {counts[code] - 1} more such)" if counts[code] > 1 else "")
            for code, found in first.items()
        ]

    @property
    def record(self) -> GroupsRecord | None:
        """Path, kind, proxy and digest of the groups; None when clips are drawn."""
        groups = self.groups
        if groups is None:
            return None
        return GroupsRecord(path=str(groups.path), kind=groups.kind, proxy=groups.proxy, digest=groups.digest)

    def to_json(self) -> dict[str, Any] | None:
        """Returns :attr:`record` as a JSON object."""
        return None if self.record is None else self.record.to_json()


def find_resampling(
    workspace: Workspace, runs: Sequence[Run], ids: Sequence[str], groups: Path | None = None
) -> Resampling:
    """Returns what is resampled to score these clips.

    Args:
        workspace: The workspace.
        runs: What is scored.
        ids: The scored clips.
        groups: A groups file; default: the groups that the runs' splits were made with, where they agree.

    Raises:
        UsageError: No clip is in the groups file.
        FindingsError: The groups file has errors, or a split was changed by hand.
    """
    report = Report()
    used = _of_splits(workspace, runs) if groups is None else read_groups(groups, workspace.task, report)
    report.raise_if_bad("the groups file", "correct the file, or leave --groups out to resample by clip")
    ungrouped = 0 if used is None else sum(clip not in used.of for clip in ids)
    if used is not None and ungrouped == len(ids):
        if groups is not None:
            raise UsageError(
                "none of the scored clips is in the groups file",
                path=groups,
                got=", ".join(list(used.of)[:5]),
                expected=", ".join(ids[:5]),
            )
        used, ungrouped = None, 0
    keys = None if used is None else tuple(used.keys(ids))
    return Resampling(used, keys, len(ids) if keys is None else len(set(keys)), ungrouped, report)


def _of_splits(workspace: Workspace, runs: Sequence[Run]) -> Groups | None:
    """Returns the groups of the splits of the runs, and of their members; None: there are none, or they differ.

    Who is in a clip does not depend on the split that a run was trained on: one split with groups is enough.
    """
    names = {run.record.split for run in runs}
    for member in {name for run in runs if isinstance(run, Ensemble) for name in run.record.members}:
        folder = workspace.runs / member
        if (folder / METRICS).exists():
            names.add(Run.open(folder).record.split)
    paths = [path for path in workspace.splits.glob(f"*/{GROUPS}") if path.parent.name in names]
    found = [split.groups for path in paths if (split := load_split(path.parent, workspace.task)).groups is not None]
    return found[0] if len({groups.digest for groups in found}) == 1 else None
