"""A whole network: an encoder per slot, what stands in for absent clips, and a fusion or a head (Sec. 4.1, 4.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from abawkit.models.clips import Packed
from abawkit.models.dropout import Dropout
from abawkit.models.encoders import Encoder, EncoderConfig
from abawkit.models.fusion import FusionConfig


@dataclass(frozen=True)
class SlotConfig:
    """One slot of a network.

    Attributes:
        encoder: Its encoder.
        inputs: Values per frame D.
        frozen: The encoder is in eval mode and gets no gradients.
    """

    encoder: EncoderConfig
    inputs: int
    frozen: bool = False


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a network.

    Attributes:
        slots: Slot → its config, in the order of fusion.
        targets: Number of targets E.
        fusion: How the slots' vectors are fused; None: there is one slot, and its head predicts.
        heads: Slots that have a head of their own (dropout → Linear), for auxiliary losses.
        head_dropout: Dropout of the heads (paper: .45).
        missing: What stands in for an absent clip: zeros, or a learned token. See :class:`Network`.
        modality_dropout: Probability with which a slot of a sample is dropped in training (paper: .3).
    """

    slots: Mapping[str, SlotConfig]
    targets: int
    fusion: FusionConfig | None = None
    heads: Sequence[str] = ()
    head_dropout: float = 0.45
    missing: Literal["zero", "token"] = "zero"
    modality_dropout: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """What a network takes for B clips.

    Attributes:
        clips: Slot → its clips, but for those in ``ready``.
        ready: Slot → vectors ``[B, H]`` of a frozen encoder, which need not be computed.
        present: Slot → which clips have it, ``bool [B]``.
    """

    clips: Mapping[str, Packed]
    ready: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


@dataclass(frozen=True)
class Output:
    """What a network gives for B clips.

    Attributes:
        prediction: ``[B, E]``, not bounded to [0, 1].
        heads: Slot → the prediction of its own head ``[B, E]``.
        vectors: Slot → its vector ``[B, H]``, as fused.
    """

    prediction: Tensor
    heads: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]


class Network(nn.Module):
    """Encoders, modality dropout, and a fusion or a head.

    A clip that lacks a slot enters its encoder as one frame of zeros (the authors') or as the slot's learned token.
    A slot that is dropped in training, or left out on purpose, is zeros behind its encoder, and what is kept is scaled
    by 1 / (1 − p) in training (Sec. 4.6); with tokens it enters its encoder as the token instead, and nothing is scaled
    (as in TAEMI). Parameters are called ``<slot>_encoder.…``, ``<slot>_head.…``, ``<slot>_token`` and
    ``fusion_head.…``: the names of the authors' checkpoints where those have them.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.fusion is None and len(config.slots) != 1:
            raise ValueError("a network without fusion has one slot")
        self.config = config
        for name, slot in config.slots.items():
            self.add_module(f"{name}_encoder", slot.encoder.build(slot.inputs))
            if config.missing == "token":
                # As TAEMI's tokens: .02 times normal noise to begin with.
                self.register_parameter(f"{name}_token", nn.Parameter(0.02 * torch.randn(slot.inputs)))
        heads = config.slots if config.fusion is None else config.heads
        for name in heads:
            head = nn.Sequential(Dropout(config.head_dropout), nn.Linear(self.encoder(name).size, config.targets))
            self.add_module(f"{name}_head", head)
        self.heads = tuple(heads)
        sizes = {name: self.encoder(name).size for name in config.slots}
        self.fusion_head = None if config.fusion is None else config.fusion.build(sizes, config.targets)
        for name in self.frozen:
            for parameter in self.slot_parameters(name):
                parameter.requires_grad_(False)

    @property
    def frozen(self) -> list[str]:
        """Slots whose encoder is not updated."""
        return [name for name, slot in self.config.slots.items() if slot.frozen]

    def encoder(self, slot: str) -> Encoder:
        """Returns the slot's encoder."""
        found = self.get_submodule(f"{slot}_encoder")
        assert isinstance(found, Encoder)
        return found

    def token(self, slot: str) -> Tensor | None:
        """Returns the slot's learned token ``[D]``; None where absent clips are zeros."""
        found: Tensor | None = getattr(self, f"{slot}_token", None)
        return found

    def slot_parameters(self, slot: str) -> list[nn.Parameter]:
        """Returns the parameters of the slot's encoder, with its token."""
        token = self.token(slot)
        own = list(self.encoder(slot).parameters())
        return own if token is None else [*own, token]  # type: ignore[list-item]

    def train(self, mode: bool = True) -> Network:
        """Sets the training mode; frozen encoders stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.encoder(name).eval()
        return self

    def encode(self, slot: str, clips: Packed) -> Tensor:
        """Returns the slot's vectors ``[B, H]``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.slots[slot].frozen):
            vector: Tensor = self.encoder(slot)(replace(clips, filler=self.token(slot)))
            return vector

    def forward(self, inputs: Inputs, without: str | None = None) -> Output:
        """Returns predictions, heads and vectors of B clips; in training, slots drop out.

        Args:
            inputs: The clips of each slot.
            without: A slot that is left out: marked as absent in every clip.
        """
        names, rate = list(self.config.slots), self.config.modality_dropout
        shape, device = (len(inputs.present[names[0]]), len(names)), inputs.present[names[0]].device
        dropping = self.training and self.fusion_head is not None and rate > 0
        if not dropping and without is None:
            kept = None
        else:
            kept = (
                draw_kept(*shape, rate, device=device)
                if dropping
                else torch.ones(shape, dtype=torch.bool, device=device)
            )
            if without is not None:
                kept[:, names.index(without)] = False
        vectors = {
            name: self._vector(name, inputs, None if kept is None else kept[:, at]) for at, name in enumerate(names)
        }
        present = inputs.present
        if kept is not None:
            present = {name: present[name] & kept[:, at] for at, name in enumerate(names)}
            if self.config.missing == "zero":
                scale = kept.to(vectors[names[0]].dtype) / (1 - rate if dropping else 1)  # [B, M]
                vectors = {name: vectors[name] * scale[:, at : at + 1] for at, name in enumerate(names)}
        heads = {name: self.get_submodule(f"{name}_head")(vectors[name]) for name in self.heads}
        if self.fusion_head is None:
            return Output(heads[names[0]], heads, vectors)
        return Output(self.fusion_head(vectors, present), heads, vectors)

    def _vector(self, slot: str, inputs: Inputs, kept: Tensor | None) -> Tensor:
        """Returns the slot's vectors ``[B, H]``; with tokens, dropped clips enter the encoder as the token."""
        token = self.token(slot)
        if slot not in inputs.ready:
            clips = inputs.clips[slot]
            return self.encode(slot, clips if token is None or kept is None else clips.without(~kept))
        ready = inputs.ready[slot]
        if token is None or kept is None:
            return ready
        blank = self.encode(slot, Packed.of([token.new_zeros(0, len(token))]))  # [1, H]
        return torch.where(kept[:, None], ready, blank)


def draw_kept(samples: int, slots: int, probability: float, *, device: torch.device | str = "cpu") -> Tensor:
    """Returns which slots of which samples modality dropout keeps, ``bool [B, M]`` (Sec. 4.6).

    Each is dropped with ``probability``; a sample that would lose all of them keeps one, drawn evenly.
    """
    kept = torch.rand(samples, slots, device=device) >= probability  # [B, M]
    spare = torch.randint(slots, (samples,), device=device)  # [B]
    one = spare[:, None] == torch.arange(slots, device=device)  # one_hot reads its values: a step would wait
    return kept | (~kept.any(dim=1, keepdim=True) & one)
