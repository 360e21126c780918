"""A small challenge folder with real media, made again for each test from files encoded once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.media.encode import write_jpeg, write_mp3, write_video
from abawkit.workspace import Workspace

TRAIN, VALID, TEST = 12, 8, 5
RNG_SEED = 7


def clip_id(number: int) -> str:
    return f"{number:05d}"


def votes(count: int, seed: int = RNG_SEED) -> np.ndarray:
    """Labels as raters cast them: each of three votes for one emotion or for none."""
    rng = np.random.default_rng(seed)
    cast = rng.integers(0, 7, (count, 3))
    return np.stack([(cast == target).sum(axis=1) / 3 for target in range(6)], axis=1)


def write_csv(path: Path, ids: list[str], values: np.ndarray) -> None:
    # Not with abawkit's own writer: a reader has to be tested on what others write.
    rows = [",".join([clip, *(str(value) for value in row)]) for clip, row in zip(ids, values.tolist(), strict=True)]
    path.write_text("\n".join([",".join(EMI.header), *rows]) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def media_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    times = [k / 12.5 for k in range(8)]
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in times]
    sound = np.sin(np.arange(12_000, dtype=np.float32) / 20) * 0.3
    write_video(folder / "clip.mp4", frames, times, waveform=sound)
    write_video(folder / "mute.mp4", frames, times)
    write_video(folder / "still.mp4", frames[:1], times[:1], waveform=sound)
    write_video(folder / "long.mp4", [frames[0], frames[1]] * 50, [k * 0.9 for k in range(100)], waveform=sound)
    write_mp3(folder / "clip.mp3", sound)
    write_mp3(folder / "44k.mp3", sound, 44_100)
    write_jpeg(folder / "face.jpg", frames[0])
    return folder


def own(path: Path, mark: str) -> Path:
    """Makes the bytes of a media file its own, by what every reader skips at its end."""
    data = mark.encode().ljust(16)
    if path.suffix == ".mp4":
        data = (len(data) + 8).to_bytes(4, "big") + b"free" + data
    elif path.suffix == ".mp3":
        data = b"TAG" + data.ljust(125)
    with path.open("ab") as file:
        file.write(data)
    return path


@pytest.fixture(scope="session")
def challenge_template(tmp_path_factory: pytest.TempPathFactory, media_files: Path) -> Path:
    root = tmp_path_factory.mktemp("template") / "challenge"
    for base, first, count in ((root, 0, TRAIN + VALID), (root / "test_data", TRAIN + VALID, TEST)):
        for name in ("raw", "audio", "face_images", "text"):
            (base / name).mkdir(parents=True)
        for clip in map(clip_id, range(first, first + count)):
            own(shutil.copy(media_files / "clip.mp4", base / "raw" / f"{clip}.mp4"), clip)
            own(shutil.copy(media_files / "clip.mp3", base / "audio" / f"{clip}.mp3"), clip)
            (base / "face_images" / clip).mkdir()
            for k in range(2):
                own(shutil.copy(media_files / "face.jpg", base / "face_images" / clip / f"{k}.jpg"), clip)
            (base / "text" / f"{clip}.txt").write_text("I am so happy for you", encoding="utf-8")
    labels = votes(TRAIN + VALID)
    ids = [clip_id(k) for k in range(TRAIN + VALID)]
    write_csv(root / "train_split.csv", ids[:TRAIN], labels[:TRAIN])
    write_csv(root / "valid_split.csv", ids[TRAIN:], labels[TRAIN:])
    return root


@pytest.fixture
def challenge(challenge_template: Path, tmp_path: Path) -> Path:
    root = tmp_path / "challenge"
    shutil.copytree(challenge_template, root)
    return root


def open_workspace(root: Path, data: Path) -> Workspace:
    root.mkdir(exist_ok=True)
    (root / "abawkit.toml").write_text(f'data = "{data.as_posix()}"\n')
    return Workspace.open(root, environ={})


@pytest.fixture
def workspace(challenge: Path, tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "work", challenge)


@pytest.fixture
def bare_workspace(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Workspace]:
    """Makes a workspace whose challenge folder has labels of any size, and names of test clips, but no media."""

    def make(train: int, valid: int, test: int = 0) -> Workspace:
        root = tmp_path_factory.mktemp("bare")
        ids = [clip_id(k) for k in range(train + valid + test)]
        labels = votes(train + valid)
        (root / "challenge" / "test" / "raw").mkdir(parents=True)
        write_csv(root / "challenge" / "train_split.csv", ids[:train], labels[:train])
        write_csv(root / "challenge" / "valid_split.csv", ids[train : train + valid], labels[train:])
        for clip in ids[train + valid :]:
            (root / "challenge" / "test" / "raw" / f"{clip}.mp4").touch()
        return open_workspace(root / "work", root / "challenge")

    return make
