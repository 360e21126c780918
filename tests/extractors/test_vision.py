import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from abawkit.backbones.batching import Computing
from abawkit.backbones.loading import quiet
from abawkit.backbones.vision import embed_pictures, load_vision_model
from abawkit.errors import AbawkitError, MediaError, ModalityMissing, UsageError
from abawkit.extractors.vision import CROP_SIZE, TransformerVision, pick_detector
from abawkit.layout.folder import Clip
from abawkit.media.detect import YUNET_FILE, FaceDetector, haar, yunet
from abawkit.media.encode import write_video
from tests import tiny_models
from tests.tiny_yunet import paint, write_yunet


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


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    return yunet(write_yunet(tmp_path_factory.mktemp("yunet") / "a.onnx"))


def video(path: Path, places: list[tuple[int, int] | None], *, seed: int = 0) -> Path:
    """A video of five frames per second in which the hand-written network sees a face at each place."""
    random = np.random.default_rng(seed)
    frames = []
    for place in places:
        coarse = random.integers(40, 170, (6, 8), np.uint8)
        frame = np.repeat(cv2.resize(coarse, (240, 180), interpolation=cv2.INTER_CUBIC)[..., None], 3, axis=2)
        if place is not None:
            paint(frame, *place)
        frames.append(frame)
    write_video(path, frames, [index / 5 for index in range(len(frames))])
    return path


def test_spec(folder: Path) -> None:
    spec = TransformerVision(str(folder)).spec
    assert (spec.modality, spec.name, spec.dim) == ("vision", "dinov2-tiny", tiny_models.DIM)
    assert (spec.processor, spec.time_source) == ("pil", "none")
    assert (spec.preprocessing["faces"], spec.preprocessing["no_face"]) == ("organiser", "full-frame")
    frame = TransformerVision(str(folder), faces="full-frame").spec
    assert (frame.name, frame.time_source) == ("dinov2-tiny-full-frame", "pts")
    detect = TransformerVision(str(folder), faces="detect").spec
    assert (detect.name, detect.time_source) == ("dinov2-tiny-detect-haar", "pts")


def test_what_can_change_a_value_changes_the_signature_and_nothing_else(folder: Path, network: FaceDetector) -> None:
    def signature(**settings: Any) -> str:
        return TransformerVision(str(folder), **settings).spec.signature

    differ = [
        *({"faces": faces} for faces in ("organiser", "detect", "full-frame")),
        {"faces": "detect", "detector": network},
        {"faces": "detect", "margin": 0.5},
        {"faces": "detect", "no_face": "missing"},
        {"faces": "detect", "fps": 4.0},
        {"faces": "detect", "pooling": "patch-mean"},
        {"faces": "full-frame", "fps": 4.0},
        {"faces": "full-frame", "max_frames": 9},
        {"no_face": "missing"},
        {"fps": 4.0},
        {"dtype": "float32"},
    ]
    assert len({signature(**settings) for settings in differ}) == len(differ)
    assert signature(margin=0.5) == signature(), "the organisers' crops have no margin"
    assert signature(no_face="missing", fps=4.0) == signature(no_face="missing")
    assert signature(faces="full-frame", no_face="missing") == signature(faces="full-frame")
    assert signature(faces="detect", detector=haar()) == signature(faces="detect")


def test_which_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert pick_detector("auto").name == pick_detector("haar").name == "haar"
    with pytest.raises(UsageError, match="YuNet is not on this machine") as caught:
        pick_detector("yunet")
    assert "abawkit models fetch yunet" in str(caught.value.todo)
    path = write_yunet(tmp_path / "a.onnx")
    assert pick_detector("auto", str(path)) == pick_detector("yunet", str(path)) == yunet(path)
    with pytest.raises(UsageError, match="face_detector is haar"):
        pick_detector("haar", str(path))
    with pytest.raises(AbawkitError, match="cannot be read"):
        pick_detector("auto", str(tmp_path / "nowhere.onnx"))
    # As the hub's own library lays it out.
    repository = tmp_path / "cache" / "models--opencv--face_detection_yunet"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    shutil.copy(path, repository / "snapshots" / "abc" / YUNET_FILE)
    assert pick_detector("auto").settings == yunet(path).settings


def test_face_crops_as_they_are(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerVision(str(folder))
    loaded = extractor.pictures(Clip("00000", faces=faces(tmp_path / "00000", 11)))
    assert (loaded.data.shape, loaded.data.dtype) == ((11, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    last = cv2.cvtColor(cv2.imread(str(tmp_path / "00000" / "10.jpg")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(loaded.data[10], last)
    assert (loaded.times, loaded.warnings) == (None, ())
    fewer = TransformerVision(str(folder), max_frames=3).pictures(Clip("00000", faces=tmp_path / "00000"))
    np.testing.assert_array_equal(fewer.data, loaded.data[[0, 5, 10]])


def test_full_frames_where_there_are_no_crops(folder: Path, tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "GRID" / "bbaf2n.mpg"
    empty = faces(tmp_path / "00000", 0)
    for clip in (Clip("00000", video=path), Clip("00000", video=path, faces=empty)):
        extractor = TransformerVision(str(folder), fps=2.0)
        loaded = extractor.pictures(clip)
        assert 5 <= len(loaded.data) <= 7
        assert max(loaded.data.shape[1:3]) <= 456
        assert loaded.times is None
        assert [warning for warning in loaded.warnings if "face crops: full frames are used" in warning]
        assert extractor.source(clip) == extractor.source(Clip("1", video=path)) != ""
        strict = TransformerVision(str(folder), no_face="missing")
        assert strict.source(clip) == ""
        with pytest.raises(ModalityMissing, match="face crops"):
            strict.pictures(clip)
    wanted = TransformerVision(str(folder), faces="full-frame", fps=2.0)
    loaded = wanted.pictures(Clip("00000", video=path, faces=faces(tmp_path / "00001", 3)))
    assert loaded.times is not None
    np.testing.assert_allclose(np.diff(loaded.times), 0.5, atol=0.05)
    assert loaded.warnings == ()


def test_clips_without_pictures(folder: Path, tmp_path: Path) -> None:
    extractor = TransformerVision(str(folder))
    for clip in (Clip("00000"), Clip("00000", faces=faces(tmp_path / "00000", 0))):
        assert extractor.source(clip) == ""
        with pytest.raises(ModalityMissing, match="face crops; there is no video"):
            extractor.load(clip)
    for other in (TransformerVision(str(folder), faces="detect"), TransformerVision(str(folder), faces="full-frame")):
        assert other.source(Clip("00000", faces=tmp_path)) == ""
        with pytest.raises(ModalityMissing, match="there is no video"):
            other.load(Clip("00000"))
    broken = tmp_path / "00001"
    broken.mkdir()
    (broken / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(MediaError):
        extractor.load(Clip("00001", faces=broken))


def test_faces_from_the_video(folder: Path, tmp_path: Path, network: FaceDetector) -> None:
    extractor = TransformerVision(str(folder), faces="detect", detector=network)
    path = video(tmp_path / "a.mp4", [(4, 6)] * 6 + [None] * 10)
    clip = Clip("00000", video=path, faces=faces(tmp_path / "00000", 3))
    loaded = extractor.pictures(clip)
    assert loaded.data.shape == (6, 224, 224, 3) and loaded.warnings == ()
    np.testing.assert_allclose(loaded.times, [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-3)
    assert loaded.facts == {"face_share": 6 / 16, "frames": 16}
    assert loaded.data[:, 112, 112, 1].mean() > loaded.data[:, 112, 112, 0].mean() + 80, "the green middle"
    assert extractor.source(clip) == extractor.source(Clip("00000", video=path))


@pytest.mark.parametrize("policy", ["full-frame", "missing"])
def test_no_face_at_all(folder: Path, tmp_path: Path, network: FaceDetector, policy: Any) -> None:
    extractor = TransformerVision(str(folder), faces="detect", detector=network, no_face=policy)
    clip = Clip("00000", video=video(tmp_path / "a.mp4", [None] * 7))
    if policy == "missing":
        with pytest.raises(ModalityMissing, match="no face in any of the 7 sampled frames"):
            extractor.pictures(clip)
        return
    loaded = extractor.pictures(clip)
    assert loaded.data.shape == (7, 180, 240, 3) and loaded.times is not None
    assert loaded.warnings == ("there is no face in any of the 7 sampled frames: full frames are used",)
    assert loaded.facts == {"face_share": 0, "frames": 7}


@pytest.mark.parametrize(("kind", "pooling"), [("dinov2", "cls"), ("vit", "patch-mean")])
@pytest.mark.parametrize("source", ["organiser", "detect", "full-frame"])
def test_values_are_those_of_transformers_by_hand(
    tmp_path: Path, network: FaceDetector, kind: str, pooling: Any, source: Any
) -> None:
    """Each picture alone through transformers' own classes, against clips of unequal length in one batch."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    model = {"dinov2": tiny_models.dinov2, "vit": tiny_models.vit}[kind](tmp_path / "model")
    extractor = TransformerVision(str(model), faces=source, pooling=pooling, detector=network, dtype="float32")
    clips = []
    for index, count in enumerate((6, 1, 30)):
        path = video(tmp_path / f"{index}.mp4", [(4, 6)] * count, seed=index)
        clips.append(Clip(f"{index:05}", video=path, faces=faces(tmp_path / f"{index:05}", count, seed=index)))
    loaded = [extractor.load(clip) for clip in clips]
    shown = [extractor.pictures(clip) for clip in clips]
    assert [len(one.data) for one in loaded] == [6, 1, 30] and not any(one.warnings for one in loaded)
    with quiet():
        processor = AutoImageProcessor.from_pretrained(model, backend="pil")
        network_by_hand = AutoModel.from_pretrained(model).eval()
    for order in ([0, 1, 2], [2, 0], [1]):
        made = extractor.embed([loaded[index] for index in order])
        for index, (values, _) in zip(order, made, strict=True):
            for picture, row in list(zip(shown[index].data, values, strict=True))[:: max(1, len(values) // 5)]:
                pixels = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"]
                with torch.no_grad():
                    tokens = network_by_hand(pixels).last_hidden_state[0].numpy()
                expected = tokens[0] if pooling == "cls" else tokens[1:].mean(0)
                np.testing.assert_allclose(row, expected, atol=1e-5)


def test_batch_of_clips_equals_each_alone(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    extractor = TransformerVision(str(folder), dtype="float32")
    clips = [
        Clip(name, faces=faces(tmp_path / name, count, seed=count)) for name, count in (("00000", 40), ("00001", 3))
    ]
    loaded = [extractor.load(clip) for clip in clips]
    loaded[1].times = np.arange(3, dtype=np.float32)
    model = load_vision_model(folder, pooling="cls", how=Computing())
    made = extractor.embed(loaded)
    for item, (values, _) in zip(loaded, made, strict=True):
        np.testing.assert_allclose(values, embed_pictures(model, list(item.data)), atol=1e-5)
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
