import os
from pathlib import Path

import pytest

from abawkit.data.transcripts import Outcome, Recogniser, Transcript, TranscriptSet, made_by, open_for_writing
from abawkit.errors import MediaError, ModalityMissing, UsageError
from abawkit.extractors.lite import LiteText
from abawkit.extractors.sources import Transcripts, faces_source, media_source, read_transcript, text_source
from abawkit.layout.folder import Clip


@pytest.mark.parametrize("content", ["", "  \n", "... !?\n", "♪♪", "\ufeff"])
def test_a_transcript_without_words_is_missing(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    with pytest.raises(ModalityMissing, match="no words"):
        read_transcript(tmp_path / "a.txt")
    with pytest.raises(ModalityMissing, match="no transcript"):
        read_transcript(None)


def test_transcripts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content, text in ((" None\n", "None"), ("\ufeffJa.", "Ja."), ("それは", "それは"), ("7", "7")):
        path.write_text(content, encoding="utf-8")
        assert read_transcript(path) == text
    path.write_bytes(b"caf\xe9")
    with pytest.raises(MediaError, match="not UTF-8"):
        read_transcript(path)
    with pytest.raises(MediaError, match="cannot be read"):
        read_transcript(tmp_path / "nowhere.txt")


def test_text_counts_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    before = text_source(tmp_path / "a.txt")
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    assert text_source(tmp_path / "a.txt") == before
    (tmp_path / "a.txt").write_text("two")
    assert text_source(tmp_path / "a.txt") != before
    assert text_source(None) == ""


def test_media_count_by_name_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"12")
    os.utime(path, ns=(5, 5))
    digests = {media_source(path)}
    path.write_bytes(b"123")
    os.utime(path, ns=(5, 5))
    digests.add(media_source(path))
    os.utime(path, ns=(5, 6))
    digests.add(media_source(path))
    digests.add(media_source(path.rename(tmp_path / "b.mp4")))
    assert len(digests) == 4 and media_source(None) == ""


def test_faces_count_by_names_and_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "00000"
    assert faces_source(None) == faces_source(folder) == ""
    folder.mkdir()
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    assert faces_source(folder) == "", "no crop, so the video is the source"
    (folder / "0.jpg").write_bytes(b"x")
    one = faces_source(folder)
    (folder / "1.jpg").write_bytes(b"x")
    two = faces_source(folder)
    (folder / "1.jpg").write_bytes(b"xy")
    assert len({one, two, faces_source(folder), ""}) == 4


def test_a_file_that_is_gone_has_a_source_too(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert text_source(gone) and media_source(gone)


def heard(root: Path, *transcripts: Transcript, name: str = "tiny") -> TranscriptSet:
    recogniser = Recogniser(name, name, None, name, None, {})
    with open_for_writing(root / recogniser.folder, recogniser) as writer:
        writer.add(transcripts)
    return TranscriptSet.open(root / recogniser.folder)


def test_the_file_goes_first_unless_it_was_overwritten(tmp_path: Path) -> None:
    made = heard(
        tmp_path / "transcripts",
        Transcript("00000", "spoken", "heard"),
        Transcript("00001", "spoken", "heard in spite of it", overwrites=True),
        Transcript("00002", "spoken", "heard alone"),
    )
    (tmp_path / "a.txt").write_text("written")
    clips = [Clip(f"{n:05d}", text=None if n == 2 else tmp_path / "a.txt") for n in range(4)]
    auto = Transcripts.of(tmp_path / "transcripts", "auto")
    assert [auto.read(clip) for clip in clips] == ["written", "heard in spite of it", "heard alone", "written"]
    assert [made_by(auto.source(clip)) for clip in clips] == ["text/", made.path.name, made.path.name, "text/"]
    files = Transcripts.of(tmp_path / "transcripts", "folder")
    assert files == Transcripts() and [made_by(files.source(clip)) for clip in clips] == ["text/", "text/", "", "text/"]
    assert auto.source(clips[0]) == files.source(clips[0]) == text_source(tmp_path / "a.txt")
    named = Transcripts.of(tmp_path / "transcripts", "tiny")
    assert [named.source(clip) != "" for clip in clips] == [True, True, True, False]
    assert named.read(clips[0]) == "heard"
    with pytest.raises(ModalityMissing, match="no transcript"):
        named.read(clips[3])


def test_only_named_transcripts_are_in_the_signature(tmp_path: Path) -> None:
    made = heard(tmp_path / "transcripts")
    plain = LiteText().spec
    assert LiteText(transcripts=Transcripts((made,))).spec == plain
    named = LiteText(transcripts=Transcripts((made,), files=False)).spec
    assert named.signature != plain.signature and named.preprocessing["transcripts"] == made.recogniser.signature


@pytest.mark.parametrize(
    ("outcome", "text", "reason", "error"),
    [
        ("empty", "", "silence", ModalityMissing),
        ("spoken", "...", "", ModalityMissing),
        ("missing", "", "has no audio track", ModalityMissing),
        ("failed", "", "cannot be decoded", MediaError),
    ],
)
def test_why_there_are_no_words(
    tmp_path: Path, outcome: Outcome, text: str, reason: str, error: type[Exception]
) -> None:
    made = heard(tmp_path, Transcript("00000", outcome, text, reason=reason))
    with pytest.raises(error) as caught:
        Transcripts((made,)).read(Clip("00000"))
    assert reason in str(caught.value) and Transcripts((made,)).source(Clip("00000"))


def test_two_recognisers_of_one_clip(tmp_path: Path) -> None:
    for name in ("tiny", "small"):
        heard(tmp_path, Transcript("00000", "spoken", name), name=name)
    both = Transcripts.of(tmp_path, "auto")
    with pytest.raises(UsageError, match="several recognisers"):
        both.read(Clip("00000"))
    with pytest.raises(UsageError, match="several recognisers"):
        both.source(Clip("00000"))
    (tmp_path / "a.txt").write_text("written")
    assert both.read(Clip("00000", text=tmp_path / "a.txt")) == "written"
    assert Transcripts.of(tmp_path, "small").read(Clip("00000")) == "small"
