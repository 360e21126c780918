"""Systems are found, read strictly, changed by path or by the paper's short names, and written as TOML."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from abawkit.errors import UsageError
from abawkit.optim.losses import CccMse, Mse, Pearson
from abawkit.optim.schedules import Cosine
from abawkit.systems.loader import build_system, find_system, find_systems, load_system, read_table
from abawkit.systems.overrides import SHORT_NAMES, value_of
from abawkit.systems.schema import System
from abawkit.systems.write import as_toml, new_system

MINIMAL = '[slots.audio]\nencoder = { kind = "mean" }\n'


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", [found.name for found in find_systems()])
def test_what_is_shown_is_the_system(name: str, tmp_path: Path) -> None:
    system = load_system(name)
    again = build_system(tomllib.loads(as_toml(system)), name, path=tmp_path)
    assert again == system == System.model_validate(system.to_json())


def test_a_minimal_file_has_the_papers_defaults(tmp_path: Path) -> None:
    system = load_system(str(written(tmp_path, MINIMAL)))
    assert (system.name, system.ratio, system.final, system.unimodal) == ("mine", "2:1", "audio", ["audio"])
    assert system.training.lr == 2e-4 and system.loss("audio") == (CccMse(),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slots = 3", ["bad value of slots"]),
        ("title = 'x'", ["slots is missing"]),
        ("[slots]\n", ["bad value of slots"]),
        (MINIMAL + "hiden = 3", ["unknown key slots.audio.hiden"]),
        (MINIMAL + "normalise = true", ["unknown key slots.audio.normalise", "did you mean normalize?"]),
        ("[slots.audoi]\nencoder = { kind = 'mean' }", ["slots.audoi.modality is missing"]),
        ("[slots.x]\nmodality = 'vison'\nencoder = { kind = 'mean' }", ["bad value of slots.x.modality", "vision"]),
        ("[slots.audio]\nencoder = { kind = 'meen' }", ["unknown encoder 'meen'", "did you mean mean?"]),
        ("[slots.audio]\nencoder = { kind = 'mean', hiden = 3 }", ["no key 'hiden'", "did you mean hidden?"]),
        ("[slots.audio]\nencoder = { kind = 'mean', hidden = 0 }", ["hidden must be at least 1"]),
        ("[slots.audio]\nencoder = { kind = 'mean', hidden = 'many' }", ["hidden", "'many'"]),
        ("[slots.audio]\nencoder = { kind = 'gru', pooling = 'max' }", ["pooling", "'max'"]),
        ("[slots.audio]\nencoder = { hidden = 3 }", ["expected a table with a kind"]),
        ("[slots.audio]\nencoder = 'mean'", ["expected a table with a kind"]),
        (MINIMAL + "[fusion]\nkind = 'concat'\nhiden = 3", ["no key 'hiden'"]),
        (MINIMAL + "[fusion]\nhidden = 3", ["fusion.kind"]),
        (MINIMAL + "[fusion]\nkind = 'concat'\nmodality_dropout = 1.5", ["fusion.modality_dropout"]),
        (MINIMAL + "[slots.text]\nencoder = { kind = 'mlp' }", ["2 slots need a [fusion]"]),
        (MINIMAL + "[training]\nloss = { kind = 'mae' }", ["unknown loss 'mae'"]),
        (MINIMAL + "[training]\nloss = []", ["training.loss"]),
        (MINIMAL + "[training]\nloss = { kind = 'mse', on = 'text' }", ["a loss is on 'text'"]),
        (MINIMAL + "[training]\nloss = { kind = 'ccc_mse', alpha = 2 }", ["alpha must be in [0, 1]"]),
        (MINIMAL + "[training]\nschedule = { kind = 'cosin' }", ["did you mean cosine?"]),
        (MINIMAL + "[training]\nema = 1.0", ["training.ema"]),
        (MINIMAL + "[training]\nprecision = 'int8'", ["training.precision"]),
        (MINIMAL + "[training]\nstages = 'joint'", ["one stage"]),
        (MINIMAL + "[trianing]\nlr = 1", ["unknown key trianing", "did you mean training?"]),
        (MINIMAL + "[training]\nlr = 0", ["training.lr"]),
        ("[slots.fusion]\nmodality = 'audio'\nencoder = { kind = 'mean' }", ["cannot be called 'fusion'"]),
        ("[slots.'a.b']\nmodality = 'audio'\nencoder = { kind = 'mean' }", ["cannot be called 'a.b'"]),
        ("slots = ", ["is not valid TOML"]),
    ],
)
def test_what_cannot_be_is_said_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_system(str(path))
    for word in [*words, "mine.toml"]:
        assert word in str(caught.value)
    assert caught.value.todo


def test_losses_and_schedules_are_read(tmp_path: Path) -> None:
    text = MINIMAL + (
        "[slots.text]\nencoder = { kind = 'mlp' }\n[fusion]\nkind = 'concat'\n[training]\nstages = 'joint'\n"
        "loss = [{ kind = 'mse' }, { kind = 'pearson', weight = 0.1, on = 'audio' }]\nschedule = { kind = 'cosine' }\n"
    )
    system = load_system(str(written(tmp_path, text)))
    assert system.loss("joint") == (Mse(), Pearson(weight=0.1, on="audio"))
    assert system.training.schedule == Cosine() and system.unimodal == [] and system.final == "joint"
    assert system.network("joint", {"text": 3, "audio": 4}, 6).heads == ("audio",)


def test_a_slot_can_have_any_name(tmp_path: Path) -> None:
    text = "[slots.speech]\nmodality = 'audio'\nencoder = { kind = 'mean' }"
    system = load_system(str(written(tmp_path, text)))
    assert list(system.slots) == ["speech"] and system.modalities == ("audio",)


def test_systems_of_the_workspace(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL, "systems/mine.toml")
    assert find_system("MINE", tmp_path).path == path and load_system("mine", workspace=tmp_path).name == "mine"
    written(tmp_path, MINIMAL, "systems/F4.toml")
    with pytest.raises(UsageError, match="two systems have this name"):
        load_system("f4", workspace=tmp_path)
    with pytest.raises(UsageError, match="unknown system") as caught:
        load_system("minne", workspace=tmp_path)
    assert caught.value.expected == "did you mean mine?"


def test_new_copies_a_system_without_its_scores(tmp_path: Path) -> None:
    path = new_system(tmp_path, "mine", "F5")
    made, f5 = load_system("mine", workspace=tmp_path), load_system("F5")
    assert path == tmp_path / "systems" / "mine.toml" and made.paper.valid is None
    assert made.slots == f5.slots and made.fusion == f5.fusion and made.training == f5.training
    for name in ("mine", "F4", "a/b", "", ".hidden"):
        with pytest.raises(UsageError):
            new_system(tmp_path, name, "F4")


@pytest.mark.parametrize("name", list(SHORT_NAMES))
def test_every_short_name_reaches_f2(name: str) -> None:
    values: dict[str, Any] = {
        **{f"training.{slot}_epochs": 3 for slot in ("text", "audio", "vision", "motion", "fusion")},
        "training.fusion_patience": 3, "training.hidden": 3, "training.motion_hidden": 3, "training.fusion_hidden": 3,
        "training.dropout": 0.1, "training.modality_dropout": 0.1, "training.alpha": 0.1, "training.lr_factor": 0.1,
        "training.frozen_encoders": True, "training.missing": "learned",
    }  # fmt: skip
    assert load_system("F2", {name: values[name]}) != load_system("F2")
    assert load_system("F2", {name: str(values[name]).lower()}) == load_system("F2", {name: values[name]})
    load_system("table3/vision-dinov2-face-gru", {name: values[name]})  # what it does not have is passed over


def test_paths_reach_every_key_and_come_after_one_another() -> None:
    system = load_system("F4", {"slots.audio.encoder": '{ kind = "gru" }', "slots.audio.encoder.hidden": "7"})
    assert system.slots["audio"].encoder.kind == "gru" and system.slots["audio"].encoder.hidden == 7
    twice = {"slots.audio.encoder.layers": 2, "slots.audio.encoder.kind": "lstm"}
    assert load_system("F4", twice).slots["audio"].encoder.layers == 2, "only together"
    assert load_system("F1", {"slots.motion.encoder.hidden": 3}) == load_system("F1"), "a slot that F1 lacks"
    assert load_system("F4", {"training.loss": '[{ kind = "mse" }]'}).loss("fusion") == (Mse(),)
    assert load_system("F4", {"training.schedule": '{ kind = "cosine" }', "training.lr_factor": 0.1})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("training.lrr", "did you mean lr?"),
        ("slots.speech.frozen", "unknown slot"),
        ("fusion.hiden", "did you mean hidden?"),
        ("slots.audio.encoder.hidden.more", "not a table"),
        ("training.lr", "valid number"),
    ],
)
def test_a_bad_override_names_itself(path: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_system("F4", {path: "much"})
    assert path in str(caught.value) and words in str(caught.value)


def test_values_are_read_as_toml() -> None:
    assert [value_of(text) for text in ("3", "3.5", "true", '"a"', "gru", "[1, 2]", 3)] == [
        3, 3.5, True, "a", "gru", [1, 2], 3,
    ]  # fmt: skip


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_system(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path)
