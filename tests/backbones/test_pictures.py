import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.backbones.loading import quiet
from abawkit.backbones.pictures import Preparation, check_preparation, read_preparation
from abawkit.errors import AbawkitError

#: As published with DINOv2, with ViT (whose size is a bare number, and which names no processor), and with DeiT.
DINOV2: dict[str, Any] = {
    "image_processor_type": "BitImageProcessor", "crop_size": {"height": 28, "width": 28}, "do_center_crop": True,
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 32},
}  # fmt: skip
VIT: dict[str, Any] = {
    "do_normalize": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "resample": 2, "size": 32,
}  # fmt: skip
DEIT: dict[str, Any] = {"feature_extractor_type": "DeiTFeatureExtractor", "size": 36, "crop_size": 28, "resample": 3}


def folder_of(folder: Path, record: dict[str, Any], kind: str = "vit") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "hidden_size": 8}))
    (folder / "preprocessor_config.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(("kind", "record"), [("dinov2", DINOV2), ("vit", VIT), ("deit", DEIT)])
def test_as_transformers_whatever_the_shape(tmp_path: Path, kind: str, record: dict[str, Any]) -> None:
    from transformers import BitImageProcessorPil, DeiTImageProcessorPil, ViTImageProcessorPil

    folder = folder_of(tmp_path / "m", record, kind)
    with quiet():
        maker = {"dinov2": BitImageProcessorPil, "vit": ViTImageProcessorPil, "deit": DeiTImageProcessorPil}[kind]
        processor = maker.from_pretrained(folder)
    preparation = read_preparation(folder)
    check_preparation(preparation, processor, folder)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(3, 200), st.integers(3, 200), st.integers(0, 99))
    def same(height: int, width: int, seed: int) -> None:
        picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        theirs = processor([picture], input_data_format="channels_last", return_tensors="np")["pixel_values"]
        ours = preparation.scaled(np.stack([preparation.resized(picture)]), "cpu").numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    same()


@pytest.mark.parametrize("resample", range(6))
@pytest.mark.parametrize("shape", [(160, 160), (171, 171), (300, 300), (96, 160), (160, 96), (256, 320), (224, 400)])
@pytest.mark.parametrize(("edge", "crop"), [(256, (224, 224)), (256, (224, 201)), (96, (37, 37)), (518, (518, 518))])
def test_a_crop_is_the_middle_of_the_whole_picture(
    shape: tuple[int, int], resample: int, edge: int, crop: tuple[int, int]
) -> None:
    """Bit for bit, whether or not it can be made alone."""
    whole = Preparation((edge,), resample, None, (1, 1, 1), (0, 0, 0))
    middle = Preparation((edge,), resample, crop, (1, 1, 1), (0, 0, 0))
    picture = np.random.default_rng(resample).integers(0, 256, (*shape, 3), np.uint8)
    expected = whole.resized(picture)
    top, left = (expected.shape[0] - crop[0]) // 2, (expected.shape[1] - crop[1]) // 2
    np.testing.assert_array_equal(middle.resized(picture), expected[top : top + crop[0], left : left + crop[1]])


@pytest.mark.parametrize(
    "change",
    [
        {"image_processor_type": "ConvNextImageProcessor"},
        {"size": {"longest_edge": 32}},
        {"crop_size": {"height": 48, "width": 48}},
        {"do_pad": True},
        {"image_std": [0.2, 0, 0.2]},
        {"image_mean": [0.5]},
        {"resample": "bicubic"},
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(AbawkitError, match="image processor is not one that can be used"):
        read_preparation(folder_of(tmp_path / "m", DINOV2 | change))


def test_another_processor_than_the_settings_say_is_noticed(tmp_path: Path) -> None:
    from transformers import BitImageProcessorPil

    with quiet():
        processor = BitImageProcessorPil.from_pretrained(folder_of(tmp_path / "theirs", DINOV2))
    for change in ({"resample": 2}, {"image_mean": [0.4, 0.4, 0.4]}, {"size": {"shortest_edge": 34}}):
        ours = folder_of(tmp_path / "ours", DINOV2 | change)
        with pytest.raises(AbawkitError, match="the same values"):
            check_preparation(read_preparation(ours), processor, ours)
