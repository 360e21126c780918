from pathlib import Path

import numpy as np
import pytest

from abawkit.errors import MediaError, ModalityMissing
from abawkit.media.encode import write_jpeg
from abawkit.media.faces import face_crops


def _crops(folder: Path, numbers: list[int]) -> Path:
    folder.mkdir()
    for number in numbers:
        shade = np.zeros((160, 160, 3), np.uint8)
        shade[..., 0] = 10 * number
        write_jpeg(folder / f"{number}.jpg", shade, quality=95)
    return folder


def test_crops_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = _crops(tmp_path / "00000", [10, 2, 1, 0])
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    frames, names = face_crops(folder, size=32)
    assert names == ["0.jpg", "1.jpg", "2.jpg", "10.jpg"]
    assert frames.shape == (4, 32, 32, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames[:, 16, 16, 0].astype(int), [0, 10, 20, 100], atol=3)
    assert frames[3, 16, 16, 2] < 10, "red is the first channel"


def test_many_crops_are_spread(tmp_path: Path) -> None:
    folder = _crops(tmp_path / "00000", list(range(9)))
    assert face_crops(folder, size=8, max_images=3)[1] == ["0.jpg", "4.jpg", "8.jpg"]


def test_an_unreadable_crop_is_left_out_with_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = _crops(tmp_path / "00000", [0, 1, 2, 3])
    (folder / "1.jpg").write_bytes((folder / "2.jpg").read_bytes()[:700])
    (folder / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (folder / "5.jpg").write_bytes(b"")
    warnings: list[str] = []
    frames, names = face_crops(folder, size=16, warnings=warnings)
    assert names == ["0.jpg", "2.jpg", "3.jpg"] and len(frames) == 3
    assert warnings == ["3 of 6 face crops cannot be decoded and are left out (1.jpg, 4.png, 5.jpg)"]
    assert capfd.readouterr().err == ""


def test_no_crops(tmp_path: Path) -> None:
    folder = _crops(tmp_path / "00000", [])
    (folder / "Thumbs.db").write_bytes(b"x")
    for path in (folder, tmp_path / "nowhere"):
        with pytest.raises(ModalityMissing):
            face_crops(path, size=16)
    (folder / "0.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(MediaError, match="none of the 1 face crops"):
        face_crops(folder, size=16)
