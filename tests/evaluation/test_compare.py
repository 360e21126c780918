"""Which runs a name means, where systems are meant and not single runs."""

from pathlib import Path

import pytest

from abawkit.errors import UsageError
from abawkit.evaluation.compare import find_systems
from abawkit.runs.run import find_run
from abawkit.workspace import Workspace
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_fold, make_run, make_workspace

IDS, TRUTH = clip_ids(0, 12), drawn_labels(12)


def made(workspace: Workspace, name: str, seed: int = 0, *, system: str = "F4", split: str = "4to1-s0") -> None:
    make_run(workspace, name, IDS, TRUTH, TRUTH, system=system, seed=seed, split=split)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = make_workspace(tmp_path / "workspace")
    for seed in range(3):
        made(workspace, f"F4-4to1-s0-s{seed}", seed)
        made(workspace, f"F3-4to1-s0-s{seed}", seed, system="F3")
    return workspace


def names(workspace: Workspace, *wanted: str, folds: bool = False) -> list[str]:
    return [run.name for run in find_systems(workspace, wanted, folds=folds)]


def test_a_beginning_names_all_seeds_of_a_system(workspace: Workspace) -> None:
    seeds = [f"F4-4to1-s0-s{seed}" for seed in range(3)]
    assert names(workspace, "F4") == seeds
    assert names(workspace, "F4-4to1-s0-s1", "F4", "F3-4to1-s0-s0") == [seeds[1], seeds[0], seeds[2], "F3-4to1-s0-s0"]
    with pytest.raises(UsageError, match="several runs have such a name"):
        find_run(workspace, "F4")  # one run is wanted there
    with pytest.raises(UsageError, match="there is no such run"):
        names(workspace, "F4", "F9")


def test_what_differs_in_more_than_the_seed_is_not_one_system(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="several runs have such a name"):
        names(workspace, "F")
    made(workspace, "F4-official-s0", split="official")
    with pytest.raises(UsageError, match="several runs have such a name"):
        names(workspace, "F4")
    assert len(names(workspace, "F4-4to1")) == 3


def test_unfinished_runs_and_those_on_folds_do_not_count(workspace: Workspace) -> None:
    (workspace.runs / "F3-4to1-s0-s2/metrics.json").unlink()
    assert names(workspace, "F3") == ["F3-4to1-s0-s0", "F3-4to1-s0-s1"]
    for index in (1, 2):
        made(workspace, f"F4-2fold-s0-{index}-s0", split=make_fold(workspace, "2fold-s0", index, 2))
    assert len(names(workspace, "F4")) == 3
    assert names(workspace, "F4", folds=True) == ["F4-2fold-s0-1-s0", "F4-2fold-s0-2-s0"]
