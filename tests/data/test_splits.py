import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abawkit.data.labels import load_official
from abawkit.data.layout import ChallengeFolder
from abawkit.data.splits import Ratio, find_split, list_splits, load_split, resplit
from abawkit.errors import FindingsError, UsageError
from abawkit.workspace import Workspace

MakeWorkspace = Callable[..., Workspace]


@pytest.mark.parametrize(
    "text", ["", "4", "4:0", "0:1", "-4:1", "4:1:1", "a:b", "4.5:1", "4/1", "inf:1", "9" * 99 + ":1"]
)
def test_no_ratio(text: str) -> None:
    with pytest.raises(UsageError, match="not a ratio"):
        Ratio.parse(text)


def test_the_paper_counts() -> None:
    assert Ratio.parse("4:1").training_clips(8072 + 4588) == 10128


def test_the_real_counts(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(8072, 4588)
    split = resplit(workspace)
    assert (split.name, len(split.train), len(split.valid)) == ("4to1-s42", 10128, 2532)
    assert split.record["moved"] == 2056
    official = resplit(workspace, "2:1")
    assert (official.name, len(official.train), len(official.valid)) == ("official", 8072, 4588)
    assert official.record["ratio_got"] == "1.7594:1"


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_split_is_a_partition(bare_workspace: MakeWorkspace, n: int, m: int, a: int, b: int, seed: int) -> None:
    workspace = bare_workspace(n, m, 3)
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    wanted = round((n + m) * a / (a + b) + 1e-9)  # half up
    reachable = n <= wanted < n + m
    if not reachable:
        with pytest.raises(UsageError, match="cannot be reached"):
            resplit(workspace, f"{a}:{b}", seed=seed, exact=True)
        return
    split = resplit(workspace, f"{a}:{b}", seed=seed, exact=True)
    assert len(split.train) == wanted
    assert split.train.ids[:n] == official.train.ids
    assert sorted(split.train.ids + split.valid.ids) == sorted(official.train.ids + official.valid.ids)
    assert not set(split.test_ids) & {*split.train.ids, *split.valid.ids}
    labels = {
        clip: row.tolist() for t in (official.train, official.valid) for clip, row in zip(t.ids, t.values, strict=True)
    }
    for table in (split.train, split.valid):
        assert {clip: row.tolist() for clip, row in zip(table.ids, table.values, strict=True)} == {
            clip: labels[clip] for clip in table.ids
        }


def test_the_draw_depends_on_seed_and_ids_alone(bare_workspace: MakeWorkspace) -> None:
    one, other = bare_workspace(20, 20), bare_workspace(20, 20)
    path = other.data / "valid_split.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert set(resplit(one).train.ids) == set(resplit(other).train.ids)
    assert set(resplit(one, "3:1").train.ids) < set(resplit(one).train.ids)
    assert resplit(one, seed=1).train.ids != resplit(one, seed=2).train.ids
    # A draw that changes would change everybody's splits.
    moved = "21 23 24 25 30 31 32 33 35 36 37 39"
    assert " ".join(clip[3:] for clip in resplit(one).train.ids[20:]) == moved


def test_the_draw_is_even(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(10, 10)
    moved = np.zeros(10)
    for seed in range(16):
        chosen = set(resplit(workspace, "3:1", seed=seed).train.ids)
        moved += [f"{k:05d}" in chosen for k in range(10, 20)]
    assert moved.sum() == 16 * 5
    assert moved.min() > 1  # expected 8, standard deviation 2
    assert moved.max() < 15


def test_record(workspace: Workspace) -> None:
    split = resplit(workspace, "3:1", seed=5)
    record = json.loads((workspace.splits / "3to1-s5" / "split.json").read_text())
    assert split.record == record
    assert record["format"] == 1
    assert (record["name"], record["ratio"], record["seed"], record["groups"]) == ("3to1-s5", "3:1", 5, None)
    assert record["counts"] == {"train": 15, "valid": 5, "test": 5}
    assert record["strategy"] == "random, official training clips kept"
    assert record["subject_safe"] is False
    assert record["note"].startswith("not subject-safe: ")
    assert record["parent"]["valid"]["file"] == "valid_split.csv"
    assert record["tool"].startswith("abawkit ")
    assert (split.folder / "test.csv").read_text() == "Filename\n00020\n00021\n00022\n00023\n00024\n"
    assert str(workspace.root) not in json.dumps(record)
    assert sorted(path.name for path in split.folder.iterdir()) == ["split.json", "test.csv", "train.csv", "valid.csv"]


def test_official_split_is_untouched(workspace: Workspace) -> None:
    split = find_split(workspace, "2:1")
    assert (split.name, split.seed, split.ratio) == ("official", None, "2:1")
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    assert split.train.digest == official.train.digest
    assert split.valid.digest == official.valid.digest
    assert split.record["subject_safe"] is True


def test_exact_two_to_one(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(18, 12)
    assert len(resplit(workspace, "2:1").train) == 18
    split = resplit(workspace, "2:1", exact=True)
    assert (split.name, len(split.train)) == ("2to1-s42", 20)
    assert find_split(workspace, "2:1").name == "official"
    assert find_split(workspace, "2:1", "2to1-s42").train.ids == split.train.ids


def test_a_ratio_that_cannot_be_reached(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(14, 6)
    with pytest.raises(UsageError) as caught:
        resplit(workspace, "1:1")
    assert "3:1, 4:1, 5:1, 9:1" in str(caught.value)
    with pytest.raises(UsageError, match="no clip would be left for validation"):
        resplit(workspace, "100:1")
    assert not workspace.splits.exists()


def test_the_same_again_is_returned_and_another_refused(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8)
    first = resplit(workspace, "4:1", name="mine")
    stamp = (first.folder / "train.csv").stat().st_mtime_ns
    assert resplit(workspace, "8:2", name="mine").train.ids == first.train.ids
    assert (first.folder / "train.csv").stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="another split of this name"):
        resplit(workspace, "4:1", name="mine", seed=43)
    with pytest.raises(UsageError, match="another split of this name"):
        resplit(workspace, "3:1", name="mine")
    assert resplit(workspace, "79:20", name="other").train.ids == first.train.ids
    with pytest.raises(UsageError, match="another split of this name"):
        resplit(workspace, "79:20", name="mine")  # the same clips for another ratio
    with pytest.raises(UsageError, match="kept for the organisers"):
        resplit(workspace, "4:1", name="official")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "/tmp/x", "x" * 99, "a\n"])
def test_hostile_names(bare_workspace: MakeWorkspace, name: str) -> None:
    workspace = bare_workspace(12, 8)
    for call in (lambda: resplit(workspace, name=name), lambda: find_split(workspace, "4:1", name)):
        with pytest.raises(UsageError, match="cannot be a split's name"):
            call()


@pytest.mark.parametrize("file", ["train.csv", "valid.csv", "test.csv"])
def test_a_change_by_hand_is_noticed(workspace: Workspace, file: str) -> None:
    split = resplit(workspace)
    path = split.folder / file
    whole = path.read_text()
    path.write_text("\n".join(whole.splitlines()[:-1]) + "\n")
    for call in (lambda: load_split(split.folder, workspace.task), lambda: find_split(workspace, "4:1")):
        with pytest.raises(FindingsError, match="changed after the split was made"):
            call()
    path.write_bytes(whole.replace("\n", "\r\n").encode())  # an editor's line ends are no change
    load_split(split.folder, workspace.task)


def test_a_changed_label_is_noticed(workspace: Workspace) -> None:
    split = resplit(workspace)
    path = split.folder / "valid.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = "0.125"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(FindingsError, match=r"train\.csv or valid\.csv were changed"):
        load_split(split.folder, workspace.task)


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"format": 99}', '{"format": 1, "ratio": 4}'])
def test_a_broken_record(workspace: Workspace, text: str) -> None:
    split = resplit(workspace)
    (split.folder / "split.json").write_text(text)
    with pytest.raises(Exception, match=r"split\.json") as caught:
        load_split(split.folder, workspace.task)
    assert "AbawkitError" in [kind.__name__ for kind in type(caught.value).__mro__]


def test_not_a_split(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a split"):
        load_split(tmp_path, workspace.task)
    (workspace.splits / "4to1-s42").mkdir(parents=True)
    with pytest.raises(UsageError, match="not a split"):
        resplit(workspace)


def test_an_absent_split_names_the_command(workspace: Workspace) -> None:
    with pytest.raises(UsageError) as caught:
        find_split(workspace, "4:1")
    assert caught.value.todo == "abawkit resplit --ratio 4:1"
    resplit(workspace, "3:1")
    with pytest.raises(UsageError, match="one of: 3to1-s42"):
        find_split(workspace, "4:1", "mine")


def test_of_several_splits_the_default_name_wins(workspace: Workspace) -> None:
    resplit(workspace, name="mine")
    assert find_split(workspace, "4:1").name == "mine"
    resplit(workspace, seed=3)
    with pytest.raises(UsageError) as caught:
        find_split(workspace, "4:1")
    assert caught.value.got == "4to1-s3, mine"
    assert caught.value.todo == "choose one: --split 4to1-s3"
    assert find_split(workspace, "4:1", "mine").name == "mine"
    resplit(workspace)
    assert find_split(workspace, "4:1").name == "4to1-s42"
    find_split(workspace, "2:1")
    assert [split.name for split in list_splits(workspace)] == ["4to1-s3", "4to1-s42", "mine", "official"]


def test_late_test_clips_are_added(challenge: Path, workspace: Workspace) -> None:
    shutil.move(challenge / "test_data", challenge.parent / "later")
    before = resplit(workspace)
    assert before.test_ids == ()
    assert find_split(workspace, "2:1").test_ids == ()
    shutil.move(challenge.parent / "later", challenge / "test_data")
    after = find_split(workspace, "4:1")
    assert after.test_ids == ("00020", "00021", "00022", "00023", "00024")
    assert (after.train.digest, after.record["content"]) == (before.train.digest, before.record["content"])
    assert after.record["counts"]["test"] == 5
    assert load_split(after.folder, workspace.task).test_ids == after.test_ids
    assert resplit(workspace, "2:1").test_ids == after.test_ids


def test_lost_test_clips_are_not_taken_out(challenge: Path, workspace: Workspace) -> None:
    split = resplit(workspace)
    (challenge / "test_data" / "raw" / "00022.mp4").unlink()
    assert find_split(workspace, "4:1").test_ids == split.test_ids
    with pytest.raises(UsageError, match="another split of this name"):
        resplit(workspace)
    shutil.rmtree(challenge / "test_data")
    assert resplit(workspace).test_ids == split.test_ids


def test_a_split_stands_without_the_challenge_folder(challenge: Path, workspace: Workspace) -> None:
    split = resplit(workspace)
    shutil.rmtree(challenge)
    assert find_split(workspace, "4:1").train.digest == split.train.digest
    unset = replace(workspace, settings=workspace.settings.model_copy(update={"data": None}))
    assert find_split(unset, "4:1").valid.digest == split.valid.digest
    with pytest.raises(UsageError):
        find_split(unset, "2:1")


def test_other_official_labels_are_noticed(challenge: Path, workspace: Workspace) -> None:
    resplit(workspace)
    path = challenge / "train_split.csv"
    path.write_text(path.read_text().replace("0.0", "0.25", 1))
    with pytest.raises(FindingsError, match="not those that this split was made from"):
        find_split(workspace, "4:1")


def test_broken_labels_make_no_split(challenge: Path, workspace: Workspace) -> None:
    path = challenge / "valid_split.csv"
    path.write_text(path.read_text() + "../../x,0,0,0,0,0,0\n")
    with pytest.raises(FindingsError, match="L204"):
        resplit(workspace)
    assert not workspace.splits.exists()
