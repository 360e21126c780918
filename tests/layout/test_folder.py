from pathlib import Path

import pytest

from abawkit.challenge import EMI
from abawkit.errors import UsageError
from abawkit.layout.folder import ChallengeFolder, face_images


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(b"x")
    return root


def test_not_a_challenge_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        ChallengeFolder.open(tmp_path / "none", EMI)
    with pytest.raises(UsageError, match=r"readme\.txt"):
        ChallengeFolder.open(make(tmp_path, "readme.txt"), EMI)


def test_clip_files(tmp_path: Path) -> None:
    make(tmp_path, "raw/00000.MP4", "raw/00000.avi", "audio/00000.wav", "face_images/00000/", "openface/00000.csv")
    clip = ChallengeFolder.open(tmp_path, EMI).clip("00000")
    assert clip.video == tmp_path / "raw" / "00000.MP4"
    assert clip.audio == tmp_path / "audio" / "00000.wav"
    assert clip.faces == tmp_path / "face_images" / "00000"
    assert clip.text is None
    assert clip.openface == tmp_path / "openface" / "00000.csv"


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "/etc/passwd", "0", "00000/..", "00000\n", ""])
def test_hostile_ids_never_become_a_path(tmp_path: Path, hostile: str) -> None:
    folder = ChallengeFolder.open(make(tmp_path, "raw/00000.mp4"), EMI)
    with pytest.raises(UsageError, match="not a clip id"):
        folder.clip(hostile)


def test_links_in_a_circle_are_no_files(tmp_path: Path) -> None:
    make(tmp_path, "raw/00000.mp4")
    (tmp_path / "raw" / "00001.mp4").symlink_to("00001.mp4")
    (tmp_path / "raw" / "00002.mp4").symlink_to("nowhere.mp4")
    assert ChallengeFolder.open(tmp_path, EMI).video_ids == ["00000"]


def test_test_clips_in_each_layout(tmp_path: Path) -> None:
    make(tmp_path, "train_split.csv", "valid_split.csv", "raw/00000.mp4", "raw/00001.mp4", "raw/00002.mp4")
    labelled = ["00000", "00001"]
    assert ChallengeFolder(tmp_path, EMI).test_ids(labelled) == (["00002"], "subtraction")
    assert ChallengeFolder(tmp_path, EMI).test_ids(labelled, ["00007", "00006"]) == (["00006", "00007"], "csv")
    make(tmp_path, "test/wav2vec2/00009.pkl")  # a test folder without clips says nothing
    assert ChallengeFolder(tmp_path, EMI).test_ids(labelled) == (["00002"], "subtraction")
    make(tmp_path, "test/raw/00008.mp4", "test/audio/00010.mp3")
    assert ChallengeFolder(tmp_path, EMI).test_ids(labelled, ["00007"]) == (["00008"], "folder")
    (tmp_path / "test_data").mkdir()  # an empty one does not hide the other
    assert ChallengeFolder(tmp_path, EMI).test_ids(labelled) == (["00008"], "folder")
    (tmp_path / "test" / "raw" / "00008.mp4").unlink()
    assert ChallengeFolder(tmp_path, EMI).test_ids([*labelled, "00002"]) == ([], "none")


def test_with_one_label_file_the_rest_is_no_test_set(tmp_path: Path) -> None:
    make(tmp_path, "train_split.csv", "raw/00000.mp4", "raw/00001.mp4")
    assert ChallengeFolder(tmp_path, EMI).test_ids(["00000"]) == ([], "none")


def test_faces_are_sorted_as_numbers(tmp_path: Path) -> None:
    make(tmp_path, "10.jpg", "9.jpg", "0.JPG", "x.jpg", "Thumbs.db", "1.txt", "._9.jpg")
    assert [path.name for path in face_images(tmp_path)] == ["0.JPG", "9.jpg", "10.jpg"]
    assert face_images(tmp_path / "none") == []
