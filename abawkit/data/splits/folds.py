"""The fold sets of a workspace: the splits that one ``abawkit resplit --folds K`` made, found by their records."""

from __future__ import annotations

from dataclasses import dataclass

from abawkit.data.splits.files import RECORD, command_of, read_record
from abawkit.errors import UsageError
from abawkit.workspace import Workspace


@dataclass(frozen=True, order=True)
class Fold:
    """A split of a fold set.

    Attributes:
        set: Name of the set, such as ``5fold-s42``.
        index: Number of the fold, from 1.
        of: How many folds the set has.
        split: Name of the split.
    """

    set: str
    index: int
    of: int
    split: str


def fold_of(workspace: Workspace, split: str | None) -> Fold | None:
    """Returns which fold a split is; None: it is not of a fold set, is not known, or is not there any more."""
    if split is None:
        return None
    folder = workspace.splits / split
    if not (folder / RECORD).is_file():
        return None
    part = read_record(folder)["fold"]
    return None if part is None else Fold(str(part["set"]), int(part["index"]), int(part["of"]), split)


def find_folds(workspace: Workspace, which: str = "all", name: str | None = None) -> list[Fold]:
    """Returns folds of one fold set, in their order.

    Args:
        workspace: The workspace.
        which: ``all``, or the number of a fold, from 1.
        name: Name of the set; default: the only one that there is.

    Raises:
        UsageError: There is no such set or fold, several sets and no name, or a split of the set is gone.
    """
    sets: dict[str, list[Fold]] = {}
    for record in workspace.splits.glob(f"*/{RECORD}"):
        fold = fold_of(workspace, record.parent.name)
        if fold is not None:
            sets.setdefault(fold.set, []).append(fold)
    known = ", ".join(f"{one} ({len(folds)} folds)" for one, folds in sorted(sets.items()))
    if not sets:
        raise UsageError("there is no fold set yet", path=workspace.splits, todo="abawkit resplit --folds 5")
    if name is not None and name not in sets:
        todo = "give the set's name; abawkit resplit --folds K --name NAME makes one"
        raise UsageError("there is no such fold set", got=name, expected=known, todo=todo)
    if name is None and len(sets) > 1:
        raise UsageError("there are several fold sets", got=known, todo=f"choose one: --split {min(sets)}")
    found = sorted(sets[name or next(iter(sets))])
    base, of, there = found[0].set, found[0].of, {fold.index for fold in found}
    wanted = range(1, of + 1) if which == "all" else [int(which)] if which.isdecimal() else []
    if not wanted or not 1 <= wanted[0] <= of:
        raise UsageError("there is no such fold", got=which, expected=f"all, or a number from 1 to {of} ({base})")
    gone = [str(index) for index in wanted if index not in there]
    if gone:
        again = command_of(read_record(workspace.splits / found[0].split))
        raise UsageError(
            f"the set {base} lacks fold {', '.join(gone)} of {of}",
            path=workspace.splits,
            todo=f"make it again: {again} --name {base}",
        )
    return [fold for fold in found if fold.index in set(wanted)]
