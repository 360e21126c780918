"""What a system can say: the schema of its TOML file. The paper's values are the defaults (Sec. 4.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from abawkit.features.spec import MODALITIES, Modality
from abawkit.models.network import NetworkConfig, SlotConfig
from abawkit.optim.losses import LossTerm
from abawkit.optim.precision import Precision
from abawkit.systems.kinds import of_kind

#: What the stage is called that fuses trained encoders, and the one that trains everything at once.
FUSION, JOINT = "fusion", "joint"

_Count = Annotated[int, Field(ge=1)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Slot(_Section):
    """One input of a system: the features of a modality and their encoder."""

    modality: Modality
    features: str | None = Field(
        None, description="name, folder or signature of the feature store; default: the only one"
    )
    extract: str | None = Field(
        None, description="the command that makes these features, for the message that they lack"
    )
    encoder: of_kind("encoder")  # type: ignore[valid-type]
    normalize: bool = Field(False, description="divide each frame by its length (L2), as the paper does with text")
    frozen: bool = Field(False, description="the encoder is not updated after its own stage")
    epochs: _Count | None = Field(None, description="most epochs of its own stage; default: training.epochs")
    patience: _Count | None = Field(None, description="patience of its own stage; default: training.patience")


class Fusion(_Section):
    """How the slots' vectors become a prediction. The keys of its kind stand beside these."""

    kind: of_kind("fusion")  # type: ignore[valid-type]
    modality_dropout: float = Field(0.3, ge=0, lt=1, description="probability with which a slot of a sample is dropped")
    missing: Literal["zero", "token", "drop"] = Field(
        "zero",
        description="a clip that lacks a slot: zeros (the authors'), a learned token, or leave the clip out "
        "(of audio, vision and motion; missing text is zeros)",
    )
    epochs: _Count | None = Field(None, description="most epochs of the fusion stage; default: training.epochs")
    patience: _Count | None = Field(None, description="patience of the fusion stage; default: training.patience")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, table: Any) -> Any:
        """Puts the keys of the kind under ``kind``: in the file they stand beside the others."""
        if not isinstance(table, Mapping) or not isinstance(table.get("kind"), str):
            return table
        common = {key: value for key, value in table.items() if key in cls.model_fields and key != "kind"}
        own = {key: value for key, value in table.items() if key not in cls.model_fields or key == "kind"}
        return {**common, "kind": own}

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = handler(self)
        return {**written.pop("kind"), **written}


class Training(_Section):
    """How a system is trained."""

    stages: Literal["unimodal, then fusion", "joint"] = Field(
        "unimodal, then fusion", description="each encoder alone, then fusion (Sec. 4.1); or everything at once"
    )
    epochs: _Count = Field(50, description="most epochs of a stage")
    patience: _Count = Field(10, description="epochs without improvement before a stage stops")
    batch_size: _Count = Field(16, description="clips per batch")
    accumulate: _Count = Field(1, description="batches per step; their gradients are averaged")
    lr: float = Field(2e-4, gt=0, description="AdamW's learning rate")
    encoder_lr_scale: float = Field(0.05, ge=0, description="the encoders' share of the rate during fusion (Sec. 4.6)")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW's weight decay")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    min_delta: float = Field(1e-4, ge=0, description="by how much the validation score has to grow to count as better")
    head_dropout: float = Field(0.45, ge=0, lt=1, description="dropout before the heads of single slots")
    loss: Annotated[tuple[of_kind("loss"), ...], BeforeValidator(_listed), Field(min_length=1)] = Field(  # type: ignore[valid-type]
        ({"kind": "ccc_mse"},), validate_default=True, description="one term, or a list of terms, each with a weight"
    )
    schedule: of_kind("schedule") = Field(  # type: ignore[valid-type]
        {"kind": "plateau"}, validate_default=True, description="how the rate changes from epoch to epoch"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay of the weights' running mean, which is scored and saved in their place"
    )
    precision: Precision = Field("float32", description="of the forward pass; losses are float32")


class PaperScores(_Section):
    """The paper's scores of a system: mean Pearson r."""

    valid: float | None = None
    test: float | None = None


class System(_Section):
    """A system that can be trained by name."""

    name: str = Field("", description="what the user types; the file's name")
    title: str = Field("", description="one line about it")
    source: str = Field("", description="where it is described")
    note: str = Field("", description="what the source leaves open, and what was chosen")
    ratio: str = Field("2:1", description="the split that it asks for")
    slots: dict[str, Slot] = Field(min_length=1)
    fusion: Fusion | None = None
    training: Training = Field(default_factory=Training)
    paper: PaperScores = Field(default_factory=PaperScores)

    @model_validator(mode="before")
    @classmethod
    def _name_modalities(cls, table: Any) -> Any:
        """A slot that is called like a modality is of that modality."""
        slots = table.get("slots") if isinstance(table, Mapping) else None
        if not isinstance(slots, Mapping):
            return table
        made = {
            name: {"modality": name, **slot} if name in MODALITIES and isinstance(slot, Mapping) else slot
            for name, slot in slots.items()
        }
        return {**table, "slots": made}

    @model_validator(mode="after")
    def _agrees(self) -> System:
        for name in self.slots:
            if not name.isidentifier() or name in (FUSION, JOINT, "prediction"):
                raise ValueError(f"a slot cannot be called {name!r}: take a word of letters, digits and _")
        if self.fusion is None and len(self.slots) > 1:
            raise ValueError(f"{len(self.slots)} slots need a [fusion]")
        if self.fusion is None and self.training.stages == "joint":
            raise ValueError("a system of one slot and no [fusion] has one stage, the slot's own: leave stages out")
        for term in self.training.loss:
            if term.on not in ("prediction", *self.slots):
                raise ValueError(f"a loss is on {term.on!r}, which is not a slot: {', '.join(self.slots)}")
        return self

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that it needs, in the order of its slots."""
        return tuple(dict.fromkeys(slot.modality for slot in self.slots.values()))

    @property
    def unimodal(self) -> list[str]:
        """The slots that have a stage of their own."""
        return [] if self.fusion is not None and self.training.stages == "joint" else list(self.slots)

    @property
    def final(self) -> str:
        """The stage that predicts: ``fusion``, ``joint``, or the only slot."""
        if self.fusion is None:
            return next(iter(self.slots))
        return JOINT if self.training.stages == "joint" else FUSION

    def epochs(self, stage: str) -> int:
        """Returns the most epochs of a stage."""
        return self._of(stage).epochs or self.training.epochs

    def patience(self, stage: str) -> int:
        """Returns the patience of a stage."""
        return self._of(stage).patience or self.training.patience

    def _of(self, stage: str) -> Slot | Fusion:
        if stage in self.slots:
            return self.slots[stage]
        assert self.fusion is not None
        return self.fusion

    def loss(self, stage: str) -> tuple[LossTerm, ...]:
        """Returns the terms of a stage's loss; a slot's own stage has those on the prediction, and on its own head."""
        terms: tuple[LossTerm, ...] = self.training.loss
        return tuple(term for term in terms if stage not in self.slots or term.on in ("prediction", stage))

    def network(self, stage: str, inputs: Mapping[str, int], targets: int) -> NetworkConfig:
        """Returns the network of a stage.

        Args:
            stage: A slot, ``fusion`` or ``joint``.
            inputs: Slot → values per frame.
            targets: Number of targets.
        """
        alone = stage in self.slots
        names = [stage] if alone else list(self.slots)
        slots = {
            name: SlotConfig(self.slots[name].encoder, inputs[name], self.slots[name].frozen and stage == FUSION)
            for name in names
        }
        shared: dict[str, Any] = {"head_dropout": self.training.head_dropout}
        if self.fusion is not None:
            shared["missing"] = "token" if self.fusion.missing == "token" else "zero"
        if alone or self.fusion is None:
            return NetworkConfig(slots, targets, **shared)
        heads = tuple(dict.fromkeys(term.on for term in self.training.loss if term.on in self.slots))
        return NetworkConfig(
            slots, targets, self.fusion.kind, heads, modality_dropout=self.fusion.modality_dropout, **shared
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the system as a JSON object, from which :meth:`model_validate` makes it again."""
        return self.model_dump(mode="json")


def known_keys() -> list[str]:
    """Returns every key that a system's file can have, without its path, for suggestions."""
    sections: list[type[BaseModel]] = [System, Slot, Fusion, Training, PaperScores]
    return sorted({key for section in sections for key in section.model_fields})
