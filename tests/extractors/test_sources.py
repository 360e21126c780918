import os
from pathlib import Path

import pytest

from abawkit.errors import MediaError, ModalityMissing
from abawkit.extractors.sources import faces_source, media_source, read_transcript, text_source


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
