"""The paper's networks a second time: padded batches, masks, and every formula written out.

Written from the description of the method alone, as slowly and plainly as it goes, and never from the package's own
modules. Parameters come in a dictionary under the names of the authors' released checkpoints. Dropout is off.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(x - mean) / sqrt(population variance + 1e-5), scaled and shifted, over the last axis."""
    mean = x.sum(dim=-1, keepdim=True) / x.shape[-1]
    variance = ((x - mean) ** 2).sum(dim=-1, keepdim=True) / x.shape[-1]
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight.T + bias


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function of x."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def projection(x: Tensor, own: State, prefix: str) -> Tensor:
    """LayerNorm → Linear → GELU → LayerNorm."""
    x = layer_norm(x, own[f"{prefix}.0.weight"], own[f"{prefix}.0.bias"])
    x = gelu(linear(x, own[f"{prefix}.1.weight"], own[f"{prefix}.1.bias"]))
    return layer_norm(x, own[f"{prefix}.4.weight"], own[f"{prefix}.4.bias"])


def pooling(clips: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Linear scorer, softmax with a mask over a padded batch, weighted sum; a clip without frames is one zero frame."""
    clips = [clip.to(weight.dtype) if len(clip) else weight.new_zeros(1, weight.shape[-1]) for clip in clips]
    longest = max(len(clip) for clip in clips)
    batch = weight.new_full((len(clips), longest, weight.shape[-1]), 7.7)  # padding that would be noticed
    mask = torch.zeros(len(clips), longest, dtype=torch.bool)
    for row, clip in enumerate(clips):
        batch[row, : len(clip)] = clip
        mask[row, : len(clip)] = True
    scores = linear(batch, weight.reshape(1, -1), bias.reshape(1))[:, :, 0].masked_fill(~mask, float("-inf"))
    shares = torch.softmax(scores, dim=1)
    return (shares[:, :, None] * batch).sum(dim=1)


def text_encoder(text: Tensor, own: State, prefix: str = "") -> Tensor:
    """The text embedding divided by its length (missing: zeros), then the projection."""
    rows = [row / torch.sqrt((row * row).sum()) if bool(row.any()) else row for row in text]
    return projection(torch.stack(rows), own, f"{prefix}feature")


def frames_encoder(clips: Sequence[Tensor], own: State, prefix: str = "") -> Tensor:
    pooled = pooling(clips, own[f"{prefix}attn.weight"], own[f"{prefix}attn.bias"])
    return projection(pooled, own, f"{prefix}proj")


def encoder(modality: str, values: Tensor | Sequence[Tensor], own: State, prefix: str = "") -> Tensor:
    if modality == "text":
        assert isinstance(values, Tensor)
        return text_encoder(values, own, prefix)
    return frames_encoder(list(values), own, prefix)


def stage(modality: str, values: Tensor | Sequence[Tensor], own: State, prefix: str = "") -> Tensor:
    """A unimodal model: the encoder and a linear head."""
    return linear(encoder(modality, values, own, prefix), own["head.1.weight"], own["head.1.bias"])


def head(embeddings: Sequence[Tensor], own: State) -> Tensor:
    """Concatenation → LayerNorm → Linear → GELU → Linear."""
    x = layer_norm(torch.cat(list(embeddings), dim=1), own["fusion_head.mlp.0.weight"], own["fusion_head.mlp.0.bias"])
    x = gelu(linear(x, own["fusion_head.mlp.2.weight"], own["fusion_head.mlp.2.bias"]))
    return linear(x, own["fusion_head.mlp.5.weight"], own["fusion_head.mlp.5.bias"])


def embeddings(values: Mapping[str, Tensor | Sequence[Tensor]], own: State) -> list[Tensor]:
    """One embedding per modality, always in this order."""
    order = [m for m in ("text", "audio", "vision", "motion") if m in values]
    return [encoder(m, values[m], own, f"{m}_encoder.") for m in order]


def fusion(values: Mapping[str, Tensor | Sequence[Tensor]], own: State) -> Tensor:
    return head(embeddings(values, own), own)


def dropped(embeddings: Sequence[Tensor], kept: Tensor, probability: float) -> list[Tensor]:
    """Modality dropout with the draw ``kept [B, M]`` given: each sample's kept embeddings times 1 / (1 - p)."""
    made = [torch.zeros_like(embedding) for embedding in embeddings]
    for modality, embedding in enumerate(embeddings):
        for sample in range(len(embedding)):
            if kept[sample, modality]:
                made[modality][sample] = embedding[sample] / (1 - probability)
    return made


def ccc(truth: Sequence[float] | Tensor, prediction: Sequence[float] | Tensor) -> Tensor:
    """Lin's concordance coefficient of one target, with population moments and the loss's 1e-8 below the line."""
    t, p = torch.as_tensor(truth), torch.as_tensor(prediction)
    n = len(t)
    mean_t, mean_p = t.sum() / n, p.sum() / n
    covariance = ((t - mean_t) * (p - mean_p)).sum() / n
    variances = ((t - mean_t) ** 2).sum() / n + ((p - mean_p) ** 2).sum() / n
    return 2 * covariance / (variances + (mean_t - mean_p) ** 2 + 1e-8)


def loss(truth: Tensor, prediction: Tensor, alpha: float) -> Tensor:
    """alpha · (1 - mean CCC) + (1 - alpha) · MSE (Eq. 1)."""
    clips, targets = truth.shape
    mean_ccc, squares = torch.zeros((), dtype=truth.dtype), torch.zeros((), dtype=truth.dtype)
    for target in range(targets):
        mean_ccc = mean_ccc + ccc(truth[:, target], prediction[:, target]) / targets
        for clip in range(clips):
            squares = squares + (truth[clip, target] - prediction[clip, target]) ** 2
    return alpha * (1 - mean_ccc) + (1 - alpha) * squares / (clips * targets)
