"""Loads a model's weights: from safetensors files only, without a log, and only if they fit.

Weights are never read from pickles. Code that comes with a model is run only when that is asked for, at a commit.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abawkit.backbones.config import read_config
from abawkit.backbones.own_code import own_code
from abawkit.errors import AbawkitError

#: Parameters that extraction never reads: the pooling layer and the vectors of masked pre-training.
_UNUSED = re.compile(r"(^|\.)(pooler\.|masked_spec_embed$|mask_token$)")


def load_model(folder: Path, *, device: str, trust_code: bool = False) -> Any:
    """Returns the model of a folder on ``device``, in evaluation mode and float32.

    A checkpoint of a bigger model (the backbone under its prefix, such as ``wav2vec2.``, and a head beside it)
    gives its backbone.

    Args:
        folder: The model's folder.
        device: ``cpu``, ``cuda:0`` …
        trust_code: Run the model's own code; see :func:`abawkit.backbones.own_code.check_own_code`.

    Raises:
        AbawkitError: The weights do not fit the architecture in ``config.json``, the files are damaged, the
            architecture needs code of its own, or the device cannot be used.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    config = read_config(folder)
    try:
        with quiet():
            model, info = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=trust_code,
                ignore_mismatched_sizes=True,  # they are named below
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises anything on a damaged config.json
        if config.get("model_type") not in CONFIG_MAPPING and (code := own_code(folder)) and not trust_code:
            raise AbawkitError(
                "transformers does not know this architecture, and code that comes with a model is not run",
                path=folder,
                got=", ".join(code[:4]),
                todo="read that code, then `abawkit extract --model text=ID@COMMIT --trust-remote-code`; or take "
                "another model",
            ) from error
        raise AbawkitError("the model cannot be loaded", path=folder, got=first_line(error)) from error
    # What is not in one of the backbone's own modules is a head, which is not needed.
    own = {name for name, _ in model.named_children()} - {"pooler"}
    prefix = model.base_model_prefix + "."
    misfits = [f"{key} is missing" for key in sorted(info["missing_keys"]) if not _UNUSED.search(key)]
    misfits += [f"{key[0]} has another shape" for key in sorted(info["mismatched_keys"])]
    misfits += [
        f"{key} has no place in it"
        for key in sorted(info["unexpected_keys"])
        if key.removeprefix(prefix).split(".")[0] in own and not _UNUSED.search(key)
    ]
    if misfits:
        raise _misfit(folder, misfits)
    try:
        return model.eval().requires_grad_(False).to(device)
    except (RuntimeError, AssertionError) as error:
        raise AbawkitError(
            f"the device {device!r} cannot be used", got=first_line(error), todo="choose another with --device"
        ) from error


def _misfit(folder: Path, misfits: Sequence[str]) -> AbawkitError:
    more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
    return AbawkitError(
        "the weights do not fit the architecture: the features would be random",
        path=folder,
        got="; ".join(misfits[:3]) + more,
        expected="a checkpoint whose config.json belongs to its weights",
        todo="fetch the model again, or save it again with transformers' `save_pretrained`",
    )


def first_line(error: BaseException) -> str:
    """Returns kind and first line of an error that another library raised."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' log, progress bars and Python warnings for the block, and restores them after it."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
