"""Encoders that learn nothing about time: one vector per clip, or statistics over its frames, then a projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from abawkit.models.clips import Packed
from abawkit.models.encoders.encoder import Encoder, check_shape, dtype_of, projection
from abawkit.models.pooling import statistics


@dataclass(frozen=True)
class Mlp:
    """The paper's TextMLPEncoder: a projection of the one vector that a clip has (Sec. 4.4).

    Attributes:
        kind: ``mlp``.
        hidden: Size of the embedding H (paper: 384).
        dropout: Dropout of the projection (paper: .45).
    """

    kind: Literal["mlp"] = "mlp"
    hidden: int = 384
    dropout: float = 0.45
    #: It takes one vector per clip.
    one_frame: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_shape(self.hidden, self.dropout)

    def build(self, inputs: int) -> MlpEncoder:
        """Returns a new encoder."""
        return MlpEncoder(inputs, self)


class MlpEncoder(Encoder):
    """LayerNorm → Linear → GELU → dropout → LayerNorm; names as in the authors' checkpoints: ``feature.{0,1,4}``."""

    def __init__(self, inputs: int, config: Mlp) -> None:
        super().__init__()
        self.size = config.hidden
        self.feature = projection(inputs, config.hidden, config.dropout)

    def forward(self, clips: Packed) -> Tensor:
        """Returns embeddings ``[B, H]`` of clips of one frame."""
        embedding: Tensor = self.feature(clips.vectors(dtype_of(self)))
        return embedding


@dataclass(frozen=True)
class Linear:
    """The mean over time and one linear layer (Table 3: "linear projection").

    Attributes:
        kind: ``linear``.
        hidden: Size of the embedding H.
    """

    kind: Literal["linear"] = "linear"
    hidden: int = 384

    def __post_init__(self) -> None:
        check_shape(self.hidden, 0.0)

    def build(self, inputs: int) -> LinearEncoder:
        """Returns a new encoder."""
        return LinearEncoder(inputs, self)


class LinearEncoder(Encoder):
    """Mean over time → Linear."""

    def __init__(self, inputs: int, config: Linear) -> None:
        super().__init__()
        self.size = config.hidden
        self.proj = nn.Linear(inputs, config.hidden)

    def forward(self, clips: Packed) -> Tensor:
        """Returns embeddings ``[B, H]``."""
        embedding: Tensor = self.proj(statistics(clips, ["mean"], dtype_of(self)))
        return embedding


@dataclass(frozen=True)
class _Pooled:
    """Statistics over time, then a projection.

    Attributes:
        hidden: Size of the embedding H.
        dropout: Dropout of the projection.
    """

    hidden: int = 384
    dropout: float = 0.45
    #: In the order in which they are concatenated.
    names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_shape(self.hidden, self.dropout)

    def build(self, inputs: int) -> PooledEncoder:
        """Returns a new encoder."""
        return PooledEncoder(inputs, self)


@dataclass(frozen=True)
class Mean(_Pooled):
    """The mean over time (Table 3: "mean pooling + MLP")."""

    kind: Literal["mean"] = "mean"
    names: ClassVar[tuple[str, ...]] = ("mean",)


@dataclass(frozen=True)
class MeanStd(_Pooled):
    """Mean and standard deviation over time (Table 3: "mean+std pooling + MLP")."""

    kind: Literal["mean_std"] = "mean_std"
    names: ClassVar[tuple[str, ...]] = ("mean", "std")


@dataclass(frozen=True)
class Statistics(_Pooled):
    """Mean, standard deviation, minimum and maximum over time, as HSEmotion pools (ABAW8)."""

    kind: Literal["statistics"] = "statistics"
    names: ClassVar[tuple[str, ...]] = ("mean", "std", "min", "max")


class PooledEncoder(Encoder):
    """Statistics over time → LayerNorm → Linear → GELU → dropout → LayerNorm."""

    def __init__(self, inputs: int, config: _Pooled) -> None:
        super().__init__()
        self.size, self._names = config.hidden, config.names
        self.proj = projection(inputs * len(config.names), config.hidden, config.dropout)

    def forward(self, clips: Packed) -> Tensor:
        """Returns embeddings ``[B, H]``."""
        embedding: Tensor = self.proj(statistics(clips, self._names, dtype_of(self)))  # [B, k·D] → [B, H]
        return embedding
