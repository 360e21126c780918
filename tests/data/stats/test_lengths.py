from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from abawkit.data.stats.lengths import Measured, Summary, crops, lengths, measure, paper_frames, reasons
from abawkit.layout.folder import Clip


def clip(seconds: float | None, reason: str | None = None, number: int | None = None) -> Measured:
    return Measured(frozenset(), seconds, reason, number)


def test_frames_as_the_paper_counts_them() -> None:
    assert paper_frames(np.array([0.01, 0.1, 0.3, 0.31, 225.5, 1249.9])).tolist() == [1, 1, 3, 4, 2255, 12499]
    assert paper_frames(np.array([1249.95])).tolist() == [12500]
    # The sum of a time and a duration in floating point is not a frame more than it should be.
    assert paper_frames(np.array([0.1 + 0.2, 2.9666666666666663 + 0.03333333333333333])).tolist() == [3, 30]


def test_summary_against_scipy() -> None:
    values = np.random.default_rng(0).lognormal(2, 0.7, 501)
    found, told = Summary.of(values), reference.describe(values, ddof=0)
    assert (found.mean, found.std) == pytest.approx((told.mean, np.sqrt(told.variance)))
    assert (found.min, found.max) == told.minmax
    assert found.median == sorted(values)[250] and found.p95 == pytest.approx(sorted(values)[475])


def test_lengths_of_log_normal_clips() -> None:
    # The paper's: median 6.55 s, 6.3 % above 12 s, which is a deviation of the logarithm of ln(12 / 6.55) / 1.53.
    deviation = np.log(12 / 6.55) / reference.norm.isf(0.063)
    seconds = np.random.default_rng(1).lognormal(np.log(6.55), deviation, 8072)
    found = lengths([clip(float(value)) for value in seconds])
    assert found is not None and found.unknown == 0
    assert found.frames.median == pytest.approx(66, abs=1)
    assert found.long_percent == pytest.approx(6.3, abs=4 * np.sqrt(6.3 * 93.7 / 8072))
    assert found.hours * 3600 == pytest.approx(sum(seconds))


def test_more_than_120_frames_is_more_than_12_seconds() -> None:
    found = lengths([clip(11.99), clip(12.0), clip(12.01), clip(12.1)])
    assert found is not None and found.long_percent == 50


def test_what_is_not_known_is_counted_with_its_reason() -> None:
    clips = [clip(2.0), clip(None, "broken"), clip(4.0, "by the header"), clip(None, "broken")]
    found = lengths(clips)
    assert found is not None and found.unknown == 2 and found.values.tolist() == [2, 4]
    assert reasons(clips) == {"broken": 2, "by the header": 1}
    assert lengths(clips[1:2]) is None and reasons(clips[:1]) == {}


def test_crops() -> None:
    found = crops([clip(2.0, number=13), clip(None, number=4), clip(1.0), clip(0.5, number=1)])
    assert found is not None and found.clips == 3
    assert (found.count.mean, found.count.median, found.count.max) == (6, 4, 13)
    assert found.per_second is not None and found.per_second.mean == pytest.approx((6.5 + 2) / 2)
    assert crops([clip(1.0)]) is None
    only = crops([clip(None, number=3)])
    assert only is not None and only.per_second is None


def test_measure_a_clip(challenge: Path, media_files: Path) -> None:
    folder = challenge / "face_images" / "00000"
    for name in ("7.png", "Thumbs.db", "x.jpg", "8.txt"):
        (folder / name).write_bytes(b"x")
    files = {
        "video": challenge / "raw" / "00000.mp4",
        "faces": folder,
        "text": challenge / "text" / "00000.txt",
    }
    found = measure(Clip("00000", **files), challenge)
    assert found.present == {"video", "faces", "text"} and found.crops == 3
    assert (
        found.seconds == pytest.approx(0.6) and found.reason is None
    )  # eight frames, 12.5 per second; 0.75 s of sound
    files["video"].write_bytes(b"x" * 100)
    broken = measure(Clip("00000", **files), challenge)
    assert broken.seconds is None and broken.reason == "the video cannot be opened as video or sound"
    assert measure(Clip("00000", **files), challenge, media=False).reason == "videos were not opened"
    nothing = measure(Clip("00000"), challenge)
    assert (nothing.present, nothing.crops, nothing.reason) == (frozenset(), None, "the video is missing or empty")


def test_links_out_of_the_folder_are_not_followed(challenge: Path, tmp_path: Path, media_files: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "0.jpg").write_bytes(b"x")
    (challenge / "raw" / "link.mp4").symlink_to(media_files / "clip.mp4")
    (challenge / "face_images" / "link").symlink_to(outside, target_is_directory=True)
    there = Clip("00000", video=challenge / "raw" / "link.mp4", faces=challenge / "face_images" / "link")
    found = measure(there, challenge)
    assert found.present == frozenset() and found.seconds is None and found.crops is None
