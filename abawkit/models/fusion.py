"""Fusion of the modality embeddings (paper Sec. 4.6), with modality dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from abawkit.models.encoders import EncoderConfig, Inputs, make_encoder


@dataclass(frozen=True)
class FusionConfig:
    """The shape of a fusion model.

    Attributes:
        encoders: Modality → its encoder, in the order of concatenation.
        targets: Number of targets E.
        hidden: Hidden size of the regressor (paper: 384).
        dropout: Dropout of the regressor (paper: .45).
        modality_dropout: Probability with which a modality of a sample is dropped in training (paper: .3).
        frozen: Modalities whose encoder is in eval mode and gets no gradients.
    """

    encoders: Mapping[str, EncoderConfig]
    targets: int
    hidden: int = 384
    dropout: float = 0.45
    modality_dropout: float = 0.3
    frozen: Sequence[str] = ()


class FusionRegressor(nn.Module):
    """LayerNorm → dropout → Linear → GELU → dropout → Linear on the concatenated embeddings (Sec. 4.6)."""

    def __init__(self, inputs: int, config: FusionConfig) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.LayerNorm(inputs),
            nn.Dropout(config.dropout),
            nn.Linear(inputs, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.targets),
        )

    def forward(self, fused: Tensor) -> Tensor:
        """Returns predictions ``[B, E]`` of fused embeddings ``[B, ΣH]``."""
        prediction: Tensor = self.mlp(fused)
        return prediction


class FusionModel(nn.Module):
    """Encoders, modality dropout and the fusion regressor (Sec. 4.6).

    Parameter names are those of the authors' checkpoints: ``text_encoder…``, …, ``fusion_head.mlp…``.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        for modality, encoder in config.encoders.items():
            self.add_module(f"{modality}_encoder", make_encoder(encoder))
            if modality in config.frozen:
                self.encoder(modality).requires_grad_(False)
        self.fusion_head = FusionRegressor(sum(encoder.hidden for encoder in config.encoders.values()), config)

    def encoder(self, modality: str) -> nn.Module:
        """Returns the modality's encoder."""
        return self.get_submodule(f"{modality}_encoder")

    def train(self, mode: bool = True) -> FusionModel:
        """Sets the training mode; frozen encoders stay in eval mode."""
        super().train(mode)
        for modality in self.config.frozen:
            self.encoder(modality).eval()
        return self

    def embed(self, inputs: Mapping[str, Inputs], ready: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """Returns one embedding ``[B, H_m]`` per modality, in the order of concatenation.

        Args:
            inputs: Modality → text ``[B, D]`` or B clips of frames.
            ready: Modality → embeddings ``[B, H_m]`` that need not be computed (of frozen encoders).
        """
        embeddings = []
        for modality in self.config.encoders:
            if ready is not None and modality in ready:
                embeddings.append(ready[modality])
                continue
            with torch.set_grad_enabled(torch.is_grad_enabled() and modality not in self.config.frozen):
                embeddings.append(self.encoder(modality)(inputs[modality]))
        return embeddings

    def fuse(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Returns predictions ``[B, E]`` of the embeddings; in training, modalities drop out."""
        if self.training and self.config.modality_dropout > 0:
            embeddings = drop_modalities(embeddings, self.config.modality_dropout)
        prediction: Tensor = self.fusion_head(torch.cat(list(embeddings), dim=1))  # [B, ΣH] → [B, E]
        return prediction

    def forward(self, inputs: Mapping[str, Inputs], ready: Mapping[str, Tensor] | None = None) -> Tensor:
        """Returns predictions ``[B, E]``, not bounded to [0, 1]; arguments as :meth:`embed`."""
        return self.fuse(self.embed(inputs, ready))

    def fuse_without(self, embeddings: Sequence[Tensor], modality: str) -> Tensor:
        """Returns predictions ``[B, E]`` with one modality's embedding set to zero, as modality dropout does."""
        left_out = list(self.config.encoders).index(modality)
        kept = [torch.zeros_like(e) if index == left_out else e for index, e in enumerate(embeddings)]
        return self.fuse(kept)


def drop_modalities(embeddings: Sequence[Tensor], probability: float) -> list[Tensor]:
    """Returns the embeddings with whole modalities of single samples set to zero, as :func:`modality_scale` draws."""
    first = embeddings[0]
    scale = modality_scale(len(first), len(embeddings), probability, device=first.device).to(first.dtype)
    return [embedding * scale[:, index : index + 1] for index, embedding in enumerate(embeddings)]


def modality_scale(samples: int, modalities: int, probability: float, *, device: torch.device | str = "cpu") -> Tensor:
    """Returns what modality dropout multiplies the embeddings with, ``float32 [B, M]`` (Sec. 4.6).

    Each modality of each sample is dropped with ``probability``; a sample that would lose all of them keeps one, drawn
    evenly. Kept embeddings are scaled by 1 / (1 − p), that one too.
    """
    kept = torch.rand(samples, modalities, device=device) >= probability  # [B, M]
    spare = torch.randint(modalities, (samples,), device=device)  # [B]
    one = spare[:, None] == torch.arange(modalities, device=device)  # one_hot reads its values: a step would wait
    kept |= ~kept.any(dim=1, keepdim=True) & one
    return kept / (1 - probability)
