from pathlib import Path

import pytest

from abawkit.errors import AbawkitError, MediaError
from abawkit.extraction import failures
from abawkit.extraction.failures import Note, list_failures
from abawkit.fileio import locked
from abawkit.progress import SILENT


def test_what_a_killed_process_left_is_removed(extracted_copy: Path) -> None:
    features = extracted_copy / "features"
    for name in (".tmp-abc.csv", "failures.csv"):
        (features / name).write_text("half a li")
    path = list_failures(features, SILENT)
    assert not list(features.glob(".tmp-*"))
    assert (path is not None) == (features / "failures.csv").exists()
    assert path is None or path.read_text().startswith("clip,modality,")


def test_the_list_of_another_process_is_waited_for(extracted_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_PATIENCE", 0.0)
    features = extracted_copy / "features"
    (features / ".tmp-abc.csv").write_text("the other one's")
    with locked(features, "listing failures"), pytest.raises(AbawkitError, match="another process is listing failures"):
        list_failures(features, SILENT)
    assert (features / ".tmp-abc.csv").exists()


def test_without_features_nothing_is_made(tmp_path: Path) -> None:
    assert list_failures(tmp_path / "features", SILENT) is None and not list(tmp_path.iterdir())


def test_a_failure_names_the_line() -> None:
    """Of an OpenFace file of hundreds of rows one has to know which."""
    error = MediaError("pose_Rx is not a number", path="openface/00004.csv", line=3, got="'abc'")
    note = Note.of("load", error)
    assert note.message == "line 3: pose_Rx is not a number (got 'abc')"
    assert Note.of("load", MediaError("cannot be read", got="gone")).message == "cannot be read (got gone)"
