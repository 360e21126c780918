import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.data.transcripts import (
    MANIFEST,
    Recogniser,
    Transcript,
    TranscriptSet,
    choose_set,
    list_sets,
    made_by,
    mixed_transcripts,
    open_for_writing,
    read_part,
)
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import locked

TINY = Recogniser("tiny", "someone/tiny", "1234", "ab" * 32, None, {"no_speech": 0.6})


def write(root: Path, *parts: list[Transcript], by: Recogniser = TINY) -> TranscriptSet:
    path = root / by.folder
    with open_for_writing(path, by) as writer:
        for part in parts:
            writer.add(part)
    return TranscriptSet.open(path)


def test_what_changes_a_word_changes_the_signature() -> None:
    others: list[dict[str, Any]] = [
        {"weights": "cd" * 32},
        {"language": "en"},
        {"thresholds": {"no_speech": 0.5}},
        {"precision": "float16"},
        {"method": "whisper-greedy/2"},
        {"on_damage": "fail"},
    ]
    signatures = {TINY.signature, *(Recogniser(**{**vars(TINY), **other}).signature for other in others)}
    assert len(signatures) == len(others) + 1
    moved = Recogniser(**{**vars(TINY), "name": "x", "model": "/elsewhere", "revision": None})
    assert moved.signature == TINY.signature


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40).filter(lambda text: "\ud800" not in text), max_size=4))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    clips = [
        Transcript(
            f"{number:05d}",
            "spoken",
            text,
            language="en",
            source="77",
            segments=({"start": 0.0, "end": 1.5, "text": text},),
            windows=({"start": 0.0, "no_speech": 0.25},),
            warnings=("odd",),
        )
        for number, text in enumerate(texts)
    ]
    found = write(tmp_path_factory.mktemp("any"), clips)
    for clip in clips:
        back = found.clips[clip.clip]
        assert (back.text, back.language, back.source, back.outcome) == (clip.text, "en", "77", "spoken")
        assert list(back.segments) == list(clip.segments) and list(back.windows) == list(clip.windows)
    assert len(found.clips) == len(clips)


def test_the_newest_part_counts_and_nothing_is_rewritten(tmp_path: Path) -> None:
    made = write(tmp_path, [Transcript("00000", "spoken", "one"), Transcript("00001", "empty", reason="silence")])
    old, before = made.source(made.clips["00000"]), (made.path / "part-00000.jsonl").stat().st_mtime_ns
    (made.path / ".tmp-left.jsonl").write_text("half of it")
    again = write(tmp_path, [Transcript("00000", "spoken", "two")])
    assert (made.path / "part-00000.jsonl").stat().st_mtime_ns == before
    assert not list(made.path.glob(".tmp-*"))
    assert [again.clips[clip].text for clip in ("00000", "00001")] == ["two", ""]
    assert again.source(again.clips["00000"]) != old
    assert made_by(again.source(again.clips["00000"])) == again.path.name == TINY.folder


def test_every_clip_says_by_what_it_was_made(tmp_path: Path) -> None:
    made = write(tmp_path, [Transcript("00000", "spoken", "one", language="de", source="5a")])
    line = json.loads((made.path / "part-00000.jsonl").read_text().splitlines()[1])
    assert line["made_by"].items() >= {"model": "someone/tiny", "revision": "1234", "weights": "ab" * 32}.items()
    assert line["made_by"]["thresholds"] == {"no_speech": 0.6} and line["made_by"]["tool"].startswith("abawkit ")
    assert (line["language"], line["source"]) == ("de", "5a")


def test_it_travels_without_its_texts(tmp_path: Path) -> None:
    made = write(tmp_path, [Transcript(f"{number:05d}", "spoken", "word " * 100) for number in range(50)])
    assert made.clips and len(pickle.dumps(made)) < 1000
    assert pickle.loads(pickle.dumps(made)).clips == made.clips


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda text: text[:-40], 3),
        (lambda text: text.split("\n")[0] + "\n" + text.split("\n")[1] + "\n", None),
        (lambda text: text.replace('"clips": 2', '"clips": 3'), None),
        (lambda text: text.replace('"format": 1', '"format": 9'), None),
        (lambda text: text.replace('"made_by"', '"mad_by"', 1), 2),
        (lambda text: text.replace('"text": "one"', '"text": 1'), 2),
        (lambda text: text.replace('"text": "one"', '"words": "one"'), 2),
        (lambda text: text.replace(TINY.signature, "0" * 12, 1), None),
        (lambda text: "", 1),
        (lambda text: "[]\n", 1),
        (lambda text: "\xff\xfe", 1),
    ],
)
def test_a_damaged_part_is_named(tmp_path: Path, damage: Any, line: int | None) -> None:
    made = write(tmp_path, [Transcript("00000", "spoken", "one"), Transcript("00001", "spoken", "two")])
    part = made.path / "part-00000.jsonl"
    part.write_bytes(damage(part.read_text()).encode("latin-1"))
    with pytest.raises(AbawkitError) as caught:
        TranscriptSet.open(made.path).clips.keys()
    assert caught.value.path == str(part) and caught.value.line == line and "transcribe" in str(caught.value.todo)


def test_a_part_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "part-00000.jsonl").mkdir()
    with pytest.raises(AbawkitError, match="cannot be read"):
        read_part(tmp_path / "part-00000.jsonl", TINY)


@pytest.mark.parametrize("key", ["weights", "format", "signature", "recogniser"])
def test_an_edited_description_is_refused(tmp_path: Path, key: str) -> None:
    made = write(tmp_path, [])
    record = json.loads((made.path / MANIFEST).read_text())
    if key == "weights":
        record["recogniser"]["weights"] = "00"
    else:
        record[key] = {}
    (made.path / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(AbawkitError, match=r"edited|not the description"):
        TranscriptSet.open(made.path)


def test_one_writer(tmp_path: Path) -> None:
    with locked(tmp_path / TINY.folder, "transcribing"):
        with pytest.raises(AbawkitError, match="another process is transcribing here"):
            write(tmp_path, [])


def test_choosing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no transcripts named tiny") as caught:
        choose_set(tmp_path, "tiny")
    assert "abawkit transcribe" in str(caught.value)
    one = write(tmp_path, [])
    for name in ("tiny", "someone/tiny", TINY.signature, TINY.folder):
        assert choose_set(tmp_path, name).path == one.path
    two = write(tmp_path, [], by=Recogniser(**{**vars(TINY), "language": "en"}))
    assert [found.path for found in list_sets(tmp_path)] == sorted([one.path, two.path])
    with pytest.raises(UsageError, match="several transcripts named tiny") as caught:
        choose_set(tmp_path, "tiny")
    assert one.path.name in str(caught.value.got) and two.path.name in str(caught.value.got)


def test_mixed_transcripts_are_found() -> None:
    assert mixed_transcripts({"train": ["text/", ""], "valid": ["text/"], "test": []}) == []
    assert mixed_transcripts({"train": ["tiny-1"], "test": ["tiny-1", ""]}) == []
    assert mixed_transcripts({"train": ["", ""], "test": [""]}) == []
    for made in ({"train": ["text/"], "test": ["tiny-1"]}, {"train": ["tiny-1", "tiny-2"]}):
        assert [finding.code for finding in mixed_transcripts(made)] == ["T405"]
    (found,) = mixed_transcripts({"train": ["text/"], "test": ["", ""]})
    assert found.code == "T401" and "test" in found.message
