"""Configuration files of models."""

import json
from pathlib import Path

import pytest

from abawkit.backbones.config import read_config
from abawkit.errors import AbawkitError


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hidden_size": None}, "cannot be used as a feature extractor"),
        ({"is_encoder_decoder": True}, "cannot be used as a feature extractor"),
        ({"_attn_implementation": "kernels-community/flash-attn"}, "asks for code"),
        ({"inner": {"attn_implementation": "somebody/kernel"}}, "asks for code"),
        ({"quantization_config": {"quant_method": "x"}}, "asks for code"),
    ],
)
def test_config_that_is_refused(tmp_path: Path, entry: dict[str, object], message: str) -> None:
    good = {"hidden_size": 8, "model_type": "bert", "_attn_implementation": "sdpa"}
    (tmp_path / "config.json").write_text(json.dumps(good))
    assert read_config(tmp_path)["hidden_size"] == 8
    (tmp_path / "config.json").write_text(json.dumps({**good, **entry}))
    with pytest.raises(AbawkitError, match=message):
        read_config(tmp_path)
