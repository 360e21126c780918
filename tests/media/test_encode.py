"""What encode writes, decoded again with PyAV alone."""

from pathlib import Path

import av
import numpy as np
import pytest

from abawkit.errors import AbawkitError, MediaError
from abawkit.media.encode import write_jpeg, write_mp3, write_video

RATE = 16_000


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def ramp(count: int) -> list[np.ndarray]:
    """Pictures that get brighter from left to right, and from one to the next."""
    across = np.linspace(0, 120, 64, dtype=np.uint8)[None, :, None]
    return [np.broadcast_to(across + 8 * number, (48, 64, 3)).astype(np.uint8) for number in range(count)]


def test_every_frame_keeps_its_time_and_its_picture(tmp_path: Path) -> None:
    times = [0.0, 0.02, 0.14, 0.18, 0.5]
    write_video(tmp_path / "a.mp4", ramp(5), times)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    np.testing.assert_allclose([time for time, _ in frames], times, atol=1e-4)
    for (_, got), wanted in zip(frames, ramp(5), strict=True):
        assert np.abs(got.astype(int) - wanted).mean() < 6


def test_sound_of_a_video_is_the_waveform(tmp_path: Path) -> None:
    sound = tone(1.0)
    write_video(tmp_path / "a.mp4", ramp(25), np.arange(25) / 25, waveform=sound)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", RATE, 1)
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert abs(len(decoded) - len(sound)) <= 2048
    assert peak_frequency(decoded) == pytest.approx(440, abs=3)


def test_mp3_is_16_khz_mono(tmp_path: Path) -> None:
    write_mp3(tmp_path / "a.mp3", tone(0.5, 880))
    with av.open(str(tmp_path / "a.mp3")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name.startswith("mp3"), stream.rate, stream.channels) == (True, RATE, 1)
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(decoded) / RATE == pytest.approx(0.5, abs=0.1)
    assert peak_frequency(decoded) == pytest.approx(880, abs=3)


def test_one_frame_and_one_sample_are_enough(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", ramp(1), [0.0], waveform=np.zeros(1, np.float32))
    write_mp3(tmp_path / "a.mp3", np.zeros(1, np.float32))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1


def test_jpeg_keeps_red_red(tmp_path: Path) -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = 200
    write_jpeg(tmp_path / "0.jpg", picture)
    with av.open(str(tmp_path / "0.jpg")) as container:
        got = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_allclose(got.mean(axis=(0, 1)), [200, 0, 0], atol=6)


def test_same_arrays_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", ramp(10), np.arange(10) / 25, waveform=tone(0.4))
        write_mp3(tmp_path / f"{name}.mp3", tone(0.4))
    for suffix in ("mp4", "mp3"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_what_cannot_be_encoded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [], [])
    with pytest.raises(ValueError, match="even"):
        write_video(tmp_path / "a.mp4", [np.zeros((15, 16, 3), np.uint8)], [0.0])
    with pytest.raises(ValueError, match="longer"):
        write_video(tmp_path / "a.mp4", ramp(2), [0.0, 0.1, 0.2])
    with pytest.raises(ValueError, match="one sample"):
        write_mp3(tmp_path / "a.mp3", np.zeros(0, np.float32))
    with pytest.raises(MediaError, match="cannot be encoded"):
        write_mp3(tmp_path / "a.mp3", tone(0.1), sample_rate=12_345)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    for write in (
        lambda: write_mp3(tmp_path / "no" / "a.mp3", tone(0.1)),
        lambda: write_jpeg(tmp_path / "no" / "0.jpg", ramp(1)[0]),
        lambda: write_video(tmp_path / "no" / "a.mp4", ramp(1), [0.0]),
    ):
        with pytest.raises(AbawkitError, match="no/"):
            write()


def peak_frequency(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum) * RATE / len(sound))
