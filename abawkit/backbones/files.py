"""Models that are a single file on the hub, at a pinned commit with its digest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFile:
    """A model that is a single file of a repository of the hub.

    Attributes:
        repository: Id of the repository.
        file: The file's name in it.
        revision: Pinned commit.
        sha256: Digest of the file at that commit.
        licence: Licence of the file.
    """

    repository: str
    file: str
    revision: str
    sha256: str
    licence: str


#: The face detector for ``extract.faces = "detect"``.
YUNET = KnownFile(
    "opencv/face_detection_yunet",
    "face_detection_yunet_2023mar.onnx",
    "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "MIT",
)


def known_file(name: str) -> KnownFile | None:
    """Returns what is known about a single file, by ``yunet`` or its repository; None for any other name.

    >>> known_file("yunet").licence
    'MIT'
    """
    return YUNET if name in ("yunet", YUNET.repository) else None
