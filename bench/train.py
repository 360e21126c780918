"""Training against the script that one writes: one pickle per clip and modality, padded batches, a DataLoader.

Parts, each with its ratios taken in one run: `epochs` (F2 stage by stage on 1,500 clips, batch 16, one thread here, all
cores there), `campaign` (F1 to F5 with three seeds, from features to predictions, against the script that trains every
system and seed from scratch; its time follows from its measured epochs), `long` (one clip of 12,500 frames in a batch),
`scale` (all five systems at 1/16 and 1/8 of the challenge, or with `--full` at its size), and only when asked for
`table3` (an epoch of each row of the paper's Table 3) and `gpu` (steps with resident and with streamed frames against
the floor, then all five systems at full size). Features are simulated.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from abawkit.data.splits.resplit import find_split, resplit
from abawkit.features.store import FeatureStore, list_stores
from abawkit.jobs.simulation.simulate import simulate
from abawkit.models.clips import Packed
from abawkit.models.network import Network
from abawkit.models.pooling import attention_pool
from abawkit.optim.losses import CccMse
from abawkit.optim.optimizer import adamw, parameter_groups
from abawkit.optim.schedules import Constant
from abawkit.systems.loader import GROUPS, TABLE_5, find_systems, load_system
from abawkit.training.batches import Source, load_clips
from abawkit.training.checkpoint import load_weights
from abawkit.training.loop import FitPlan, train_epoch
from abawkit.training.placement import Resident, Streamed
from abawkit.training.train import train, train_many
from abawkit.workspace import Workspace

EPOCHS = 4
BATCH = 16


class Stopwatch:
    """A progress that notes when each epoch of each stage ended."""

    def __init__(self) -> None:
        self.ends: dict[str, list[float]] = {}

    @contextmanager
    def task(self, what: str, total: int | None = None, unit: str = "clips") -> Iterator[Any]:
        """Begins a stage."""
        ends = self.ends.setdefault(what.removeprefix("train "), [time.perf_counter()])

        class Bar:
            def advance(self, amount: int = 1, note: str = "") -> None:
                """Ends an epoch."""
                if amount:
                    ends.append(time.perf_counter())

        yield Bar()

    def say(self, message: str) -> None:
        """Says nothing."""

    def epoch(self, stage: str) -> float:
        """The median seconds of an epoch but the first."""
        return float(np.median(np.diff(self.ends[stage])[1:]))


def opened(root: Path, epochs: int, workers: int = 0, device: str = "cpu") -> Workspace:
    """The workspace with so many epochs in each stage, and no early stopping."""
    stages = ("text", "audio", "vision", "motion", "fusion")
    settings: dict[str, Any] = {f"training.{stage}_epochs": epochs for stage in stages}
    settings |= {"training.patience": 1000, "training.fusion_patience": 1000}
    settings |= {"training.workers": workers, "training.device": device}
    return Workspace.open(root, environ={}, overrides=settings)


class Files(torch.utils.data.Dataset):
    """One pickle per clip and modality, float32, as an extraction loop leaves them."""

    def __init__(self, root: Path, modalities: Sequence[str], ids: Sequence[str], truth: Any) -> None:
        self.root, self.modalities, self.ids = root, modalities, ids
        self.truth = torch.tensor(np.asarray(truth), dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        clip = {}
        for modality in self.modalities:
            with (self.root / modality / f"{self.ids[index]}.pkl").open("rb") as file:
                clip[modality] = torch.from_numpy(pickle.load(file))
        return clip, self.truth[index]


def padded(items: list[tuple[dict[str, Tensor], Tensor]]) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """Clips padded to the longest of the batch, with masks."""
    batch = {}
    for modality in items[0][0]:
        clips = [clip[modality] for clip, _ in items]
        lengths = torch.tensor([len(clip) for clip in clips])
        frames = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        batch[modality] = (frames, torch.arange(frames.shape[1])[None] < lengths[:, None])
    return batch, torch.stack([truth for _, truth in items])


class Encoder(nn.Module):
    """The paper's encoder over padded frames; text is one frame."""

    def __init__(self, modality: str, dim: int, hidden: int) -> None:
        super().__init__()
        self.scorer = None if modality == "text" else nn.Linear(dim, 1)
        self.project = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(0.45), nn.LayerNorm(hidden)
        )

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Returns embeddings of padded clips."""
        if self.scorer is None:
            pooled = frames[:, 0]
        else:
            scores = self.scorer(frames).squeeze(-1).masked_fill(~mask, -1e9)
            pooled = torch.bmm(torch.softmax(scores, 1).unsqueeze(1), frames).squeeze(1)
        result: Tensor = self.project(pooled)
        return result


class Script(nn.Module):
    """One modality with its head, or all of them with the fusion regressor."""

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        hidden = {modality: 128 if modality == "motion" else 384 for modality in dims}
        self.encoders = nn.ModuleDict({m: Encoder(m, dim, hidden[m]) for m, dim in dims.items()})
        total = sum(hidden.values())
        if len(dims) == 1:
            self.head = nn.Sequential(nn.Dropout(0.45), nn.Linear(total, 6))
        else:
            self.head = nn.Sequential(
                nn.LayerNorm(total), nn.Dropout(0.45), nn.Linear(total, 384), nn.GELU(), nn.Dropout(0.45),
                nn.Linear(384, 6),
            )  # fmt: skip

    def forward(self, batch: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Returns predictions."""
        embeddings = []
        for modality, encoder in self.encoders.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and not (modality == "motion" and len(batch) > 1)):
                embeddings.append(encoder(*batch[modality]))
        result: Tensor = self.head(torch.cat(embeddings, 1))
        return result


def loss_of(truth: Tensor, prediction: Tensor) -> Tensor:
    """.7 (1 - mean CCC) + .3 MSE."""
    t, p = truth - truth.mean(0), prediction - prediction.mean(0)
    below = (t * t).mean(0) + (p * p).mean(0) + (truth.mean(0) - prediction.mean(0)) ** 2
    return 0.7 * (1 - (2 * (t * p).mean(0) / (below + 1e-8)).mean()) + 0.3 * nn.functional.mse_loss(prediction, truth)


def reference(files: Path, modalities: Sequence[str], dims: dict[str, int], split: Any, workers: int) -> float:
    """Seconds of one epoch of the script, the better of two after one that warms the cache."""
    torch.manual_seed(0)
    network = Script({modality: dims[modality] for modality in modalities})
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=1e-2)
    loaders = [
        torch.utils.data.DataLoader(
            Files(files, modalities, side.ids, side.values), BATCH, shuffle=side is split.train, collate_fn=padded,
            num_workers=workers, persistent_workers=workers > 0,
        )
        for side in (split.train, split.valid)
    ]  # fmt: skip
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        network.train()
        for batch, truth in loaders[0]:
            optimizer.zero_grad()
            loss_of(truth, network(batch)).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        network.eval()
        with torch.no_grad():
            predicted = torch.cat([network(batch) for batch, _ in loaders[1]])
        np.corrcoef(predicted[:, 0].numpy(), split.valid.values[:, 0])
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def epochs(scratch: Path, threads: int) -> None:
    """Prints seconds per epoch of F2's stages, there and here, and the floor."""
    root = scratch / "epochs"
    simulate(root, clips=1500)
    work = opened(root, EPOCHS, 1)
    split = find_split(work, "2:1", None)
    stores = {store.spec.modality: store for store in list_stores(work.features)}
    watch = Stopwatch()
    train(work, "F2", progress=watch)
    slow = script_epochs(scratch / "pickles", stores, split, threads)
    total = [0.0, 0.0]
    for stage, seconds in slow.items():
        total[0] += seconds
        total[1] += watch.epoch(stage)
        print(
            f"epochs    {stage:7s} script {seconds:6.2f} s, here {watch.epoch(stage):6.3f} s: "
            f"{seconds / watch.epoch(stage):.1f} times",
            flush=True,
        )
    print(f"epochs    F2      script {total[0]:6.2f} s ({threads} threads), here {total[1]:6.3f} s (1 thread): "
          f"{total[0] / total[1]:.1f} times")  # fmt: skip
    floor(stores["audio"], split)


def script_epochs(pickles: Path, stores: dict[Any, FeatureStore], split: Any, threads: int) -> dict[str, float]:
    """Seconds of an epoch of each of F2's stages in the script, with or without DataLoader workers, the faster."""
    dims = {modality: store.spec.dim for modality, store in stores.items()}
    write_pickles(pickles, stores, [*split.train.ids, *split.valid.ids])
    torch.set_num_threads(threads)
    found = {}
    for stage in ("text", "audio", "vision", "motion", "fusion"):
        used = list(dims) if stage == "fusion" else [stage]
        found[stage] = min(reference(pickles, used, dims, split, workers) for workers in (0, 2))
    torch.set_num_threads(1)
    return found


def campaign(scratch: Path, threads: int, *, clips: int = 1500, most: int = 8) -> None:
    """Prints what F1 to F5 with three seeds take, from features to predictions, there and here, at equal epochs."""
    root = scratch / "campaign"
    simulate(root, clips=clips)
    work = opened(root, most)
    resplit(work, "4:1")
    splits = {ratio: find_split(work, ratio, None) for ratio in ("2:1", "4:1")}
    stores = {store.spec.modality: store for store in list_stores(work.features)}
    slow = script_epochs(scratch / "pickles", stores, splits["2:1"], threads)
    official = len(splits["2:1"].train.ids)
    script = 0.0
    for name in TABLE_5:
        system = load_system(name)
        one = sum(slow[slot] for slot in system.slots)
        # The script's fusion epoch was measured with motion; without it, it is shorter by motion's part.
        fusion = slow["fusion"] - (0 if "motion" in system.slots else slow["motion"])
        script += 3 * most * (one + fusion) * len(splits[system.ratio].train.ids) / official
    began = time.perf_counter()
    train_many(work, TABLE_5, seeds=[1, 2, 3])
    taken = time.perf_counter() - began
    print(f"campaign  F1 to F5, three seeds, {most} epochs a stage, {clips} clips: script {script:.0f} s (from its "
          f"epochs), here {taken:.1f} s: {script / taken:.1f} times")  # fmt: skip


def floor(store: FeatureStore, split: Any) -> None:
    """Prints what an audio epoch cannot go below: one read of the bytes, and the matrix products."""
    clips = [store.frames(clip).view(np.uint16) for clip in [*split.train.ids, *split.valid.ids]]
    began = time.perf_counter()
    for clip in clips:
        clip.reshape(-1)[: clip.size // 4 * 4].view(np.uint64).max(initial=0)
    read = time.perf_counter() - began
    linear, inputs = nn.Linear(1024, 384), torch.randn(BATCH, 1024)
    began = time.perf_counter()
    for _ in range(len(split.train.ids) // BATCH):
        linear(inputs).sum().backward()
    print(f"epochs    floor of audio: bytes read once {read:.3f} s, products {time.perf_counter() - began:.3f} s")


def write_pickles(root: Path, stores: dict[Any, FeatureStore], ids: Sequence[str]) -> None:
    """Writes every clip's frames as float32, a zero frame for a missing clip."""
    for modality, store in stores.items():
        (root / modality).mkdir(parents=True)
        for clip in ids:
            frames = np.array(store.frames(clip), np.float32)
            with (root / modality / f"{clip}.pkl").open("wb") as file:
                pickle.dump(frames if len(frames) else np.zeros((1, store.spec.dim), np.float32), file, protocol=5)


def long(scratch: Path, threads: int) -> None:
    """Prints what one clip of 12,500 frames costs in a batch of sixteen."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    clips = [torch.from_numpy(rng.standard_normal((359, 1024)).astype(np.float16)) for _ in range(BATCH)]
    huge = torch.from_numpy(rng.standard_normal((12_500, 1024)).astype(np.float16))
    weight, bias = torch.randn(1024, requires_grad=True), torch.zeros((), requires_grad=True)

    def step(batch: list[Tensor]) -> float:
        taken = []
        for _ in range(7):
            began = time.perf_counter()
            attention_pool(Packed.of(batch), weight, bias).sum().backward()
            taken.append(time.perf_counter() - began)
        return min(taken)

    usual, with_huge = step(clips), step([*clips[:-1], huge])
    frames = (15 * 359 + 12_500) / (BATCH * 359)
    print(f"long      batch {usual * 1e3:.1f} ms, with a clip of 12,500 frames {with_huge * 1e3:.1f} ms: "
          f"{with_huge / usual:.1f} times, for {frames:.1f} times the frames")  # fmt: skip


def scale(scratch: Path, threads: int, *, full: bool) -> None:
    """Prints time and memory of all five systems, 15 epochs per stage, at growing sizes; each in a process."""
    for share in (1.0,) if full else (1 / 16, 1 / 8):
        root = scratch / f"scale-{share}"
        simulate(root, scale=share)
        resplit(opened(root, 15), "4:1")
        code = (
            "import json, sys, threading, time\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path\n"
            "from train import TABLE_5, anonymous, opened, train_many\n"
            "seen = [0.0]\n"
            "def look():\n"
            "    while True:\n"
            "        seen[0] = max(seen[0], anonymous())\n"
            "        time.sleep(0.2)\n"
            "if __name__ == '__main__':\n"
            "    threading.Thread(target=look, daemon=True).start()\n"
            "    began = time.perf_counter()\n"
            f"    train_many(opened(Path({str(root)!r}), 15), TABLE_5, seeds=[1])\n"
            "    print(json.dumps([time.perf_counter() - began, seen[0]]))\n"
        )
        (scratch / "one_scale.py").write_text(code)
        run = subprocess.run([sys.executable, scratch / "one_scale.py"], capture_output=True, text=True, check=True)
        taken, own = json.loads(run.stdout.splitlines()[-1])
        print(
            f"scale     F1 to F5, 15 epochs a stage, {share:.4f} of the challenge: {taken:6.1f} s; largest anonymous "
            f"memory of all processes {own:.2f} GiB",
            flush=True,
        )


def table3(scratch: Path, threads: int, *, share: float, epochs: int = 2) -> None:
    """Prints seconds per epoch and parameters of each row of Table 3 on one thread, on simulated features."""
    root = scratch / "table3"
    simulate(root, scale=share)
    settings: dict[str, Any] = {f"training.{slot}_epochs": epochs for slot in ("text", "audio", "vision", "motion")}
    workspace = Workspace.open(root, environ={}, overrides=settings | {"training.workers": 1})
    for found in find_systems():
        if found.group == GROUPS["paper/table3"]:
            watch = Stopwatch()
            run = train(workspace, found.name, progress=watch)
            ((slot, ends),) = watch.ends.items()
            parameters = sum(values.numel() for values in load_weights(run.path / "model.safetensors").values())
            print(
                f"table3    {found.name:38s} {slot:6s} {min(np.diff(ends)):8.2f} s per epoch, "
                f"{parameters:9,} parameters",
                flush=True,
            )


def gpu(scratch: Path, threads: int, *, share: float = 1.0, device: str = "cuda:0") -> None:
    """Prints what a step of the audio stage costs on a GPU, its floor, and all five systems, 15 epochs per stage."""
    root = scratch / "gpu"
    simulate(root, scale=share)
    workspace = opened(root, 15, device=device)
    resplit(workspace, "4:1")
    audio_steps(workspace, device)
    watch = Stopwatch()
    began = time.perf_counter()
    train_many(workspace, ["F1", "F2", "F3", "F4", "F5"], seeds=[1], progress=watch)
    taken = time.perf_counter() - began
    for stage in watch.ends:
        print(f"gpu       {stage:7s} {watch.epoch(stage):6.3f} s per epoch, validation included, of all its trainings")
    print(f"gpu       F1 to F5 at {share:.4g} of the challenge: {taken:.1f} s (goal 120 s at 1)", flush=True)


def audio_steps(workspace: Workspace, device: str) -> None:
    """Prints time and launches per step of the audio stage, and what no step of it can go below."""
    split = find_split(workspace, "2:1", None)
    stores = {store.spec.modality: store for store in list_stores(workspace.features)}
    clips = load_clips({"audio": Source(stores["audio"])}, split.train.ids, split.train.values)
    network = Network(load_system("F2").network("audio", {"audio": stores["audio"].spec.dim}, 6)).to(device)
    optimizer = adamw(parameter_groups(network, lr=2e-4), 1e-2)
    plan = FitPlan("audio", 3, 3, BATCH, [CccMse()], Constant(), seed=1)
    steps = -(-len(clips) // BATCH)
    for kind in (Resident, Streamed):
        began = time.perf_counter()
        placed = kind(clips, device)
        synchronize(device)
        sent = time.perf_counter() - began
        taken = []
        for epoch in range(3):
            began = time.perf_counter()
            train_epoch(
                network, optimizer, placed, plan, epoch
            )  # its last operation reads the loss: the device is done
            taken.append((time.perf_counter() - began) / steps)
        kinds = torch.profiler.ProfilerActivity
        with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA] if "cuda" in device else [kinds.CPU]) as seen:
            train_epoch(network, optimizer, placed, plan, 3)
        launches = sum(event.count for event in seen.key_averages() if "LaunchKernel" in event.key) / steps
        print(f"gpu       audio, {kind.__name__.lower():8s} placed in {sent:.2f} s; {min(taken[1:]) * 1e3:.3f} ms and "
              f"{launches:.0f} launches per step", flush=True)  # fmt: skip
        del placed
    one, frames = torch.zeros(1, device=device), int(clips.lengths("audio").sum()) // steps
    batch = torch.zeros(frames, stores["audio"].spec.dim, dtype=torch.float16, device=device)
    launch, read = (timed(work, device) for work in (lambda: one.add_(1), lambda: torch.empty_like(batch).copy_(batch)))
    print(f"gpu       floor of audio: one launch {launch * 1e6:.1f} us; a batch's {frames} frames copied once "
          f"{read * 1e6:.1f} us", flush=True)  # fmt: skip


def synchronize(device: str) -> None:
    """Waits until the device is done."""
    if "cuda" in device:
        torch.cuda.synchronize(device)


def timed(work: Callable[[], Any], device: str, times: int = 1000) -> float:
    """Seconds per call of ``work``, of many that follow one another."""
    work()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return (time.perf_counter() - began) / times


def anonymous() -> float:
    """Anonymous resident memory of this process and its children in GiB."""
    mine = {str(os.getpid())}
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue  # it has just ended
        if status.parent.name in mine or lines.get("PPid", "").strip() in mine:
            total += int(lines.get("RssAnon", "0 kB").split()[0])
    return total / 2**20


def main() -> None:
    """Runs the parts that were asked for."""
    parts: dict[str, Any] = {"epochs": epochs, "campaign": campaign, "long": long}
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*parts, "scale", "table3", "gpu", []], default=[*parts, "scale"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--full", action="store_true", help="`scale` at the challenge's size (13 GiB of features)")
    parser.add_argument("--share", type=float, default=1 / 16, help="`table3` at this share of the challenge")
    given = parser.parse_args()
    if "gpu" in given.parts and not torch.cuda.is_available():
        parser.exit(1, "bench/train.py gpu: there is no GPU that torch can use here\n")
    for name in given.parts:
        with tempfile.TemporaryDirectory() as folder:
            if name == "scale":
                scale(Path(folder), given.threads, full=given.full)
            elif name == "table3":
                table3(Path(folder), given.threads, share=given.share)
            else:
                (parts | {"gpu": gpu})[name](Path(folder), given.threads)


if __name__ == "__main__":
    main()
