"""Removing runs, and stage checkpoints that no run uses."""

import json
from pathlib import Path

import pytest

from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import locked
from abawkit.runs.removal import find_removable, remove, remove_stages, unused_stages
from abawkit.workspace import Workspace
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = make_workspace(tmp_path)
    labels = drawn_labels(5)
    for name, stage in (("F1-official-s1-aa", "111111111111"), ("F4-official-s1-bb", "222222222222")):
        make_run(workspace, name, clip_ids(0, 5), labels, labels, stages={"text": stage})
    for stage in ("text-111111111111", "text-222222222222", "audio-333333333333"):
        (workspace.stages / stage).mkdir(parents=True)
        (workspace.stages / stage / "stage.json").write_text("{}" * 50)
    return workspace


def test_a_run_is_removed(workspace: Workspace) -> None:
    (found,) = find_removable(workspace, ["F1"])
    assert found.path == workspace.runs / "F1-official-s1-aa" and not found.named_by
    assert found.size == sum(path.stat().st_size for path in found.path.rglob("*") if path.is_file())
    remove([found])
    assert [path.name for path in workspace.runs.iterdir()] == ["F4-official-s1-bb"]


def test_an_unfinished_run_can_be_removed(workspace: Workspace) -> None:
    (workspace.runs / "F1-official-s1-aa" / "metrics.json").unlink()
    remove(find_removable(workspace, ["F1-official-s1-aa"]))
    assert not (workspace.runs / "F1-official-s1-aa").exists()


@pytest.mark.parametrize("name", ["F", "F9", "", "..", "../runs"])
def test_names_that_are_none_or_several(workspace: Workspace, name: str) -> None:
    with pytest.raises(UsageError, match="such"):
        find_removable(workspace, [name])


@pytest.mark.parametrize("record", ["submissions/team.csv.json", "submissions/old/a.json", "submissions/ledger.csv"])
def test_what_a_submission_names_stays(workspace: Workspace, record: str) -> None:
    path = workspace.root / record
    path.parent.mkdir(parents=True)
    path.write_text('{"runs": [{"name": "F1-official-s1-aa"}]}')
    found = find_removable(workspace, ["F4", "F1"])
    assert [one.named_by for one in found] == [(), (path,)]
    with pytest.raises(UsageError, match="1 of these runs cannot be removed") as caught:
        remove(found)
    assert str(path) in str(caught.value) and len(list(workspace.runs.iterdir())) == 2
    remove(found, force=True)
    assert not list(workspace.runs.iterdir())


def test_what_an_ensemble_names_stays_until_it_goes_too(workspace: Workspace) -> None:
    labels = drawn_labels(5)
    made = make_run(workspace, "ensemble-cc", clip_ids(0, 5), labels, labels)
    config = json.loads((made.path / "config.json").read_text())
    (made.path / "config.json").write_text(json.dumps(config | {"members": {"F1-official-s1-aa": "x"}}))
    with pytest.raises(UsageError, match="cannot be removed"):
        remove(find_removable(workspace, ["F1"]))
    remove(find_removable(workspace, ["F1", "ensemble"]))
    assert [path.name for path in workspace.runs.iterdir()] == ["F4-official-s1-bb"]


def test_stages_that_no_run_names(workspace: Workspace) -> None:
    assert [one.path.name for one in unused_stages(workspace)] == ["audio-333333333333"]
    (workspace.runs / "F1-official-s1-aa" / "metrics.json").unlink()  # an interrupted training still needs it
    assert [one.path.name for one in unused_stages(workspace)] == ["audio-333333333333"]
    remove(find_removable(workspace, ["F1-official-s1-aa"]))
    assert {one.path.name for one in unused_stages(workspace)} == {"audio-333333333333", "text-111111111111"}
    assert len(remove_stages(workspace)) == 2
    assert [path.name for path in workspace.stages.iterdir()] == ["text-222222222222"]
    assert not unused_stages(workspace)


def test_what_another_process_works_on_is_left_alone(workspace: Workspace) -> None:
    with locked(workspace.stages / "audio-333333333333", "training"):
        with pytest.raises(AbawkitError, match="another process"):
            remove_stages(workspace)
    with locked(workspace.runs / "F1-official-s1-aa", "training"):
        with pytest.raises(AbawkitError, match="another process"):
            remove(find_removable(workspace, ["F1"]))
    assert (workspace.runs / "F1-official-s1-aa" / "metrics.json").exists()


def test_an_empty_name_is_not_the_only_run(workspace: Workspace) -> None:
    remove(find_removable(workspace, ["F4"]))
    for name in ("", "/", "."):
        with pytest.raises(UsageError, match="no such run"):
            find_removable(workspace, [name])
