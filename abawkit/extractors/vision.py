"""Vision features: one vector per face crop or video frame from a DINOv2 or ViT model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.hub import open_folder
from abawkit.backbones.vision import (
    PROCESSOR_BACKEND,
    VisionModel,
    VisionPooling,
    check_vision_model,
    embed_images,
    load_vision_model,
)
from abawkit.data.layout import Clip
from abawkit.errors import ModalityMissing
from abawkit.extractors import finished
from abawkit.extractors.sources import faces_source, media_source
from abawkit.features.spec import FeatureSpec, Loaded
from abawkit.media.faces import face_crops
from abawkit.media.video import decode_video

#: Side of the organisers' face crops (pixels): they reach the model's own preprocessing as they are.
CROP_SIZE = 160
#: Longer side of full frames (pixels): at 16:9 the shorter side is the 256 pixels that DINOv2 resizes to.
FRAME_SIDE = 456

VisionSource = Literal["face", "frame"]


class TransformerVision:
    """Makes frames from a clip's pictures with a transformers image encoder.

    Args:
        model: Model id or local folder.
        source: ``face``: the organisers' face crops, and full frames, with a warning, of a clip that has none;
            ``frame``: full frames. Only full frames have times, and only with ``frame`` are they kept.
        pooling: ``cls``: the first token; ``patch-mean``: the mean of the patches' tokens.
        fps: Full frames per second.
        max_frames: Most crops or full frames of one clip; of a longer one so many are taken, spread evenly.
        device: ``cpu``, ``cuda:0`` …
        dtype: Floating-point type in the store; the computation is float32.
        offline: See :func:`abawkit.backbones.hub.resolve`.

    Raises:
        AbawkitError: The model is not on this machine, or is no image encoder.
    """

    def __init__(
        self,
        model: str = "facebook/dinov2-base",
        *,
        source: VisionSource = "face",
        pooling: VisionPooling = "cls",
        fps: float = 5.0,
        max_frames: int = 400,
        device: str = "cpu",
        dtype: Literal["float16", "float32"] = "float16",
        offline: bool = False,
    ) -> None:
        found = open_folder(model, offline=offline)
        check_vision_model(found.path)
        self.folder = found.path
        self.device = device
        self.pictures: VisionSource = source
        self.pooling: VisionPooling = pooling
        self.fps = fps
        self.max_frames = max_frames
        self.spec = FeatureSpec(
            modality="vision",
            name=found.name if source == "face" else f"{found.name}-frame",
            dim=found.dim,
            extractor="transformers-vision/1",
            model=found.model,
            revision=found.revision,
            weights=found.weights,
            processor=PROCESSOR_BACKEND,
            preprocessing={
                "source": source,
                "pooling": pooling,
                "crop_size": CROP_SIZE,
                "fps": fps,
                "max_frames": max_frames,
                "frame_side": FRAME_SIDE,
            },
            dtype=dtype,
            time_source="none" if source == "face" else "pts",
            licence=found.licence,
        )
        self._model: VisionModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def source(self, clip: Clip) -> str:
        """Returns the digest of the face crops or, where full frames are used, of the video; empty for neither."""
        return (faces_source(clip.faces) if self.pictures == "face" else "") or media_source(clip.video)

    def load(self, clip: Clip) -> Loaded:
        """Returns the pictures, RGB ``uint8 [T, H, W, 3]``, in temporal order.

        Raises:
            ModalityMissing: There are neither face crops (where they are wanted) nor a video.
            MediaError: There are pictures, and none can be decoded.
        """
        warnings: list[str] = []
        if self.pictures == "face" and clip.faces is not None:
            try:
                crops, _ = face_crops(clip.faces, size=CROP_SIZE, max_images=self.max_frames, warnings=warnings)
                return Loaded(crops, warnings=tuple(warnings))
            except ModalityMissing:
                warnings.append("the face folder has no crops: full frames are used")
        if clip.video is None:
            raise ModalityMissing("there is no video" + (" and no face crop" if self.pictures == "face" else ""))
        video = decode_video(clip.video, fps=self.fps, max_frames=self.max_frames, max_side=FRAME_SIDE)
        times = video.times if self.pictures == "frame" else None
        return Loaded(video.frames, times=times, warnings=(*warnings, *video.warnings))

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns ``float32 [T, D]`` and the times ``float32 [T]`` per clip; NaN where there are none."""
        if self._model is None:
            self._model = load_vision_model(self.folder, pooling=self.pooling, device=self.device)
        values = embed_images(
            self._model,
            [picture for loaded in batch for picture in loaded.data],
            batch_frames=32 if self.device == "cpu" else 128,
        )
        ends = np.cumsum([len(loaded.data) for loaded in batch])
        return [
            finished(replace(loaded, data=values[end - len(loaded.data) : end]))
            for loaded, end in zip(batch, ends, strict=True)
        ]
