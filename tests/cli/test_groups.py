"""``groups suggest`` and ``evaluate --groups``, as a person types them."""

import json
from pathlib import Path

import pytest

from tests.cli.program import run


def flat(text: str) -> str:
    return " ".join(text.split())


def test_suggest_then_resplit_as_it_says(extracted_copy: Path) -> None:
    result = run(extracted_copy, "groups", "suggest")
    assert result.exit_code == 0, result.output
    shown = flat(result.stdout)
    for words in (
        "Guessed groups (proxy: guessed, not subject ids)",
        "guessed seed videos (proxy), by transcripts",
        "guessed persons (proxy), by vision features lite-",
        "without a transcript of words: in no group, each counts as its own",
        "official, validation",
        "official: Not safe by seed video",
        "no split can separate both",
    ):
        assert words in shown, result.stdout
    command = next(line for line in result.stdout.splitlines() if "abawkit resplit" in line).split("  ")[1]
    assert command == "abawkit resplit --ratio 4:1 --groups groups/person.csv"
    again = run(extracted_copy, *command.split()[1:])
    assert again.exit_code == 0 and "guessed persons (proxy)" in flat(again.stdout), again.output


def test_the_command_for_seed_videos_works_too(extracted_copy: Path) -> None:
    result = run(extracted_copy, "groups", "suggest", "--by", "text", "--out", "my groups")
    (command,) = [line.strip() for line in result.stdout.splitlines() if "abawkit resplit" in line]
    assert "--groups 'my groups/seed.csv' --free" in command
    arguments = ["resplit", "--ratio", "4:1", "--groups", "my groups/seed.csv", "--free"]
    assert run(extracted_copy, *arguments).exit_code == 0


def test_json_of_suggest(extracted_copy: Path) -> None:
    result = run(extracted_copy, "groups", "suggest", "--clusters", "18", "--json")
    record = json.loads(result.stdout)
    assert result.exit_code == 0 and record["note"] == "proxy: guessed, not subject ids" and record["remarks"] == []
    seed, person = record["files"]
    assert {"path", "kind", "by", "method", "groups", "ungrouped", "overlap", "digest", "warnings"} <= set(seed)
    assert person["kind"] == "proxy_person" and person["groups"] == 18 and record["choose"] == person["path"]
    assert set(person["overlap"][0]["shared_with_training"]) == {"valid", "test"} and record["crossing"]["words"]


def test_what_is_not_there_is_said(fresh: Path) -> None:
    result = run(fresh, "groups", "suggest")
    assert result.exit_code == 0 and "abawkit extract --modality vision" in flat(result.stdout)
    assert "--groups groups/seed.csv --free" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["groups", "suggest", "--by", "smell"], 2, "no such feature store"),
        (["groups", "suggest", "--by", "../../x"], 2, "no such feature store"),
        (["groups", "suggest", "--similarity", "2"], 2, "not a similarity"),
        (["groups", "suggest", "--by", "text", "--clusters", "4"], 2, "one of persons"),
        (["groups", "suggest", "--split", "../../x"], 2, "cannot be a split's name"),
        (["groups", "suggest", "--split", "nope"], 2, "no such split"),
        (["evaluate", "F1", "--groups", "absent.csv"], 3, "absent.csv"),
        (["evaluate", "F1", "--groups", "challenge/train_split.csv"], 2, "none of the scored clips"),
    ],
)
def test_refusals(predicted: Path, arguments: list[str], code: int, words: str) -> None:
    result = run(predicted, *arguments)
    assert result.exit_code == code and words in flat(result.stderr), result.output
    record = json.loads(run(predicted, *arguments, "--json").stdout)
    assert record["ok"] is False and record["exit_code"] == code


def test_evaluate_by_groups(predicted_copy: Path) -> None:
    by_clip = flat(run(predicted_copy, "evaluate", "F1").stdout)
    assert "95 % interval of the mean r: BCa [" in by_clip
    assert "by clip (clip-level, likely too narrow: clips share persons and seed videos)" in by_clip
    groups = predicted_copy / "who.csv"
    groups.write_text("Filename,who,age\n" + "".join(f"{n:05d},s{n // 2},30\n" for n in range(60)))
    by_subject = flat(run(predicted_copy, "evaluate", "F1", "--groups", "who.csv").stdout)
    assert "by 12 subjects: few, so the interval is rough" in by_subject
    assert "'who' is taken as the group" in by_subject
    result = run(predicted_copy, "evaluate", "F1", "--groups", "who.csv", "--json")
    record = json.loads(result.stdout)
    valid = record["scores"]["valid"]
    assert valid["interval_groups"]["kind"] == "subject" and valid["interval_units"] == 12
    assert [finding["code"] for finding in record["findings"]] == ["G603"]
