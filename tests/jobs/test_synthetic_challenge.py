"""The folder that write_challenge writes, looked at with nothing but csv, PyAV and pathlib."""

import csv
import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from abawkit.errors import UsageError
from abawkit.jobs.synthetic import SyntheticChallenge, write_challenge
from abawkit.jobs.synthetic.challenge import MARKER, ODDITIES, plan_challenge

HEADER = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"
SIZES = {"train": 5, "valid": 4, "test": 4}
FULL = {"train": 230, "valid": 130, "test": 100}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SyntheticChallenge:
    folder = tmp_path_factory.mktemp("synthetic")
    return write_challenge(folder / "data", seed=1, **SIZES, hidden_labels=folder / "hidden.csv", workers=1)


def rows(path: Path) -> dict[str, tuple[float, ...]]:
    lines = list(csv.reader(path.read_text().splitlines()))
    assert ",".join(lines[0]) == HEADER
    return {line[0]: tuple(map(float, line[1:])) for line in lines[1:]}


def test_the_layout_is_the_organisers(written: SyntheticChallenge) -> None:
    names = {path.name for path in written.root.iterdir()}
    assert names == {"train_split.csv", "valid_split.csv", "raw", "audio", "face_images", "text", "test_data", MARKER}
    assert {path.name for path in (written.root / "test_data").iterdir()} == {"raw", "audio", "face_images", "text"}
    labelled = [f"{number:05d}" for number in range(9)]
    test = [f"{number:05d}" for number in range(9, 13)]
    for base, ids in ((written.root, labelled), (written.root / "test_data", test)):
        assert sorted(path.name for path in (base / "raw").iterdir()) == [f"{clip}.mp4" for clip in ids]
        assert sorted(path.name for path in (base / "face_images").iterdir()) == ids
        sound = [clip for clip in ids if clip not in written.oddities["no_audio_track"]]
        assert sorted(path.name for path in (base / "audio").iterdir()) == [f"{clip}.mp3" for clip in sound]
        words = [clip for clip in ids if clip not in written.oddities["missing_transcript"]]
        assert sorted(path.name for path in (base / "text").iterdir()) == [f"{clip}.txt" for clip in words]


def test_label_files_hold_the_labels_exactly(written: SyntheticChallenge) -> None:
    train, valid = rows(written.root / "train_split.csv"), rows(written.root / "valid_split.csv")
    assert tuple(train) == written.splits["train"] == tuple(f"{number:05d}" for number in range(5))
    assert tuple(valid) == written.splits["valid"]
    assert {**train, **valid} == {clip: written.labels[clip] for clip in [*train, *valid]}
    hidden = rows(written.root.parent / "hidden.csv")
    assert hidden == {clip: written.labels[clip] for clip in written.splits["test"]}
    inside = "".join(path.read_text() for path in written.root.glob("*.csv"))
    assert not any(f"{clip}," in inside for clip in written.splits["test"])


def test_face_crops_are_numbered_without_padding(written: SyntheticChallenge) -> None:
    clip = next(clip for clip in written.splits["train"] if not any(clip in odd for odd in written.oddities.values()))
    folder = written.root / "face_images" / clip
    count = len(list(folder.iterdir()))
    assert {path.name for path in folder.iterdir()} == {f"{number}.jpg" for number in range(count)}
    picture = first_frame(folder / "0.jpg")
    assert picture.shape == (160, 160, 3) and picture.std() > 20
    with av.open(str(written.root / "raw" / f"{clip}.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-3)
    assert 3.5 < count / (len(times) / 25) < 6.7
    with av.open(str(written.root / "audio" / f"{clip}.mp3")) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (16_000, 1)
        seconds = sum(frame.samples for frame in container.decode(audio=0)) / 16_000
    assert seconds == pytest.approx(len(times) / 25, abs=0.15)


def test_each_oddity_is_really_there(written: SyntheticChallenge) -> None:
    odd = written.oddities
    assert set(odd) == set(ODDITIES) and all(odd.values())
    lengths = {clip: frame_times(written, clip) for ids in written.splits.values() for clip in ids}
    median = np.median([len(times) for times in lengths.values()])
    for clip, times in lengths.items():
        assert (len(times) == 1) == (clip in odd["one_frame"])
        assert (len(times) > 8 * median) == (clip in odd["ten_times_longer"])
        steps = np.diff(times)
        irregular = bool(len(steps)) and float(np.ptp(steps)) > 0.01
        assert irregular == (clip in odd["variable_frame_rate"])
        with av.open(str(place(written, clip) / "raw" / f"{clip}.mp4")) as container:
            assert (not container.streams.audio) == (clip in odd["no_audio_track"])
        faces = place(written, clip) / "face_images" / clip
        assert (not any(faces.glob("*.jpg"))) == (clip in odd["empty_face_folder"])
        assert (faces / "Thumbs.db").exists() == (clip in odd["stray_file"])
        transcript = place(written, clip) / "text" / f"{clip}.txt"
        assert transcript.exists() == (clip not in odd["missing_transcript"])
        if transcript.exists():
            assert (transcript.read_text() == "") == (clip in odd["empty_transcript"])
    (one,) = odd["one_frame"]
    with av.open(str(place(written, one) / "audio" / f"{one}.mp3")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) < 0.3 * 16_000


def test_a_full_challenge_has_every_oddity_in_every_split() -> None:
    challenge, _ = plan_challenge(Path("nowhere"), 0, FULL, False)
    for oddity, clips in challenge.oddities.items():
        for split, ids in challenge.splits.items():
            assert set(clips) & set(ids), (oddity, split)
    without_words = [*challenge.oddities["missing_transcript"], *challenge.oddities["empty_transcript"]]
    assert len(set(without_words)) == len(without_words) and 0.05 < len(without_words) / 460 < 0.07
    single = [clip for odd, clips in challenge.oddities.items() if not odd.endswith("transcript") for clip in clips]
    assert len(set(single)) == len(single)


def test_people_stay_in_one_split_and_seed_videos_do_not() -> None:
    challenge, plans = plan_challenge(Path("nowhere"), 0, FULL, False)
    people = {split: {challenge.persons[clip] for clip in ids} for split, ids in challenge.splits.items()}
    assert not people["train"] & people["valid"] and not (people["train"] | people["valid"]) & people["test"]
    videos = {split: {challenge.seed_videos[clip] for clip in ids} for split, ids in challenge.splits.items()}
    assert videos["train"] == videos["valid"] == videos["test"] and 50 <= len(videos["train"]) <= 60
    assert 1.7 < np.mean([plan.seconds for plan in plans if "ten_times_longer" not in plan.oddities]) < 2.3


def test_shuffling_changes_nothing_but_whose_labels_they_are() -> None:
    honest, plans = plan_challenge(Path("nowhere"), 0, FULL, False)
    shuffled, same_plans = plan_challenge(Path("nowhere"), 0, FULL, True)
    assert plans == same_plans
    moved = 0
    for splits in (("train", "valid"), ("test",)):
        ids = [clip for split in splits for clip in honest.splits[split]]
        assert Counter(honest.labels[clip] for clip in ids) == Counter(shuffled.labels[clip] for clip in ids)
        moved += sum(honest.labels[clip] != shuffled.labels[clip] for clip in ids)
    assert moved > 300
    truth = np.array(list(honest.labels.values()))
    dealt = np.array(list(shuffled.labels.values()))
    assert max(abs(np.corrcoef(truth[:, e], dealt[:, e])[0, 1]) for e in range(6)) < 0.2


def test_a_whole_challenge_is_left_alone(written: SyntheticChallenge) -> None:
    files = [written.root / "raw" / "00000.mp4", written.root / "train_split.csv", written.root / MARKER]
    stamps = [path.stat().st_mtime_ns for path in files]
    again = write_challenge(written.root, seed=1, **SIZES)
    assert again == written and [path.stat().st_mtime_ns for path in files] == stamps


def test_an_unfinished_one_is_finished_and_workers_change_no_byte(written: SyntheticChallenge, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "raw").mkdir(parents=True)
    (root / "raw" / "00000.mp4").write_bytes(b"half a video")
    marker = json.loads((written.root / MARKER).read_text())
    assert marker["state"] == "whole"
    (root / MARKER).write_text(json.dumps({**marker, "state": "unfinished"}))
    write_challenge(root, seed=1, **SIZES, workers=2)
    assert contents(root) == contents(written.root)


def test_nobodys_files_are_overwritten(written: SyntheticChallenge, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(UsageError, match="not empty"):
        write_challenge(tmp_path, **SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="a file"):
        write_challenge(tmp_path / "thesis.txt", **SIZES)
    for changed in (
        {"seed": 2, **SIZES},
        {"seed": 1, **SIZES, "train": 6},
        {"seed": 1, **SIZES, "shuffle_labels": True},
    ):
        with pytest.raises(UsageError, match="another synthetic challenge"):
            write_challenge(written.root, **changed)


def test_what_makes_no_challenge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a size"):
        write_challenge(tmp_path / "data", train=3, valid=4, test=4)
    with pytest.raises(UsageError, match="not be hidden"):
        write_challenge(tmp_path / "data", **SIZES, hidden_labels=tmp_path / "data" / "test.csv")
    assert not (tmp_path / "data").exists()


def place(challenge: SyntheticChallenge, clip: str) -> Path:
    return challenge.root / "test_data" if clip in challenge.splits["test"] else challenge.root


def frame_times(challenge: SyntheticChallenge, clip: str) -> list[float]:
    with av.open(str(place(challenge, clip) / "raw" / f"{clip}.mp4")) as container:
        return [frame.time for frame in container.decode(video=0)]


def first_frame(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
