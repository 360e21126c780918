"""The JSON files of a run: what is written is read back; every damaged key is one error with file, key and advice."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.cli.ensemble import ensemble as ensemble_command
from abawkit.errors import AbawkitError
from abawkit.evaluation.combine import METHODS
from abawkit.evaluation.ensemble import ensemble
from abawkit.evaluation.methods import Method, MethodChoice
from abawkit.evaluation.seeds import over_seeds
from abawkit.metrics import score
from abawkit.runs.records import EnsembleRecord, ImportRecord, RunMetrics, SideScores, TrainedRecord, read_config
from abawkit.runs.run import Ensemble, Run
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


@pytest.fixture
def trained_run(workspace: Workspace) -> Run:
    labels = drawn_labels(50)
    return make_run(workspace, "F3-official-s1-aa", clip_ids(0, 50), labels, labels)


@pytest.fixture
def combined(workspace: Workspace) -> Ensemble:
    labels, rng = drawn_labels(240), np.random.default_rng(0)
    runs = [
        make_run(workspace, f"F{n}", clip_ids(0, 240), labels, labels + rng.normal(size=labels.shape), system=f"F{n}")
        for n in (1, 2)
    ]
    return ensemble(workspace, runs)


def edit(path: Path, **changes: Any) -> None:
    """Sets keys of a JSON file, a dotted key deep; None takes a key away."""
    record = json.loads(path.read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        inner = record
        for key in outer:
            inner = inner[key]
        inner.pop(last, None) if value is None else inner.update({last: value})
    path.write_text(json.dumps(record))


def test_what_is_written_is_read_back(workspace: Workspace, trained_run: Run, combined: Ensemble) -> None:
    assert isinstance(trained_run.record, TrainedRecord) and isinstance(combined.record, EnsembleRecord)
    for run in (trained_run, combined):
        assert Run.open(run.path) == run
        for name, record in (("config.json", run.record), ("metrics.json", run.metrics)):
            text = (run.path / name).read_text()
            record.write(run.path)
            assert (run.path / name).read_text() == text
    imported = ImportRecord(
        kind="import", format=1, task="emi", system="imported", split=None, seed=None, subject_safe=False, ratio="2:1",
        definition={}, features={"text": "text/a"}, signatures={"text": "b"}, inputs={}, heads=[], files={"a.pt": "c"},
    )  # fmt: skip
    imported.write(workspace.runs / "imported")
    assert read_config(workspace.runs / "imported") == imported


def test_keys_that_were_never_set_are_not_written(trained_run: Run) -> None:
    keys = set(json.loads((trained_run.path / "config.json").read_text()))
    assert keys == trained_run.record.model_fields_set and not keys & {"parent", "heads", "origin", "subject_note"}
    noted = trained_run.record.model_copy(update={"subject_note": "other words"})
    assert noted.identity() == trained_run.record.identity() != noted.to_json()


BAD = [
    ("config.json", {"kind": "other"}, "this kind of run is not known", "'other'", "run, import, ensemble"),
    ("config.json", {"kind": None}, "is not the record of a run", "None", "kind: run"),
    ("config.json", {"seed": None}, "has no 'seed'", None, "the record of a run"),
    ("config.json", {"seed": "42"}, "the value of 'seed' is wrong", "'42'", "a valid integer"),
    ("config.json", {"split": 3}, "the value of 'split' is wrong", "3", "a valid string"),
    ("config.json", {"subject_saef": True}, "has an unknown key 'subject_saef'", "True", "subject_safe"),
    ("config.json", {"missing__dropped": [1]}, "the value of 'missing.dropped' is wrong", "[1]", "an object"),
    ("config.json", {"features": {"text": 3}}, "the value of 'features.text' is wrong", "3", "string"),
    ("config.json", {"seed": 1.5, "split": 3}, "and 1 more problem(s)", None, None),
    ("metrics.json", {"scores": None}, "has no 'scores'", None, "the scores of a run"),
    ("metrics.json", {"scores__valid": {"n": 3}}, "has no 'scores.valid.mean_pearson'", None, None),
    ("metrics.json", {"stages": {"text": {"epochs": "9"}}}, "the value of 'stages.text.epochs' is wrong", "'9'", None),
    ("clips.json", {"train": "all"}, "the value of 'train' is wrong", "'all'", "a valid"),
    ("clips.json", {"valid": [1]}, "the value of 'valid.0' is wrong", "1", "a valid string"),
]


@pytest.mark.parametrize(("name", "changes", "message", "got", "expected"), BAD)
def test_a_damaged_record_is_one_clear_error(
    trained_run: Run, name: str, changes: dict[str, Any], message: str, got: str | None, expected: str | None
) -> None:
    path = trained_run.path / name
    edit(path, **changes)
    with pytest.raises(AbawkitError) as caught:
        Run.open(trained_run.path).known_ids("valid")
    error = caught.value
    assert message in error.message and error.path == str(path) and "abawkit runs rm" in str(error.todo)
    assert got is None or got in str(error.got)
    assert expected is None or expected in str(error.expected)


def test_a_damaged_ensemble(workspace: Workspace, combined: Ensemble) -> None:
    edit(combined.path / "metrics.json", methods=None)
    with pytest.raises(AbawkitError, match="has no 'methods'"):
        Run.open(combined.path)
    result = abawkit(workspace.root, "runs", "show", combined.name)
    assert result.exit_code == 1 and "has no 'methods'" in result.output and "Traceback" not in result.output


def test_the_score_is_that_of_the_task(trained_run: Run) -> None:
    rng, task = np.random.default_rng(0), replace(EMI, score="macro_f1")
    truth = rng.choice([0.0, 1.0], (40, 6))
    binary, emi = score(task, truth, rng.random(truth.shape)), score(EMI, drawn_labels(40), rng.random((40, 6)))
    for scores in (binary, emi):
        record = SideScores.of(scores)
        assert record.primary == pytest.approx(scores.primary)
        assert record.to_json().keys() == scores.to_json().keys()
    assert binary.primary != pytest.approx(binary.mean_pearson)
    run = Run(trained_run.path, trained_run.record, RunMetrics(scores={"valid": SideScores.of(binary)}))
    (found,) = over_seeds([run])
    assert found.mean == pytest.approx(binary.primary) and found.clips == 40


def test_a_score_that_is_not_defined_is_null(trained_run: Run) -> None:
    constant = score(EMI, drawn_labels(20), np.full((20, 6), 0.5))
    RunMetrics(scores={"valid": SideScores.of(constant)}).write(trained_run.path)
    valid = Run.open(trained_run.path).metrics.scores["valid"]
    assert valid.mean_pearson is None and valid.primary != valid.primary and set(valid.pearson.values()) == {None}


def test_the_methods_have_one_list_and_one_default() -> None:
    assert get_args(Method) == tuple(METHODS) and get_args(MethodChoice) == ("auto", *METHODS)
    defaults = {inspect.signature(each).parameters["method"].default for each in (ensemble, ensemble_command)}
    assert defaults == {"auto"}
