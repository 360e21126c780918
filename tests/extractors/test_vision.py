import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from abawkit.backbones.vision import embed_images, load_vision_model
from abawkit.data.layout import Clip
from abawkit.errors import AbawkitError, MediaError, ModalityMissing
from abawkit.extractors.vision import CROP_SIZE, TransformerVision
from tests import tiny_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.dinov2(tmp_path_factory.mktemp("models") / "dinov2-tiny")


def faces(folder: Path, count: int, *, seed: int = 0) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
        crop = cv2.resize(coarse, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f"{number}.jpg"), crop)
    (folder / "Thumbs.db").write_bytes(b"x")
    return folder


def test_spec(folder: Path) -> None:
    spec = TransformerVision(str(folder)).spec
    assert (spec.modality, spec.name, spec.dim) == ("vision", "dinov2-tiny", tiny_models.DIM)
    assert (spec.processor, spec.time_source) == ("pil", "none")
    assert spec.preprocessing["source"] == "face"
    frame = TransformerVision(str(folder), source="frame").spec
    assert (frame.name, frame.time_source) == ("dinov2-tiny-frame", "pts")
    patches = TransformerVision(str(folder), pooling="patch-mean").spec
    assert len({spec.signature, frame.signature, patches.signature}) == 3


def test_face_crops_as_they_are(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerVision(str(folder))
    loaded = extractor.load(Clip("00000", faces=faces(tmp_path / "00000", 11)))
    assert (loaded.data.shape, loaded.data.dtype) == ((11, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    last = cv2.cvtColor(cv2.imread(str(tmp_path / "00000" / "10.jpg")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(loaded.data[10], last)
    assert (loaded.times, loaded.warnings) == (None, ())
    fewer = TransformerVision(str(folder), max_frames=3).load(Clip("00000", faces=tmp_path / "00000"))
    np.testing.assert_array_equal(fewer.data, loaded.data[[0, 5, 10]])


def test_full_frames_where_there_are_no_crops(folder: Path, tmp_path: Path, shared_data: Path) -> None:
    video = shared_data / "GRID" / "bbaf2n.mpg"
    empty = faces(tmp_path / "00000", 0)
    for clip in (Clip("00000", video=video), Clip("00000", video=video, faces=empty)):
        loaded = TransformerVision(str(folder), fps=2.0).load(clip)
        assert 5 <= len(loaded.data) <= 7
        assert max(loaded.data.shape[1:3]) <= 456
        assert loaded.times is None
        assert any("has no crops" in warning for warning in loaded.warnings) == (clip.faces is not None)
        assert TransformerVision(str(folder)).source(clip) == TransformerVision(str(folder)).source(
            Clip("1", video=video)
        )
    wanted = TransformerVision(str(folder), source="frame", fps=2.0)
    loaded = wanted.load(Clip("00000", video=video, faces=faces(tmp_path / "00001", 3)))
    assert loaded.times is not None
    np.testing.assert_allclose(np.diff(loaded.times), 0.5, atol=0.05)
    assert loaded.warnings == ()


def test_clips_without_pictures(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerVision(str(folder))
    for clip in (Clip("00000"), Clip("00000", faces=faces(tmp_path / "00000", 0))):
        assert extractor.source(clip) == ""
        with pytest.raises(ModalityMissing, match="no video and no face crop"):
            extractor.load(clip)
    broken = tmp_path / "00001"
    broken.mkdir()
    (broken / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(MediaError):
        extractor.load(Clip("00001", faces=broken))


def test_batch_of_clips_equals_each_alone(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    extractor = TransformerVision(str(folder), dtype="float32")
    clips = [
        Clip(name, faces=faces(tmp_path / name, count, seed=count)) for name, count in (("00000", 40), ("00001", 3))
    ]
    loaded = [extractor.load(clip) for clip in clips]
    loaded[1].times = np.arange(3, dtype=np.float32)
    model = load_vision_model(folder, pooling="cls", device="cpu")
    made = extractor.embed(loaded)
    for item, (values, _) in zip(loaded, made, strict=True):
        np.testing.assert_allclose(values, embed_images(model, list(item.data)), atol=1e-5)
    assert np.isnan(made[0][1]).all() and len(made[0][1]) == 40
    np.testing.assert_array_equal(made[1][1], [0, 1, 2])


def test_pickles_before_and_after_use(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerVision(str(folder))
    fresh = pickle.dumps(extractor)
    assert pickle.loads(fresh).spec == extractor.spec
    pytest.importorskip("PIL")
    loaded = extractor.load(Clip("00000", faces=faces(tmp_path / "00000", 2)))
    values, _ = extractor.embed([loaded])[0]
    used = pickle.dumps(extractor)
    assert max(len(fresh), len(used)) < 4096
    np.testing.assert_array_equal(pickle.loads(used).embed([loaded])[0][0], values)


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AbawkitError, match="not a vision model"):
        TransformerVision(str(tiny_models.bert(tmp_path / "text")))
