"""Durations by packets, against times that were written, times that are decoded, and files without timestamps."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from abawkit.errors import MediaError
from abawkit.media.encode import write_mp3, write_video
from abawkit.media.timestamps import duration, packet_times
from abawkit.media.video import frame_times, probe

PICTURE = np.zeros((48, 64, 3), np.uint8)


def encode(path: Path, container_format: str, codec: str, frames: int = 20, **options: str) -> Path:
    with av.open(str(path), "w", format=container_format, container_options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames = 2 if codec == "mpeg1video" else 0
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(PICTURE + number)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_the_times_that_were_written(tmp_path: Path) -> None:
    times = [0.0, 0.5, 0.53, 2.0, 2.125]
    write_video(tmp_path / "a.mp4", [PICTURE] * 5, times)
    found = packet_times(tmp_path / "a.mp4")
    assert found is not None and found.times == pytest.approx(times, abs=1e-4)
    assert found.seconds == pytest.approx(probe(tmp_path / "a.mp4").duration, abs=1e-3)


def test_frames_that_are_stored_out_of_order_are_sorted(tmp_path: Path) -> None:
    found = packet_times(encode(tmp_path / "b.mpg", "mpeg", "mpeg1video"))
    assert found is not None and found.times == pytest.approx(np.arange(20) / 25, abs=1e-9)
    assert found.seconds == pytest.approx(0.8)


def test_the_last_picture_without_a_duration_is_shown_as_long_as_the_others(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.flv", "flv", "flv")
    with av.open(str(path)) as container:
        assert all(not packet.duration for packet in container.demux() if packet.size)
    found = packet_times(path)
    assert found is not None and found.last == pytest.approx(0.04)
    assert duration(path).seconds == pytest.approx(0.8)


def test_a_file_without_a_duration_in_its_header(tmp_path: Path) -> None:
    path = encode(tmp_path / "live.webm", "webm", "libvpx", live="1")  # as browser recorders write
    assert probe(path).duration is None
    found = duration(path)
    assert found.seconds == pytest.approx(0.8) and found.reason is None


def test_a_single_picture_lasts_as_long_as_the_header_says(tmp_path: Path) -> None:
    found = duration(encode(tmp_path / "one.flv", "flv", "flv", frames=1))
    assert found.seconds == pytest.approx(0.04)
    assert found.reason == "it has a single picture and does not say for how long it is shown"


def without_timestamps(path: Path) -> None:
    """Takes the presentation times out of the packets of a program stream."""
    data = bytearray(path.read_bytes())
    start = 0
    while (start := data.find(b"\x00\x00\x01\xe0", start)) >= 0:
        buffer = start + 6
        while data[buffer] == 0xFF:
            buffer += 1
        times = buffer + 2 if data[buffer] >> 6 == 1 else buffer
        size = {2: 5, 3: 10}.get(data[times] >> 4, 0)
        if size:
            kept = bytes(data[buffer:times])
            data[buffer : times + size] = b"\xff" * (size - 1) + kept + b"\x0f"
        start += 6
    path.write_bytes(data)


def test_neither_timestamps_nor_a_duration_in_the_header(tmp_path: Path) -> None:
    path = encode(tmp_path / "bare.mpg", "mpeg", "mpeg1video")
    without_timestamps(path)
    assert packet_times(path) is None
    found = duration(path)
    assert found.seconds is None
    assert found.reason == "no packet of the video has a timestamp, and its header has no duration"


def test_files_that_are_no_video(tmp_path: Path) -> None:
    write_mp3(tmp_path / "sound.mp4", np.zeros(16_000, np.float32))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("x" * 200)
    for name, message in (("sound", "no video track"), ("empty", "cannot be opened"), ("text", "cannot be opened")):
        for read in (packet_times, duration):
            with pytest.raises(MediaError, match=message):
                read(tmp_path / f"{name}.mp4")


def test_real_files_last_as_long_as_they_decode(shared_data: Path) -> None:
    suffixes = {".mp4", ".mov", ".mkv", ".mpg"}
    paths = [path for path in sorted(shared_data.rglob("*")) if path.suffix in suffixes]
    assert len(paths) >= 20
    for path in paths:
        found = packet_times(path)
        assert found is not None and found.seconds is not None and found.last is not None, path
        if path.name == "corrupted.mp4":  # 22 of its 50 frames do not decode, and are in the file all the same
            assert found.seconds == pytest.approx(5.0)
            continue
        decoded, _ = frame_times(path)
        assert len(found.times) == len(decoded), path
        assert np.abs(found.times - decoded).max() < 1e-5, path
        # One more picture's worth after the last one: never more than a few tenths of a second.
        assert 0 < found.last < 0.15, path


def test_a_file_that_breaks_off_lasts_as_long_as_what_is_there(shared_data: Path, tmp_path: Path) -> None:
    whole = shared_data / "decord" / "flipping_a_pancake.mkv"
    cut = tmp_path / "cut.mkv"
    shutil.copyfile(whole, cut)
    with cut.open("r+b") as file:
        file.truncate(whole.stat().st_size // 2)
    header = probe(cut).duration
    seconds = duration(cut).seconds
    assert header == pytest.approx(10.4, abs=0.1) and seconds is not None
    assert seconds == pytest.approx(frame_times(cut)[0][-1], abs=0.1) and seconds < 6
