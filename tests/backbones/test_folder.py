"""What is known about a model before it is loaded."""

import shutil
from pathlib import Path

from abawkit.backbones.folder import open_folder, weights_digest


def test_digest_follows_what_decides_the_values(tmp_path: Path, bert: Path) -> None:
    moved = shutil.copytree(bert, tmp_path / "moved")
    digest = weights_digest(bert)
    assert weights_digest(moved) == digest
    (moved / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    (moved / "notes.txt").write_text("mine")
    assert weights_digest(moved) == digest
    assert open_folder(str(moved)).licence == "cc-by-4.0"
    seen = {digest}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        data = bytearray((moved / name).read_bytes())
        data[-1] ^= 1
        (moved / name).write_bytes(data)
        seen.add(weights_digest(moved))
    (moved / "vocab.txt").rename(moved / "vocab.json")
    seen.add(weights_digest(moved))
    assert len(seen) == 7


def test_open_folder_names_the_model(bert: Path) -> None:
    found = open_folder(str(bert))
    assert (found.name, found.model, found.revision, found.licence) == ("tiny-bert", str(bert), None, None)
    assert len(found.weights) == 64
