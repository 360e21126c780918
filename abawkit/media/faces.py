"""Pictures of a clip's face: the organisers' crops, which have no timestamps, or cut from the video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.errors import Damage, MediaError, ModalityMissing
from abawkit.layout.folder import face_images
from abawkit.media.detect import DETECT_SIDE, FaceDetector, detect_faces
from abawkit.media.images import read_image, resize
from abawkit.media.tracking import follow
from abawkit.media.video import VideoPass, spread


def face_crops(
    folder: Path, *, size: int, max_images: int | None = None, warnings: list[str] | None = None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Returns a clip's face crops in temporal order, RGB ``uint8 [T, size, size, 3]``, and their file names.

    Args:
        folder: ``face_images/NNNNN``.
        size: Side of the returned pictures (pixels).
        max_images: Where there are more, so many are read, spread evenly.
        warnings: Takes one line when pictures cannot be decoded and are left out.

    Raises:
        ModalityMissing: The folder is not there or holds no numbered picture.
        MediaError: There are pictures, and none can be decoded.
    """
    paths = face_images(folder)
    if not paths:
        raise ModalityMissing("there are no face crops", path=folder)
    chosen = [paths[place] for place in spread(len(paths), max_images)]
    pictures, names = [], []
    broken: list[MediaError] = []
    for path in chosen:
        try:
            pictures.append(resize(read_image(path), size, size))
            names.append(path.name)
        except MediaError as error:
            broken.append(error)
    if not pictures:
        raise MediaError(f"none of the {len(chosen)} face crops can be decoded", path=folder, got=broken[0].got)
    if broken and warnings is not None:
        some = ", ".join(Path(str(error.path)).name for error in broken[:3])
        warnings.append(
            Damage(f"{len(broken)} of {len(chosen)} face crops cannot be decoded and are left out ({some})")
        )
    return np.stack(pictures), names


@dataclass(frozen=True)
class TrackedFace:
    """One person's face in a video.

    Attributes:
        crops: RGB ``uint8 [T, size, size, 3]``; T is 0 where no face was found.
        times: Their presentation timestamps: seconds from the first frame, ``float32 [T]``.
        share: Share of the searched frames that have the face, in [0, 1]; of a long clip ``crops`` holds fewer.
        frames: Number of frames in which faces were searched.
        warnings: What was odd about the video, and when there are several faces in it.
    """

    crops: NDArray[np.uint8]
    times: NDArray[np.float32]
    share: float
    frames: int
    warnings: tuple[str, ...]


#: Several faces in at least this share of the frames are worth a warning.
_CROWD = 0.1


def tracked_face(
    path: Path, detector: FaceDetector, *, fps: float, max_frames: int | None, margin: float, gap: float, size: int
) -> TrackedFace:
    """Returns one person's face, cut from the frames of a video and followed through it.

    Args:
        path: The video.
        detector: Finds the faces in each frame.
        fps: Frames per second that are searched, by their timestamps, as :func:`abawkit.media.video.decode_video`.
        max_frames: Where more frames have the face, so many are cut, spread evenly.
        margin: What the square is larger than the face's box, as a share of it; see :func:`square`.
        gap: See :func:`abawkit.media.tracking.follow`, which chooses the person.
        size: Side of the returned pictures (pixels).

    The video is decoded twice, first small and then in full for the frames that are cut, so that memory does not
    grow with its length, and whose face it is is decided by the whole clip.

    Raises:
        MediaError: The video cannot be opened, or none of its frames can be decoded.
    """
    video = VideoPass(path, fps=fps)
    seconds, found, shape = [], [], (1, 1)
    for time, frame in video:
        picture = video.picture(frame, max_side=DETECT_SIDE)
        shape = picture.shape[:2]
        seconds.append(time)
        found.append(detect_faces(detector, picture))
    times = np.array(seconds, np.float32)
    squares = follow(times, found, shape, gap=gap)
    there = np.flatnonzero(np.isfinite(squares[:, 0]))
    chosen = there[list(spread(len(there), max_frames))]
    crops = _cut(path, fps, {int(index): squares[index] for index in chosen}, shape, margin, size)
    crowd = sum(len(faces) > 1 for faces in found) / len(found)
    if crowd >= _CROWD:
        video.warnings.append(f"there are several faces in {crowd:.0%} of the frames: one is followed")
    return TrackedFace(crops, times[chosen], len(there) / len(times), len(times), tuple(video.warnings))


def _cut(
    path: Path,
    fps: float,
    squares: dict[int, NDArray[np.float32]],
    shape: tuple[int, ...],
    margin: float,
    size: int,
) -> NDArray[np.uint8]:
    """Returns the squares (frame → centre x, centre y, side, in pictures of ``shape``) cut from the video."""
    crops = np.zeros((len(squares), size, size, 3), np.uint8)
    video, done = VideoPass(path, fps=fps), 0
    for index, (_, frame) in enumerate(video if squares else ()):
        if index in squares:
            picture = video.picture(frame)
            x, y, side = squares[index].astype(float) * (max(picture.shape) / max(shape))
            crops[done] = square(picture, x, y, side * (1 + margin), size=size)
            done += 1
            if done == len(squares):
                break
    if done < len(squares):
        raise MediaError("the video changed while it was read", path=path)
    return crops


def square(picture: NDArray[np.uint8], x: float, y: float, side: float, *, size: int) -> NDArray[np.uint8]:
    """Returns a square of a picture, ``uint8 [size, size, 3]``.

    Args:
        picture: RGB ``uint8 [H, W, 3]``.
        x: Its centre, from the left (pixels).
        y: Its centre, from above (pixels).
        side: Its side (pixels). A square that reaches over the border is moved inside, and one that is larger than
            the picture is made as large as the shorter side: nothing is invented at the border.
        size: Side of the returned picture.

    >>> square(np.arange(12, dtype=np.uint8).reshape(3, 4, 1).repeat(3, 2), 4, 0, 2, size=2)[..., 0].tolist()
    [[2, 3], [6, 7]]
    """
    height, width = picture.shape[:2]
    size_px = max(1, min(round(side), height, width))
    left = min(max(0, round(x - size_px / 2)), width - size_px)
    top = min(max(0, round(y - size_px / 2)), height - size_px)
    return resize(picture[top : top + size_px, left : left + size_px], size, size)
