"""Extraction against a plain loop over clips, against the model's own rate, and with one clip of 21 minutes.

Parts, each with its ratio taken in one run: `overhead` (tiny models: what we add to them), `rate` (models of the real
sizes with random weights: how near end to end comes to their forward passes), `long` (memory), `scan` (planning 17,246
clips). Without arguments all of them. Clips are as long as the challenge's: 6.9 s of sound and 65 crops on average.

Everything large is imported in functions: worker processes import this file, and would import it too.
"""

import argparse
import csv
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from abawkit.layout.folder import Clip
    from abawkit.workspace import Workspace

SAMPLE_RATE = 16_000
#: The challenge's clips: mean 6.9 s, 95th percentile 11.5 s; about 65 face crops.
MEDIAN, SPREAD, CROPS_PER_SECOND = 6.5, 0.35, 9.4


def typical(root: Path, count: int, *, distinct: int = 40, seen: int = 400) -> list[str]:
    """Writes a challenge of `count` clips as long as the real ones and returns their ids.

    Crops, words and voices are the demo's; sounds and crops of `distinct` clips are linked under other ids, the crops
    of no more than `seen` clips.
    """
    from abawkit.jobs.synthetic.challenge import write_challenge
    from abawkit.media.audio import decode_audio
    from abawkit.media.encode import write_mp3

    write_challenge(root / "demo", train=16, valid=4, test=4)
    rng = np.random.default_rng(0)
    crops = sorted((root / "demo/face_images").rglob("*.jpg"))
    words = sorted((root / "demo/text").glob("*.txt"))
    voice = np.concatenate([decode_audio(path).waveform for path in sorted((root / "demo/audio").glob("*.mp3"))])
    ids = [f"{number:05d}" for number in range(count)]
    for kind in ("audio", "text", "face_images", "raw"):
        (root / kind).mkdir()
    for index, clip in enumerate(ids):
        (root / "text" / f"{clip}.txt").write_text(words[index % len(words)].read_text() + f" number {clip}")
        first = ids[index % distinct]
        if index >= distinct:
            (root / f"audio/{clip}.mp3").hardlink_to(root / f"audio/{first}.mp3")
            if index >= seen:
                continue
            (root / f"face_images/{clip}").mkdir()
            for path in (root / f"face_images/{first}").iterdir():
                (root / f"face_images/{clip}/{path.name}").hardlink_to(path)
            continue
        seconds = MEDIAN * float(np.exp(SPREAD * rng.standard_normal()))
        start = int(rng.integers(len(voice) - 1))
        write_mp3(root / f"audio/{clip}.mp3", np.resize(np.roll(voice, -start), int(seconds * SAMPLE_RATE)))
        (root / f"face_images/{clip}").mkdir()
        for place in range(max(1, round(seconds * CROPS_PER_SECOND))):
            (root / f"face_images/{clip}/{place}.jpg").hardlink_to(crops[int(rng.integers(len(crops)))])
    header = ["Filename", "Admiration", "Amusement", "Determination", "Empathic Pain", "Excitement", "Joy"]
    for name, members in (("train", ids[::2]), ("valid", ids[1::2])):
        with (root / f"{name}_split.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *([clip, 0.5, 0, 0, 0, 0.5, 0] for clip in members)])
    return ids


def tiny(folder: Path) -> dict[str, Path]:
    """Saves one tiny model of each kind, with the published patch size and frames per second."""
    import transformers as hf

    size: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32
    }  # fmt: skip
    return _save(
        folder,
        hf.BertModel(hf.BertConfig(vocab_size=57, **size)),
        hf.BertTokenizer,
        hf.Wav2Vec2Model(hf.Wav2Vec2Config(**_AUDIO, **_FEW, num_conv_pos_embeddings=16,
                                     num_conv_pos_embedding_groups=2, **size)),
        hf.Dinov2Model(hf.Dinov2Config(image_size=56, patch_size=14, **{**size, "mlp_ratio": 1})),
        56,
    )  # fmt: skip


def full(folder: Path) -> dict[str, Path]:
    """Saves GTE-base, wav2vec2-large (12 layers) and DINOv2-base sizes with random weights."""
    import transformers as hf

    large = hf.Wav2Vec2Config(
        hidden_size=1024, num_hidden_layers=12, num_attention_heads=16, intermediate_size=4096, **_AUDIO
    )
    bert = hf.BertModel(hf.BertConfig(vocab_size=57))
    return _save(
        folder, bert, hf.BertTokenizer, hf.Wav2Vec2Model(large), hf.Dinov2Model(hf.Dinov2Config(image_size=518)), 224
    )


#: Two convolutions instead of seven, at the same fifty frames per second: seven on the waveform would be all the cost.
_FEW: dict[str, Any] = {"conv_dim": (8, 8), "conv_kernel": (20, 20), "conv_stride": (16, 20)}
_AUDIO: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def _save(folder: Path, text: Any, tokenizer: Any, audio: Any, vision: Any, side: int) -> dict[str, Path]:
    from transformers import Wav2Vec2FeatureExtractor

    paths = {kind: folder / kind for kind in ("text", "audio", "vision")}
    for model, path in zip((text, audio, vision), paths.values(), strict=True):
        model.save_pretrained(path)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *map(chr, range(97, 123)),
        *("##" + chr(c) for c in range(97, 123)),
    ]
    (paths["text"] / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer(vocab=str(paths["text"] / "vocab.txt"), do_lower_case=True).save_pretrained(paths["text"])
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(paths["audio"])
    settings = {
        "image_processor_type": "BitImageProcessor", "do_resize": True, "size": {"shortest_edge": side * 8 // 7},
        "do_center_crop": True, "crop_size": {"height": side, "width": side}, "resample": 3, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225], "do_convert_rgb": True,
    }  # fmt: skip
    (paths["vision"] / "preprocessor_config.json").write_text(json.dumps(settings))
    return paths


def loop(kind: str, model_path: Path, clips: "list[Clip]", out: Path) -> None:
    """The script that one writes: for each clip open, decode, processor, forward, pickle; OpenFace's file is read."""
    if kind == "motion":
        _motion_loop(clips, out)
        return
    import torch
    from PIL import Image
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(model_path).eval()
    makers = {"text": AutoTokenizer, "audio": AutoFeatureExtractor}
    processor = makers.get(kind, AutoImageProcessor).from_pretrained(
        model_path, **({"backend": "pil"} if kind == "vision" else {})
    )
    out.mkdir()
    with torch.inference_mode():
        for clip in clips:
            if kind == "text" and clip.text is not None:
                inputs = processor(clip.text.read_text(), return_tensors="pt", truncation=True, max_length=512)
                values = model(**inputs).last_hidden_state.mean(1)
            elif kind == "audio" and clip.audio is not None:
                inputs = processor(_sound(clip.audio), sampling_rate=SAMPLE_RATE, return_tensors="pt")
                values = model(inputs["input_values"]).last_hidden_state[0]
            elif kind == "vision" and clip.faces is not None:
                paths = sorted(clip.faces.glob("*.jpg"), key=lambda path: int(path.stem))
                if not paths:
                    continue
                pixels = processor([Image.open(path).convert("RGB") for path in paths], return_tensors="pt")
                values = model(pixels["pixel_values"]).last_hidden_state[:, 0]
            else:
                continue
            with (out / f"{clip.id}.pkl").open("wb") as file:
                pickle.dump(values.numpy(), file)


def _motion_loop(clips: "list[Clip]", out: Path) -> None:
    import pandas as pd

    from abawkit.extractors.openface import COLUMNS

    out.mkdir()
    for clip in clips:
        table = pd.read_csv(str(clip.openface), skipinitialspace=True)
        values = table.loc[table["success"] == 1, list(COLUMNS)].to_numpy(np.float32)
        with (out / f"{clip.id}.pkl").open("wb") as file:
            pickle.dump(values, file)


def openface(folder: Path, ids: list[str], *, others: int, distinct: int = 40) -> None:
    """Writes OpenFace CSVs at 28 rows a second: 23 values, the binary units, and so many `others` (landmarks)."""
    from abawkit.extractors.openface import COLUMNS

    folder.mkdir()
    rng = np.random.default_rng(0)
    units, pose = COLUMNS[:17], COLUMNS[17:]
    first = ["frame", "face_id", "timestamp", "confidence", "success"]
    header = [*first, *(f"x_{k}" for k in range(others)), *pose, *units, *(name[:-1] + "c" for name in units), "AU28_c"]
    for index, clip in enumerate(ids):
        if index >= distinct:
            (folder / f"{clip}.csv").hardlink_to(folder / f"{ids[index % distinct]}.csv")
            continue
        rows = int(28 * MEDIAN * np.exp(SPREAD * rng.standard_normal()))
        values = rng.uniform(0, 5, (rows, len(header) - len(first)))
        with (folder / f"{clip}.csv").open("w") as file:
            file.write(", ".join(header) + "\n")
            for frame, row in enumerate(values, start=1):
                file.write(f"{frame}, 0, {frame / 28:.3f}, 0.98, 1, " + ", ".join(f"{v:.2f}" for v in row) + "\n")


def _sound(path: Path) -> np.ndarray:
    import av

    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        pieces = [piece.to_ndarray()[0] for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate(pieces)


def workspace(root: Path, challenge: Path, models: dict[str, Path], **settings: Any) -> "Workspace":
    """Makes a workspace for the preset paper with these models."""
    from abawkit.workspace import Workspace

    root.mkdir()
    (root / "abawkit.toml").write_text(f'data = "{challenge}"\n')
    named = {f"extract.{kind}_model": str(path) for kind, path in models.items()}
    return Workspace.open(root, environ={}, overrides={"extract.device": "cpu"} | named | settings)


def timed(work: Callable[[], object]) -> float:
    """Returns how many seconds it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def plain(kind: str, model_path: Path, clips: "list[Clip]", out: Path) -> float:
    """Returns the seconds that the loop takes, when everything is imported; for a process of its own.

    Ours lets torch's threads sleep instead of spin; the script has torch's own way.
    """
    os.environ.pop("OMP_WAIT_POLICY", None)
    loop(kind, model_path, clips[:3], out.with_name(f"warm-{out.name}"))
    return timed(lambda: loop(kind, model_path, clips, out))


def overhead(scratch: Path) -> None:
    """Prints clips per second of a plain loop and of ours, with tiny models; ours with the start of its workers.

    Beside them what decoding alone does in as many processes as there are cores: it can be no faster than that. Motion
    has no model: OpenFace's CSVs, as it writes them with -aus -pose (46 columns) and by itself (714).
    """
    from abawkit.extraction.decode import decoding_pool
    from abawkit.extraction.extractors import extractors_for
    from abawkit.extraction.pipeline import extract
    from abawkit.layout.folder import ChallengeFolder
    from abawkit.progress import SILENT

    challenge = scratch / "challenge"
    ids = typical(challenge, 6000, seen=800)
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        models = other.submit(tiny, scratch / "tiny").result()
    folder = ChallengeFolder.open(challenge, workspace(scratch / "w", challenge, models).task)
    for kind, count, others in (("text", 6000, 0), ("audio", 1500, 0), ("vision", 800, 0), ("motion", 6000, 0),
                                ("motion", 1500, 668)):  # fmt: skip
        if kind == "motion":
            shutil.rmtree(challenge / "openface", ignore_errors=True)
            openface(challenge / "openface", ids[:count], others=others)
            folder = ChallengeFolder.open(challenge, folder.task)
        clips, name = [folder.clip(clip) for clip in ids[:count]], f"{kind}{others or ''}"
        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            loops = other.submit(plain, kind, models.get(kind, scratch), clips, scratch / f"loop-{name}").result()
        extract(workspace(scratch / f"first-{name}", challenge, models), modalities=[kind], limit=3)  # imports
        ours = workspace(scratch / f"ours-{name}", challenge, models)
        taken = timed(lambda kind=kind, ours=ours, count=count: extract(ours, modalities=[kind], limit=count))
        made = extractors_for(ours, [kind])[kind]
        with decoding_pool(0) as pool, SILENT.task("decode") as task:
            alone = timed(lambda made=made, clips=clips: [None for _ in pool.load(made, clips, task)])
        rates = f"loop {len(clips) / loops:7.1f}, ours {len(clips) / taken:7.1f} clips/s"
        told = f"{loops / taken:.1f} times; decoding alone {loops / alone:.1f}"
        print(f"overhead  {name:9s} {rates}: {told}", flush=True)


#: Sizes of the batches that are tried for the forward pass alone, and clips of the whole extraction.
ON_CPU: dict[str, tuple[tuple[int, ...], int]] = {"text": ((8, 16, 32), 191), "audio": ((1, 2, 4), 24),
                                                  "vision": ((8, 16, 32), 4)}  # fmt: skip
ON_GPU: dict[str, tuple[tuple[int, ...], int]] = {"text": ((32, 128, 512), 1919), "audio": ((8, 16, 32), 600),
                                                  "vision": ((64, 128, 256), 600)}  # fmt: skip


def rate(scratch: Path, device: str = "cpu") -> None:
    """Prints the rate of the forward pass alone and of the whole extraction, with models of the real sizes.

    On a GPU in bfloat16, as an extraction is there; what decoding alone does is printed too: the rate cannot pass it.
    """
    from abawkit.device import share_processor

    share_processor()  # as an extraction does, and for both sides of the ratio
    import torch
    from transformers import AutoModel

    from abawkit.extraction.decode import decoding_pool
    from abawkit.extraction.extractors import extractors_for
    from abawkit.extraction.pipeline import extract
    from abawkit.layout.folder import ChallengeFolder
    from abawkit.media.audio import decode_audio
    from abawkit.progress import SILENT

    challenge, kinds, seconds = scratch / "real", ON_CPU if device == "cpu" else ON_GPU, 7
    ids = typical(challenge, 1 + max(count for _, count in kinds.values()), distinct=24, seen=600)
    models = full(scratch / "full")
    rng = np.random.default_rng(0)
    work = workspace(scratch / "full-work", challenge, models, **{"extract.device": device})
    folder = ChallengeFolder.open(challenge, work.task)
    for (kind, (sizes, count)), unit in zip(kinds.items(), ("texts", "s of sound", "pictures"), strict=True):
        clips = [folder.clip(clip) for clip in ids[:count]]
        if kind == "text":
            units: float = len(clips)
        elif kind == "audio":
            units = sum(len(decode_audio(clip.audio).waveform) for clip in clips if clip.audio) / SAMPLE_RATE
        else:
            units = sum(len(list(clip.faces.glob("*.jpg"))) for clip in clips if clip.faces)
        model = AutoModel.from_pretrained(models[kind]).eval().to(device)
        best = 0.0
        with torch.inference_mode(), torch.autocast(device.partition(":")[0], torch.bfloat16, device != "cpu"):
            for size in sizes:
                inputs: Any = torch.from_numpy(rng.normal(size=(size, seconds * SAMPLE_RATE)).astype(np.float32))
                if kind == "vision":
                    inputs = torch.from_numpy(rng.normal(size=(size, 3, 224, 224)).astype(np.float32))
                elif kind == "text":
                    words = [clip.text.read_text() for clip in clips[:size] if clip.text]
                    inputs = _tokenizer(models["text"])(words, padding=True, return_tensors="pt")["input_ids"]
                inputs = inputs.to(device)
                rounds = max(1, max(sizes) // size)

                def passes(rounds: int, model: Any = model, inputs: Any = inputs) -> None:
                    for _ in range(rounds):
                        made = model(inputs)
                    made.last_hidden_state[0, 0, 0].item()  # waits for a GPU

                passes(1)
                taken = timed(lambda passes=passes, rounds=rounds: passes(rounds))
                best = max(best, rounds * size * (seconds if kind == "audio" else 1) / taken)
        del model
        # One clip first: the model is in memory then, as it is for all but the first clips of a challenge.
        made = extractors_for(work, [kind])
        extract(work, modalities=[kind], only=ids[-1:], extractors=[made[kind]])
        some = {"modalities": [kind], "only": ids[:count], "extractors": [made[kind]]}
        taken = timed(lambda some=some: extract(work, **some))
        with decoding_pool(0) as pool, SILENT.task("decode") as task:
            list(pool.load(made[kind], clips[:2], task))
            alone = timed(lambda made=made[kind], clips=clips: [None for _ in pool.load(made, clips, task)])
        told = f"decoding alone {units / alone:8.1f}, forward {best:8.2f}, end to end {units / taken:8.2f} {unit}/s"
        print(f"rate      {kind:7s} {told}: {units / taken / best:.0%} of forward", flush=True)


def _tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def long(scratch: Path) -> None:
    """Prints the peak memory with and without a clip of 21 minutes (sound and pictures)."""
    from abawkit.jobs.synthetic.challenge import write_challenge
    from abawkit.media.encode import write_mp3, write_video

    challenge = scratch / "long"
    write_challenge(challenge, train=12, valid=4, test=4)
    models = tiny(scratch / "tiny-long")
    peaks = []
    for name in ("without", "with"):
        if name == "with":
            seconds = 1_250
            rng = np.random.default_rng(0)
            sound = rng.normal(0, 0.1, seconds * SAMPLE_RATE).astype(np.float32)
            frame = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
            write_video(
                challenge / "raw/00003.mp4", (frame for _ in range(seconds * 10)), [k / 10 for k in range(seconds * 10)]
            )
            write_mp3(challenge / "audio/00003.mp3", sound)
        work = workspace(scratch / f"long-{name}", challenge, models)
        code = "\n".join(
            [
                "import resource",
                "from pathlib import Path",
                "from abawkit.extraction.pipeline import extract",
                "from abawkit.workspace import Workspace",
                f"overrides = {_overrides(models)!r}",
                f"work = Workspace.open(Path({str(work.root)!r}), environ={{}}, overrides=overrides)",
                "extract(work, modalities=['audio', 'vision'])",
                "for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):",
                "    print(resource.getrusage(who).ru_maxrss)",
            ]
        )
        told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
        peaks.append([int(word) / 1024 for word in told.split()])
    for who, without, extra in zip(("main process", "largest worker"), *peaks, strict=True):
        print(f"long      {who:14s} {without:5.0f} MiB without, {extra:5.0f} MiB with a clip of 21 minutes")


def _overrides(models: dict[str, Path]) -> dict[str, str]:
    named = {f"extract.{kind}_model": str(path) for kind, path in models.items()}
    return {"extract.device": "cpu", "extract.faces": "full-frame"} | named


def scan(scratch: Path) -> None:
    """Prints how long the plan of 17,246 clips with 65 crops each takes, and an extraction that finds nothing to do."""
    from abawkit.extraction.extractors import extractors_for
    from abawkit.extraction.pipeline import extract, plan_extraction
    from abawkit.extraction.request import ExtractRequest
    from abawkit.extraction.select import official_clips
    from abawkit.features.spec import ClipFeatures, Status
    from abawkit.features.writer import open_for_writing

    challenge = scratch / "scan"
    counts = {"train": 8_072, "valid": 4_588, "test": 4_586}
    ids = [f"{number:05d}" for number in range(sum(counts.values()))]
    header = ["Filename", "Admiration", "Amusement", "Determination", "Empathic Pain", "Excitement", "Joy"]
    challenge.mkdir()
    for name, members in (("train", ids[:8_072]), ("valid", ids[8_072:12_660])):
        with (challenge / f"{name}_split.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *([clip, 0.5, 0, 0, 0, 0.5, 0] for clip in members)])
    for clip in ids:
        base = challenge / "test" if int(clip) >= 12_660 else challenge
        for kind, suffix in (("raw", ".mp4"), ("audio", ".mp3"), ("text", ".txt")):
            (base / kind).mkdir(parents=True, exist_ok=True)
            (base / kind / (clip + suffix)).write_bytes(clip.encode())
        faces = base / "face_images" / clip
        faces.mkdir(parents=True)
        for k in range(65):
            (faces / f"{k}.jpg").touch()
    work = workspace(scratch / "scan-work", challenge, tiny(scratch / "tiny-scan"))
    clips = sorted((clip for some in official_clips(work).values() for clip in some), key=lambda clip: clip.id)
    size, half = work.settings.extract.segment_clips, len(clips) // 2
    for kind in ("text", "audio", "vision"):
        extractor = extractors_for(work, [kind])[kind]
        spec, frames = extractor.spec, 1 if kind == "text" else 65
        values, times = np.zeros((frames, spec.dim), spec.dtype), np.zeros(frames, np.float32)
        taken = {}
        for name, members in (("an empty", []), ("a half-full", clips[:half]), ("a full", clips[half:])):
            with open_for_writing(work.features / kind / spec.folder, spec) as writer:
                for at in range(0, len(members), size):
                    some = members[at : at + size]
                    writer.add(
                        [ClipFeatures(c.id, Status.PRESENT, values, times, extractor.source(c), "") for c in some]
                    )
            taken[name] = timed(lambda kind=kind: plan_extraction(work, ExtractRequest([kind])))
        nothing = timed(lambda kind=kind: extract(work, modalities=[kind]))
        plans = ", ".join(f"{name} store {seconds:.1f} s" for name, seconds in taken.items())
        print(f"scan      {kind:7s} plan of {len(ids)} clips: {plans}; extract with nothing to do {nothing:.1f} s")


def main() -> None:
    """Runs the parts that were asked for."""
    parts = {"overhead": overhead, "rate": rate, "long": long, "scan": scan}
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=list(parts))
    parser.add_argument("--device", default="cpu", help="cuda:0: the rate on a GPU")
    options = parser.parse_args()
    for name in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            rate(Path(folder), options.device) if name == "rate" else parts[name](Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"largest memory of this process: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
