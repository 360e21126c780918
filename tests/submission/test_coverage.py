"""What the features have for train, valid and test is shown, and a test set that is clearly worse off is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from abawkit.errors import AbawkitError, FindingsError
from abawkit.features.summary import Coverage
from abawkit.runs.run import Ensemble, find_run, list_runs
from abawkit.submission.coverage import RunCoverage, StoreCoverage, base_runs
from abawkit.submission.write import find_coverage, submit
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit


def store(valid: tuple[int, int], test: tuple[int, int]) -> StoreCoverage:
    """A store that lacks so many of so many clips."""
    made = {
        name: Coverage(clips, clips - lacking, lacking, 0, 0, None)
        for name, (lacking, clips) in (("train", (0, 8072)), ("valid", valid), ("test", test))
    }
    return StoreCoverage("audio/custom-0", made)


@pytest.mark.parametrize(
    ("valid", "test", "refused"),
    [
        ((0, 4588), (1490, 4586), True),  # a team without the sound of 1,490 test clips
        ((291, 4588), (64, 4586), False),  # fewer are missing
        ((291, 4588), (380, 4586), False),  # two points less a little
        ((291, 4588), (386, 4586), True),
        ((1, 24), (1, 12), False),  # one of a dozen says nothing
        ((0, 24), (6, 12), True),
        ((0, 24), (0, 0), False),
    ],
)
def test_a_worse_test_set_is_refused(valid: tuple[int, int], test: tuple[int, int], refused: bool) -> None:
    seen = RunCoverage((store(valid, test),), ())
    if refused:
        with pytest.raises(FindingsError, match="audio/custom-0"):
            seen.refuse_worse()
    else:
        seen.refuse_worse()


def test_the_counts_are_those_of_the_predictions(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    run = find_run(workspace, "F4")
    seen = find_coverage(workspace, run)
    assert [each.store.partition("/")[0] for each in seen.stores] == ["audio", "motion", "text", "vision"]
    assert seen.unknown == ()
    table = pd.read_csv(run.path / "predictions" / "test.csv", keep_default_na=False)
    for each in seen.stores:
        found = each.splits["test"]
        lacking = sum(each.store.partition("/")[0] in words.split() for words in table["missing"])
        assert (found.clips, found.clips - found.present) == (12, lacking)
    (ensemble,) = [one for one in list_runs(workspace) if isinstance(one, Ensemble)]
    assert find_coverage(workspace, ensemble) == seen  # its members are F1 and F4


def test_what_is_not_known_is_said(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    (ensemble,) = [one for one in list_runs(workspace) if isinstance(one, Ensemble)]
    shutil.rmtree(workspace.features / "audio")
    seen = find_coverage(workspace, ensemble)
    assert [each.store.partition("/")[0] for each in seen.stores] == ["motion", "text", "vision"]
    assert len(seen.unknown) == 1 and "audio/" in seen.unknown[0]
    result = abawkit(predicted_copy, "submit", "--out", "a.csv")
    assert result.exit_code == 0 and "is not known" in " ".join(result.stdout.split())
    shutil.rmtree(find_run(workspace, "F1").path)
    with pytest.raises(AbawkitError):
        base_runs(workspace, ensemble)
    assert any("cannot be read" in line for line in find_coverage(workspace, ensemble).unknown)


def test_submitting_in_spite_of_it(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    run = find_run(workspace, "F1")
    seen = RunCoverage((store((0, 4588), (1490, 4586)),), ())
    with pytest.raises(FindingsError, match=r"32\.5% of the test clips lack it, 0\.0% of the validation") as caught:
        submit(workspace, Path("a.csv"), run=run, coverage=seen)
    assert caught.value.todo and "--accept-coverage" in caught.value.todo
    assert not (predicted_copy / "a.csv").exists()
    made = submit(workspace, Path("a.csv"), run=run, coverage=seen, accept_coverage=True)
    assert made.record.coverage_accepted is True
    assert made.record.coverage.stores["audio/custom-0"]["test"].missing == 1490


def test_the_command(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    (ensemble,) = [one for one in list_runs(workspace) if isinstance(one, Ensemble)]
    result = abawkit(predicted_copy, "submit", "--ensemble", ensemble.name, "--out", "a.csv", "--decimals", "4")
    assert result.exit_code == 0 and result.stdout.index("What the features have") < result.stdout.index("wrote ")
    record = json.loads((predicted_copy / "a.csv.json").read_text())
    assert record["form"] == {"int_ids": False, "clip": True, "decimals": 4}
    assert {one["name"] for one in record["runs"]} == set(ensemble.record.members)
    run = find_run(workspace, "F1").name
    assert abawkit(predicted_copy, "submit", "--ensemble", run, "--out", "b.csv").exit_code == 2
    assert abawkit(predicted_copy, "submit", "--ensemble", run, "--run", run, "--out", "b.csv").exit_code == 2


def test_submitting_from_saved_predictions_does_not_import_torch(predicted_copy: Path) -> None:
    code = (
        "import sys\nsys.argv = ['abawkit', 'submit', '--out', 'team.csv']\n"
        "from abawkit.cli.app import app\ntry:\n    app()\nexcept SystemExit as end:\n    print(end.code)\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=predicted_copy, check=True)
    *_, ended, modules = done.stdout.splitlines()
    assert ended == "0" and not {"torch", "transformers", "sklearn", "scipy.stats"} & set(modules.split())
