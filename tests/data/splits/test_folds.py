"""Fold sets are found again by the records of their splits."""

import shutil
from pathlib import Path

import pytest

from abawkit.data.splits.folds import Fold, find_folds, fold_of
from abawkit.data.splits.resplit import find_split, fold, resplit
from abawkit.errors import UsageError
from tests.random_stores import random_workspace


def test_folds_are_found_and_what_cannot_be_is_said(tmp_path: Path) -> None:
    workspace = random_workspace(tmp_path)
    with pytest.raises(UsageError, match=r"no fold set yet[\s\S]*resplit --folds"):
        find_folds(workspace)
    find_split(workspace, "2:1")
    resplit(workspace, "4:1")
    made = fold(workspace, 11)
    found = find_folds(workspace)
    assert [part.split for part in found] == [split.name for split in made]
    assert [part.index for part in found] == list(range(1, 12)), "in order of their numbers, not of their names"
    assert find_folds(workspace, "3", "11fold-s42") == [Fold("11fold-s42", 3, 11, "11fold-s42-3")]
    assert fold_of(workspace, "official") is None and fold_of(workspace, "nosuch") is None
    for which in ("0", "12", "x", "-1"):
        with pytest.raises(UsageError, match="a number from 1 to 11"):
            find_folds(workspace, which)
    fold(workspace, 2, name="other", seed=1, strategy="stratified")
    with pytest.raises(UsageError, match=r"several fold sets[\s\S]*11fold-s42 \(11 folds\), other \(2 folds\)"):
        find_folds(workspace)
    with pytest.raises(UsageError, match="no such fold set"):
        find_folds(workspace, name="official")
    shutil.rmtree(workspace.splits / "other-2")
    assert [part.split for part in find_folds(workspace, "1", "other")] == ["other-1"]
    with pytest.raises(UsageError, match="lacks fold 2 of 2") as caught:
        find_folds(workspace, name="other")
    assert "abawkit resplit --folds 2 --seed 1 --strategy stratified --name other" in str(caught.value)
