"""Tiny transformers models with random weights, saved to a folder as the hub's files are: no downloads, ever.

The weights are large enough (``initializer_range``) for a wrong mask, a wrong token or a wrong neighbour to show.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    Dinov2Config,
    Dinov2Model,
    GenerationConfig,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    Wav2Vec2PreTrainedModel,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from abawkit.backbones.loading import quiet

DIM = 16
MAX_TOKENS = 24
WORDS = ["i", "you", "am", "are", "so", "happy", "sad", "to", "see", "oh", "no", "that", "is", "##ly", "!", "."]
_SIZE: dict[str, Any] = {
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "initializer_range": 0.3,
}


def save(folder: Path, build: Callable[[], PreTrainedModel]) -> Path:
    """Writes config.json and model.safetensors of a model with seeded random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = build()
    with quiet():
        model.save_pretrained(folder)
    return folder


def bert(folder: Path) -> Path:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=MAX_TOKENS, **_SIZE)
    save(folder, lambda: BertModel(config))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    with quiet():
        BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    return folder


def _wav2vec2_config(*, norm: str, layers: int = 2) -> dict[str, Any]:
    # The published convolutions (a frame every 320 samples, each seeing 400), twelve channels wide.
    return {
        **_SIZE,
        "num_hidden_layers": layers,
        "conv_dim": (12,) * 7,
        "feat_extract_norm": norm,
        "do_stable_layer_norm": norm == "layer",
        "conv_bias": norm == "layer",
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "vocab_size": 32,
    }


def _audio_processor(folder: Path, *, norm: str) -> None:
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer").save_pretrained(folder)


def wav2vec2(folder: Path, *, norm: str = "layer", layers: int = 2) -> Path:
    """A Wav2Vec2 with layer norm (as the large models) or group norm (``norm="group"``, as wav2vec2-base)."""
    save(folder, lambda: Wav2Vec2Model(Wav2Vec2Config(**_wav2vec2_config(norm=norm, layers=layers))))
    _audio_processor(folder, norm=norm)
    return folder


def hubert(folder: Path) -> Path:
    save(folder, lambda: HubertModel(HubertConfig(**_wav2vec2_config(norm="group"))))
    _audio_processor(folder, norm="group")
    return folder


def wavlm(folder: Path) -> Path:
    save(folder, lambda: WavLMModel(WavLMConfig(**_wav2vec2_config(norm="layer"))))
    _audio_processor(folder, norm="layer")
    return folder


class EmotionModel(Wav2Vec2PreTrainedModel):
    """A regression head over a Wav2Vec2 backbone, laid out as audeering's published checkpoint."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.classifier = torch.nn.ModuleDict(
            {"dense": torch.nn.Linear(config.hidden_size, config.hidden_size), "out_proj": torch.nn.Linear(DIM, 3)}
        )
        self.post_init()


def emotion_wav2vec2(folder: Path) -> Path:
    """A checkpoint whose backbone lies under ``wav2vec2.``, with the names that older torch gave weight norm."""
    from safetensors.torch import load_file, save_file

    save(folder, lambda: EmotionModel(Wav2Vec2Config(**_wav2vec2_config(norm="layer"))))
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = {}
    for key, value in load_file(folder / "model.safetensors").items():
        for new_name, old_name in old.items():
            key = key.replace(new_name, old_name)
        weights[key] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _audio_processor(folder, norm="layer")
    return folder


def _image_processor(folder: Path, **settings: Any) -> None:
    # Written by hand, as on the hub: building one needs Pillow, and these fields are what older files hold.
    record = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        **settings,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(record))


def dinov2(folder: Path) -> Path:
    config = Dinov2Config(image_size=28, patch_size=7, **{**_SIZE, "mlp_ratio": 2})
    save(folder, lambda: Dinov2Model(config))
    _image_processor(
        folder,
        image_processor_type="BitImageProcessor",
        size={"shortest_edge": 32},
        do_center_crop=True,
        crop_size={"height": 28, "width": 28},
        resample=3,
        do_convert_rgb=True,
    )
    return folder


def vit(folder: Path) -> Path:
    save(folder, lambda: ViTModel(ViTConfig(image_size=32, patch_size=8, **_SIZE)))
    _image_processor(folder, image_processor_type="ViTImageProcessor", size={"height": 32, "width": 32}, resample=2)
    return folder


LANGUAGES = ("en", "de", "zh")


def whisper(folder: Path, *, multilingual: bool = True, spread: float = 0.3, seed: int = 7) -> Path:
    """A Whisper whose words are those of :data:`WORDS`, with the published windows, timestamps and special tokens.

    ``spread`` is the size of the weights: the larger it is, the surer the model is of its words.
    """
    words = ["Ġ" + word for word in WORDS if word.isalpha()]
    vocab = {letter: number for number, letter in enumerate(sorted({letter for word in words for letter in word}))}
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(1, len(word)):
            if word[: end + 1] not in vocab:
                vocab[word[: end + 1]] = len(vocab)
                merges.append((word[:end], word[end]))
    languages = [f"<|{language}|>" for language in LANGUAGES] if multilingual else []
    tasks = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    special = ["<|endoftext|>", "<|startoftranscript|>", *languages, *tasks, "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(1501)])
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in special}
    end = ids["<|endoftext|>"]
    tokens = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    tokens["decoder_start_token_id"] = ids["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=8,
        d_model=DIM,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_target_positions=40,
        init_std=spread,
        **tokens,
    )
    settings: dict[str, Any] = {"is_multilingual": multilingual}
    if multilingual:
        settings["lang_to_id"] = {token: ids[token] for token in languages}
        settings["task_to_id"] = {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")}

    def build() -> PreTrainedModel:
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(config)
        model.generation_config = GenerationConfig(
            max_length=40,
            no_timestamps_token_id=ids["<|notimestamps|>"],
            max_initial_timestamp_index=50,
            begin_suppress_tokens=[vocab["Ġ"], end],
            suppress_tokens=[ids[token] for token in special[1:-1]],
            **tokens,
            **settings,
        )
        return model

    save(folder, build)
    with quiet():
        tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    return folder
