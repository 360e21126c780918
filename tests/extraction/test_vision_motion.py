"""Faces found in the video and OpenFace's program, from the settings to the stores, in worker processes."""

import csv

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.extraction.failures import Note
from abawkit.extraction.pipeline import extract
from abawkit.features.spec import Status
from abawkit.features.store import FeatureStore
from abawkit.media.encode import write_video
from abawkit.workspace import Workspace
from tests import tiny_models
from tests.extractors.openface_stand_in import stand_in
from tests.tiny_yunet import paint, write_yunet

#: Clip → frames with a face, and frames without one after them, at five per second.
CLIPS = {"00000": (6, 0), "00001": (5, 5), "00002": (0, 6), "00003": (6, 0)}
SPLITS = {"train": ("00000", "00001", "00002"), "valid": ("00003",)}

_PROGRAM = """
if video.stem == "00001":
    os.kill(os.getpid(), signal.SIGABRT)
write([row(number, int(video.stem != "00002")) for number in range(1, 7)])
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("vision-motion")
    (root / "data" / "raw").mkdir(parents=True)
    for split, clips in SPLITS.items():
        rows = [",".join(EMI.header), *(f"{clip},0.5,0,0,0,0.25,0" for clip in clips)]
        (root / "data" / f"{split}_split.csv").write_text("\n".join(rows) + "\n")
    for clip, (with_face, without) in CLIPS.items():
        frames = [np.full((160, 240, 3), 90 + int(clip), np.uint8) for _ in range(with_face + without)]
        for frame in frames[:with_face]:
            paint(frame, 4, 6)
        write_video(root / "data/raw" / f"{clip}.mp4", frames, [index / 5 for index in range(len(frames))])
    (root / "bin").mkdir()
    settings = {
        "vision_model": tiny_models.vit(root / "vit"),
        "yunet_model": write_yunet(root / "yunet.onnx"),
        "openface_bin": stand_in(root / "bin", _PROGRAM),
        "faces": "detect",
        "no_face": "missing",
        "dtype": "float32",
    }
    lines = ['data = "data"', "[extract]", "workers = 2", *(f'{key} = "{value}"' for key, value in settings.items())]
    (root / "abawkit.toml").write_text("\n".join(lines) + "\n")
    return Workspace.open(root, environ={})


def test_from_the_settings_to_the_stores(workspace: Workspace) -> None:
    done = extract(workspace, modalities=["vision", "motion"])
    vision, motion = (FeatureStore.open(report.path) for report in done.stores)
    assert vision.path.name.startswith("vit-detect-yunet-") and motion.path.name.startswith("openface-program-")
    assert [vision.status(clip) for clip in CLIPS] == [Status.PRESENT, Status.PRESENT, Status.MISSING, Status.PRESENT]
    assert [len(vision.frames(clip)) for clip in CLIPS] == [6, 5, 0, 6]
    np.testing.assert_allclose(vision.times("00001"), [0, 0.2, 0.4, 0.6, 0.8], atol=1e-3)
    assert Note.from_text(vision.note("00001")) == Note("load", "", "", facts={"face_share": 0.5, "frames": 10})
    assert "no face in any of the 6 sampled frames" in Note.from_text(vision.note("00002")).message
    wanted = [Status.PRESENT, Status.FAILED, Status.MISSING, Status.PRESENT]
    assert [motion.status(clip) for clip in CLIPS] == wanted
    np.testing.assert_allclose(motion.times("00000"), np.arange(6) / 5, atol=1e-3)
    assert Note.from_text(motion.note("00000")).facts == pytest.approx({"success": 1, "confidence": 0.98})
    # Facts alone are nothing odd: the list has the crash, which is worth another try, and nothing else.
    assert done.failures is not None
    (row,) = csv.DictReader(done.failures.read_text().splitlines())
    assert (row["clip"], row["modality"], row["outcome"], row["retry"]) == ("00001", "motion", "failed", "yes")
    assert "OpenFace crashed (SIGABRT)" in row["message"]
