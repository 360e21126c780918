"""Writes a synthetic challenge in the organisers' layout, with everything that makes real data awkward."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawkit.challenge import EMI
from abawkit.data.labels import write_labels
from abawkit.errors import UsageError
from abawkit.fileio import locked, storage_errors, write_json
from abawkit.jobs.marker import state_of
from abawkit.jobs.synthetic.ballots import Array, draw_ratings, draw_seed_videos, vote_chances
from abawkit.jobs.synthetic.clip import CHALLENGE, CLIP, ONE_FRAME_SECONDS, ClipPlan, streams, write_clip
from abawkit.jobs.synthetic.words import imitate, seed_sentence
from abawkit.progress import SILENT, Progress
from abawkit.workers import WorkerPool, worker_died

#: Says which challenge the folder holds and whether it is whole.
MARKER = ".abawkit-demo.json"

#: Raised when the same seed gives another challenge than before.
GENERATOR = 1

#: What real data have: key → what it is. Each is in every split of 30 clips and more, and somewhere in any case.
ODDITIES: Mapping[str, str] = {
    "one_frame": "a video of one frame, with 0.064 s of sound",
    "ten_times_longer": "a clip ten times as long as the median",
    "empty_face_folder": "a face folder without crops",
    "no_audio_track": "a video without sound, and no mp3",
    "variable_frame_rate": "frames at irregular times",
    "stray_file": "a Thumbs.db in the face folder",
    "missing_transcript": "no transcript",
    "empty_transcript": "a transcript of zero bytes",
}
MISSING_RATE, EMPTY_RATE = 0.04, 0.02
_EVERYWHERE = 30
_LEAST = 4

CLIPS_PER_SEED_VIDEO = 8
MOST_SEED_VIDEOS = 60
CLIPS_PER_PERSON = 4

#: Clip lengths are log-normal: median (seconds), standard deviation of the logarithm, shortest, longest.
LENGTH = (1.8, 0.45, 0.8, 4.0)


@dataclass(frozen=True)
class SyntheticChallenge:
    """A synthetic challenge on disk, and what its folder does not tell.

    Attributes:
        root: The challenge folder.
        seed: What it was drawn from.
        splits: ``train``, ``valid`` and ``test`` → clip ids in order.
        labels: Clip id → six labels in the official order, those of the test clips too.
        oddities: Key of :data:`ODDITIES` → ids of the clips that have it.
        persons: Clip id → number of the person; nobody is in two splits.
        seed_videos: Clip id → number of the seed video that it imitates; those recur across splits.
    """

    root: Path
    seed: int
    splits: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, tuple[float, ...]]
    oddities: Mapping[str, tuple[str, ...]]
    persons: Mapping[str, int]
    seed_videos: Mapping[str, int]


def write_challenge(
    root: Path,
    *,
    seed: int = 0,
    train: int = 230,
    valid: int = 130,
    test: int = 100,
    shuffle_labels: bool = False,
    hidden_labels: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> SyntheticChallenge:
    """Returns a synthetic challenge, written to ``root`` where it is not there yet.

    There are ``train_split.csv`` and ``valid_split.csv``, ``raw``, ``audio``, ``face_images`` and ``text`` for
    their clips, the same four folders under ``test_data`` for the test clips, and no test CSV. Mouth, voice,
    movement and words each follow the labels through noise of their own. A write that was interrupted is done
    again by the same call; a whole challenge of the same arguments is left as it is.

    Args:
        root: The challenge folder: not there, empty, or an earlier one of the same arguments.
        seed: Same seed and sizes, same challenge, however many workers there are.
        train: Number of training clips (at least 4).
        valid: Number of validation clips (at least 4).
        test: Number of test clips (at least 4).
        shuffle_labels: Deal the label rows out to other clips (training and validation together, test among
            themselves): the same media, and nothing to learn.
        hidden_labels: Where to write the test clips' labels, outside ``root``; None: nowhere.
        workers: Number of processes; None: one per processor core.
        progress: Where progress goes.

    Raises:
        UsageError: ``root`` holds something else, ``hidden_labels`` lies within it, or a size is too small.
        AbawkitError: The disk is full, ``root`` cannot be written to, or a worker process died.
    """
    if min(train, valid, test) < _LEAST or train + valid + test > 10 ** (EMI.ids.digits or 0):
        raise UsageError(
            "this is not a size for a challenge",
            got=f"{train}, {valid}, {test} clips",
            expected=f"at least {_LEAST} each",
        )
    if hidden_labels is not None and hidden_labels.resolve().is_relative_to(root.resolve()):
        raise UsageError("the hidden labels would not be hidden", path=hidden_labels, expected=f"outside {root}")
    challenge, plans = plan_challenge(root, seed, {"train": train, "valid": valid, "test": test}, shuffle_labels)
    made_from = {
        "generator": GENERATOR,
        "seed": seed,
        "train": train,
        "valid": valid,
        "test": test,
        "shuffle_labels": shuffle_labels,
    }
    if not _is_whole(root, made_from):
        with locked(root, "writing a synthetic challenge"):
            if not _is_whole(root, made_from):
                write_json(root / MARKER, {"state": "unfinished", "made_from": made_from})
                _write(challenge, plans, workers or len(os.sched_getaffinity(0)), progress)
                write_json(root / MARKER, {"state": "whole", "made_from": made_from})
                # whoever still waits for the lock will find the challenge whole
                (root / ".lock").unlink(missing_ok=True)
    if hidden_labels is not None:
        _write_labels(hidden_labels, challenge, "test")
    return challenge


def plan_challenge(
    root: Path, seed: int, sizes: Mapping[str, int], shuffle_labels: bool
) -> tuple[SyntheticChallenge, list[ClipPlan]]:
    """Returns a challenge and the plan of each clip; nothing is written.

    Args:
        root: Where it would be written.
        seed: What it is drawn from.
        sizes: ``train``, ``valid`` and ``test`` → number of clips, in this order.
        shuffle_labels: See :func:`write_challenge`; the plans stay the same.
    """
    total = sum(sizes.values())
    seed_rng, rating_rng, deal_rng, length_rng, oddity_rng, shuffle_rng = streams(seed, CHALLENGE, 0, 6)
    ids = [str(number).zfill(EMI.ids.digits or 0) for number in range(total)]
    splits, persons, videos, start, people = {}, [], [], 0, 0
    latents = draw_seed_videos(seed_rng, max(_LEAST, min(MOST_SEED_VIDEOS, total // CLIPS_PER_SEED_VIDEO)))
    sentences = [seed_sentence(seed_rng, chances) for chances in vote_chances(latents)]
    for split, size in sizes.items():
        splits[split] = tuple(ids[start : start + size])
        here = -(-size // CLIPS_PER_PERSON)
        persons += deal_rng.permutation(people + np.arange(size) % here).tolist()
        videos += deal_rng.permutation(np.arange(size) % len(latents)).tolist()
        start, people = start + size, people + here
    shown = draw_ratings(rating_rng, latents[videos]).labels
    labels = shown[_shuffled(shuffle_rng, sizes)] if shuffle_labels else shown
    oddities = _deal_oddities(oddity_rng, splits)
    median, spread, shortest, longest = LENGTH
    seconds = np.clip(median * np.exp(spread * length_rng.standard_normal(total)), shortest, longest)

    plans = []
    for number, clip in enumerate(ids):
        odd = frozenset(oddity for oddity, clips in oddities.items() if clip in clips)
        words = imitate(streams(seed, CLIP, number, 1)[0], sentences[videos[number]])
        length = float(seconds[number])
        if "one_frame" in odd:
            length = ONE_FRAME_SECONDS
        elif "ten_times_longer" in odd:
            length = 10 * float(np.median(seconds))
        plans.append(
            ClipPlan(
                id=clip,
                folder=EMI.folders.test[0] if clip in splits["test"] else "",
                seed=seed,
                labels=tuple(shown[number].tolist()),
                person=persons[number],
                words=words,
                transcript=None if "missing_transcript" in odd else "" if "empty_transcript" in odd else words + "\n",
                seconds=length,
                oddities=odd,
            )
        )
    rows = {clip: tuple(row) for clip, row in zip(ids, labels.tolist(), strict=True)}
    people_of, videos_of = dict(zip(ids, persons, strict=True)), dict(zip(ids, videos, strict=True))
    return SyntheticChallenge(root, seed, splits, rows, oddities, people_of, videos_of), plans


def _shuffled(rng: np.random.Generator, sizes: Mapping[str, int]) -> Array:
    """Returns which clip's labels each clip gets; no test labels leave the test split."""
    labelled = sizes["train"] + sizes["valid"]
    return np.concatenate([rng.permutation(labelled), labelled + rng.permutation(sizes["test"])])


def _deal_oddities(rng: np.random.Generator, splits: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Returns which clips have which oddity; a clip has one, but for what goes together."""
    found: dict[str, list[str]] = {oddity: [] for oddity in ODDITIES}
    single = [oddity for oddity in ODDITIES if not oddity.endswith("transcript")]
    for turn, ids in enumerate(splits.values()):
        free = rng.permutation(ids).tolist()
        own: dict[str, list[str]] = {oddity: [] for oddity in ODDITIES}
        for oddity in single if len(ids) >= _EVERYWHERE else single[turn::3]:
            own[oddity].append(free.pop())
        # without sound there is nothing to recognise, and nobody says a word in 0.064 s
        own["missing_transcript"] += own["no_audio_track"]
        own["empty_transcript"] += own["one_frame"]
        for oddity, rate in (("missing_transcript", MISSING_RATE), ("empty_transcript", EMPTY_RATE)):
            own[oddity] += [free.pop() for _ in range(max(1, round(rate * len(ids))) - len(own[oddity]))]
        for oddity, clips in own.items():
            found[oddity] += clips
    return {oddity: tuple(sorted(clips)) for oddity, clips in found.items()}


def _is_whole(root: Path, made_from: Mapping[str, Any]) -> bool:
    """Whether ``root`` holds this very challenge; False also means that it may be written.

    Raises:
        UsageError: ``root`` holds anything else.
    """
    return state_of(root, MARKER, "synthetic challenge", made_from) == "whole"


def _write(challenge: SyntheticChallenge, plans: Sequence[ClipPlan], workers: int, progress: Progress) -> None:
    names = EMI.folders
    root = challenge.root
    with storage_errors(root):
        for base in (root, root / names.test[0]):
            for name in (names.video, names.audio, names.faces, names.text):
                (base / name).mkdir(parents=True, exist_ok=True)
    _write_labels(root / names.train_csv[0], challenge, "train")
    _write_labels(root / names.valid_csv[0], challenge, "valid")
    with progress.task("writing the synthetic challenge", len(plans)) as task:
        if workers == 1:
            for plan in plans:
                task.advance(note=write_clip(root, plan))
            return
        pool = WorkerPool(min(workers, len(plans)))
        try:
            longest_first = sorted(plans, key=lambda plan: -plan.seconds)
            for future in [pool.submit(write_clip, root, plan) for plan in longest_first]:
                task.advance(note=pool.result(future))
        except BrokenProcessPool as error:
            raise worker_died("use fewer workers; one needs no other process", path=root) from error
        finally:
            pool.end()


def _write_labels(path: Path, challenge: SyntheticChallenge, split: str) -> None:
    ids = challenge.splits[split]
    write_labels(path, EMI, ids, [challenge.labels[clip] for clip in ids])
