"""Values unlike those on validation, and files that say what an earlier one said, are pointed out."""

import json
from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.data.labels import load_official
from abawkit.errors import AbawkitError, FindingsError
from abawkit.layout.folder import ChallengeFolder
from abawkit.runs.run import find_run
from abawkit.submission.form import Submitted, examine, official_test_ids
from abawkit.submission.unusual import (
    Reference,
    compare_earlier,
    compare_values,
    earlier_files,
    find_reference,
    read_values,
)
from abawkit.submission.write import render
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit
from tests.submission.made_entries import TEST_IDS, entry_workspace

IDS = [f"{number:05d}" for number in range(12660, 12960)]


def made(values: np.ndarray, path: Path = Path("team.csv")) -> Submitted:
    return examine(render(EMI, IDS, values).encode(), path, EMI, IDS)


def drawn(seed: int) -> np.ndarray:
    """Predictions such as a model makes: some at the lower bound, the others near the mean."""
    return np.clip(np.random.default_rng(seed).normal(0.12, 0.08, (len(IDS), 6)), 0, 1)


def codes(found: Submitted) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.message.split(" is ")[0]) for finding in found.report.findings]


def test_values_like_those_of_validation_pass() -> None:
    for seed in range(1, 20):
        found = made(drawn(seed))
        compare_values(found, Reference(drawn(0), "validation", labels=False), EMI, Path("team.csv"))
        assert found.report.findings == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda column: column + 0.06, "the mean of Joy"),
        (lambda column: (column - column.mean()) * 0.3 + column.mean(), "the standard deviation of Joy"),
        (lambda column: np.clip((column - 0.12) * 3 + 0.4, 0, 1), "the standard deviation of Joy"),
        (lambda column: np.where(np.arange(len(column)) % 3 == 0, 0.0, column), "the share of zeros of Joy"),
    ],
)
def test_a_target_that_is_unlike_is_named(change: object, what: str) -> None:
    values = drawn(1)
    values[:, 5] = change(values[:, 5])  # type: ignore[operator]
    found = made(values)
    compare_values(found, Reference(drawn(0), "validation", labels=False), EMI, Path("team.csv"))
    assert ("S519", what) in codes(found) and all("Joy" in message for _, message in codes(found))
    assert found.report.ok  # a warning


def test_labels_bound_only_from_above() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((4588, 6)) < 0.65, 0.0, rng.integers(1, 5, (4588, 6)) / 4 * 0.7)
    reference = Reference(labels, "labels", labels=True)
    calm = made(np.clip(labels.mean(0) + rng.normal(0, 0.05, (300, 6)), 0.001, 1))
    compare_values(calm, reference, EMI, Path("team.csv"))
    assert calm.report.findings == []
    wild = made(rng.integers(0, 2, (300, 6)).astype(float))
    compare_values(wild, reference, EMI, Path("team.csv"))
    assert {message.split(" of ")[0] for _, message in codes(wild)} >= {"the mean"}


def test_earlier_files(tmp_path: Path) -> None:
    first, near, far = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv"
    values = drawn(0)
    first.write_text(render(EMI, IDS, values))
    near.write_text(render(EMI, IDS, np.clip(values + drawn(1) * 0.05, 0, 1)))
    far.write_text(render(EMI, IDS, drawn(2)))
    (tmp_path / "d.csv").write_text("notes\n")
    (tmp_path / "team.csv").write_text("is the file itself")
    found = made(values, tmp_path / "team.csv")
    found_near = compare_earlier(found, sorted(tmp_path.glob("*.csv")), EMI, tmp_path / "team.csv")
    assert [one.path.name for one in found_near] == ["a.csv", "b.csv", "c.csv", "d.csv"]
    assert found_near[0].same and found_near[0].r == pytest.approx(1)
    assert not found_near[1].same and 0.98 < found_near[1].r < 1 and abs(found_near[2].r) < 0.2
    assert found_near[3].problem == "it is not a submission"
    assert [finding.message for finding in found.report.findings] == [
        "it has the same values as a.csv",
        "it is nearly the same as b.csv",
    ]


def test_files_in_perfect_form_are_read_as_all_others_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = render(EMI, IDS, drawn(3))
    header, first, second, *rest = text.splitlines()
    short = first.rsplit(",", 1)
    for changed in (
        text,
        text.replace("\n", "\r\n"),
        text.rstrip("\n"),
        "\n".join([header, "", first, second, *rest]),
        "\n".join([header, second, first, *rest]),
        "\n".join([header, first, first, second, *rest]),
        "\n".join([header, short[0], f"{second},{short[1]}", *rest]),  # a cell in the next row
        "\n".join([header, f"{short[0]},", second, *rest]),
        "\n".join([header, first.lstrip("0123456789"), second, *rest]),
        "\n".join([header, '"' + first.replace(",", '",', 1), second, *rest]),
        header.lower() + text[len(header) :],
        header,
        "",
    ):
        path.write_bytes(changed.encode())
        found = examine(path.read_bytes(), path, EMI)
        ids, values = read_values(path, EMI)
        assert tuple(ids) == found.ids
        np.testing.assert_array_equal(values, found.values)
    path.write_bytes(text.encode("utf-16"))
    assert len(read_values(path, EMI)[0]) == 0


def test_labels_that_cannot_be_a_reference_are_refused(tmp_path: Path) -> None:
    workspace = entry_workspace(tmp_path)
    folder = ChallengeFolder.open(workspace.data, EMI)
    reference = find_reference(workspace, tmp_path / "team.csv", folder)
    assert reference is not None and reference.labels
    np.testing.assert_array_equal(reference.values, load_official(folder).valid.values)
    labels = workspace.data / "valid_split.csv"
    good = labels.read_text()
    for cell in ("1.5", "nan", "-0.1", "x"):
        head, _, tail = good.rpartition(",")
        labels.write_text(f"{head},{cell}\n")
        assert tail
        with pytest.raises(FindingsError, match="valid_split"):
            find_reference(workspace, tmp_path / "team.csv", folder)


def test_the_test_clips_are_those_of_the_official_splits(tmp_path: Path) -> None:
    workspace = entry_workspace(tmp_path)
    folder = ChallengeFolder.open(workspace.data, EMI)
    assert official_test_ids(folder) == load_official(folder).test_ids == tuple(TEST_IDS)
    (workspace.data / "train_split.csv").write_text("spoilt\n")  # of no concern to a submission
    assert official_test_ids(ChallengeFolder.open(workspace.data, EMI)) == tuple(TEST_IDS)
    (workspace.data / "test_split.csv").write_text("Filename\nx\n")
    with pytest.raises(FindingsError, match="not a clip id"):
        official_test_ids(ChallengeFolder.open(workspace.data, EMI))
    (workspace.data / "test_split.csv").unlink()
    with pytest.raises(FindingsError, match="train_split"):
        official_test_ids(ChallengeFolder.open(workspace.data, EMI))


def test_what_it_is_compared_with(predicted_copy: Path) -> None:
    workspace = Workspace.open(predicted_copy, environ={})
    path = workspace.submissions / "team.csv"
    folder = ChallengeFolder.open(workspace.data, EMI)
    labels = find_reference(workspace, path, folder)
    assert labels is not None and labels.labels and find_reference(workspace, path, None) is None
    run = find_run(workspace, "F4")
    assert abawkit(predicted_copy, "submit", "--run", run.name, "--out", "submissions/team.csv").exit_code == 0
    reference = find_reference(workspace, path, folder)
    assert reference is not None and not reference.labels and run.name in reference.words
    np.testing.assert_array_equal(reference.values, np.clip(run.predictions("valid", EMI).values, 0, 1))
    assert (workspace.submissions / "ledger.csv").exists() and earlier_files(workspace) == [path]
    (run.path / "predictions" / "valid.csv").write_text("Filename,Joy\n00001,x\n")
    with pytest.raises(AbawkitError, match="is not a prediction file"):
        find_reference(workspace, path, folder)


def test_the_command(predicted_copy: Path) -> None:
    path = predicted_copy / "submissions" / "team.csv"
    assert abawkit(predicted_copy, "submit", "--out", "submissions/team.csv").exit_code == 0
    (predicted_copy / "submissions" / "first.csv").write_bytes(path.read_bytes())
    result = abawkit(predicted_copy, "check", "submissions/team.csv")
    assert result.exit_code == 0 and "same values as first.csv" in result.stdout
    assert "the same values as first.csv: the entry would teach nothing new" in result.stdout
    record = json.loads(abawkit(predicted_copy, "check", "submissions/team.csv", "--json").stdout)
    assert record["about"]["earlier"][0]["same"] is True
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert abawkit(predicted_copy, "check", "submissions/team.csv").exit_code == 3
    result = abawkit(predicted_copy, "check", "submissions/team.csv", "--fix")
    assert result.exit_code == 0 and "byte-order mark removed" in result.stdout
    record = json.loads(abawkit(predicted_copy, "check", "submissions/team.csv", "--fix", "--json").stdout)
    assert record["fixed"]["changes"] == ["byte-order mark removed"]


def test_submit_tells_how_near_earlier_files_are(predicted_copy: Path) -> None:
    (predicted_copy / "elsewhere").mkdir()
    assert abawkit(predicted_copy, "submit", "--run", "F1", "--out", "elsewhere/far.csv").exit_code == 0
    assert abawkit(predicted_copy, "submit", "--sent", "elsewhere/far.csv", "--score", "0.57").exit_code == 0
    assert abawkit(predicted_copy, "submit", "--run", "F4", "--out", "submissions/near.csv").exit_code == 0
    result = abawkit(predicted_copy, "submit", "--run", "F4", "--decimals", "3", "--out", "submissions/team.csv")
    assert result.exit_code == 0
    near, far = (line for line in result.stdout.splitlines() if "near.csv" in line or "far.csv" in line)
    assert near.startswith("nearly the same as near.csv, r 1.000: the entry would teach little")
    assert far.startswith("far.csv (sent; it scored 0.57): mean r ")
    again = abawkit(
        predicted_copy, "submit", "--run", "F4", "--decimals", "3", "--out", "submissions/team.csv", "--json"
    )
    record = json.loads(again.stdout)
    assert [(Path(one["file"]).name, one["sent"], one["score"]) for one in record["earlier"]] == [
        ("near.csv", False, None),
        ("far.csv", True, "0.57"),
    ]
    assert [finding["code"] for finding in record["check"]["findings"]] == ["S520"]
    assert record["entries"] == {"sent": 1, "allowed": 5}
    first, other = (read_values(predicted_copy / name, EMI)[1] for name in
                    ("submissions/team.csv", "elsewhere/far.csv"))  # fmt: skip
    r = np.mean([np.corrcoef(first[:, e], other[:, e])[0, 1] for e in range(6)])
    assert record["earlier"][1]["r"] == pytest.approx(r, abs=1e-9)
    (predicted_copy / "elsewhere" / "far.csv").unlink()  # whose file is gone cannot be compared
    assert abawkit(predicted_copy, "check", "submissions/team.csv").stdout.count(".csv: mean r") == 0
