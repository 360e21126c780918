"""docs/extraction.md has every setting of the extraction, with its default and whether it changes the signature."""

import re
from pathlib import Path
from typing import Any

import pytest

from abawkit.extraction.pipeline import plan_extraction
from abawkit.extraction.request import ExtractRequest
from abawkit.settings import ExtractSettings
from abawkit.workspace import Workspace
from tests import tiny_models
from tests.tiny_yunet import write_yunet

DOCUMENT = Path(__file__).parents[2] / "docs" / "extraction.md"
HEADER = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy\n"


def rows() -> dict[str, list[str]]:
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in found}


def test_the_page_has_exactly_the_settings_and_their_defaults() -> None:
    documented = rows()
    assert sorted(documented) == sorted(ExtractSettings.model_fields)
    for name, field in ExtractSettings.model_fields.items():
        default = "unset" if field.default is None else f"`{str(field.default).replace('True', 'true').lower()}`"
        assert documented[name][0].endswith(f"({default})"), name
        assert len(documented[name]) == 4 and len(documented[name][2]) > 10, name


#: Another value of each setting, where one machine without a GPU and with tiny models can tell.
CHANGES: dict[str, Any] = {
    "workers": 1, "segment_clips": 3, "max_failures": "2", "on_damage": "fail", "dtype": "float32", "device": "cpu",
    "batch": 3, "precision": "bfloat16", "text_pooling": "cls", "text_tokens": True, "transcripts": "folder",
    "whisper_batch": 3, "whisper_no_speech": 0.5, "audio_layers": "mean:2", "audio_vad": True,
    "vision_pooling": "patch-mean", "vision_fps": 4, "vision_frames": 9, "faces": "organiser", "no_face": "missing",
    "face_margin": 0.5, "yunet_model": "yunet.onnx", "motion": "flow", "motion_confidence": True,
    "openface_timeout": 60, "preset": "lite",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    tiny_models.bert(folder / "bert")
    tiny_models.emotion_wav2vec2(folder / "wav2vec2")
    tiny_models.dinov2(folder / "dinov2")
    write_yunet(folder / "yunet.onnx")
    (folder / "challenge").mkdir()
    for number, name in enumerate(("train", "valid")):
        (folder / "challenge" / f"{name}_split.csv").write_text(f"{HEADER}{number:05d},0.5,0,0,0,0,0.5\n")
    models = {"text": "bert", "audio": "wav2vec2", "vision": "dinov2"}
    lines = [f'{modality}_model = "{folder / name}"' for modality, name in models.items()]
    text = "\n".join(['data = "challenge"', "[extract]", 'faces = "detect"', 'device = "cpu"', *lines])
    (folder / "abawkit.toml").write_text(text)
    return folder


def signatures(root: Path, **changes: Any) -> list[str]:
    overrides = {f"extract.{name}": value for name, value in changes.items()}
    workspace = Workspace.open(root, environ={}, overrides=overrides)
    return [plan.path.name for plan in plan_extraction(workspace, ExtractRequest())]


def test_what_is_said_of_the_signature_is_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / "empty"))
    monkeypatch.chdir(root)
    before = signatures(root)
    said = {name: cells[-1] for name, cells in rows().items()}
    for name, value in CHANGES.items():
        changes = said[name] in ("yes", "with `detect`", "where frames are taken")
        assert (signatures(root, **{name: value}) != before) == changes, name
    assert {name for name in said if said[name] == "of the transcripts"} == {
        name for name in ExtractSettings.model_fields if name.startswith("whisper_") and name != "whisper_batch"
    }
    organiser = {"faces": "organiser", "no_face": "missing"}
    alone = signatures(root, **organiser)
    for name in ("face_margin", "yunet_model", "vision_fps"):
        assert signatures(root, **organiser, **{name: CHANGES[name]}) == alone, name
