"""FILE.json says everything that the file can be made from again, without importing torch to ask for its version."""

import importlib.metadata
import json
import platform
import shutil
from pathlib import Path

import pytest

from abawkit.data.labels import load_official
from abawkit.data.splits.files import load_split
from abawkit.errors import AbawkitError
from abawkit.features.store import FeatureStore
from abawkit.fileio import digest_file
from abawkit.layout.folder import ChallengeFolder
from abawkit.runs.run import Ensemble, find_run, list_runs
from abawkit.submission.record import read_record, versions
from abawkit.submission.write import submit
from abawkit.workspace import Workspace


def test_the_versions_are_those_installed() -> None:
    import torch

    found = versions()
    assert found["torch"] == importlib.metadata.version("torch") == torch.__version__
    assert found["python"] == platform.python_version() and list(found) == ["abawkit", "python", "torch", "numpy"]


def test_what_the_record_holds(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    (ensemble,) = [one for one in list_runs(workspace) if isinstance(one, Ensemble)]
    made = submit(workspace, Path("a.csv"), run=ensemble, accept_coverage=True)
    record = read_record(made.path)
    assert record.to_json() == json.loads((predicted_copy / "a.csv.json").read_text())
    assert record.versions == versions() and record.sha256 == digest_file(made.path)
    ids = load_official(ChallengeFolder.open(workspace.data, workspace.task)).test_ids
    for entry in record.runs:
        run = find_run(workspace, entry.name)
        split = load_split(workspace.splits / run.record.split, workspace.task)
        assert entry.split.content == split.record["content"] and entry.split.name == split.name
        assert entry.files["model.safetensors"] == digest_file(run.path / "model.safetensors")
        assert entry.files["clips.json"] == digest_file(run.path / "clips.json")
        assert entry.trained_with == {key: versions()[key] for key in ("abawkit", "python", "torch", "numpy")}
        assert len(entry.stores) == len(run.model.features)
        for slot, path in run.model.features.items():
            store = FeatureStore.open(workspace.features / path)
            assert entry.stores[path] == store.content_digest(ids)
            assert entry.signatures[slot] == store.spec.signature
    (combines,) = record.ensembles
    assert combines.files["weights.json"] == digest_file(ensemble.path / "weights.json")
    assert sorted(combines.averaged) == sorted(entry.name for entry in record.runs)


def test_what_is_not_known_is_null(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    run = find_run(workspace, "F1")
    shutil.rmtree(workspace.features / "audio")
    (run.path / "env.json").unlink()
    record = submit(workspace, Path("a.csv"), run=run, accept_coverage=True).record
    (entry,) = record.runs
    assert record.ensembles == [] and entry.trained_with is None and entry.split.content is None
    unknown = [store for store, digest in entry.stores.items() if digest is None]
    assert [store.partition("/")[0] for store in unknown] == ["audio"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": None}, "the value of 'runs' is wrong"),
        ({"runs": [{"name": "x"}]}, "has no 'runs.0.system', and 9 more problem"),
        ({"ensembles": [3]}, "the value of 'ensembles.0' is wrong"),
        ({"form": {"int_ids": False, "clip": True, "decimals": "six"}}, "the value of 'form.decimals' is wrong"),
        ({"versions": []}, "the value of 'versions' is wrong"),
        ({"run": 5}, "the value of 'run' is wrong"),
        ({"rnu": "F1"}, "has an unknown key 'rnu'"),
    ],
)
def test_a_damaged_record_is_refused(predicted_copy: Path, change: dict[str, object], message: str) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    made = submit(workspace, Path("a.csv"), run=find_run(workspace, "F1"), accept_coverage=True)
    beside = predicted_copy / "a.csv.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | change))
    with pytest.raises(AbawkitError, match=message) as caught:
        read_record(made.path)
    assert caught.value.path == str(beside) and caught.value.todo == "write it again: abawkit submit"
    beside.unlink()
    with pytest.raises(AbawkitError, match="no such file"):
        read_record(made.path)
