"""Every kind of defect that validation finds, each planted in a clean challenge folder by one small function.

``DEFECTS`` is the list: what is planted, and exactly the findings that it makes.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from abawkit.challenge import EMI, Task
from abawkit.findings import CODES, DEPTHS, Depth

#: Code, path below the folder, and line: None, or a text that no other line has.
Expected = tuple[str, str, str | None]
Plant = Callable[[Path, Path], object]

#: What the clean folder has: ids 0 to 11, 12 to 19 and, in test_data, 20 to 24.
NEAR = replace(EMI, counts={"train": 12, "valid": 9, "test": 5})
ZEROS = "0,0,0,0,0,0"


@dataclass(frozen=True)
class Defect:
    """One kind of defect.

    Attributes:
        plant: Called with the challenge folder and the folder of media files (``conftest`` and ``odd_media``).
        expected: The findings that it makes when it is alone.
        alone: It takes away what others are planted in.
        task: What the challenge is.
    """

    plant: Plant
    expected: Sequence[Expected]
    alone: bool = False
    task: Task = EMI

    def found_at(self, depth: Depth) -> list[Expected]:
        """The findings that are made at that level."""
        reach = DEPTHS[: DEPTHS.index(depth) + 1]
        return [finding for finding in self.expected if CODES[finding[0]].level in reach]


def one(code: str, path: str, line: str | None = None) -> list[Expected]:
    return [(code, path, line)]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def add(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


def relabel(path: Path, clip: str, labels: str) -> None:
    lines = [f"{clip},{labels}" if line.startswith(clip) else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def write(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def move_out(path: Path) -> None:
    """Moves something out of the challenge folder and leaves a link to it."""
    link(path, Path(shutil.move(path, path.parents[1] / f"out-{path.name}")))


def rename(path: Path, name: str) -> None:
    path.rename(path.parent / name)


def swap(video: Path, other: Path) -> None:
    """Puts another file in the place of a clip's, under its own suffix."""
    video.unlink()
    shutil.copy(other, video.with_suffix(other.suffix))


def fill(challenge: Path, kind: str, suffix: str) -> Path:
    """Writes one file per labelled clip, each of other bytes."""
    for number in range(20):
        write(challenge / kind / f"{number:05d}{suffix}", f"features of clip {number}".encode())
    return challenge / kind


def without_target(path: Path, column: int) -> None:
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    for row in rows:
        row[column] = "0.0"
    path.write_text("\n".join(map(",".join, [header, *rows])) + "\n")


FOLDERS: dict[str, Defect] = {
    "nothing": Defect(lambda c, m: [shutil.rmtree(c), (c / "raw").mkdir(parents=True)], one("F101", "."), alone=True),
    # What was training is then in no split, which is not said besides.
    "no train": Defect(lambda c, m: (c / "train_split.csv").unlink(), one("F102", "train_split.csv"), alone=True),
    "no valid": Defect(lambda c, m: (c / "valid_split.csv").unlink(), one("F102", "valid_split.csv"), alone=True),
    "no test": Defect(lambda c, m: shutil.rmtree(c / "test_data"), one("F103", "."), alone=True),
    "odd name": Defect(lambda c, m: write(c / "raw/clip seven.mp4"), one("F104", "raw/clip seven.mp4")),
    "unpadded name": Defect(
        lambda c, m: rename(c / "raw/00003.mp4", "3.mp4"), [*one("F104", "raw/3.mp4"), *one("M301", "raw/00003.mp4")]
    ),
    "odd face folder": Defect(lambda c, m: (c / "face_images/x").mkdir(), one("F104", "face_images/x")),
    "hidden folder": Defect(lambda c, m: (c / "face_images/..x").mkdir(), one("F105", "face_images/..x")),
    "stray": Defect(lambda c, m: write(c / "face_images/Thumbs.db"), one("F105", "face_images/Thumbs.db")),
    "stray at the top": Defect(lambda c, m: write(c / ".DS_Store"), one("F105", ".DS_Store")),
    "stray among faces": Defect(
        lambda c, m: write(c / "face_images/00004/Thumbs.db"), one("F105", "face_images/00004/Thumbs.db")
    ),
    "in no split": Defect(
        lambda c, m: [shutil.copy(m / "clip.mp4", c / f"raw/0009{k}.mp4") for k in range(3)], one("F106", "raw")
    ),
    "faces in no split": Defect(lambda c, m: write(c / "face_images/00098/0.jpg"), one("F106", "face_images")),
    "sound of no test clip": Defect(
        lambda c, m: write(c / "test_data/audio/00099.mp3"), one("F106", "test_data/audio")
    ),
    "not the official count": Defect(lambda c, m: None, one("F107", "."), alone=True, task=NEAR),
    "linked out": Defect(lambda c, m: link(c / "raw/00002.mp4", m / "clip.mp4"), one("F108", "raw/00002.mp4")),
    "linked out, face": Defect(
        lambda c, m: link(c / "face_images/00002/1.jpg", m / "face.jpg"), one("F108", "face_images/00002/1.jpg")
    ),
    "linked out, labels": Defect(
        lambda c, m: move_out(c / "train_split.csv"), one("F108", "train_split.csv"), alone=True
    ),
    "test list differs": Defect(
        lambda c, m: write(c / "test_split.csv", b"Filename\n00020\n00033\n"), one("F110", "test_split.csv")
    ),
    "file for a folder": Defect(
        lambda c, m: [shutil.rmtree(c / "face_images/00001"), write(c / "face_images/00001")],
        [*one("F111", "face_images/00001"), *one("M301", "face_images/00001")],
    ),
    "two videos": Defect(lambda c, m: shutil.copy(m / "clip.mp4", c / "raw/00001.mov"), one("F112", "raw/00001.mp4")),
    "linked folder": Defect(lambda c, m: move_out(c / "text"), one("F113", "text"), alone=True),
    "linked test folder": Defect(lambda c, m: move_out(c / "test_data"), one("F113", "test_data"), alone=True),
    "like an option": Defect(lambda c, m: write(c / "raw/--help.mp4"), one("F114", "raw/--help.mp4")),
    "runs in a shell": Defect(lambda c, m: write(c / "raw/$(reboot).mp4"), one("F114", "raw/$(reboot).mp4")),
    "runs in a shell, face": Defect(
        lambda c, m: write(c / "face_images/00003/;x.jpg"), one("F114", "face_images/00003/;x.jpg")
    ),
    "line end in a name": Defect(lambda c, m: write(c / "audio/\x1b[2Jx\n.mp3"), one("F114", "audio/\\x1b[2Jx\\n.mp3")),
    "not UTF-8 in a name": Defect(lambda c, m: write(c / "audio/\udce9.mp3"), one("F114", "audio/\\udce9.mp3")),
    "a device": Defect(lambda c, m: write(c / "NUL.txt"), one("F114", "NUL.txt")),
    "backslash": Defect(lambda c, m: write(c / "text/..\\x.txt"), one("F114", "text/..\\x.txt")),
    "space at the end": Defect(
        lambda c, m: rename(c / "text/00012.txt", "00012.txt "),
        [*one("F114", "text/00012.txt "), *one("T401", "text/00012.txt")],
    ),
    "two label files": Defect(
        lambda c, m: shutil.copy(c / "valid_split.csv", c / "val_split.csv"), one("F115", "val_split.csv")
    ),
    "two test folders": Defect(lambda c, m: write(c / "test/raw/00020.mp4"), one("F115", "test")),
}

TRAIN, VALID = "train_split.csv", "valid_split.csv"
LABELS: dict[str, Defect] = {
    "order of columns": Defect(
        lambda c, m: edit(c / VALID, "Excitement,Joy", "Joy,Excitement"), one("L201", VALID, "Filename"), alone=True
    ),
    "byte-order mark": Defect(
        lambda c, m: write(c / VALID, b"\xef\xbb\xbf" + (c / VALID).read_bytes()),
        one("L202", VALID, "Filename"),
    ),
    "semicolons": Defect(
        lambda c, m: (c / TRAIN).write_text((c / TRAIN).read_text().replace(",", ";").replace(".", ",")),
        one("L203", TRAIN, "Filename"),
        alone=True,
    ),
    "hostile id": Defect(lambda c, m: add(c / TRAIN, f"../../x,{ZEROS}"), one("L204", TRAIN, "../../x")),
    "lost padding": Defect(lambda c, m: edit(c / VALID, "00018,", "18.0,"), one("L205", VALID, "18.0,")),
    "twice": Defect(lambda c, m: add(c / VALID, f"00014,{ZEROS}"), one("L206", VALID, f"00014,{ZEROS}")),
    "two splits": Defect(lambda c, m: add(c / TRAIN, f"00013,{ZEROS}"), one("L207", VALID, "00013,")),
    "train and test": Defect(
        lambda c, m: [
            shutil.copy(m / "clip.mp4", c / "test_data/raw/00000.mp4"),
            shutil.copy(m / "clip.mp3", c / "test_data/audio/00000.mp3"),
        ],
        one("L207", TRAIN, "00000,"),
    ),
    "no number": Defect(lambda c, m: add(c / TRAIN, "00091,?,0,0,0,0,0"), one("L208", TRAIN, "00091")),
    "not a number": Defect(lambda c, m: add(c / TRAIN, "00092,nan,0,0,0,0,0"), one("L208", TRAIN, "00092")),
    "out of range": Defect(lambda c, m: add(c / TRAIN, "00093,0,0,0,0,0,1.5"), one("L209", TRAIN, "00093")),
    "a column too many": Defect(lambda c, m: add(c / TRAIN, f"00094,{ZEROS},0"), one("L210", TRAIN, "00094")),
    "no rows": Defect(
        lambda c, m: edit(c / VALID, (c / VALID).read_text().partition("\n")[2], ""), one("L211", VALID), alone=True
    ),
    "empty test list": Defect(
        lambda c, m: [shutil.rmtree(c / "test_data"), write(c / "test_split.csv", b"Filename\n")],
        [*one("L211", "test_split.csv"), *one("F103", ".")],
        alone=True,
    ),
    "empty labels and no test folder": Defect(
        # The validation clips are then in no split, but they are not taken for test clips.
        lambda c, m: [shutil.rmtree(c / "test_data"), write(c / VALID, b"")],
        [*one("L211", VALID), *one("F103", ".")],
        alone=True,
    ),
    "nobody rejoices": Defect(lambda c, m: without_target(c / VALID, 6), one("L213", VALID), alone=True),
    "no votes": Defect(lambda c, m: relabel(c / TRAIN, "00001", "0.123,0,0,0,0,0"), one("L214", TRAIN, "00001")),
    "too many votes": Defect(lambda c, m: relabel(c / TRAIN, "00002", "1.0,0,0.5,0,0,0"), one("L215", TRAIN, "00002")),
    "Latin-1": Defect(
        lambda c, m: write(c / TRAIN, (c / TRAIN).read_bytes() + b"00095 \xe9,0,0,0,0,0,0\n"),
        one("L212", TRAIN, "00095"),
    ),
}

MEDIA: dict[str, Defect] = {
    "no video": Defect(lambda c, m: (c / "raw/00005.mp4").unlink(), one("M301", "raw/00005.mp4")),
    "no sound file": Defect(lambda c, m: (c / "audio/00013.mp3").unlink(), one("M301", "audio/00013.mp3")),
    "no faces": Defect(lambda c, m: shutil.rmtree(c / "face_images/00005"), one("M301", "face_images/00005")),
    "no sound at all": Defect(lambda c, m: shutil.rmtree(c / "audio"), one("M301", "audio"), alone=True),
    "no test faces at all": Defect(
        lambda c, m: shutil.rmtree(c / "test_data/face_images"), one("M301", "test_data/face_images"), alone=True
    ),
    "no OpenFace file": Defect(
        lambda c, m: (fill(c, "openface", ".csv") / "00007.csv").unlink(), one("M301", "openface/00007.csv")
    ),
    "zero bytes": Defect(lambda c, m: write(c / "raw/00012.mp4", b""), one("M302", "raw/00012.mp4")),
    "zero bytes, sound": Defect(lambda c, m: write(c / "audio/00006.mp3", b""), one("M302", "audio/00006.mp3")),
    "zero bytes, face": Defect(
        lambda c, m: write(c / "face_images/00006/1.jpg", b""), one("M302", "face_images/00006/1.jpg")
    ),
    "zero bytes, features": Defect(
        lambda c, m: write(fill(c, "vit", ".pkl") / "00009.pkl", b""), one("M302", "vit/00009.pkl")
    ),
    "unreadable": Defect(lambda c, m: write(c / "raw/00011.mp4", b"no video" * 99), one("M303", "raw/00011.mp4")),
    "unreadable sound": Defect(lambda c, m: write(c / "audio/00011.mp3", bytes(900)), one("M303", "audio/00011.mp3")),
    "no sound in it": Defect(
        lambda c, m: shutil.copy(m / "mute.mp4", c / "audio/00009.mp3"), one("M303", "audio/00009.mp3")
    ),
    "unreadable face": Defect(
        lambda c, m: write(c / "face_images/00010/0.jpg", b"<html>"), one("M303", "face_images/00010/0.jpg")
    ),
    "mute": Defect(lambda c, m: shutil.copy(m / "mute.mp4", c / "raw/00009.mp4"), one("M304", "raw/00009.mp4")),
    "only sound": Defect(lambda c, m: shutil.copy(m / "clip.mp3", c / "raw/00014.mp4"), one("M305", "raw/00014.mp4")),
    "one frame": Defect(lambda c, m: shutil.copy(m / "still.mp4", c / "raw/00010.mp4"), one("M306", "raw/00010.mp4")),
    "outlier": Defect(lambda c, m: shutil.copy(m / "long.mp4", c / "raw/00015.mp4"), one("M307", "raw/00015.mp4")),
    "empty face folder": Defect(
        lambda c, m: [path.unlink() for path in (c / "face_images/00007").iterdir()], one("M308", "face_images/00007")
    ),
    "no image": Defect(
        lambda c, m: [write(c / f"face_images/00008/{name}.txt") for name in "bca"],
        one("M309", "face_images/00008/a.txt"),
    ),
    "variable rate": Defect(
        lambda c, m: shutil.copy(m / "variable.mp4", c / "raw/00007.mp4"), one("M310", "raw/00007.mp4")
    ),
    "44.1 kHz": Defect(lambda c, m: shutil.copy(m / "44k.mp3", c / "audio/00007.mp3"), one("M311", "audio/00007.mp3")),
    "lying header": Defect(lambda c, m: swap(c / "raw/00008.mp4", m / "lying.mkv"), one("M312", "raw/00008.mkv")),
    "no duration": Defect(lambda c, m: swap(c / "raw/00013.mp4", m / "live.mkv"), one("M313", "raw/00013.mkv")),
    "breaks off": Defect(lambda c, m: shutil.copy(m / "broken.mp4", c / "raw/00019.mp4"), one("M314", "raw/00019.mp4")),
    "sound breaks off": Defect(
        lambda c, m: shutil.copy(m / "broken.mp3", c / "audio/00003.mp3"), one("M314", "audio/00003.mp3")
    ),
    "face breaks off": Defect(
        lambda c, m: shutil.copy(m / "cut.jpg", c / "face_images/00011/1.jpg"), one("M314", "face_images/00011/1.jpg")
    ),
    "silent": Defect(lambda c, m: shutil.copy(m / "silent.mp3", c / "audio/00004.mp3"), one("M315", "audio/00004.mp3")),
    "silent video": Defect(
        lambda c, m: [
            shutil.copy(m / "silent.mp4", c / "test_data/raw/00021.mp4"),
            (c / "test_data/audio/00021.mp3").unlink(),
        ],
        [*one("M315", "test_data/raw/00021.mp4"), *one("M301", "test_data/audio/00021.mp3")],
    ),
    "turned": Defect(lambda c, m: shutil.copy(m / "turned.mp4", c / "raw/00006.mp4"), one("M316", "raw/00006.mp4")),
    "two tracks": Defect(lambda c, m: swap(c / "raw/00004.mp4", m / "tracks.mkv"), one("M317", "raw/00004.mkv")),
    "gap": Defect(lambda c, m: rename(c / "face_images/00012/1.jpg", "7.jpg"), one("M318", "face_images/00012")),
    "number twice": Defect(
        lambda c, m: shutil.copy(m / "face.jpg", c / "face_images/00013/01.jpg"), one("M318", "face_images/00013")
    ),
    "face without number": Defect(
        lambda c, m: rename(c / "face_images/00009/1.jpg", "one.jpg"), one("M319", "face_images/00009/one.jpg")
    ),
    "same video": Defect(
        lambda c, m: shutil.copy(c / "raw/00016.mp4", c / "raw/00017.mp4"), one("M320", "raw/00017.mp4")
    ),
    "same video in another split": Defect(
        lambda c, m: shutil.copy(c / "raw/00001.mp4", c / "test_data/raw/00020.mp4"),
        one("M320", "test_data/raw/00020.mp4"),
    ),
    "same sound": Defect(
        lambda c, m: shutil.copy(c / "audio/00010.mp3", c / "audio/00012.mp3"), one("M320", "audio/00012.mp3")
    ),
    "same faces": Defect(
        lambda c, m: [shutil.copy(c / f"face_images/00014/{k}.jpg", c / "face_images/00015") for k in range(2)],
        one("M320", "face_images/00015"),
    ),
    "same features": Defect(
        lambda c, m: [shutil.copy((folder := fill(c, "wav2vec2", ".pkl")) / "00001.pkl", folder / "00002.pkl")],
        one("M320", "wav2vec2/00002.pkl"),
    ),
    "no time at all": Defect(
        lambda c, m: shutil.copy(m / "short.mp4", c / "raw/00018.mp4"), one("M321", "raw/00018.mp4")
    ),
}

TEXTS: dict[str, Defect] = {
    "no transcript": Defect(lambda c, m: (c / "text/00008.txt").unlink(), one("T401", "text/00008.txt")),
    "no transcripts": Defect(lambda c, m: shutil.rmtree(c / "text"), one("T401", "text"), alone=True),
    "empty transcript": Defect(
        lambda c, m: write(c / "text/00010.txt", b"\xef\xbb\xbf \n"), one("T402", "text/00010.txt")
    ),
    "not UTF-8": Defect(
        lambda c, m: write(c / "text/00009.txt", b"so\nh\xe4ppy"), one("T403", "text/00009.txt", "ppy")
    ),
    "says nothing": Defect(lambda c, m: write(c / "text/00011.txt", "… !\n".encode()), one("T404", "text/00011.txt")),
}

DEFECTS = FOLDERS | LABELS | MEDIA | TEXTS
