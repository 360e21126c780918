"""Vision features: one vector per face crop or video frame from a DINOv2 or ViT model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import Computing
from abawkit.backbones.cache import cached_file
from abawkit.backbones.folder import open_folder
from abawkit.backbones.pictures import read_preparation
from abawkit.backbones.vision import (
    PROCESSOR_BACKEND,
    VisionModel,
    VisionPooling,
    check_vision_model,
    embed_pictures,
    load_vision_model,
)
from abawkit.errors import ModalityMissing, UsageError
from abawkit.extractors import finished
from abawkit.extractors.sources import CROPS, faces_source, media_source
from abawkit.features.spec import FeatureSpec, Loaded, Workload
from abawkit.layout.folder import Clip
from abawkit.media.detect import YUNET_FILE, YUNET_REPOSITORY, FaceDetector, haar, yunet
from abawkit.media.faces import face_crops, tracked_face
from abawkit.media.video import decode_video

#: Side of the organisers' face crops (pixels): they reach the model's own preprocessing as they are.
CROP_SIZE = 160
#: Side of the faces cut from the video (pixels): what the models take.
FACE_SIZE = 224
#: Longer side of full frames (pixels): at 16:9 the shorter side is the 256 pixels that DINOv2 resizes to.
FRAME_SIDE = 456
#: A face that is lost for at most so long is placed between where it was and where it is found again (seconds).
FACE_GAP = 1.0

Faces = Literal["organiser", "detect", "full-frame"]
NoFace = Literal["full-frame", "missing"]


def pick_detector(choice: Literal["auto", "yunet", "haar"], file: str | None = None) -> FaceDetector:
    """Returns the face detector that the settings mean.

    Args:
        choice: ``yunet``, ``haar`` (the cascade that comes with OpenCV), or ``auto``: YuNet when ``file`` is set or
            it is in the Hugging Face cache, else the cascade.
        file: YuNet's ONNX file.

    Raises:
        UsageError: YuNet is asked for and not on this machine; or a file is set, and ``haar``.
        AbawkitError: The file is not YuNet.
    """
    if choice == "haar":
        if file is not None:
            raise UsageError("extract.yunet_model is set, and extract.face_detector is haar", todo="unset one of them")
        return haar()
    path = cached_file(YUNET_REPOSITORY, YUNET_FILE) if file is None else Path(file).expanduser()
    if path is not None:
        return yunet(path)
    if choice == "auto":
        return haar()
    raise UsageError(
        "the face detector YuNet is not on this machine (licence: MIT)",
        expected=YUNET_FILE,
        todo="abawkit models fetch yunet; or set extract.yunet_model to the file; "
        "or set extract.face_detector to haar, which comes with OpenCV",
    )


class TransformerVision:
    """Makes frames from a clip's pictures with a transformers image encoder.

    Args:
        model: Model id or local folder.
        faces: ``organiser``: the organisers' face crops, which have no times; ``detect``: one person's face, found in
            the video and followed through it; ``full-frame``: the video's frames.
        no_face: What is taken of a clip without a face (``organiser``: without a crop): full frames, with a warning,
            or nothing: the clip is missing. Faces are not looked for where the organisers' crops are wanted: crops of
            two kinds would be in one store.
        pooling: ``cls``: the first token; ``patch-mean``: the mean of the patches' tokens.
        fps: Frames of the video per second, by their timestamps.
        max_frames: Most pictures of one clip; of a longer one so many are taken, spread evenly.
        margin: See :func:`abawkit.media.faces.tracked_face`.
        detector: Finds faces where ``faces`` is ``detect``; default: :func:`abawkit.media.detect.haar`.
        how: Device, precision and batches of the computation; default: the processor.
        dtype: Floating-point type in the store.

    Raises:
        AbawkitError: The model is not on this machine, or is not an image encoder.
    """

    def __init__(
        self,
        model: str = "facebook/dinov2-base",
        *,
        faces: Faces = "organiser",
        no_face: NoFace = "full-frame",
        pooling: VisionPooling = "cls",
        fps: float = 5.0,
        max_frames: int = 400,
        margin: float = 0.25,
        detector: FaceDetector | None = None,
        how: Computing | None = None,
        dtype: Literal["float16", "float32"] = "float16",
    ) -> None:
        found = open_folder(model)
        check_vision_model(found.path)
        self.folder = found.path
        self.how = replace(how) if how else Computing()
        self.preparation = read_preparation(found.path)
        self.faces: Faces = faces
        self.no_face: NoFace = no_face
        self.pooling: VisionPooling = pooling
        self.fps = fps
        self.max_frames = max_frames
        self.margin = margin
        self.detector = (detector or haar()) if faces == "detect" else None
        kind = f"detect-{self.detector.name}" if self.detector else faces
        self.spec = FeatureSpec(
            modality="vision",
            name=found.name if faces == "organiser" else f"{found.name}-{kind}",
            dim=found.dim,
            extractor="transformers-vision/2",
            model=found.model,
            revision=found.revision,
            weights=found.weights,
            processor=PROCESSOR_BACKEND,
            preprocessing=self._preprocessing(),
            precision=self.how.precision,
            dtype=dtype,
            time_source="none" if faces == "organiser" else "pts",
            licence=found.licence,
        )
        frames = CROPS if faces == "organiser" else 6.9 * fps
        self.workload = Workload(frames=min(frames, max_frames), many_files=faces == "organiser")
        self._model: VisionModel | None = None

    def _preprocessing(self) -> dict[str, Any]:
        """Returns the settings that the values depend on, and no others."""
        settings: dict[str, Any] = {"faces": self.faces, "pooling": self.pooling, "max_frames": self.max_frames}
        if self.faces != "full-frame":
            settings["no_face"] = self.no_face
        if self.faces == "organiser":
            settings["crop_size"] = CROP_SIZE
        if self.detector is not None:
            settings |= {"face_size": FACE_SIZE, "margin": self.margin, "gap": FACE_GAP}
            settings["detector"] = self.detector.settings
        if self.faces == "detect" or self._may_take_frames:
            settings["fps"] = self.fps
        if self._may_take_frames:
            settings["frame_side"] = FRAME_SIDE
        return settings

    @property
    def _may_take_frames(self) -> bool:
        return self.faces == "full-frame" or self.no_face == "full-frame"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def source(self, clip: Clip) -> str:
        """Returns the digest of the face crops or, where it is used, of the video; empty where there is neither."""
        crops = faces_source(clip.faces) if self.faces == "organiser" else ""
        video = self.faces != "organiser" or self._may_take_frames
        return crops or (media_source(clip.video) if video else "")

    def load(self, clip: Clip) -> Loaded:
        """Returns :meth:`pictures` resized and cropped as the model takes them, RGB ``uint8 [T, h, w, 3]``."""
        loaded = self.pictures(clip)
        return replace(loaded, data=np.stack([self.preparation.resized(picture) for picture in loaded.data]))

    def pictures(self, clip: Clip) -> Loaded:
        """Returns the crops or frames, RGB ``uint8 [T, H, W, 3]``, in temporal order.

        Raises:
            ModalityMissing: There is neither a picture of the kind that is wanted nor one in its place.
            MediaError: There are pictures, and none can be decoded.
        """
        warnings: list[str] = []
        facts: dict[str, float] = {}
        if self.faces == "organiser":
            try:
                if clip.faces is None:
                    raise ModalityMissing("there is no folder of face crops")
                crops, _ = face_crops(clip.faces, size=CROP_SIZE, max_images=self.max_frames, warnings=warnings)
                return Loaded(crops, warnings=tuple(warnings))
            except ModalityMissing as error:
                without = error.message
        elif self.detector is not None and clip.video is not None:
            face = tracked_face(
                clip.video,
                self.detector,
                fps=self.fps,
                max_frames=self.max_frames,
                margin=self.margin,
                gap=FACE_GAP,
                size=FACE_SIZE,
            )
            facts = {"face_share": face.share, "frames": face.frames}
            if len(face.crops):
                return Loaded(face.crops, times=face.times, warnings=face.warnings, facts=facts)
            without = f"there is no face in any of the {face.frames} sampled frames"
        else:
            without = ""
        if clip.video is None:
            raise ModalityMissing("; ".join(filter(None, [without, "there is no video"])))
        if not self._may_take_frames:
            raise ModalityMissing(without, path=clip.video)
        if without:
            warnings.append(f"{without}: full frames are used")
        video = decode_video(clip.video, fps=self.fps, max_frames=self.max_frames, max_side=FRAME_SIDE)
        times = None if self.faces == "organiser" else video.times
        return Loaded(video.frames, times=times, warnings=(*warnings, *video.warnings), facts=facts)

    def embed(self, batch: Sequence[Loaded]) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.float32]]]:
        """Returns ``float32 [T, D]`` and the times ``float32 [T]`` per clip; NaN where there are none."""
        if self._model is None:
            self._model = load_vision_model(self.folder, pooling=self.pooling, how=self.how)
        values = embed_pictures(self._model, [picture for loaded in batch for picture in loaded.data])
        ends = np.cumsum([len(loaded.data) for loaded in batch])
        return [
            finished(replace(loaded, data=values[end - len(loaded.data) : end]))
            for loaded, end in zip(batch, ends, strict=True)
        ]
