import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abawkit.data.groups import read_groups
from abawkit.data.labels import LabelTable, load_official
from abawkit.data.splits.files import load_split
from abawkit.data.splits.resplit import find_split, fold, list_splits, resplit
from abawkit.data.splits.sides import compare_sides
from abawkit.errors import FindingsError, UsageError
from abawkit.layout.folder import ChallengeFolder
from abawkit.workspace import Workspace

MakeWorkspace = Callable[..., Workspace]


def zip_labels(table: LabelTable) -> Iterator[tuple[str, np.ndarray]]:
    return zip(table.ids, table.values, strict=True)


def write_groups_csv(workspace: Workspace, of: dict[str, str], column: str = "person") -> Path:
    path = workspace.root / "groups.csv"
    path.write_text("\n".join([f"Filename,{column}", *(f"{clip},{group}" for clip, group in of.items())]) + "\n")
    return path


def test_the_real_counts(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(8072, 4588)
    split = resplit(workspace)
    assert (split.name, len(split.train), len(split.valid)) == ("4to1-s42", 10128, 2532)
    assert split.record["moved"] == 2056
    official = resplit(workspace, "2:1")
    assert (official.name, len(official.train), len(official.valid)) == ("official", 8072, 4588)
    assert official.record["ratio_got"] == "1.7594:1"


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_split_is_a_partition(bare_workspace: MakeWorkspace, data: st.DataObject) -> None:
    n, m, a, b = (data.draw(st.integers(1, most)) for most in (25, 25, 12, 12))
    seed, free = data.draw(st.integers(0, 5)), data.draw(st.booleans())
    strategy = data.draw(st.sampled_from(["random", "stratified"]))
    subjects = data.draw(st.sampled_from([0, 1, 4, 30]))
    workspace = bare_workspace(n, m, 3)
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    ids = [*official.train.ids, *official.valid.ids]
    of = {clip: f"p{data.draw(st.integers(1, subjects))}" for clip in ids[: n + m - 1]} if subjects else {}
    path = write_groups_csv(workspace, of) if of else None
    wanted = (n + m) * a / (a + b) + 0.5  # half up
    sizes = Counter(of.get(clip, clip) for clip in ids)
    stay = 0 if free else sum(sizes[name] for name in {of.get(clip, clip) for clip in ids[:n]})
    reachable = (1 if free else n) <= int(wanted) < n + m and stay < n + m and (not free or len(sizes) > 1)
    asked = {"seed": seed, "exact": True, "strategy": strategy, "groups": path, "free": free}
    if not reachable:
        with pytest.raises(UsageError, match=r"cannot be reached|too few"):
            resplit(workspace, f"{a}:{b}", **asked)
        return
    split = resplit(workspace, f"{a}:{b}", **asked)
    assert split.record["wanted"]["train"] == int(wanted)
    assert len(split.train) == int(wanted) or of
    assert split.train.ids[:n] == official.train.ids or free
    assert sorted(split.train.ids + split.valid.ids) == sorted(ids)
    assert not set(split.test_ids) & {*split.train.ids, *split.valid.ids}
    sides = [{of[clip] for clip in table.ids if clip in of} for table in (split.train, split.valid)]
    assert not sides[0] & sides[1]
    labels = {clip: row.tolist() for t in (official.train, official.valid) for clip, row in zip_labels(t)}
    for table in (split.train, split.valid):
        assert {clip: row.tolist() for clip, row in zip_labels(table)} == {clip: labels[clip] for clip in table.ids}
        rank = {clip: place for place, clip in enumerate(ids)}
        assert list(table.ids) == sorted(table.ids, key=rank.__getitem__)


@given(st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_folds_hold_out_each_clip_once(bare_workspace: MakeWorkspace, data: st.DataObject) -> None:
    n, m, free = data.draw(st.integers(1, 15)), data.draw(st.integers(1, 15)), data.draw(st.booleans())
    folds = data.draw(st.integers(2, 5))
    strategy = data.draw(st.sampled_from(["random", "stratified"]))
    workspace = bare_workspace(n, m)
    if folds > m + n * free:
        with pytest.raises(UsageError, match="too few clips"):
            fold(workspace, folds, free=free, strategy=strategy)
        return
    splits = fold(workspace, folds, free=free, strategy=strategy, name="mine")
    assert [split.name for split in splits] == [f"mine-{k}" for k in range(1, folds + 1)]
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    held = [clip for split in splits for clip in split.valid.ids]
    assert sorted(held) == sorted((official.train.ids if free else ()) + official.valid.ids)
    assert np.ptp([len(split.valid) for split in splits]) <= 1
    for split in splits:
        assert sorted(split.train.ids + split.valid.ids) == sorted(official.train.ids + official.valid.ids)
        assert split.record["fold"] == {"set": "mine", "index": splits.index(split) + 1, "of": folds}
        assert free or split.train.ids[:n] == official.train.ids


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
    assert record["format"] == 2
    assert (record["name"], record["ratio"], record["seed"], record["groups"]) == ("3to1-s5", "3:1", 5, None)
    assert record["counts"] == {"train": 15, "valid": 5, "test": 5}
    assert (record["strategy"], record["keep_train"], record["fold"]) == ("random", True, None)
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
    path.write_bytes(whole.replace("\n", "\r\n").encode())  # an editor's line ends change nothing
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


def test_names_say_what_is_not_usual(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8)
    path = write_groups_csv(workspace, {f"{k:05d}": f"{k // 2}" for k in range(20)})
    named: dict[str, dict[str, Any]] = {
        "4to1-s42": {},
        "4to1-s42-stratified": {"strategy": "stratified"},
        "4to1-s42-free": {"free": True},
        "4to1-s42-groups": {"groups": path},
        "4to1-s7-stratified-free-groups": {"seed": 7, "strategy": "stratified", "free": True, "groups": path},
    }
    for name, how in named.items():
        assert resplit(workspace, **how).name == name
        assert resplit(workspace, **how).name == name  # found again
    assert [split.name for split in fold(workspace, 2)] == ["2fold-s42-1", "2fold-s42-2"]
    kept = fold(workspace, 2, free=False, groups=path)
    assert [split.name for split in kept] == ["2fold-s42-keep-train-groups-1", "2fold-s42-keep-train-groups-2"]
    assert kept[0].ratio == "4:1" and [split.ratio for split in fold(workspace, 3)] == ["2:1"] * 3
    assert find_split(workspace, "4:1").name == "4to1-s42"
    assert len(list_splits(workspace)) == len(named) + 7


def test_folds_are_found_by_name_only(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8)
    splits = fold(workspace, 5)
    assert [split.ratio for split in splits] == ["4:1"] * 5
    with pytest.raises(UsageError, match="no split with the ratio 4:1 yet"):
        find_split(workspace, "4:1")
    resplit(workspace, name="mine")
    assert find_split(workspace, "4:1").name == "mine"
    assert find_split(workspace, "4:1", "5fold-s42-3").valid.ids == splits[2].valid.ids
    assert [split.name for split in fold(workspace, 5)] == [split.name for split in splits]
    with pytest.raises(UsageError, match="another split of this name"):
        fold(workspace, 5, name="5fold-s42", seed=1)
    with pytest.raises(UsageError, match="another split of this name"):
        resplit(workspace, name="5fold-s42-1", free=True)
    names = [split.name for split in list_splits(workspace)]
    fold(workspace, 11, name="many")
    many = [f"many-{k}" for k in range(1, 12)]  # in the order of the folds, not of the letters
    assert [split.name for split in list_splits(workspace)] == sorted(
        [*names, *many], key=[*names[:5], *many, "mine"].index
    )


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"folds": 1}, "too few folds"),
        ({"folds": 21}, "too few clips that may be held out"),
        ({"folds": 9, "free": False}, "too few clips that may be held out"),
        ({"ratio": "2:1", "free": True}, "the organisers' own split"),
        ({"ratio": "2:1", "strategy": "stratified"}, "the organisers' own split"),
        ({"strategy": "best"}, "unknown strategy"),
        ({"free": True, "ratio": "1:99"}, "no clip would be left for training"),
    ],
)
def test_what_cannot_be_drawn(bare_workspace: MakeWorkspace, how: dict[str, Any], words: str) -> None:
    workspace = bare_workspace(12, 8)
    with pytest.raises(UsageError, match=words):
        (fold if "folds" in how else resplit)(workspace, **how)
    assert not workspace.splits.exists()


def test_groups_are_kept_together_and_told(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8, 2)
    # Anna is on both official sides; 00019 has no group; 00020 is a test clip.
    of = {f"{k:05d}": "anna" for k in range(10, 14)} | {f"{k:05d}": "bert" for k in [*range(14, 19), 20]}
    split = resplit(workspace, "4:1", groups=write_groups_csv(workspace, of))
    assert set(split.valid.ids) == {f"{k:05d}" for k in range(14, 19)}  # 5 are nearer to 4 than 1 is
    assert split.record["wanted"] == {"train": 16, "valid": 4}
    assert split.record["ratio_got"] == "3.0000:1"
    facts = split.record["groups"]
    assert (facts["groups"], facts["ungrouped"], facts["moved_with_group"], facts["test_clips"]) == (2, 11, 2, 1)
    assert (facts["file"], facts["source"], facts["kind"], facts["proxy"]) == (
        "groups.csv",
        "groups.csv",
        "subject",
        False,
    )
    assert split.groups == read_groups(split.folder / "groups.csv", workspace.task)
    assert split.groups.of == {clip: name for clip, name in of.items() if clip != "00020"}
    assert load_split(split.folder, workspace.task).groups == split.groups
    assert (split.folder / "groups.csv").read_text().startswith("Filename,subject\n00010,anna\n")


def test_neither_side_is_empty(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8)
    path = write_groups_csv(workspace, {f"{k:05d}": "few" if k < 5 else "many" for k in range(20)})
    # 0 would be nearer to 2 of 20 than 5 is, and 20 nearer to 19 than 15.
    assert len(resplit(workspace, "1:9", groups=path, free=True).train) == 5
    assert len(resplit(workspace, "19:1", groups=path, free=True).train) == 15


def test_a_group_that_holds_everything(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(4, 4)
    path = write_groups_csv(workspace, {f"{k:05d}": "anna" for k in range(8)})
    with pytest.raises(UsageError, match="too few groups") as caught:
        resplit(workspace, "3:1", groups=path)
    assert "4 of 4 official validation clips" in str(caught.value) and "--free" in str(caught.value)
    with pytest.raises(UsageError, match="too few groups") as caught:
        resplit(workspace, "3:1", groups=path, free=True)
    assert "--free" not in str(caught.value)
    with pytest.raises(UsageError, match="too few groups"):
        fold(workspace, 2, groups=path)
    write_groups_csv(workspace, {"00099": "anna"})
    with pytest.raises(UsageError, match="none of the clips in the groups file has labels"):
        resplit(workspace, "3:1", groups=path)
    path.write_text("Filename,subject\n00001\n")
    with pytest.raises(FindingsError, match="L210"):
        resplit(workspace, "3:1", groups=path)
    assert not workspace.splits.exists()


def test_what_is_odd_about_the_groups_is_kept(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8)
    path = write_groups_csv(workspace, {"00013": "nan", "00014": "nan", "00777": "x"})
    record = resplit(workspace, groups=path).record
    assert [line.split()[0] for line in record["groups"]["remarks"]] == ["G602", "G604"]
    assert str(workspace.root) not in json.dumps(record)


def test_subject_safe_in_words(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8)
    everyone = {f"{k:05d}": f"{k // 2}" for k in range(20)}
    held_out = {clip: name for clip, name in everyone.items() if clip >= "00012"}

    def note(of: dict[str, str], column: str, **how: Any) -> tuple[bool, str]:
        shutil.rmtree(workspace.splits, ignore_errors=True)
        split = resplit(workspace, groups=write_groups_csv(workspace, of, column), **how)
        return split.subject_safe, split.note

    assert note(everyone, "person") == (True, "subject-safe: no subject of groups.csv is on both sides")
    # The organisers' training clips share no subject with their validation clips; those that stay need no group.
    assert note(held_out, "person")[0] is True
    safe, words = note(held_out, "person", free=True)
    assert not safe and words.startswith("not subject-safe: 12 clip(s) have no subject")
    del held_out["00012"]
    assert note(held_out, "person")[1].startswith("not subject-safe: 1 clip(s) have no subject")
    for column in ("proxy_seed", "proxy_person"):
        safe, words = note(everyone, column)
        assert not safe and words.startswith(f"not subject-safe: the groups are guessed ({column})")
    assert resplit(workspace).note.startswith("not subject-safe: without subject ids")
    assert resplit(workspace, "2:1").subject_safe and "not" not in resplit(workspace, "2:1").note.split()


@pytest.mark.parametrize("change", ["edit", "delete", "kind"])
def test_a_change_of_the_groups_is_noticed(bare_workspace: MakeWorkspace, change: str) -> None:
    workspace = bare_workspace(12, 8)
    of = {f"{k:05d}": f"{k // 2}" for k in range(20)}
    split = resplit(workspace, groups=write_groups_csv(workspace, of, "proxy_seed"))
    path = split.folder / "groups.csv"
    text = path.read_text()
    path.write_bytes(text.replace("\n", "\r\n").encode())  # an editor's line ends change nothing
    load_split(split.folder, workspace.task)
    if change == "delete":
        path.unlink()
    else:
        path.write_text(
            text.replace("00003,1", "00003,2") if change == "edit" else text.replace("proxy_seed", "person")
        )
    with pytest.raises(FindingsError, match=r"groups\.csv were changed after") as caught:
        find_split(workspace, "4:1", split.name)
    assert caught.value.todo is not None and "--groups groups.csv" in caught.value.todo
    with pytest.raises(FindingsError, match="changed after"):
        list_splits(workspace)


def test_other_groups_are_another_split(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(12, 8)
    of = {f"{k:05d}": f"{k}" for k in range(20)}
    first = resplit(workspace, groups=write_groups_csv(workspace, of))
    assert first.valid.ids == resplit(workspace).valid.ids  # a group of one clip is not a group
    with pytest.raises(UsageError, match="another split of this name"):
        resplit(workspace, groups=write_groups_csv(workspace, of, "proxy_person"))


@pytest.mark.parametrize(("key", "value"), [("subject_safe", True), ("note", "all is well"), ("seed", 1)])
def test_a_changed_record_is_noticed(workspace: Workspace, key: str, value: object) -> None:
    split = resplit(workspace)
    path = split.folder / "split.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(FindingsError, match=r"split\.json were changed after"):
        load_split(split.folder, workspace.task)


def test_a_split_of_the_first_format(challenge: Path, workspace: Workspace) -> None:
    split = resplit(workspace)
    new = {"digest", "keep_train", "fold", "wanted", "held_out"}
    old = {key: value for key, value in split.record.items() if key not in new}
    old |= {"format": 1, "strategy": "random, official training clips kept"}
    (split.folder / "split.json").write_text(json.dumps(old))
    read = load_split(split.folder, workspace.task)
    assert (read.record["strategy"], read.record["fold"], read.groups) == ("random", None, None)
    assert resplit(workspace).valid.ids == split.valid.ids
    assert compare_sides(find_split(workspace, "4:1"), workspace.task).official["train"] == {"train": 12, "valid": 4}
    before = split.test_ids
    (challenge / "test_data" / "raw" / "00077.mp4").touch()
    assert find_split(workspace, "4:1").test_ids == (*before, "00077")


def test_how_the_sides_differ(bare_workspace: MakeWorkspace) -> None:
    workspace = bare_workspace(60, 40)
    of = {f"{k:05d}": f"{k // 3}" for k in range(100)}
    split = resplit(workspace, free=True, groups=write_groups_csv(workspace, of))
    sides = compare_sides(split, workspace.task)
    assert sum(sides.official["valid"].values()) == len(split.valid) == 19  # 33 groups of three, one of one
    assert sides.official["valid"]["train"] == sum(clip < "00060" for clip in split.valid.ids) > 0
    assert sides.official["train"]["valid"] == sum(clip >= "00060" for clip in split.train.ids)
    assert (sides.groups["train"] + sides.groups["valid"], sides.groups_on_both) == (34, ())
    for side, table in (("train", split.train), ("valid", split.valid)):
        assert sides.mean[side] == pytest.approx(np.mean(table.values, axis=0))
        assert sides.zero_percent[side][3] == pytest.approx(100 * np.sum(table.values[:, 3] == 0) / len(table))
    cuts = np.unique(split.train.values)
    shares = [[np.mean(table.values > cut, axis=0) for cut in cuts] for table in (split.train, split.valid)]
    assert sides.ks == pytest.approx(np.abs(np.subtract(*shares)).max(axis=0))
    record = sides.to_json()
    assert record["sides"]["valid"]["official"] == sides.official["valid"] and record["groups_on_both"] == []
    assert set(record["ks_p"]) == set(workspace.task.targets) and record["split"] == split.name
    # Groups on both sides cannot come about here; were they there, they would be named.
    torn = replace(split, train=split.train.subset(split.train.ids), valid=split.train.subset(split.train.ids[:1]))
    assert compare_sides(torn, workspace.task).groups_on_both == (of[split.train.ids[0]],)
