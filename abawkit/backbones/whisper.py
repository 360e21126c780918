"""Words of waveforms from Whisper models (Radford et al. 2022), window by window, with the times of each stretch.

A window is 30 seconds. One pass of the encoder, one step of the decoder that finds language and speech, then greedy
decoding with timestamps by transformers' own rules; a text that does not pass the thresholds is left out
(:mod:`abawkit.backbones.speech`). Longer sound is not cut at fixed places, where a word may be: as Whisper does, the
next window begins at the last stretch that was closed by a timestamp.

Not done: temperature fallback (sampling would make a text depend on its neighbours in the batch), beam search, the
text before a window as its prompt, times of single words.

Not proven: that the words are right. The tests run random weights, and show that tokens, times and probabilities are
those of transformers for the clip alone. Compare a few transcripts with the sound before they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawkit.backbones.batching import Computing, computing, forward
from abawkit.backbones.folder import ModelFolder, open_folder
from abawkit.backbones.loading import first_line, quiet
from abawkit.backbones.offline import is_offline
from abawkit.backbones.own_code import refuse_code
from abawkit.backbones.speech import (
    Thresholds,
    average_log_probability,
    compression_ratio,
    greedy,
    loudest_db,
    no_speech_probability,
    stretches,
    verdict,
)
from abawkit.errors import AbawkitError, UsageError
from abawkit.fileio import read_json

Waveform = NDArray[np.float32]

#: Hz, and seconds of one window: Whisper's own (Sec. 2.2).
SAMPLE_RATE = 16_000
WINDOW = 30.0

#: The next window begins at least this much later, so that a decoder that closes no stretch cannot stop the work; the
#: rest of a clip is left out when it is shorter than this (seconds).
_LEAST_STEP, _LEAST_REST = 1.0, 0.1


def open_whisper(name: str) -> ModelFolder:
    """Returns what there is to know about a Whisper model, by id or local folder, before it is loaded.

    Raises:
        AbawkitError: It is not on this machine (:func:`abawkit.backbones.cache.resolve`), or is not a Whisper model.
    """
    try:
        return open_folder(name, width=lambda folder: int(_check(folder)[0]["d_model"]))
    except AbawkitError as error:
        if error.todo and "abawkit extract" in error.todo:  # the advice of a model that is not there
            here = "" if is_offline() else f"`abawkit models fetch {name}`; or "
            there = f"`abawkit models fetch {name} --to FOLDER` on a machine with network, then "
            error.todo = f"{here}{there}`abawkit transcribe --model FOLDER` here"
        raise


def _check(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the model's and the generation's configuration, read without transformers."""
    config = read_json(folder / "config.json", "a model configuration")
    if config.get("model_type") != "whisper" or not isinstance(config.get("d_model"), int):
        raise AbawkitError(
            "this is not a Whisper model",
            path=folder / "config.json",
            got=f"model_type {config.get('model_type')!r}",
            expected="model_type 'whisper'",
        )
    refuse_code(folder, config)
    generation = read_json(folder / "generation_config.json", "settings of the model's decoding")
    needed = ["no_timestamps_token_id"]
    if generation.get("is_multilingual", True):
        needed += ["lang_to_id", "task_to_id"]
    if lacking := [key for key in needed if not generation.get(key)]:
        raise AbawkitError(
            "the settings of the model's decoding are of an old form",
            path=folder / "generation_config.json",
            got=f"no {', '.join(lacking)}",
            todo="take the file of the model that this one was made from (such as openai/whisper-small)",
        )
    return config, generation


def language_code(folder: Path, wanted: str | None) -> str | None:
    """Returns the code of a language that the model knows: of a code (``en``) or an English name (``german``).

    None means that the language is found in each clip; a model of English alone returns ``en``.

    Raises:
        UsageError: The model does not know it.
    """
    _, generation = _check(folder)
    multilingual = generation.get("is_multilingual", True)
    known = [token.strip("<|>") for token in generation["lang_to_id"]] if multilingual else ["en"]
    if wanted is None:
        return None if multilingual else "en"
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    code: str = TO_LANGUAGE_CODE.get(wanted.lower(), wanted.lower())
    if code not in known:
        shown = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
        raise UsageError("the model does not know this language", got=wanted, expected=shown)
    return code


def whisper_precision(device: str) -> str:
    """Returns the floating-point type of the computation: float16 on a GPU, as Whisper's weights are published."""
    return "float32" if device == "cpu" else "float16"


@dataclass(frozen=True)
class Whisper:
    """A Whisper model in memory.

    Attributes:
        model: The transformers model.
        tokenizer: Its tokenizer.
        features: What makes log-mel spectrograms of waveforms.
        language: Language code to expect; None: found in each clip's first window with sound.
        thresholds: What a window must pass.
        how: Its device.
    """

    model: Any
    tokenizer: Any
    features: Any
    language: str | None
    thresholds: Thresholds
    how: Computing


def load_whisper(folder: Path, *, language: str | None, thresholds: Thresholds, device: str) -> Whisper:
    """Returns the model of a folder, in evaluation mode; see :func:`whisper_precision`.

    Args:
        folder: The model folder.
        language: A code that the model knows (see :func:`language_code`), or None.
        thresholds: What a window must pass.
        device: ``cpu``, ``cuda:0`` …

    Raises:
        AbawkitError: The files do not belong together or are damaged, or the device cannot be used.
    """
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

    _check(folder)
    try:
        with quiet():
            model, info = WhisperForConditionalGeneration.from_pretrained(
                folder,
                dtype=getattr(torch, whisper_precision(device)),
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are refused below
                output_loading_info=True,
            )
            tokenizer = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
            features = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises anything on damaged files
        raise AbawkitError("the model cannot be loaded", path=folder, got=first_line(error)) from error
    misfits = [f"{key} is missing" for key in sorted(info["missing_keys"])]
    misfits += [f"{key[0]} has another shape" for key in sorted(info["mismatched_keys"])]
    misfits += [f"{key} has no place in it" for key in sorted(info["unexpected_keys"])]
    end = model.generation_config.eos_token_id
    if len(tokenizer) > model.config.vocab_size or tokenizer.eos_token_id != end:
        misfits.append(f"a tokenizer of {len(tokenizer)} tokens, whose end token is {tokenizer.eos_token_id}")
    shape = (features.feature_size, features.nb_max_frames)
    if features.sampling_rate != SAMPLE_RATE or shape != (
        model.config.num_mel_bins,
        2 * model.config.max_source_positions,
    ):
        misfits.append(f"spectrograms of {shape[0]} × {shape[1]} from {features.sampling_rate} Hz")
    if misfits:
        raise AbawkitError(
            "the files of the model do not belong together: the words would be random",
            path=folder,
            got="; ".join(misfits[:3]) + (f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""),
            todo="fetch the model again",
        )
    try:
        model = model.eval().requires_grad_(False).to(device)
    except (RuntimeError, AssertionError) as error:
        todo = "choose another with --device"
        raise AbawkitError(f"the device {device!r} cannot be used", got=first_line(error), todo=todo) from error
    return Whisper(model, tokenizer, features, language, thresholds, Computing(device))


@dataclass
class Heard:
    """What was heard in one waveform; see :class:`abawkit.data.transcripts.Transcript` for the fields."""

    language: str | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The words of all segments, without spaces around them."""
        return "".join(segment["text"] for segment in self.segments).strip()

    @property
    def reason(self) -> str:
        """Why there are no words: that of each window, once; empty when there are words."""
        if any(letter.isalnum() for letter in self.text):
            return ""
        reasons = dict.fromkeys(window["reason"] or "no words" for window in self.windows)
        return ", ".join(reasons)


def transcribe_waveforms(
    whisper: Whisper, waveforms: Sequence[Waveform], *, batch: int, done: Callable[[], object] = lambda: None
) -> list[Heard]:
    """Returns what was heard in each waveform.

    Args:
        whisper: The model.
        waveforms: Mono, ``float32 [N]`` with N at least 1, at :data:`SAMPLE_RATE`.
        batch: Most windows in one pass through the model.
        done: Is called when a waveform is done.

    A silent window is not given to the model. After a window whose text is left out, the next begins at its end.
    Windows of different waveforms share a pass; a waveform's next window waits for the one before, which says where it
    begins.
    """
    heard = [Heard(language=whisper.language) for _ in waveforms]
    at = [0.0] * len(waveforms)  # seconds
    waiting = list(range(len(waveforms)))
    while waiting:
        windows = {clip: _window(waveforms[clip], at[clip]) for clip in waiting}
        loud = [clip for clip, window in windows.items() if not _is_silent(window, whisper.thresholds)]
        decoded: dict[int, _Decoded] = {}
        with computing(whisper.how):
            for first in range(0, len(loud), batch):
                group = loud[first : first + batch]
                inputs = [(windows[clip], heard[clip].language) for clip in group]
                decoded.update(zip(group, forward(partial(_decode, whisper), inputs, whisper.how), strict=True))
        # Each window says where its waveform's next one begins; a waveform with too little left is done.
        unfinished = []
        for clip, window in windows.items():
            at[clip] += _enter(whisper, heard[clip], at[clip], len(window) / SAMPLE_RATE, decoded.get(clip))
            if at[clip] + _LEAST_REST <= len(waveforms[clip]) / SAMPLE_RATE:
                unfinished.append(clip)
            else:
                done()
        waiting = unfinished
    return heard


def _window(waveform: Waveform, start: float) -> Waveform:
    first = round(start * SAMPLE_RATE)
    return waveform[first : first + round(WINDOW * SAMPLE_RATE)]


def _is_silent(window: Waveform, thresholds: Thresholds) -> bool:
    return loudest_db(window, sample_rate=SAMPLE_RATE) <= thresholds.silence_db


@dataclass(frozen=True)
class _Decoded:
    """What the model made of one window; ``tokens`` without the end token."""

    tokens: list[int]
    language: str | None
    no_speech: float
    log_probability: float


def _enter(whisper: Whisper, heard: Heard, start: float, seconds: float, decoded: _Decoded | None) -> float:
    """Adds one window to what was heard, and returns how much later the next one begins (seconds)."""
    record: dict[str, Any] = {"start": round(start, 3), "end": round(start + seconds, 3)}
    if decoded is None:
        heard.windows.append({**record, "reason": "silence"})
        return seconds
    heard.language = decoded.language
    end = whisper.tokenizer.eos_token_id
    begin = whisper.model.generation_config.no_timestamps_token_id + 1
    found, moved = stretches(decoded.tokens, seconds=seconds, text_below=end, times_from=begin)
    segments = []
    for stretch in found:
        times = {"start": round(start + stretch.start, 3), "end": round(start + stretch.end, 3)}
        segments.append({**times, "text": whisper.tokenizer.decode(stretch.tokens)})
    segments = [segment for segment in segments if segment["text"].strip()]
    text = "".join(segment["text"] for segment in segments).strip()
    compression = compression_ratio(text)
    reason = verdict(
        no_speech=decoded.no_speech,
        log_probability=decoded.log_probability,
        compression=compression,
        thresholds=whisper.thresholds,
    )
    record |= {"no_speech": decoded.no_speech, "log_probability": decoded.log_probability, "compression": compression}
    heard.windows.append(record | {"reason": reason} | ({"rejected": text} if reason else {}))
    if reason:
        return seconds
    heard.segments += segments
    return max(moved, _LEAST_STEP)


def _decode(whisper: Whisper, batch: Sequence[tuple[Waveform, str | None]]) -> list[_Decoded]:
    """Returns what the model makes of windows with their languages; None: it is found from the window."""
    import torch

    model, settings = whisper.model, whisper.model.generation_config
    # One pass of the encoder, and one step of the decoder, whose logits say the language and whether it is speech.
    spectrograms = whisper.features([window for window, _ in batch], sampling_rate=SAMPLE_RATE, return_tensors="pt")
    encoded = model.get_encoder()(spectrograms.input_features.to(model.device, model.dtype))  # [B, 1500, D]
    start = torch.full((len(batch), 1), settings.decoder_start_token_id, device=model.device)
    first = model(encoder_outputs=encoded, decoder_input_ids=start, use_cache=False).logits[:, 0]  # [B, V]
    # The token of "no speech" is named differently in different models, and lies before that of "no timestamps".
    no_speech = no_speech_probability(first, settings.no_timestamps_token_id - 1).tolist()

    options: dict[str, Any] = {}
    languages: list[str | None] = [language for _, language in batch]
    if getattr(settings, "is_multilingual", True):
        tokens = {index: token for token, index in settings.lang_to_id.items()}
        allowed = torch.tensor(sorted(tokens), device=model.device)
        likely = allowed[first[:, allowed].argmax(-1)].tolist()
        languages = [asked or tokens[index].strip("<|>") for asked, index in zip(languages, likely, strict=True)]
        options = {"language": [f"<|{language}|>" for language in languages], "task": "transcribe"}
    # The text. What is taken is recorded on the way, for the mean log-probability.
    taken = _Taken()
    model.generate(
        encoder_outputs=encoded,
        logits_processor=[taken],
        return_timestamps=True,
        force_unique_generate_call=True,  # one window; where the next one begins is decided here
        do_sample=False,
        num_beams=1,
        max_new_tokens=model.config.max_target_positions // 2,  # as Whisper; a text this long is one that never ends
        **options,
    )
    end = whisper.tokenizer.eos_token_id
    found = []
    for row, tokens_, steps in zip(range(len(batch)), *taken.rows(), strict=True):
        average = average_log_probability(tokens_, steps, end=end)
        text = tokens_[: tokens_.index(end)] if end in tokens_ else tokens_
        found.append(_Decoded(text, languages[row], no_speech[row], average))
    return found


class _Taken:
    """Records the tokens that greedy decoding takes, as the last of transformers' logits processors.

    Keeping all scores, as ``generate`` can, would take a gigabyte for a batch of long texts.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Any, Any]] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._steps.append(greedy(scores))
        return scores

    def rows(self) -> tuple[list[list[int]], list[list[float]]]:
        """Returns the tokens of each row, and their log-probabilities; what comes after the end token is noise."""
        import torch

        tokens, values = (torch.stack(column, dim=1).tolist() for column in zip(*self._steps, strict=True))
        return tokens, values
