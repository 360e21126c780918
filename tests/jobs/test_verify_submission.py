"""A submission is made again from models, stores and weights, byte for byte; everything that differs is named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from abawkit.challenge import SIDES
from abawkit.data.splits.resplit import resplit
from abawkit.errors import AbawkitError
from abawkit.evaluation.ensemble import ensemble
from abawkit.features.spec import FeatureSpec
from abawkit.features.store import FeatureStore
from abawkit.features.writer import open_for_writing
from abawkit.jobs.verify_submission import Verified, verify_submission
from abawkit.runs.run import Run, find_run
from abawkit.submission.write import submit
from abawkit.training.predict import predict
from abawkit.training.train import refit, train
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit
from tests.random_stores import random_workspace

FEW = "".join(f"{stage}_epochs = 4\n" for stage in ("text", "audio", "vision", "motion", "fusion"))


def give_weights(workspace: Workspace, run: Run) -> Run:
    """Gives the run drawn weights in the place of the trained ones, which are not the same everywhere; returns it.

    Whatever is made again is made by the model, so what it predicts cannot be drawn: it predicts with these weights.
    """
    path = run.path / "model.safetensors"
    rng = np.random.default_rng(list(f"{run.record.system} {run.record.seed} {bool(run.parent)}".encode()))
    weights = {}
    for name, values in sorted(load_file(path).items()):
        size = 1 / np.sqrt(values.shape[-1]) if values.ndim > 1 else 0.1
        drawn = rng.normal(float(values.ndim == 1 and name.endswith("weight")), size, values.shape)
        weights[name] = drawn.astype(values.dtype)
    save_file(weights, path)
    for side in SIDES if run.is_scorable else ("test",):
        predict(workspace, run, side)
    return run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of F1, F5, a refit; ensembles by weights, of that ensemble and F4, of the refit; files of each."""
    root = tmp_path_factory.mktemp("world")
    config = f"[training]\nbatch_size = 8\nhidden = 8\n{FEW}[submit]\nmin_shared = 5\n"
    workspace = random_workspace(root, config)
    resplit(workspace, "4:1")
    seeds = [give_weights(workspace, train(workspace, "F1", seed=seed)) for seed in (1, 2)]
    inner = ensemble(workspace, [*seeds, give_weights(workspace, train(workspace, "F5"))], method="ridge")
    outer = ensemble(workspace, [inner, give_weights(workspace, train(workspace, "F4"))], method="rank")
    submit(workspace, Path("one.csv"), run=seeds[0], decimals=4, int_ids=True, accept_coverage=True)
    again = give_weights(workspace, refit(workspace, seeds[0]))
    submit(workspace, Path("refit.csv"), run=again, accept_coverage=True)
    standing = ensemble(workspace, [again, find_run(workspace, "F5")], method="zmean")
    submit(workspace, Path("standing.csv"), run=standing, accept_coverage=True)
    submit(workspace, Path("inner.csv"), run=inner, accept_coverage=True)
    submit(workspace, Path("outer.csv"), run=outer, accept_coverage=True)
    return root


@pytest.fixture
def workspace(world: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(world, tmp_path / "world")
    return Workspace.open(tmp_path / "world", environ={})


def kinds(found: Verified) -> list[str]:
    return sorted({change.kind for change in found.changes})


FILES = {"one.csv": 1, "refit.csv": 1, "standing.csv": 2, "inner.csv": 3, "outer.csv": 4}


@pytest.mark.parametrize(("file", "runs"), FILES.items())
def test_it_is_made_again_byte_for_byte(workspace: Workspace, file: str, runs: int) -> None:
    before = {path: path.read_bytes() for path in workspace.runs.rglob("*") if path.is_file()}
    found = verify_submission(workspace, workspace.root / file)
    assert found.ok and found.same and found.changes == () and found.versions == {}
    assert len(found.members) == runs and all(one.values == 72 and one.differ == 0 for one in found.members.values())
    assert found.values is not None and (found.values.values, found.values.largest) == (72, 0)
    assert {path: path.read_bytes() for path in workspace.runs.rglob("*") if path.is_file()} == before


def test_a_refit_in_its_parents_place_is_what_predicts(workspace: Workspace) -> None:
    record = json.loads((workspace.root / "standing.csv.json").read_text())
    assert sorted(entry["name"][:6] for entry in record["runs"]) == ["F5-off", "refit-"]
    shutil.rmtree(next(workspace.runs.glob("F1-official-s1-*")))
    assert verify_submission(workspace, workspace.root / "standing.csv").ok
    shutil.rmtree(next(workspace.runs.glob("refit-*")))
    assert kinds(verify_submission(workspace, workspace.root / "standing.csv")) == ["predictions", "run"]


def test_it_is_not_the_saved_predictions_that_are_read(workspace: Workspace) -> None:
    for saved in workspace.runs.glob("*/predictions/test.csv"):
        saved.unlink()
    found = verify_submission(workspace, workspace.root / "outer.csv")
    assert found.same and not found.ok and kinds(found) == ["saved"]
    assert [one.values for one in found.members.values()] == [0] * 4


def edit_cell(workspace: Workspace) -> None:
    path = workspace.root / "inner.csv"
    lines = path.read_text().splitlines()
    cells = lines[3].split(",")
    cells[2] = f"{(float(cells[2]) + 0.5) % 1:.6f}"
    path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")


def drop_row(workspace: Workspace) -> None:
    path = workspace.root / "inner.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def other_model(workspace: Workspace, by: float = 0.4) -> None:
    path = find_run(workspace, "F5").path / "model.safetensors"
    weights = load_file(path)
    bias = next(key for key in weights if key.endswith("fusion_head.mlp.5.bias"))
    weights[bias] = weights[bias] + np.float32(by)
    save_file(weights, path)


def nudged_model(workspace: Workspace) -> None:
    other_model(workspace, by=1e-7)


def changed_clip(workspace: Workspace) -> None:
    store = FeatureStore.open(workspace.features / "audio" / "random-0")
    clip = next(clip for clip in reversed(store.ids) if len(store.frames(clip)) > 1)
    features = store.features(clip)
    with open_for_writing(store.path, store.spec) as writer:
        writer.add([replace(features, values=np.asarray(features.values) + np.float16(9), source="another")])


def other_signature(workspace: Workspace) -> None:
    path = workspace.features / "vision" / "random-0"
    store = FeatureStore.open(path)
    clips = [store.features(clip) for clip in store.ids]
    clips = [replace(clip, values=np.array(clip.values), times=np.array(clip.times)) for clip in clips]
    shutil.rmtree(path)
    with open_for_writing(path, FeatureSpec("vision", "random", store.spec.dim, "random/other")) as writer:
        writer.add(clips)


def edited_store(workspace: Workspace) -> None:
    path = workspace.features / "text" / "random-0" / "store.json"
    path.write_text(path.read_text().replace("random/0", "random/1"))


def no_store(workspace: Workspace) -> None:
    shutil.rmtree(workspace.features / "text" / "random-0")


def edited_split(workspace: Workspace) -> None:
    path = workspace.splits / "official" / "valid.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def no_split(workspace: Workspace) -> None:
    shutil.rmtree(workspace.splits / "official")


def other_split(workspace: Workspace) -> None:
    shutil.rmtree(workspace.splits / "official")
    labels = workspace.data / "valid_split.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[:-1]) + "\n")
    resplit(workspace, "2:1")


def other_weights(workspace: Workspace) -> None:
    path = find_run(workspace, json.loads((workspace.root / "inner.csv.json").read_text())["run"]).path / "weights.json"
    record = json.loads(path.read_text())
    record["weights"][0][5] += 0.3
    path.write_text(json.dumps(record))


def bad_weights(workspace: Workspace) -> None:
    path = find_run(workspace, json.loads((workspace.root / "inner.csv.json").read_text())["run"]).path / "weights.json"
    path.write_text(json.dumps({"method": "ridge", "members": ["F1 official"]}))


def misfit_weights(workspace: Workspace) -> None:
    path = find_run(workspace, json.loads((workspace.root / "inner.csv.json").read_text())["run"]).path / "weights.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"slope": record["slope"][:-1]}))


def foreign_member(workspace: Workspace) -> None:
    path = find_run(workspace, json.loads((workspace.root / "inner.csv.json").read_text())["run"]).path / "weights.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"members": ["F9", *record["members"][1:]]}))


def no_run(workspace: Workspace) -> None:
    shutil.rmtree(find_run(workspace, "F5").path)


def saved_predictions(workspace: Workspace) -> None:
    path = find_run(workspace, "F5").path / "predictions" / "test.csv"
    path.write_text(path.read_text().replace("0.1", "0.2"))


def one_more_clip(workspace: Workspace) -> None:
    (workspace.data / "test" / "raw" / "00072.mp4").touch()


def one_clip_less(workspace: Workspace) -> None:
    (workspace.data / "test" / "raw" / "00060.mp4").unlink()


CANNOT = None


@pytest.mark.parametrize(
    ("cause", "named", "words", "differ"),
    [
        (edit_cell, ["file"], "inner.csv was changed after it was written", 1),
        (drop_row, ["clips", "file"], "1 clips that are test clips now are not in the file (00071)", 0),
        (other_model, ["model", "predictions"], "model.safetensors of F5", 60),
        (nudged_model, ["model"], "model.safetensors of F5", 0),
        (changed_clip, ["predictions", "store"], "the test clips in audio/random-0 are not those", 1),
        (other_signature, ["predictions", "store"], "vision/random-0 have another signature", CANNOT),
        (edited_store, ["predictions", "store"], "the store's signature does not fit its own description", CANNOT),
        (no_store, ["predictions", "store"], "the features text/random-0: there is no such file", CANNOT),
        (edited_split, ["split"], "split official: train.csv or valid.csv were changed", 0),
        (no_split, ["split"], "split official: this is not a split", 0),
        (other_split, ["split"], "split official has other clips or labels", 0),
        (other_weights, ["weights"], "weights.json of ensemble", 1),
        (bad_weights, ["predictions", "weights"], "has no 'mean'", CANNOT),
        (misfit_weights, ["predictions", "weights"], "members or targets do not agree", CANNOT),
        (foreign_member, ["predictions", "weights"], "names an unknown member", CANNOT),
        (no_run, ["predictions", "run"], "run F5", CANNOT),
        (saved_predictions, ["predictions", "saved"], "the saved predictions of F5", 0),
        (one_more_clip, ["clips"], "1 clips that are test clips now are not in the file (00072)", 0),
        (one_clip_less, ["clips"], "1 clips in the file are not test clips now (00060)", 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_difference_is_named(
    workspace: Workspace, cause: Callable[[Workspace], None], named: list[str], words: str, differ: int | None
) -> None:
    cause(workspace)
    found = verify_submission(workspace, workspace.root / "inner.csv")
    assert not found.ok and kinds(found) == named
    assert any(words in change.message for change in found.changes), found.changes
    assert (found.values is None) == (differ is None)
    if found.values is not None and differ is not None:
        assert (found.values.differ >= differ) if differ else (found.values.differ == 0)


def test_what_cannot_be_made_again_is_told(workspace: Workspace) -> None:
    no_store(workspace)
    edit_cell(workspace)
    result = abawkit(workspace.root, "submit", "--verify", "inner.csv")
    assert result.exit_code == 3 and "it cannot be made again" in result.stdout
    assert "inner.csv was changed" in result.stdout and "text/random-0: there is no such file" in result.stdout


def test_how_many_values_differ_and_where(workspace: Workspace) -> None:
    edit_cell(workspace)
    found = verify_submission(workspace, workspace.root / "inner.csv")
    assert found.values is not None and (found.values.differ, found.values.values) == (1, 72)
    assert found.values.largest == pytest.approx(0.5) and found.values.where == "Amusement of 00062"
    result = abawkit(workspace.root, "submit", "--verify", "inner.csv")
    assert "not the same: 1 of 72 values differ, by 0.5 at most (Amusement of 00062)" in result.stdout
    record = json.loads(abawkit(workspace.root, "submit", "--verify", "inner.csv", "--json").stdout)
    assert record["ok"] is False and record["values"]["differ"] == 1 and record["changes"][0]["kind"] == "file"


def test_a_split_that_no_run_of_it_was_trained_on_is_none_of_its_differences(workspace: Workspace) -> None:
    shutil.rmtree(workspace.splits / "4to1-s42")
    assert verify_submission(workspace, workspace.root / "inner.csv").ok
    assert kinds(verify_submission(workspace, workspace.root / "outer.csv")) == ["split"]


def test_other_versions_are_told_and_no_difference(workspace: Workspace) -> None:
    beside = workspace.root / "one.csv.json"
    record = json.loads(beside.read_text())
    beside.write_text(json.dumps(record | {"versions": record["versions"] | {"torch": "1.0"}}))
    found = verify_submission(workspace, workspace.root / "one.csv")
    assert found.ok and found.versions == {"torch": ("1.0", record["versions"]["torch"])}
    result = abawkit(workspace.root, "submit", "--verify", "one.csv")
    assert result.exit_code == 0 and "torch was 1.0, now " in result.stdout
    assert "was made again, byte for byte" in result.stdout


def test_rounding_is_within_the_tolerance(workspace: Workspace) -> None:
    """One digit in the last place of four is .0001: what rounding makes of a difference of the last bit."""
    path = workspace.root / "one.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = f"{float(cells[1]) + (0.0001 if float(cells[1]) < 0.5 else -0.0001):.4f}"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    found = verify_submission(workspace, path)
    assert not found.same and found.values is not None and found.values.differ == 0 and kinds(found) == ["file"]
    assert found.values.largest == pytest.approx(1e-4)
    nudged_model(workspace)
    result = abawkit(workspace.root, "submit", "--verify", "inner.csv")
    assert "byte for byte" in result.stdout or "is rounding" in result.stdout


def test_without_a_record(workspace: Workspace) -> None:
    (workspace.root / "one.csv.json").unlink()
    with pytest.raises(AbawkitError, match="no such file"):
        verify_submission(workspace, workspace.root / "one.csv")
    assert abawkit(workspace.root, "submit", "--verify", "absent.csv").exit_code == 2
