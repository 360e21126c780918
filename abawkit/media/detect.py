"""Faces in a picture: OpenCV's YuNet where its file is there, else the cascade that comes with OpenCV 4."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from abawkit.errors import AbawkitError
from abawkit.fileio import digest_file
from abawkit.media.images import grey, resize

DetectorName = Literal["yunet", "haar"]

#: Where YuNet is to be had: repository on the Hugging Face hub, and its file (MIT licence).
YUNET_REPOSITORY, YUNET_FILE = "opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx"

#: Longer side of the pictures in which faces are searched (pixels).
DETECT_SIDE = 320

#: Smallest face that counts, as a share of the picture's shorter side: faces before a webcam are larger.
SMALLEST_FACE = 0.15

#: The cascade: scale step, and how many overlapping hits make a face. In nine real videos of talking people it finds
#: one in 697 of 699 frames, and in eight videos without a face in 5 of 958, in places that do not last.
_STEP, _HITS = 1.1, 4
_CASCADE = "haarcascade_frontalface_alt2.xml"

#: YuNet: least score, and the overlap from which two boxes are the same face.
_SCORE, _OVERLAP = 0.7, 0.3


@dataclass(frozen=True)
class FaceDetector:
    """Which face detector, by everything that its boxes depend on. Made by :func:`yunet` or :func:`haar`.

    Attributes:
        name: ``yunet`` or ``haar``.
        path: Its file.
        sha256: Digest of the file.
    """

    name: DetectorName
    path: Path
    sha256: str

    @property
    def settings(self) -> dict[str, Any]:
        """What a feature's signature has to say about it."""
        own = {"step": _STEP, "hits": _HITS} if self.name == "haar" else {"score": _SCORE, "overlap": _OVERLAP}
        return {"name": self.name, "sha256": self.sha256, "side": DETECT_SIDE, "smallest": SMALLEST_FACE, **own}


def haar() -> FaceDetector:
    """Returns the frontal-face cascade that is part of OpenCV 4 (Viola and Jones; Lienhart's alt2)."""
    path = Path(cv2.data.haarcascades) / _CASCADE  # type: ignore[attr-defined]
    return FaceDetector("haar", path, digest_file(path))


def yunet(path: Path) -> FaceDetector:
    """Returns the YuNet detector in an ONNX file, after a trial on an empty picture.

    Raises:
        AbawkitError: The file is not there, or is not a YuNet model that this OpenCV can run.
    """
    sha256 = digest_file(path)
    got = None
    if path.stat().st_size < 1000 and path.read_bytes().startswith(b"version https://git-lfs"):
        got = "a Git LFS pointer: the file itself was not downloaded"
    else:
        try:
            _yunet_boxes(path, np.zeros((64, 64, 3), np.uint8))
        except (cv2.error, ValueError) as error:
            got = " ".join(str(error).split())[:160]
    if got is not None:
        raise AbawkitError(
            "this is not a YuNet face detector",
            path=path,
            got=got,
            expected=f"{YUNET_FILE} or a later one (https://huggingface.co/{YUNET_REPOSITORY})",
            todo="download it again, or set extract.face_detector to haar, which comes with OpenCV",
        )
    return FaceDetector("yunet", path.absolute(), sha256)


def detect_faces(detector: FaceDetector, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns the faces in a picture as ``float32 [F, 5]``: left, top, width, height (pixels) and score, in (0, 1].

    Args:
        detector: Which detector.
        picture: RGB ``uint8 [H, W, 3]``, upright. Faces are searched at no more than :data:`DETECT_SIDE` pixels.

    Boxes can reach over the border. YuNet's enclose the face from forehead to chin, the cascade's are squares about
    as large; its score is the number of hits, 1 from 40 on.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, DETECT_SIDE / max(height, width))
    small = picture if scale == 1 else resize(picture, max(1, round(height * scale)), max(1, round(width * scale)))
    boxes = (_haar_boxes if detector.name == "haar" else _yunet_boxes)(detector.path, small)
    faces = boxes[np.isfinite(boxes).all(axis=1) & (boxes[:, 2:4].max(axis=1) >= SMALLEST_FACE * min(small.shape[:2]))]
    stretch = np.array([width / small.shape[1], height / small.shape[0]] * 2 + [1], np.float32)
    scaled: NDArray[np.float32] = faces * stretch
    return scaled


@cache
def _cascade(path: Path) -> Any:
    return cv2.CascadeClassifier(str(path))


def _haar_boxes(path: Path, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    least = max(1, round(SMALLEST_FACE * min(picture.shape[:2])))
    # OpenCV keeps groups of more hits than it is asked for, and of each says how many; its "reject levels" would not.
    boxes, hits = _cascade(path).detectMultiScale2(grey(picture), _STEP, _HITS - 1, 0, (least, least))
    scores = np.minimum(1, np.asarray(hits, np.float32).reshape(-1, 1) / 40)
    return np.hstack([np.asarray(boxes, np.float32).reshape(-1, 4), scores])


@cache
def _yunet(path: Path) -> Any:
    # From memory, since OpenCV goes by the name's suffix, and the hub's cache has files without one.
    model = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.FaceDetectorYN.create("onnx", model, model[:0], (DETECT_SIDE, DETECT_SIDE), _SCORE, _OVERLAP)


def _yunet_boxes(path: Path, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    network = _yunet(path)
    network.setInputSize((picture.shape[1], picture.shape[0]))
    _, faces = network.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return np.zeros((0, 5), np.float32) if faces is None else faces[:, [0, 1, 2, 3, 14]]
