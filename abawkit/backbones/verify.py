"""Is the model on this machine the published one? Its output on a fixed input, beside what its card says.

The tests of abawkit run without real weights, so this is for the user's machine. Where a model's card publishes an
output, it is computed again; of the other models it is checked that an input gives the same, finite values alone and in
a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import Computing
from abawkit.backbones.cache import cached_file
from abawkit.backbones.files import KnownFile, known_file
from abawkit.backbones.folder import ModelFolder, open_folder
from abawkit.backbones.known import KNOWN, RECOGNISER, model_ref
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import digest_file

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        what: What was computed.
        source: Where the expected value comes from.
        expected: What it should be.
        got: What it is here.
        ok: Whether they agree.
    """

    what: str
    source: str
    expected: str
    got: str
    ok: bool

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that ``--json`` promises."""
        return dict(vars(self))


@dataclass(frozen=True)
class Published:
    """What audeering's model card prints for one second of zeros at 16 kHz.

    Attributes:
        emotions: Arousal, dominance, valence.
        first: The first values of the pooled hidden state.
        last: Its last values.
    """

    emotions: tuple[float, ...]
    first: tuple[float, ...]
    last: tuple[float, ...]


#: Model id → the output that its card publishes.
PUBLISHED: Mapping[str, Published] = {
    "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim": Published(
        (0.5460754, 0.6062266, 0.40431657),
        (-0.00752167, 0.0065819, -0.00746342),
        (0.00663632, 0.00848748, 0.00599211),
    )
}


def is_known(name: str) -> bool:
    """Returns whether :func:`verify_model` can check a model, by its name."""
    known = model_ref(name).id_or_folder
    return known_file(known) is not None or known in (*KNOWN, RECOGNISER.id_or_folder)


def verify_model(
    name: str, *, device: str = "cpu", published: Published | None = None
) -> tuple[ModelFolder, list[Check]]:
    """Returns the model as it lies here, and the checks that were made.

    Args:
        name: A known model's id (or ``ID@REVISION``), or ``yunet``; or a folder that holds one of audeering's kind,
            with ``published``.
        device: ``cpu``, ``cuda:0`` …
        published: What to compare with; default: :data:`PUBLISHED`.

    Raises:
        UsageError: The model is not a known one.
        AbawkitError: It is not on this machine, or cannot be loaded.
    """
    known = model_ref(name).id_or_folder
    expected = published or PUBLISHED.get(known)
    if (file := known_file(known)) is not None:
        return _file(file)
    if known == RECOGNISER.id_or_folder:
        return verify_recogniser(name, device=device)
    if expected is None and not is_known(name):
        there = [*KNOWN, RECOGNISER.id_or_folder, "yunet"]
        raise UsageError("this is not a known model", got=name, expected=", ".join(there))
    found = open_folder(name)
    if expected is not None:
        return found, [*_card(found, expected, device), _alone_and_batched(found, "audio", device)]
    return found, [_alone_and_batched(found, KNOWN[known].modality, device)]


def verify_recogniser(name: str, *, device: str = "cpu") -> tuple[ModelFolder, list[Check]]:
    """Returns a Whisper model as it lies here, and the check that was made: no output is published.

    Args:
        name: Model id or folder.
        device: ``cpu``, ``cuda:0`` …

    Raises:
        AbawkitError: It is not on this machine, or is not a Whisper model.
    """
    from abawkit.backbones.whisper import open_whisper

    found = open_whisper(name)
    return found, [_alone_and_batched(found, "transcript", device)]


def _file(known: KnownFile) -> tuple[ModelFolder, list[Check]]:
    path = cached_file(known.repository, known.file)
    if path is None:
        raise AbawkitError(
            f"the model {known.repository} is not on this machine (licence: {known.licence})",
            expected=known.file,
            todo="abawkit models fetch yunet",
        )
    sha256 = digest_file(path)
    found = ModelFolder(path, path.stem, known.repository, path.parent.name, sha256, known.licence, 0)
    same = sha256 == known.sha256
    return found, [Check("the file's SHA-256", "the pinned revision", known.sha256[:16], sha256[:16], same)]


def _card(found: ModelFolder, expected: Published, device: str) -> list[Check]:
    from abawkit.backbones.audio import embed_waveforms, load_audio_model
    from abawkit.backbones.audio import emotions as outputs

    model = load_audio_model(found.path, how=Computing(device), with_vad=True)
    (frames,) = embed_waveforms(model, [np.zeros(16_000, np.float32)], window=30, overlap=2)
    pooled = frames[:, : found.dim].mean(axis=0)
    ends = np.concatenate([pooled[:3], pooled[-3:]])
    source = "the model card, one second of zeros"
    return [
        _compare("arousal, dominance, valence", source, np.array(expected.emotions), outputs(model, pooled), 1e-3),
        _compare("mean hidden state", source, np.array(expected.first + expected.last), ends, 1e-4),
    ]


def _alone_and_batched(found: ModelFolder, modality: str, device: str) -> Check:
    run = _RUNS[modality](found, device)
    alone, batched = run([0]), run([0, 1, 2])
    largest = float(np.abs(alone - batched).max()) if alone.shape == batched.shape else float("inf")
    return Check(
        "the first of three inputs, alone and in a batch",
        "itself: no output is published" if found.model not in PUBLISHED else "itself",
        "finite, and the same to 1e-3",
        f"largest difference {largest:.1e}, largest value {np.abs(alone).max():.3g}",
        bool(np.isfinite(alone).all() and largest < 1e-3),
    )


def _audio(found: ModelFolder, device: str) -> Callable[[list[int]], Array]:
    from abawkit.backbones.audio import embed_waveforms, load_audio_model

    model = load_audio_model(found.path, how=Computing(device))
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, 16_000 + 4_000 * k).astype(np.float32) for k in range(3)]
    return lambda chosen: embed_waveforms(model, [sounds[k] for k in chosen], window=30, overlap=2)[0]


def _text(found: ModelFolder, device: str) -> Callable[[list[int]], Array]:
    from abawkit.backbones.text import embed_texts, load_text_model

    model = load_text_model(found.path, pooling="mean", max_tokens=512, how=Computing(device))
    texts = ["I am so happy for you.", "oh no", "that is the best thing I have heard in a very long time, really"]
    return lambda chosen: embed_texts(model, [texts[k] for k in chosen])[0][0]


def _vision(found: ModelFolder, device: str) -> Callable[[list[int]], Array]:
    from abawkit.backbones.vision import embed_pictures, load_vision_model

    model = load_vision_model(found.path, pooling="cls", how=Computing(device))
    rng = np.random.default_rng(0)
    pictures = [model.preparation.resized(rng.integers(0, 255, (160, 160, 3), np.uint8)) for _ in range(3)]
    return lambda chosen: embed_pictures(model, [pictures[k] for k in chosen])[0]


def _transcript(found: ModelFolder, device: str) -> Callable[[list[int]], Array]:
    from abawkit.backbones.speech import Thresholds
    from abawkit.backbones.whisper import SAMPLE_RATE, load_whisper, transcribe_waveforms

    anything = Thresholds(no_speech=1, log_probability=-np.inf, compression=np.inf)
    model = load_whisper(found.path, language=None, thresholds=anything, device=device)
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, SAMPLE_RATE + 4_000 * k).astype(np.float32) for k in range(3)]

    def run(chosen: list[int]) -> Array:
        first = transcribe_waveforms(model, [sounds[k] for k in chosen], batch=3)[0].windows[0]
        return np.array([first["no_speech"], first["log_probability"], first["compression"]], np.float32)

    return run


_RUNS: Mapping[str, Callable[[ModelFolder, str], Callable[[list[int]], Array]]] = {
    "audio": _audio,
    "text": _text,
    "transcript": _transcript,
    "vision": _vision,
}


def _compare(what: str, source: str, expected: NDArray[Any], got: NDArray[Any], tolerance: float) -> Check:
    ok = bool(expected.shape == got.shape and np.abs(expected - got).max() <= tolerance)
    return Check(what, source, _shown(expected), _shown(got), ok)


def _shown(values: NDArray[Any]) -> str:
    return " ".join(f"{value:.5f}" for value in values)
