"""Unimodal encoders: each kind is one frozen config and one module, in one file.

An encoder takes :class:`~abawkit.models.clips.Packed` clips and returns one vector per clip, ``[B, size]``. A new kind
is a class like those in :data:`KINDS`: a frozen dataclass with a ``kind``, whose ``build`` returns the module.
"""

from __future__ import annotations

from abawkit.models.encoders.attention import Attention
from abawkit.models.encoders.convolution import Tcn
from abawkit.models.encoders.encoder import Encoder, EncoderConfig
from abawkit.models.encoders.pooled import Linear, Mean, MeanStd, Mlp, Statistics
from abawkit.models.encoders.recurrent import Gru, Lstm

#: The kinds that are part of the package; the entry points ``abawkit.encoders`` add others.
KINDS: tuple[type, ...] = (Linear, Mlp, Mean, MeanStd, Statistics, Attention, Gru, Lstm, Tcn)

__all__ = ["KINDS", "Encoder", "EncoderConfig"]
