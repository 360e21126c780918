"""Whether anything may ask the hub."""

from __future__ import annotations

import os


def is_offline() -> bool:
    """Returns whether nobody may ask the hub: ``HF_HUB_OFFLINE`` is set, which ``--offline`` does."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def stay_offline() -> None:
    """Sets ``HF_HUB_OFFLINE`` for this process and those that it starts.

    Nothing here downloads anyway; with it, a library that asks the hub of its own accord fails at once instead of
    waiting for a network that is not there, and a model that is missing is only advised to be got elsewhere.
    """
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True  # it reads the environment once, when it is loaded
