import pytest
from hypothesis import given
from hypothesis import strategies as st

from abawkit.challenge import EMI, IdRule


@pytest.mark.parametrize(
    ("text", "clip", "fixes"),
    [
        ("00000", "00000", None),
        ("12660", "12660", None),
        ("0", "00000", "lost zero padding"),
        ("0.0", "00000", "'.0' appended, lost zero padding"),
        ("12.mp4", "00012", "file name extension '.mp4', lost zero padding"),
        (" 00012 ", "00012", "spaces around it"),
        ("00012.mp4", "00012", "file name extension '.mp4'"),
    ],
)
def test_damaged_ids_are_understood(text: str, clip: str, fixes: str | None) -> None:
    assert IdRule().read(text) == (clip, fixes)


@pytest.mark.parametrize(
    "text", ["", "../../x", "..", "/etc/passwd", "1/2", "123456", "-1", "１２", "1e3", "a\0b", "0.5"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a clip id"):
        IdRule().read(text)


@given(st.text(max_size=12))
def test_an_id_never_leaves_its_folder(text: str) -> None:
    try:
        clip, _ = IdRule().read(text)
    except ValueError:
        return
    assert clip.isascii() and clip.isdigit() and len(clip) == 5


def test_official_order_and_counts() -> None:
    assert EMI.header == ("Filename", "Admiration", "Amusement", "Determination", "Empathic Pain", "Excitement", "Joy")
    assert EMI.official_size(8072, 4588) and EMI.official_size(8060, 4580) and not EMI.official_size(230, 130)
