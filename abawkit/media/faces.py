"""The organisers' face crops: one folder of small pictures per clip, without timestamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawkit.data.layout import face_images
from abawkit.errors import MediaError, ModalityMissing
from abawkit.media.images import read_image, resize
from abawkit.media.video import spread


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
        warnings.append(f"{len(broken)} of {len(chosen)} face crops cannot be decoded and are left out ({some})")
    return np.stack(pictures), names
