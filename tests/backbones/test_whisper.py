"""Whisper with random weights: tokens, times and probabilities are those of transformers for the clip alone."""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from abawkit.backbones.loading import quiet
from abawkit.backbones.speech import Thresholds
from abawkit.backbones.whisper import (
    SAMPLE_RATE,
    Heard,
    Whisper,
    language_code,
    load_whisper,
    open_whisper,
    transcribe_waveforms,
)
from abawkit.errors import AbawkitError, UsageError
from abawkit.media.audio import decode_audio
from tests import tiny_models

#: Random words never pass the published thresholds.
ANYTHING = Thresholds(no_speech=1.0, log_probability=-99.0, compression=99.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.whisper(tmp_path_factory.mktemp("models") / "whisper-tiny")


@pytest.fixture(scope="module")
def sounds(shared_data: Path) -> dict[str, NDArray[np.float32]]:
    names = {
        "digit": "fsdd/0_george_0.wav",
        "sentence": "DeepSpeech/LDC93S1.wav",
        "8 kHz": "DeepSpeech/LDC93S1_pcms16le_1_8000.wav",
        "president": "whisper_jfk/jfk.flac",
        "dialogue": "pyannote/sample.wav",
        "grid": "GRID/bbaf2n.mpg",
    }
    decoded = {name: decode_audio(shared_data / path, sample_rate=SAMPLE_RATE).waveform for name, path in names.items()}
    hiss = 1e-4 * np.random.default_rng(1).standard_normal(3 * SAMPLE_RATE)
    return {**decoded, "silent": hiss.astype(np.float32)}


def load(folder: Path, thresholds: Thresholds = ANYTHING, language: str | None = None) -> Whisper:
    return load_whisper(folder, language=language, thresholds=thresholds, device="cpu")


def words(heard: Heard) -> list[tuple[Any, ...]]:
    return [(segment["start"], segment["end"], segment["text"]) for segment in heard.segments]


@cache
def plain(folder: Path) -> tuple[Any, Any]:
    with quiet():
        model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
        return model, WhisperProcessor.from_pretrained(folder)


def by_hand(folder: Path, waveform: NDArray[np.float32], language: str | None = None) -> dict[str, Any]:
    """What transformers makes of one window alone: nothing of our code."""
    model, processor = plain(folder)
    inputs = processor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    options: dict[str, Any] = {"return_timestamps": True, "max_new_tokens": 20, "force_unique_generate_call": True}
    with quiet(), torch.no_grad():
        found = processor.tokenizer.decode(model.detect_language(inputs)[0]).strip("<|>")
        options |= {"task": "transcribe", "language": language or found}
        prompt = torch.tensor([[model.generation_config.decoder_start_token_id]])
        first = model(inputs, decoder_input_ids=prompt).logits[0, 0]
        made = model.generate(inputs, return_segments=True, **options)
        scored = model.generate(inputs, return_dict_in_generate=True, output_scores=True, **options)
    tokens = scored.sequences[0, -len(scored.scores) :]
    steps = [score[0].log_softmax(-1)[token].item() for score, token in zip(scored.scores, tokens, strict=True)]
    end = model.generation_config.eos_token_id
    count = tokens.tolist().index(end) + 1 if end in tokens else len(tokens)
    no_speech = processor.tokenizer.convert_tokens_to_ids("<|nospeech|>")
    return {
        "language": found,
        "no_speech": first.softmax(-1)[no_speech].item(),
        "log_probability": float(np.mean(steps[:count])),
        "tokens": [
            token - model.generation_config.no_timestamps_token_id - 1
            for token in tokens.tolist()[:count]
            if token != end
        ],
        "segments": [
            (float(s["start"]), float(s["end"]), processor.tokenizer.decode(s["tokens"], skip_special_tokens=True))
            for s in made["segments"][0]
            if processor.tokenizer.decode(s["tokens"], skip_special_tokens=True).strip()
        ],
    }


@pytest.mark.parametrize("name", ["digit", "8 kHz", "dialogue", "grid"])
def test_one_window_is_what_transformers_makes_of_it_alone(
    folder: Path, sounds: dict[str, NDArray[np.float32]], name: str
) -> None:
    heard = transcribe_waveforms(load(folder), [sounds[name]], batch=4)[0]
    expected = by_hand(folder, sounds[name])
    window = heard.windows[0]
    assert heard.language == expected["language"]
    assert window["no_speech"] == pytest.approx(expected["no_speech"], abs=1e-5)
    assert window["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-5)
    # Times leave the window neither here nor there, but those of transformers leave the sound.
    seconds = len(sounds[name]) / SAMPLE_RATE
    ours = [segment for segment in words(heard) if segment[0] < 30.0][: len(expected["segments"])]
    assert heard.text and len(ours) == len(expected["segments"]) > 1
    for (start, end, text), (start_, end_, text_) in zip(ours, expected["segments"], strict=True):
        assert text == text_
        assert (start, end) == pytest.approx((min(start_, seconds), min(end_, seconds)), abs=1e-3)


def test_the_batch_and_its_neighbours_change_nothing(folder: Path, sounds: dict[str, NDArray[np.float32]]) -> None:
    model = load(folder)
    clips = [sounds[name] for name in ("dialogue", "digit", "silent", "sentence", "grid")]
    alone = [transcribe_waveforms(model, [clip], batch=1)[0] for clip in clips]
    for batch in (2, 5):
        together = transcribe_waveforms(model, clips[::-1], batch=batch)[::-1]
        for one, other in zip(alone, together, strict=True):
            assert words(one) == words(other) and one.language == other.language and one.reason == other.reason
            for window, same in zip(one.windows, other.windows, strict=True):
                assert window == pytest.approx(same, abs=1e-5) if "no_speech" in window else window == same


def test_long_sound_moves_by_the_last_closed_timestamp(folder: Path, sounds: dict[str, NDArray[np.float32]]) -> None:
    long = np.concatenate([sounds["dialogue"], sounds["president"], sounds["sentence"], sounds["dialogue"]])[
        : 70 * 16000
    ]
    done: list[int] = []
    heard = transcribe_waveforms(load(folder), [long], batch=3, done=lambda: done.append(1))[0]
    starts, at = [], 0.0
    while at + 0.1 <= 70.0:
        starts.append(at)
        window = long[round(at * SAMPLE_RATE) :][: 30 * SAMPLE_RATE]
        # Independent of our reading of tokens: their timestamps as text, and regular expressions.
        text = "".join(
            f"<{0.02 * t:.2f}>" if t >= 0 else "word" for t in by_hand(folder, window, heard.language)["tokens"]
        )
        closed = re.findall(r"<([\d.]+)><[\d.]+>", text)
        seconds = len(window) / SAMPLE_RATE
        nothing_after = re.search(r"word<[\d.]+>$", text)
        at += seconds if not closed or nothing_after else max(1.0, min(float(closed[-1]), seconds))
    assert [window["start"] for window in heard.windows] == pytest.approx(starts, abs=1e-3)
    assert len(starts) > 2 and done == [1]
    assert all(0 <= start <= end <= 70.0 for start, end, _ in words(heard))


def test_silence_never_comes_to_the_model(folder: Path, sounds: dict[str, NDArray[np.float32]]) -> None:
    gap = np.concatenate([np.zeros(30 * SAMPLE_RATE, np.float32), sounds["sentence"]])
    silent, broken = transcribe_waveforms(load(folder), [sounds["silent"], gap], batch=2)
    assert (silent.text, silent.reason, silent.language) == ("", "silence", None)
    assert [window["reason"] for window in silent.windows] == ["silence"]
    assert [window["reason"] for window in broken.windows][:2] == ["silence", ""] and broken.reason == ""
    assert all(segment["start"] >= 30.0 for segment in broken.segments)


@pytest.mark.parametrize(
    ("thresholds", "reason"),
    [
        (Thresholds(no_speech=1.0, log_probability=-0.01, compression=99.0), "unsure"),
        (Thresholds(no_speech=0.0, log_probability=-0.01, compression=99.0), "no speech"),
        (Thresholds(no_speech=1.0, log_probability=-99.0, compression=0.1), "repetitive"),
    ],
)
def test_what_does_not_pass_is_empty_and_says_why(
    folder: Path, sounds: dict[str, NDArray[np.float32]], thresholds: Thresholds, reason: str
) -> None:
    heard = transcribe_waveforms(load(folder, thresholds), [sounds["sentence"]], batch=1)[0]
    assert (heard.text, heard.reason, heard.segments) == ("", reason, [])
    assert heard.windows[0]["rejected"] == transcribe_waveforms(load(folder), [sounds["sentence"]], batch=1)[0].text


def test_the_language_is_asked_for_or_found(folder: Path, sounds: dict[str, NDArray[np.float32]]) -> None:
    found = by_hand(folder, sounds["sentence"])["language"]
    other = next(language for language in tiny_models.LANGUAGES if language != found)
    heard = transcribe_waveforms(load(folder, language=other), [sounds["sentence"]], batch=1)[0]
    assert heard.language == other
    assert [text for *_, text in words(heard)] == [
        text for *_, text in by_hand(folder, sounds["sentence"], other)["segments"]
    ]
    assert (language_code(folder, "German"), language_code(folder, "zh"), language_code(folder, None)) == (
        "de",
        "zh",
        None,
    )
    with pytest.raises(UsageError, match="does not know") as caught:
        language_code(folder, "klingon")
    assert caught.value.expected == "de, en, zh"


def test_a_model_of_english_alone(tmp_path: Path, sounds: dict[str, NDArray[np.float32]]) -> None:
    folder = tiny_models.whisper(tmp_path / "model.en", multilingual=False)
    assert language_code(folder, None) == language_code(folder, "english") == "en"
    with pytest.raises(UsageError):
        language_code(folder, "de")
    heard = transcribe_waveforms(load(folder, language="en"), [sounds["sentence"]], batch=1)[0]
    model, processor = plain(folder)
    inputs = processor(sounds["sentence"], sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    with quiet():
        tokens = model.generate(
            inputs, return_timestamps=True, max_new_tokens=20, return_segments=True, force_unique_generate_call=True
        )["segments"][0]
    texts = [processor.tokenizer.decode(segment["tokens"], skip_special_tokens=True) for segment in tokens]
    texts = [text for text in texts if text.strip()]
    assert texts and heard.language == "en" and [text for *_, text in words(heard)][: len(texts)] == texts


def test_open_needs_no_torch_and_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    found = open_whisper(str(folder))
    assert (found.name, found.dim, len(found.weights)) == ("whisper-tiny", tiny_models.DIM, 64)
    with pytest.raises(AbawkitError, match="not a Whisper model"):
        open_whisper(str(tiny_models.bert(tmp_path / "bert")))
    with pytest.raises(AbawkitError, match="not on this machine") as caught:
        open_whisper("openai/whisper-large-v3-turbo")
    assert "abawkit transcribe --model FOLDER" in str(caught.value) and "extract" not in str(caught.value)


def changed(folder: Path, target: Path, file: str, **changes: Any) -> Path:
    copy = shutil.copytree(folder, target)
    record = json.loads((copy / file).read_text()) | changes
    (copy / file).write_text(json.dumps({key: value for key, value in record.items() if value is not ...}))
    return copy


def test_the_settings_of_decoding_are_part_of_the_model(folder: Path, tmp_path: Path) -> None:
    other = changed(folder, tmp_path / "m", "generation_config.json", suppress_tokens=[1, 2])
    assert open_whisper(str(other)).weights != open_whisper(str(folder)).weights


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("generation_config.json", {"no_timestamps_token_id": ...}, "old form"),
        ("generation_config.json", {"lang_to_id": ...}, "old form"),
        ("generation_config.json", {"eos_token_id": 3}, "do not belong together"),
        ("config.json", {"_attn_implementation": "kernels-community/flash"}, "code from outside"),
        ("config.json", {"decoder_layers": 2}, "do not belong together"),
        ("config.json", {"d_model": 12}, "do not belong together"),
        ("config.json", {"encoder_layers": "many"}, "cannot be loaded"),
        ("preprocessor_config.json", {"feature_size": 80}, "do not belong together"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "do not belong together"),
    ],
)
def test_files_that_do_not_belong_together(
    folder: Path, tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(AbawkitError, match=message):
        load(changed(folder, tmp_path / "m", file, **changes))


def test_files_that_are_missing(folder: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("tokenizer.json", "preprocessor_config.json", "generation_config.json")):
        copy = shutil.copytree(folder, tmp_path / str(number))
        (copy / name).unlink()
        with pytest.raises(AbawkitError):
            load(copy)


def test_a_device_that_is_not_there(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(AbawkitError, match="cannot be used"):
        load_whisper(folder, language=None, thresholds=ANYTHING, device="cuda:0")
