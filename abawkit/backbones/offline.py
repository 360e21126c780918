"""Whether the hub may be asked for anything."""

from __future__ import annotations

import os


def is_offline() -> bool:
    """Returns whether the hub may not be asked: ``HF_HUB_OFFLINE`` is set, which ``--offline`` does."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def stay_offline() -> None:
    """Sets ``HF_HUB_OFFLINE`` for this process and those that it starts.

    Extraction never downloads; with this, a library that asks the hub by itself fails at once instead of waiting for a
    network that is not there, and the error of a missing model only advises to fetch it elsewhere.
    """
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True  # it reads the environment once, when it is loaded
