"""The ledger says what was written and sent, and that entries are few."""

import json
from pathlib import Path

import pytest

from abawkit.errors import AbawkitError, UsageError
from abawkit.submission.ledger import count_sent, note_sent, note_written, read_ledger
from abawkit.workspace import Workspace
from tests.cli.program import run as abawkit


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "abawkit.toml").write_text('data = "challenge"\n')
    (tmp_path / "submissions").mkdir()
    for number in range(7):
        (tmp_path / "submissions" / f"{number}.csv").write_text(f"{number}\n")
    return Workspace.open(tmp_path, environ={})


def test_written_and_sent(workspace: Workspace) -> None:
    path = workspace.submissions / "0.csv"
    assert read_ledger(workspace) == []
    note_written(workspace, path, "F4-official-s0-abc")
    note_written(workspace, path, "F4-official-s0-abc")
    (entry,) = read_ledger(workspace)
    assert (entry.file, entry.run, entry.sent, entry.score) == ("submissions/0.csv", "F4-official-s0-abc", "", "")
    assert note_sent(workspace, path) == (1, 5)
    first = read_ledger(workspace)[0].sent
    assert first and note_sent(workspace, path, score=0.57) == (1, 5)  # the score comes later; it counts once
    (entry,) = read_ledger(workspace)
    assert (entry.sent, entry.score, entry.written[:2]) == (first, "0.57", "20")
    path.write_text("other content\n")
    note_written(workspace, path, "F1")
    assert [each.run for each in read_ledger(workspace)] == ["F4-official-s0-abc", "F1"]


def test_a_sixth_is_refused(workspace: Workspace) -> None:
    for number in range(5):
        assert note_sent(workspace, workspace.submissions / f"{number}.csv") == (number + 1, 5)
    with pytest.raises(UsageError, match="all 5 entries are used up"):
        note_sent(workspace, workspace.submissions / "5.csv")
    assert len(read_ledger(workspace)) == 5
    assert note_sent(workspace, workspace.submissions / "2.csv", score=0.5) == (5, 5)
    assert note_sent(workspace, workspace.submissions / "5.csv", force=True) == (6, 5)
    with pytest.raises(UsageError, match="this submission does not exist"):
        note_sent(workspace, workspace.submissions / "absent.csv")


def test_a_damaged_ledger_is_named_with_its_line(workspace: Workspace) -> None:
    note_sent(workspace, workspace.submissions / "0.csv")
    ledger = workspace.submissions / "ledger.csv"
    ledger.write_text(ledger.read_text() + "x,y\n")
    with pytest.raises(AbawkitError, match="is not a ledger") as caught:
        read_ledger(workspace)
    assert caught.value.line == 3


def test_the_command(workspace: Workspace) -> None:
    for number in range(4):
        result = abawkit(workspace.root, "submit", "--sent", f"submissions/{number}.csv")
        assert result.exit_code == 0 and "last entry" not in result.stdout
        assert ("one entry is left" in result.stdout) == (number == 3)
    result = abawkit(workspace.root, "submit", "--sent", "submissions/4.csv", "--score", "0.57")
    assert "5 of 5 entries are sent" in result.stdout and "that was the last entry" in result.stdout
    assert abawkit(workspace.root, "submit", "--sent", "submissions/5.csv").exit_code == 2
    assert count_sent(workspace) == (5, 5)
    sha = read_ledger(workspace)[0].sha256
    assert count_sent(workspace, without=sha) == (4, 5) and count_sent(workspace, without="other") == (5, 5)
    result = abawkit(workspace.root, "submit", "--sent", "submissions/4.csv", "--json")
    assert json.loads(result.stdout)["entries"] == 5 and read_ledger(workspace)[4].score == "0.57"
    assert abawkit(workspace.root, "submit", "--score", "0.5").exit_code == 2
    result = abawkit(workspace.root, "submit", "--sent", "submissions/6.csv", "--force")
    assert result.exit_code == 0 and "more than the organisers allow" in result.stdout
    assert abawkit(workspace.root, "submit").exit_code == 2
    result = abawkit(workspace.root, "submit", "--sent", "submissions/4.csv", "--out", "x.csv")
    assert result.exit_code == 2 and "--out and --sent exclude each other" in result.stderr


def test_writing_tells_that_few_are_left(predicted_copy: Path) -> None:
    for number in range(5):
        (predicted_copy / f"{number}.csv").write_text(f"{number}\n")
        written = abawkit(predicted_copy, "submit", "--run", "F4", "--out", "submissions/a.csv")
        assert written.exit_code == 0
        assert ("4 of 5 entries are sent: it would be the last" in written.stdout) == (number == 4)
        assert abawkit(predicted_copy, "submit", "--sent", f"{number}.csv").exit_code == 0
    written = abawkit(predicted_copy, "submit", "--run", "F4", "--out", "submissions/a.csv")
    assert "5 of 5 entries are sent: none is left for this file" in written.stdout
