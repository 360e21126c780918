"""What a training ran on: kept in ``env.json``, so that a result can be made again."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from abawkit import __version__
from abawkit.data.splits.files import Split
from abawkit.features.store import FeatureStore
from abawkit.runs.records import Environment


def describe(folder: Path, device: str, stores: Mapping[str, FeatureStore], split: Split) -> Environment:
    """Returns versions, device, threads, hashes of the features, the split's record and the command.

    Args:
        folder: The run's folder, whose disk is looked at.
        device: The device that is trained on.
        stores: Slot → the feature store that is read.
        split: The split.
    """
    return Environment(
        abawkit=__version__,
        python=sys.version.split()[0],
        torch=str(torch.__version__),
        numpy=np.__version__,
        platform=platform.platform(),
        device=device,
        device_name=torch.cuda.get_device_name(device) if device != "cpu" else platform.processor(),
        threads=torch.get_num_threads(),
        features={slot: store.content_digest(store.ids) for slot, store in stores.items()},
        split=split.record,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        free_disk_bytes=shutil.disk_usage(folder).free,
    )
