"""``abawkit simulate``: a workspace whose labels and features are simulated, ready for every later step.

It holds a challenge folder of three CSVs and no media (``train_split.csv``, ``valid_split.csv``, and a list of the
test ids, ``test_split.csv``, as teams make one), a feature store of each modality, the official split, groups files of
all clips, and the labels of the test clips in ``hidden_test_labels.csv``, outside the challenge folder: nothing reads
them but ``abawkit evaluate --on test --labels``. Everything says that it is simulated.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawkit.challenge import EMI
from abawkit.data.groups import write_groups
from abawkit.data.labels import write_ids, write_labels
from abawkit.data.splits.resplit import resplit
from abawkit.errors import AbawkitError
from abawkit.features.spec import MODALITIES, SIMULATED, ClipFeatures, FeatureSpec, Modality, Status
from abawkit.features.writer import open_for_writing
from abawkit.fileio import digest, human_bytes, locked, storage_errors, write_json
from abawkit.jobs.marker import state_of
from abawkit.jobs.simulation.constants import constants, constants_digest
from abawkit.jobs.simulation.signal import SHAPES, Signal
from abawkit.jobs.simulation.world import SPLITS, World, draw_world, split_sizes
from abawkit.progress import SILENT, Progress
from abawkit.workspace import CONFIG_NAME, SIMULATION, Workspace, init_workspace

HIDDEN = "hidden_test_labels.csv"
SUBJECTS, SEED_VIDEOS = "subjects.csv", "seed_videos.csv"
CHALLENGE = "challenge"
NOTE = "SIMULATED: drawn from random numbers. No score on it says anything about real clips."

#: Raised when the same seed gives other bytes than before.
GENERATOR = 1

#: Clips per segment: what is in memory at a time, 130 MiB of audio.
_SEGMENT = 128
#: Bytes per clip besides its values: ids, digests, its rows in the tables.
_PER_CLIP = 600


@dataclass(frozen=True)
class Simulation:
    """A simulated workspace.

    Attributes:
        root: The workspace.
        seed: What it was drawn from.
        sizes: ``train``, ``valid``, ``test`` → number of clips.
        frames: Modality → number of frames.
        missing_text: Split → number of clips without words.
        persons: Split → number of persons; nobody is in two splits.
        seed_videos: Number of seed videos, which all splits share.
        hours: Length of all clips.
        bytes: Size of the feature stores.
        seconds: How long it took; what was there already took none.
    """

    root: Path
    seed: int
    sizes: Mapping[str, int]
    frames: Mapping[str, int]
    missing_text: Mapping[str, int]
    persons: Mapping[str, int]
    seed_videos: int
    hours: float
    bytes: int
    seconds: float

    @property
    def hidden(self) -> Path:
        """The labels of the test clips."""
        return self.root / HIDDEN

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        own = {key: value for key, value in vars(self).items() if key != "root"}
        return {"simulated": True, "note": NOTE, "workspace": str(self.root), "hidden": str(self.hidden), **own}


def simulate(
    root: Path,
    *,
    clips: int | None = None,
    scale: float | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Simulation:
    """Returns a simulated workspace, written to ``root`` where it is not there yet.

    Args:
        root: Not there, empty, or an earlier simulation with the same arguments, which is gone on with.
        clips: Number of training and validation clips together; test clips come on top, in the official proportion.
        scale: Size as a multiple of the official one (8,072 + 4,588 + 4,586 clips), which is the default.
        seed: Same seed and size, same bytes, on however busy a machine.
        progress: Where progress goes.

    Raises:
        UsageError: ``root`` holds something else, or the size is none.
        AbawkitError: There is not enough room on the disk, or another process is writing here.
    """
    began = time.monotonic()
    sizes = split_sizes(clips, scale)
    made_from = {"generator": GENERATOR, "seed": seed, **sizes, "constants": constants_digest()}
    whole = _is_whole(root, made_from)
    world = draw_world(seed, sizes, constants())
    signals = {modality: Signal(world, modality, constants()["strengths"][modality]) for modality in MODALITIES}
    if not whole:
        _refuse_without_room(root, signals, progress)
        with locked(root, "simulating a workspace"):
            state_of(root, SIMULATION, "simulation", made_from)  # another process may have been here
            write_json(root / SIMULATION, {"note": NOTE, "state": "unfinished", "made_from": made_from})
            _write_tables(root, world)
            for signal in signals.values():
                _write_store(root, signal, made_from, progress)
            resplit(Workspace.open(root, environ={}), "2:1")
            write_json(root / SIMULATION, {"note": NOTE, "state": "whole", "made_from": made_from})
    rows = {split: world.rows(split) for split in SPLITS}
    return Simulation(
        root=root,
        seed=seed,
        sizes=sizes,
        frames={modality: int(signal.lengths.sum()) for modality, signal in signals.items()},
        missing_text={split: int(world.silent[rows[split]].sum()) for split in SPLITS},
        persons={split: len(np.unique(world.persons[rows[split]])) for split in SPLITS},
        seed_videos=len(np.unique(world.videos)),
        hours=float(world.seconds.sum() / 3600),
        bytes=sum(file.stat().st_size for file in (root / "features").glob("*/*/segment-*.h5")),
        seconds=time.monotonic() - began,
    )


def simulated_spec(modality: Modality, made_from: Mapping[str, Any]) -> FeatureSpec:
    """Returns the spec of a simulated store; its signature changes with everything the values come from."""
    shape = SHAPES[modality]
    return FeatureSpec(
        modality=modality,
        name="simulated",
        dim=shape.dim,
        extractor=f"{SIMULATED}{GENERATOR}",
        preprocessing={**made_from, "frames_per_second": shape.rate, "note": NOTE},
        time_source="none" if shape.rate is None else "index",
    )


def _write_tables(root: Path, world: World) -> None:
    """Writes the challenge folder, the hidden labels, the groups and the settings."""
    folder, names = root / CHALLENGE, EMI.folders
    ids = {split: world.ids[world.rows(split)] for split in SPLITS}
    for split, path in (
        ("train", folder / names.train_csv[0]),
        ("valid", folder / names.valid_csv[0]),
        ("test", root / HIDDEN),
    ):
        write_labels(path, EMI, ids[split], world.labels[world.rows(split)])
    write_ids(folder / names.test_csv[0], EMI, ids["test"])
    persons = {clip: f"person-{person:04d}" for clip, person in zip(world.ids, world.persons, strict=True)}
    videos = {clip: f"seed-{video:04d}" for clip, video in zip(world.ids, world.videos, strict=True)}
    write_groups(root / SUBJECTS, EMI, persons)
    # Seed videos are not subjects: a split along them is not called subject-safe.
    write_groups(root / SEED_VIDEOS, EMI, videos, "proxy_seed")
    if not (root / CONFIG_NAME).exists():
        init_workspace(root, folder)


def _write_store(root: Path, signal: Signal, made_from: Mapping[str, Any], progress: Progress) -> None:
    """Writes one modality's store segment by segment; segments that are there already are left as they are."""
    world, spec = signal.world, simulated_spec(signal.modality, made_from)
    rate = signal.shape.rate
    count = len(world.ids)
    path = root / "features" / signal.modality / spec.folder
    with open_for_writing(path, spec) as writer, progress.task(f"simulate {signal.modality}", count) as task:
        for first in range(0, count, _SEGMENT):
            last = min(first + _SEGMENT, count)
            ids = world.ids[first:last]
            if not all(clip in writer.store for clip in ids):
                clips = []
                for clip, values in zip(ids, signal.frames(first, last), strict=True):
                    times = np.arange(len(values)) / rate if rate else np.full(len(values), np.nan)
                    status = Status.PRESENT if len(values) else Status.MISSING
                    source = digest("simulated", spec.signature, clip)
                    clips.append(ClipFeatures(clip, status, values, times.astype(np.float32), source))
                writer.add(clips)
            task.advance(last - first)


def _refuse_without_room(root: Path, signals: Mapping[Modality, Signal], progress: Progress) -> None:
    """Says how much room the stores need and how much there is.

    Raises:
        AbawkitError: There is not enough.
    """
    needed = sum(
        int(signal.lengths.sum()) * (2 * signal.shape.dim + 4) + _PER_CLIP * len(signal.lengths)
        for signal in signals.values()
    )
    there = sum(file.stat().st_size for file in root.glob("features/*/*/segment-*.h5"))
    with storage_errors(root):
        free = shutil.disk_usage(
            next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
        )
    missing = max(needed - there, 0)
    progress.say(f"{human_bytes(missing)} to write, {human_bytes(free.free)} free")
    if missing > free.free:
        raise AbawkitError(
            "there is not enough room on the disk",
            path=root,
            got=f"{human_bytes(free.free)} free",
            expected=f"{human_bytes(missing)}",
            todo="make room, choose a folder on another disk, or simulate fewer clips: --clips 1500",
        )


def _is_whole(root: Path, made_from: Mapping[str, Any]) -> bool:
    """Whether ``root`` holds this very simulation with all its segments; False also means that it may be written.

    Raises:
        UsageError: ``root`` holds anything else.
    """
    state = state_of(root, SIMULATION, "simulation", made_from)
    # A damaged segment that its user deleted is made again.
    clips = sum(made_from[split] for split in SPLITS)
    segments = sum(1 for _ in root.glob("features/*/simulated-*/segment-*.h5"))
    return state == "whole" and segments >= len(MODALITIES) * -(-clips // _SEGMENT)
