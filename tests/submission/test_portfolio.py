"""Proposed entries: the best first, then what raises the expected best most; never what was scored on other clips."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.ensemble import ensemble
from abawkit.metrics import pearson, score
from abawkit.runs.records import ImportRecord
from abawkit.runs.run import list_runs
from abawkit.submission.candidates import find_candidates
from abawkit.submission.ledger import note_sent
from abawkit.submission.portfolio import Portfolio, draw_scores, propose
from abawkit.submission.unusual import read_values
from abawkit.submission.write import render, submit
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit
from tests.submission.made_entries import (
    HIDDEN,
    TEST,
    TEST_IDS,
    TRUTH,
    VALID_IDS,
    entry_workspace,
    make_entry,
    make_refit,
    predicted,
    write_test,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return entry_workspace(tmp_path / "workspace")


def names(found: Portfolio) -> list[str]:
    return [one.name for one in found.proposals]


def clark(first: float, second: float, spread: np.ndarray) -> float:
    """Mean of the larger of two correlated normal variables (Clark 1961, Eq. 2)."""
    a = math.sqrt(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])
    alpha = (first - second) / a
    below = 0.5 * (1 + math.erf(alpha / math.sqrt(2)))
    return first * below + second * (1 - below) + a * math.exp(-alpha * alpha / 2) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(
    ("gap", "r", "share"), [(0.0, 0.0, 1.0), (0.004, 0.9, 1.0), (0.01, 0.5, 0.5), (0.0, 0.97, 2.0)]
)
def test_the_expected_best_of_two(gap: float, r: float, share: float) -> None:
    spread = 1e-4 * np.array([[1, r * 0.8], [r * 0.8, 0.64]])
    resampled = np.random.default_rng(3).multivariate_normal([0.1, 0.2], spread, 200_000)
    draws = draw_scores(np.array([0.5, 0.5 - gap]), resampled, np.ones(2), share)
    expected = clark(0.5, 0.5 - gap, spread * (1 + share))
    assert draws.max(axis=1).mean() == pytest.approx(expected, abs=2e-4)
    assert draws.mean(axis=0) == pytest.approx([0.5, 0.5 - gap], abs=1e-12)
    np.testing.assert_allclose(np.cov(draws, rowvar=False), spread * (1 + share), atol=6e-6)


def test_the_error_of_a_refit_is_partly_its_own() -> None:
    resampled = np.random.default_rng(0).normal(0, 0.01, (5000, 1)) @ np.ones((1, 2))
    draws = draw_scores(np.array([0.5, 0.5]), resampled, np.array([1.0, 0.6]), 1.0)
    assert np.corrcoef(draws, rowvar=False)[0, 1] == pytest.approx(0.6, abs=0.02)
    assert draws.std(axis=0) == pytest.approx([0.01 * math.sqrt(2)] * 2, rel=0.03)
    resampled[7] = np.nan  # a resample without a score
    assert np.isfinite(draw_scores(np.array([0.5, 0.5]), resampled, np.ones(2), 1.0)).all()


def test_the_best_first_then_what_errs_otherwise(workspace: Workspace) -> None:
    make_entry(workspace, "F1-official-s42-a", system="F1", noise=2.0, seed=1, shared=0.9)
    make_entry(workspace, "F2-official-s42-b", system="F2", noise=2.05, seed=2, shared=0.9)
    make_entry(workspace, "F3-official-s42-c", system="F3", noise=2.1, seed=3, shared=0.0)
    make_entry(workspace, "F4-official-s42-d", system="F4", noise=9.0, seed=4, shared=0.0)
    found = propose(workspace, 3)
    scores = {run.name: score(EMI, TRUTH, run.predictions("valid", EMI).of(VALID_IDS)).primary
              for run in list_runs(workspace)}  # fmt: skip
    first, second, third = found.proposals
    assert first.name == max(scores, key=lambda name: scores[name]) and first.gain == first.score.value
    assert {one.name: one.score.value for one in found.proposals} == {
        name: pytest.approx(scores[name]) for name in names(found)
    }
    # F1 and F2 share nine tenths of their noise, so the third system adds more than the other of the two.
    assert {first.name[:2], second.name[:2]} in ({"F1", "F3"}, {"F2", "F3"}) and third.name[:2] in ("F1", "F2")
    assert second.gain > third.gain > 0
    assert found.expected == pytest.approx(first.gain + second.gain + third.gain)
    assert found.left_out == {"F4-official-s42-d": "3 others raise the expected best score more"}
    one, other = (run.predictions("test", EMI).of(TEST_IDS) for run in list_runs(workspace)
                  if run.name in (first.name, second.name))  # fmt: skip
    assert second.correlations == (pytest.approx(float(pearson(one, other).mean())),)
    assert (found.clips, found.more, len(third.correlations)) == (400, (), 2)
    assert propose(workspace, 3) == found  # seeded


def test_seeds_are_one_entry(workspace: Workspace) -> None:
    for number in (1, 2, 3):
        make_entry(workspace, f"F1-official-s{number}-a", system="F1", seed=number, number=number)
    found = propose(workspace)
    (one,) = found.proposals
    assert one.name == "F1 official" and len(one.runs) == 3 and "the mean of 3 seeds" in one.reason
    mean = np.mean([run.predictions("valid", EMI).of(VALID_IDS) for run in list_runs(workspace)], axis=0)
    assert one.score.value == pytest.approx(score(EMI, TRUTH, mean).primary)
    assert one.commands == (
        "abawkit ensemble F1-official-s1-a F1-official-s2-a F1-official-s3-a --method mean",
        "abawkit submit --out submissions/F1-official-3seeds.csv",
    )
    made = ensemble(workspace, list_runs(workspace), method="mean")
    again = propose(workspace)
    assert len(again.proposals) == 1, "the ensemble of its seeds says the same"
    assert again.proposals[0].commands == (f"abawkit submit --ensemble {made.name} --out submissions/{made.name}.csv",)
    assert any("nearly the same" in why for why in again.left_out.values())


def test_a_refit_takes_its_parents_score(workspace: Workspace) -> None:
    parent = make_entry(workspace, "F1-official-s1-a", system="F1", seed=1, number=1, noise=1.5)
    make_entry(workspace, "F1-official-s2-a", system="F1", seed=2, number=2, noise=4.0)
    make_entry(workspace, "F2-official-s1-a", system="F2", seed=3, number=1, noise=5.0)
    made = make_refit(workspace, parent, predicted(HIDDEN, 11, 1.5))
    found = propose(workspace)
    (refit,) = (one for one in found.proposals if one.name == made.name)
    own = score(EMI, TRUTH, parent.predictions("valid", EMI).of(VALID_IDS)).primary
    assert refit.parents == (parent.name,) and refit.score.value == pytest.approx(own), "not that of both seeds"
    assert f"takes that of {parent.name}" in refit.reason and refit.commands[0].startswith("abawkit submit --run")
    candidates = {one.name: one for one in find_candidates(workspace).found}
    tests = [run.predictions("test", EMI).of(TEST_IDS) for run in (made, parent)]
    assert candidates[made.name].agrees == pytest.approx(float(pearson(*tests).mean()))
    assert candidates["F1 official"].agrees == 1
    make_refit(workspace, make_entry(workspace, "F9-other-s1-a", rows=slice(0, 10)), predicted(HIDDEN, 12, 1.5))
    left = propose(workspace).left_out
    assert "not a candidate" in left["refit-F9-other-s1-a"] and "shares 10 held-out clips" in left["F9-other-s1-a"]


def test_refits_of_several_seeds_are_one_entry(workspace: Workspace) -> None:
    parents = [make_entry(workspace, f"F1-official-s{n}-a", system="F1", seed=n, number=n) for n in (1, 2)]
    for number, parent in enumerate(parents, 11):
        make_refit(workspace, parent, predicted(HIDDEN, number, 2.0))
    first, second = propose(workspace).proposals
    assert (first.name, second.name) == ("2 refits of F1 official", "F1 official")
    assert first.parents == tuple(run.name for run in parents) and first.score == second.score
    for command in first.commands:
        done = abawkit(workspace.root, *command.split()[1:], *(["--accept-coverage"] if " submit " in command else []))
        assert done.exit_code == 0, done.output
    ids, values = read_values(workspace.submissions / "2-refits-of-F1-official.csv", EMI)
    assert list(ids) == list(TEST_IDS)
    mean = (predicted(HIDDEN, 11, 2.0) + predicted(HIDDEN, 12, 2.0)) / 2
    r = pearson(values, mean)
    np.testing.assert_allclose(r, 1, atol=0.005)  # some values are clipped
    assert propose(workspace).proposals[0].commands[0].startswith("abawkit submit --ensemble ensemble-")


def test_on_equal_scores_a_refit_comes_first(workspace: Workspace) -> None:
    parent = make_entry(workspace, "F1-official-s1-a", system="F1")
    refit = make_refit(workspace, parent, predicted(HIDDEN, 11, 2.0))
    assert names(propose(workspace)) == [refit.name, parent.name]


def test_scores_are_those_of_the_clips_that_all_hold_out(workspace: Workspace) -> None:
    """F3 is far better on clips that F1 was trained on: there nothing is compared."""
    make_entry(workspace, "F1-official-s1-a", system="F1", noise=2.0, seed=1, rows=slice(0, 240))
    make_entry(workspace, "F3-4to1-s1-a", system="F3", split="4to1", noise=3.0, seed=2, rows=slice(160, 400))
    found = propose(workspace)
    assert found.clips == 80
    shared = VALID_IDS[160:240]
    for one in found.proposals:
        (run,) = (run for run in list_runs(workspace) if run.name == one.name)
        predictions = run.predictions("valid", EMI)
        assert one.score.value == pytest.approx(
            score(EMI, predictions.truth_of(shared), predictions.of(shared)).primary
        )
    strict = Workspace.open(workspace.root, environ={}, overrides={"submit.min_shared": 100})
    alone = propose(strict)
    assert len(alone.proposals) == 1 and alone.clips == 240
    (why,) = alone.left_out.values()
    assert why == "it shares 80 held-out clips with the others; 100 are the fewest to compare it on"


def test_the_largest_set_that_shares_enough(workspace: Workspace) -> None:
    """Two runs that share many clips do not keep out three that share fewer."""
    make_entry(workspace, "F1-a-s1", system="F1", split="a", seed=1, rows=slice(0, 200))
    make_entry(workspace, "F2-b-s1", system="F2", split="b", seed=2, rows=slice(0, 199))
    for number in (3, 4, 5):
        make_entry(workspace, f"F{number}-c-s1", system=f"F{number}", split="c", seed=number, rows=slice(300, 400))
    found = propose(workspace)
    assert sorted(names(found)) == ["F3-c-s1", "F4-c-s1", "F5-c-s1"] and found.clips == 100
    assert set(found.left_out) == {"F1-a-s1", "F2-b-s1"}


def test_what_says_nearly_the_same_is_left_out(workspace: Workspace) -> None:
    first = make_entry(workspace, "F1-official-s1-a", system="F1", seed=1, noise=2.0)
    near = first.predictions("test", EMI).values + np.random.default_rng(5).normal(0, 0.005, (TEST, 6))
    make_entry(workspace, "F2-official-s1-a", system="F2", seed=2, noise=2.5, test=near)
    make_entry(workspace, "F3-official-s1-a", system="F3", seed=3, noise=6.0)
    found = propose(workspace)
    assert names(found) == ["F1-official-s1-a", "F3-official-s1-a"]
    why = found.left_out["F2-official-s1-a"]
    assert why.startswith("it is nearly the same as F1-official-s1-a (r .99")
    assert len(found.more) == 3 and any("--refit F1-official-s1-a" in line for line in found.more)
    assert any("abawkit ensemble" in line for line in found.more)


def test_what_was_sent_is_not_proposed_again(workspace: Workspace) -> None:
    first = make_entry(workspace, "F1-official-s1-a", system="F1", seed=1, noise=2.0)
    other = make_entry(workspace, "F3-official-s1-a", system="F3", seed=3, noise=6.0)
    made = submit(workspace, Path("submissions/one.csv"), run=first, accept_coverage=True)
    submit(workspace, Path("submissions/two.csv"), run=other, accept_coverage=True)
    assert names(propose(workspace)) == ["F1-official-s1-a", "F3-official-s1-a"], "written is not sent"
    note_sent(workspace, made.path)
    found = propose(workspace)
    assert names(found) == ["F3-official-s1-a"] and found.sent == (1, 5)
    assert found.left_out["F1-official-s1-a"] == "it is nearly the same as one.csv, which was sent (r 1.000)"
    made.path.write_text(render(EMI, TEST_IDS, HIDDEN))  # another file under that name
    assert len(propose(workspace).proposals) == 2


def test_what_cannot_be_submitted_is_named(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="there is no finished run"):
        propose(workspace)
    none, some, flat, untold, whole = (
        make_entry(workspace, f"F{number}-official-s1-a", system=f"F{number}", seed=number) for number in range(1, 6)
    )
    (none.path / "predictions" / "test.csv").unlink()
    write_test(some, HIDDEN[:-3], TEST_IDS[:-3])
    write_test(flat, np.full((TEST, 6), 0.5))
    shared = untold.model.model_dump(exclude={"kind", "stages", "missing"})
    ImportRecord(**shared | {"kind": "import", "split": None, "scorable": False}, files={}).write(untold.path)
    found = propose(workspace)
    assert names(found) == [whole.name] and len(found.left_out) == 4
    assert found.left_out[none.name].endswith(f"abawkit predict {none.name} --on test")
    assert "has not predicted 3 of 300" in found.left_out[some.name]
    assert "constant" in found.left_out[flat.name] and "not known" in found.left_out[untold.name]
    write_test(whole, np.full((TEST, 6), 0.5))
    with pytest.raises(UsageError, match=r"nothing to propose(?s:.*)F3-official-s1-a: its prediction"):
        propose(workspace)


def test_other_labels_of_the_same_clips_are_refused(workspace: Workspace) -> None:
    make_entry(workspace, "F1-official-s1-a", system="F1")
    other = make_entry(workspace, "F2-official-s1-a", system="F2", seed=2)
    path = other.path / "predictions" / "valid.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = "0.123"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(AbawkitError, match="different labels of the same clips"):
        propose(workspace)


def test_the_command_and_the_commands_that_it_tells(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parent = make_entry(workspace, "F1-official-s1-cbfba67f", system="F1", seed=1, number=1)
    make_entry(workspace, "F1-official-s2-c9550530", system="F1", seed=2, number=2)
    make_entry(workspace, "F4-4to1-s42-s1-88423bce", system="F4", split="4to1-s42", seed=3, rows=slice(0, 300))
    ensemble(workspace, list_runs(workspace), method="nnls")
    make_refit(workspace, parent, predicted(HIDDEN, 11, 2.0))
    result = abawkit(workspace.root, "submit", "--portfolio", "5")
    assert result.exit_code == 0, result.output
    shown, _, commands = result.stdout.partition("\nNext\n")
    assert max(map(len, shown.splitlines())) <= 80
    assert "on the 300 held-out clips" in shown and "* of its parent" in shown and "clip-level" in shown
    assert "not 5. What would add more" in shown
    record = json.loads(abawkit(workspace.root, "submit", "--portfolio", "5", "--json").stdout)
    assert [one["name"] for one in record["proposals"]] and record["entries"] == {"sent": 0, "allowed": 5}
    told = [line.strip() for line in commands.splitlines() if line.strip().startswith("abawkit ")]
    assert told == [command for one in record["proposals"] for command in one["commands"]]
    for command in told:
        done = abawkit(workspace.root, *command.split()[1:], *(["--accept-coverage"] if " submit " in command else []))
        assert done.exit_code == 0, done.output
    written = sorted((workspace.root / "submissions").glob("*.csv"))
    assert len(written) == len(record["proposals"]) + 1  # and the ledger
    result = abawkit(workspace.root, "submit", "--portfolio", "2", "--out", "x.csv")
    assert result.exit_code == 2 and "exclude each other" in result.stderr
    assert abawkit(workspace.root, "submit", "--portfolio", "0").exit_code == 2


def test_nothing_heavy_is_imported(workspace: Workspace) -> None:
    make_entry(workspace, "F1-official-s1-a", system="F1")
    code = (
        "import sys\nfrom abawkit.cli.app import app\n"
        "try: app(['submit', '--portfolio', '5'])\nexcept SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy.stats', 'matplotlib', 'cv2', 'av'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    environ = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code], cwd=workspace.root, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
