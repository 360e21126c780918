"""How long ``groups suggest`` takes on a challenge of the official size, and the largest memory.

The features are random: of 600 persons, and of nobody (no clip is like another). The transcripts are random
sentences, said with slips.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from abawkit.challenge import EMI
from abawkit.data.labels import write_labels
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.writer import open_for_writing
from abawkit.jobs.grouping.suggest import suggest
from abawkit.workspace import Workspace

SIDES = (8072, 4588, 4586)
PERSONS, SEEDS, FRAMES, DIM = 600, 300, 24, 768


def write_challenge(root: Path, rng: np.random.Generator) -> list[str]:
    """Writes labels, names of test clips and transcripts; returns all ids."""
    ids = [f"{number:05d}" for number in range(sum(SIDES))]
    train, valid = ids[: SIDES[0]], ids[SIDES[0] : SIDES[0] + SIDES[1]]
    data = root / "challenge"
    for name in ("text", "test/raw", "test/text"):
        (data / name).mkdir(parents=True)
    labels = rng.integers(0, 4, (len(train) + len(valid), 6)) / 3
    write_labels(data / "train_split.csv", EMI, train, labels[: len(train)])
    write_labels(data / "valid_split.csv", EMI, valid, labels[len(train) :])
    words = ["".join(rng.choice(list("abcdefghij"), 5)) for _ in range(3000)]
    sentences = [rng.choice(words, rng.integers(4, 14)) for _ in range(SEEDS)]
    for number, clip in enumerate(ids):
        said = [word if rng.random() > 0.12 else rng.choice(words) for word in sentences[rng.integers(SEEDS)]]
        base = data if number < SIDES[0] + SIDES[1] else data / "test"
        (base / "text" / f"{clip}.txt").write_text(" ".join(said))
        if base != data:
            (base / "raw" / f"{clip}.mp4").touch()
    (root / "abawkit.toml").write_text('data = "challenge"\n')
    return ids


def write_store(root: Path, ids: list[str], rng: np.random.Generator, structured: bool) -> None:
    """Writes a store of random vision features."""
    name = "persons" if structured else "noise"
    spec = FeatureSpec("vision", name, DIM, f"random-{name}/1")
    faces = rng.normal(size=(PERSONS, DIM)).astype(np.float32)
    bounds = np.cumsum([0, *SIDES]) * PERSONS // sum(SIDES)  # nobody is on two sides
    side = np.repeat(np.arange(3), SIDES)
    with open_for_writing(root / "features" / "vision" / spec.folder, spec) as writer:
        for start in range(0, len(ids), 1024):
            clips = []
            for number in range(start, min(start + 1024, len(ids))):
                person = rng.integers(bounds[side[number]], bounds[side[number] + 1])
                values = rng.normal(size=(FRAMES, DIM), scale=2).astype(np.float32) + rng.normal(size=DIM, scale=0.5)
                values = values + faces[person] if structured else values
                times = np.arange(FRAMES, dtype=np.float32)
                clips.append(ClipFeatures(ids[number], Status.PRESENT, values, times, ""))
            writer.add(clips)


def main() -> None:
    """Prints seconds per guess and the largest memory."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ids = write_challenge(root, rng)
        for structured in (True, False):
            write_store(root, ids, rng, structured)
        workspace = Workspace.open(root, environ={})
        for by in ("text", "vision/persons", "vision/noise"):
            began, worked = time.perf_counter(), time.process_time()
            (guess,) = suggest(workspace, [by]).guesses
            took, cpu = time.perf_counter() - began, time.process_time() - worked
            print(f"{by:16s} {len(ids)} clips {took:6.1f} s ({cpu:.1f} s of processor), {len(guess.sizes)} groups")
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
