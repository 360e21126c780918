"""Checkpoints as the authors' released script writes them, built here with plain torch modules."""

import json
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from abawkit.data.splits.resplit import find_split
from abawkit.errors import AbawkitError, UsageError
from abawkit.evaluation.ensemble import ensemble
from abawkit.evaluation.scores import evaluate
from abawkit.features.spec import Modality
from abawkit.features.store import FeatureStore
from abawkit.metrics import score
from abawkit.progress import SILENT
from abawkit.runs.run import Run
from abawkit.submission.write import submit
from abawkit.systems.schema import System
from abawkit.training.authors import import_run
from abawkit.training.predict import predict
from abawkit.workspace import Workspace
from tests import plain
from tests.cli.program import run as abawkit
from tests.random_stores import DIMS, random_workspace

HIDDEN, MOTION, FUSION = 14, 6, 13


def block(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(0.45), nn.LayerNorm(hidden)
    )


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.feature = block(DIMS["text"], HIDDEN)

    def forward(self, text: Tensor) -> Tensor:
        out: Tensor = self.feature(nn.functional.normalize(text, dim=1))
        return out


class Attention(nn.Module):
    """Takes a padded batch ``[B, T, D]`` and a mask ``[B, T]``."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.attn = nn.Linear(inputs, 1)
        self.proj = block(inputs, hidden)

    def forward(self, padded: tuple[Tensor, Tensor]) -> Tensor:
        frames, mask = padded
        weights = torch.softmax(self.attn(frames).squeeze(-1).masked_fill(~mask, -1e9), dim=1)
        out: Tensor = self.proj((weights.unsqueeze(-1) * frames).sum(dim=1))
        return out


class Head(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        layers = (nn.LayerNorm(inputs), nn.Dropout(0.45), nn.Linear(inputs, FUSION), nn.GELU(), nn.Dropout(0.45))
        self.mlp = nn.Sequential(*layers, nn.Linear(FUSION, 6))
        nn.init.constant_(self.mlp[5].bias, 0.5)  # so that few predictions are clipped

    def forward(self, fused: Tensor) -> Tensor:
        out: Tensor = self.mlp(fused)
        return out


class Fusion(nn.Module):
    def __init__(self, motion: bool) -> None:
        super().__init__()
        self.text_encoder = Text()
        self.audio_encoder = Attention(DIMS["audio"], HIDDEN)
        self.vision_encoder = Attention(DIMS["vision"], HIDDEN)
        if motion:
            self.motion_encoder = Attention(DIMS["motion"], MOTION)
        self.fusion_head = Head(3 * HIDDEN + (MOTION if motion else 0))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        names = ["text", "audio", "vision"] + (["motion"] if hasattr(self, "motion_encoder") else [])
        out: Tensor = self.fusion_head(torch.cat([getattr(self, f"{n}_encoder")(batch[n]) for n in names], dim=1))
        return out


def stage_model(modality: str) -> tuple[nn.Module, nn.Sequential]:
    """The encoder of a stage, and its head ``dropout → Linear``."""
    hidden = MOTION if modality == "motion" else HIDDEN
    encoder = Text() if modality == "text" else Attention(DIMS[modality], hidden)  # type: ignore[index]
    return encoder, nn.Sequential(nn.Dropout(0.45), nn.Linear(hidden, 6))


def batch_of(stores: dict[Modality, FeatureStore], ids: Sequence[str]) -> dict[str, Any]:
    """Padded batches of the stores' clips: missing text is zeros, a missing clip one zero frame."""
    batch: dict[str, Any] = {}
    for modality, store in stores.items():
        clips = [torch.from_numpy(np.array(store.frames(clip), np.float32)) for clip in ids]
        clips = [clip if len(clip) else torch.zeros(1, store.spec.dim) for clip in clips]
        if modality == "text":
            batch["text"] = torch.cat(clips)
            continue
        padded = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        mask = torch.arange(padded.shape[1])[None] < torch.tensor([[len(clip)] for clip in clips])
        batch[modality] = (padded, mask)
    return batch


def saved(path: Path, state: dict[str, Any], **more: Any) -> Path:
    torch.save({"epoch": 12, "model_state_dict": state, "best_pearson": np.float64(0.4373), **more}, path)
    return path


def stage_state(modality: str) -> dict[str, Tensor]:
    encoder, head = stage_model(modality)
    return dict(encoder.state_dict()) | {f"head.{key}": value for key, value in head.state_dict().items()}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(11)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return random_workspace(tmp_path / "ws", "[submit]\nmin_shared = 5\n")


def stores_of(workspace: Workspace) -> dict[Modality, FeatureStore]:
    return {m: FeatureStore.open(workspace.features / m / "random-0") for m in DIMS}


def same(run: Run, workspace: Workspace, model: Callable[[dict[str, Any]], Tensor]) -> None:
    """Compares the run's predictions with those of a plain torch model, for both sides."""
    for side, count in (("valid", 24), ("test", 12)):
        predictions = run.predictions(side, workspace.task)  # type: ignore[arg-type]
        assert len(predictions.ids) == count
        with torch.no_grad():
            expected = model(batch_of(stores_of(workspace), predictions.ids)).numpy()
        np.testing.assert_allclose(predictions.values, expected, rtol=0, atol=1e-6)
        assert np.ptp(expected, axis=0).min() > 0.01


@pytest.mark.parametrize("motion", [False, True])
def test_a_fusion_file_predicts_as_the_authors_model(workspace: Workspace, tmp_path: Path, motion: bool) -> None:
    model = Fusion(motion).eval()
    run = import_run(workspace, [saved(tmp_path / "best.pt", model.state_dict())], split="official")
    same(run, workspace, model)
    split = find_split(workspace, "2:1", "official")
    assert run.train_ids == set(split.train.ids) and run.valid_ids == split.valid.ids
    expected = score(workspace.task, split.valid.values, run.predictions("valid", workspace.task).values)
    assert run.metrics.scores["valid"].mean_pearson == pytest.approx(expected.mean_pearson)
    assert run.metrics.files["best.pt"].to_json() == {"epoch": 12, "best_pearson": 0.4373}
    system = System.model_validate(run.model.definition)
    assert list(system.slots) == ["text", "audio", "vision", "motion"][: 4 if motion else 3]
    assert [slot.encoder.hidden for slot in system.slots.values()] == [HIDDEN, HIDDEN, HIDDEN, MOTION][
        : len(system.slots)
    ]
    assert system.fusion is not None and system.fusion.kind.hidden == FUSION
    table = run.predictions("valid", workspace.task).table
    assert "without-audio:Joy" in table and "audio:Joy" not in table  # the fusion file has no stage's head
    again = import_run(workspace, [tmp_path / "best.pt"], split="official")
    assert again.path == run.path


def test_the_other_columns_are_those_of_the_plain_form(workspace: Workspace, tmp_path: Path) -> None:
    model = Fusion(True).eval()
    stages = {m: stage_model(m) for m in ("text", "motion")}
    files = [saved(tmp_path / "fusion.pt", model.state_dict())]
    for modality, (encoder, head) in stages.items():
        state = dict(encoder.state_dict()) | {f"head.{k}": v for k, v in head.state_dict().items()}
        files.append(saved(tmp_path / f"{modality}.pt", state))
        encoder.eval()
        head.eval()
    run = import_run(workspace, files, split="official")
    same(run, workspace, model)
    table = run.predictions("valid", workspace.task).table
    batch = batch_of(stores_of(workspace), list(table.index))
    with torch.no_grad():
        for modality, (encoder, head) in stages.items():
            expected = head(encoder(batch[modality])).numpy()
            columns = [f"{modality}:{target}" for target in workspace.task.targets]
            np.testing.assert_allclose(table[columns], expected, rtol=0, atol=1e-6)
        embeddings = [getattr(model, f"{m}_encoder")(batch[m]) for m in DIMS]
        embeddings[1] = torch.zeros_like(embeddings[1])
        expected = plain.head(embeddings, model.state_dict()).numpy()
    columns = [f"without-audio:{target}" for target in workspace.task.targets]
    np.testing.assert_allclose(table[columns], expected, rtol=0, atol=1e-6)
    assert run.model.heads == ["text", "motion"]
    missing = table["missing"].to_dict()
    assert any(missing.values())
    for clip, words in missing.items():
        assert words.split() == [m for m, store in stores_of(workspace).items() if not len(store.frames(str(clip)))]


@pytest.mark.parametrize("modality", list(DIMS))
def test_a_stage_file_is_a_run_of_its_own(workspace: Workspace, tmp_path: Path, modality: str) -> None:
    encoder, head = stage_model(modality)
    encoder.eval()
    head.eval()
    state = dict(encoder.state_dict()) | {f"head.{key}": value for key, value in head.state_dict().items()}
    run = import_run(workspace, [saved(tmp_path / "stage.pt", state)], split="official")
    same(run, workspace, lambda batch: head(encoder(batch[modality])))
    assert list(run.model.inputs) == [modality] and run.model.definition["fusion"] is None
    assert evaluate(workspace, run).scores.n == 24


def test_without_its_split_a_run_predicts_but_is_not_scored(workspace: Workspace, tmp_path: Path) -> None:
    known = import_run(workspace, [saved(tmp_path / "a.pt", Fusion(False).state_dict())], split="official")
    model = Fusion(False).eval()
    run = import_run(workspace, [saved(tmp_path / "b.pt", model.state_dict())])
    same(run, workspace, model)
    assert run.metrics.scores == {} and not run.is_scorable
    assert run.predictions("valid", workspace.task).truth is None
    labels = workspace.data / "valid_split.csv"
    for attempt in (
        lambda: evaluate(workspace, run),
        lambda: evaluate(workspace, run, "test", labels=labels),
        lambda: ensemble(workspace, [known, run]),
    ):
        with pytest.raises(AbawkitError, match="without the name of the split") as caught:
            attempt()
        assert "--split NAME" in str(caught.value)
    with pytest.raises(UsageError, match="at least two runs"):  # it is not a member by default
        ensemble(workspace)
    (run.path / "predictions" / "valid.csv").unlink()
    assert predict(workspace, run, "valid").truth is None
    record = submit(workspace, tmp_path / "team.csv", run=run).record
    assert record.valid is None and record.rows == 12
    assert submit(workspace, tmp_path / "other.csv").record.run == known.name


def test_the_split_is_the_users_word_and_guards_its_clips(workspace: Workspace, tmp_path: Path) -> None:
    run = import_run(workspace, [saved(tmp_path / "a.pt", Fusion(False).state_dict())], split="official")
    assert "the word of whoever imported it" in run.record.origin and run.record.split == "official"
    other = import_run(workspace, [saved(tmp_path / "b.pt", Fusion(True).state_dict())], split="official")
    combined = ensemble(workspace, [run, other])
    assert evaluate(workspace, combined).scores.n == 24 and combined.train_ids == run.train_ids
    leaked = tmp_path / "labels.csv"
    lines = (workspace.data / "train_split.csv").read_text().splitlines(keepends=True)
    leaked.write_text("".join(lines[:4]))
    (run.path / "predictions" / "test.csv").write_bytes((run.path / "predictions" / "valid.csv").read_bytes())
    with pytest.raises(AbawkitError, match="no test prediction for 3"):
        evaluate(workspace, run, "test", labels=leaked)
    with pytest.raises(AbawkitError, match="was trained on 1 of these clips"):
        run.refuse_leak([next(iter(run.train_ids))])
    with pytest.raises(UsageError, match="split"):
        import_run(workspace, [tmp_path / "a.pt"], split="nosuch")


def test_everything_that_does_not_fit_is_named_at_once(workspace: Workspace, tmp_path: Path) -> None:
    state: dict[str, Any] = dict(Fusion(True).state_dict())
    del state["audio_encoder.attn.weight"]
    state["extra.weight"] = torch.zeros(2)
    state["vision_encoder.proj.0.weight"] = torch.zeros(77)
    state["text_encoder.feature.1.weight"] = torch.zeros(HIDDEN, 768)
    state["fusion_head.mlp.5.weight"] = torch.zeros(7, FUSION)
    state["fusion_head.mlp.0.bias"] = torch.full((3 * HIDDEN + MOTION,), torch.nan)
    state["motion_encoder.attn.bias"] = "text"
    head = stage_state("text") | {"head.1.weight": torch.zeros(6, 3)}
    with pytest.raises(AbawkitError) as caught:
        import_run(workspace, [saved(tmp_path / "f.pt", state), saved(tmp_path / "t.pt", head)])
    expected = [
        "f.pt: audio_encoder.attn.weight is missing",
        "f.pt: extra.weight is unknown",
        "f.pt: vision_encoder.proj.0.weight has the shape (77), not (9)",
        f"f.pt: text_encoder.feature.1.weight has the shape ({HIDDEN}, 768), not ({HIDDEN}, 11)",
        f"f.pt: fusion_head.mlp.5.weight has the shape (7, {FUSION}), not (6, {FUSION})",
        "f.pt: fusion_head.mlp.0.bias holds values that are not finite",
        "f.pt: motion_encoder.attn.bias is not a tensor of floating-point numbers",
        f"t.pt: head.1.weight has the shape (6, 3), not (6, {HIDDEN})",
    ]
    assert sorted(line.strip() for line in caught.value.message.splitlines()[1:]) == sorted(expected)
    assert caught.value.message.startswith("8 thing(s)") and not list(workspace.runs.glob("*"))


@pytest.mark.parametrize("gone", ["text_encoder.feature.1.weight", "fusion_head.mlp.2.weight"])
def test_a_missing_tensor_that_told_a_size_is_still_one_problem(
    workspace: Workspace, tmp_path: Path, gone: str
) -> None:
    state = dict(Fusion(True).state_dict())
    del state[gone]
    with pytest.raises(AbawkitError, match="1 thing") as caught:
        import_run(workspace, [saved(tmp_path / "f.pt", state)])
    assert f"{gone} is missing" in caught.value.message


def test_files_that_do_not_go_together(workspace: Workspace, tmp_path: Path) -> None:
    fusion = saved(tmp_path / "fusion.pt", Fusion(False).state_dict())
    text, audio, motion = (saved(tmp_path / f"{m}.pt", stage_state(m)) for m in ("text", "audio", "motion"))
    for files, words in (
        ([fusion, fusion], "2 fusion file"),
        ([text, audio], "0 fusion file.* 2 stage file"),
        ([fusion, text, text], "two files of the text stage"),
        ([fusion, motion], "no motion encoder"),
        ([tmp_path / "absent.pt"], "cannot be read"),
    ):
        with pytest.raises(UsageError, match=words):
            import_run(workspace, files)


def test_a_stage_file_of_unclear_modality_can_be_named(workspace: Workspace, tmp_path: Path) -> None:
    state = stage_state("audio")
    for key in ("proj.0.weight", "proj.0.bias"):
        state[key] = torch.ones(99)
    path = saved(tmp_path / "stage.pt", state)
    with pytest.raises(UsageError, match="not clear of which modality") as caught:
        import_run(workspace, [path])
    assert "audio 12, vision 9, motion 5" in str(caught.value)
    with pytest.raises(AbawkitError, match="2 thing"):
        import_run(workspace, [path], modalities={path: "audio"})


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_file_that_would_run_code_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    state = dict(Fusion(False).state_dict())
    files = [
        saved(tmp_path / "more.pt", state, args=Evil(trap)),
        saved(tmp_path / "weights.pt", state | {"extra": Evil(trap)}),  # type: ignore[dict-item]
    ]
    torch.save({"model_state_dict": state, "x": Evil(trap)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for path in [*files, tmp_path / "old.pt"]:
        with pytest.raises(AbawkitError, match="more than tensors") as caught:
            import_run(workspace, [path])
        assert "mkdir" in str(caught.value) and not trap.exists()
        assert "weights_only=False" not in str(caught.value)
    torch.load(files[0], weights_only=False)  # the trap works
    assert trap.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04.", b"PK\x03\x04" + b"\0" * 40])
def test_a_damaged_file_is_refused(workspace: Workspace, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(AbawkitError, match=r"x\.pt"):
        import_run(workspace, [tmp_path / "x.pt"])


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"model_state_dict": 3}, torch.zeros(3)])
def test_something_else_is_refused(workspace: Workspace, tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(AbawkitError, match="not a checkpoint of the authors' script"):
        import_run(workspace, [tmp_path / "x.pt"])


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_scores_that_numpy_1_or_2_saved(workspace: Workspace, tmp_path: Path, core: str) -> None:
    path = saved(tmp_path / "new.pt", Fusion(False).state_dict())
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "x.pt", "w") as new:
        for entry in old.infolist():
            new.writestr(entry, re.sub(rb"numpy\._?core", core.encode(), old.read(entry)))
    assert import_run(workspace, [tmp_path / "x.pt"]).metrics.files["x.pt"].best_pearson == 0.4373


def test_a_score_far_from_the_files_own_is_said(workspace: Workspace, tmp_path: Path) -> None:
    class Heard:
        task = staticmethod(SILENT.task)

        def __init__(self) -> None:
            self.said: list[str] = []

        def say(self, message: str) -> None:
            self.said.append(message)

    far, near = Heard(), Heard()
    state = Fusion(False).state_dict()
    run = import_run(workspace, [saved(tmp_path / "a.pt", state)], split="official", progress=far)
    assert len(far.said) == 1 and "the file says 0.4373" in far.said[0]
    torch.save({"model_state_dict": state, "best_pearson": run.metrics.scores["valid"].mean_pearson}, tmp_path / "b.pt")
    import_run(workspace, [tmp_path / "b.pt"], split="official", progress=near)
    assert near.said == []


def test_half_precision_and_views_are_read(workspace: Workspace, tmp_path: Path) -> None:
    model = Fusion(False).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    halves = {key: value.half() for key, value in model.state_dict().items()}
    halves["audio_encoder.proj.1.weight"] = halves["audio_encoder.proj.1.weight"].T.contiguous().T
    run = import_run(workspace, [saved(tmp_path / "half.pt", halves)])
    assert list(run.metrics.files) == ["half.pt"]
    same(run, workspace, model)


def test_the_command(workspace: Workspace, tmp_path: Path) -> None:
    root = workspace.root
    saved(root / "fusion.pt", Fusion(True).state_dict())
    saved(root / "stage.pt", stage_state("audio"))
    told = abawkit(root, "runs", "import", "fusion.pt", "audio=stage.pt", "--split", "official", "--json")
    assert told.exit_code == 0, told.output
    record = json.loads(told.stdout)
    assert record["files"]["fusion.pt"]["best_pearson"] == 0.4373 and record["split"] == "official"
    untold = abawkit(root, "runs", "import", "fusion.pt")
    words = " ".join(untold.stdout.split())
    assert untold.exit_code == 0 and "score: none (it is not known on which clips it was trained)" in words
    shown = abawkit(root, "runs", "show", Path(record["run"]).name)
    assert shown.exit_code == 0 and "itself records: validation r 0.4373" in shown.stdout
    listed = abawkit(root, "runs", "list")
    assert listed.exit_code == 0 and "not known" in listed.stdout and "official" in listed.stdout
    name = next(path.name for path in workspace.runs.glob("imported-unknown-*"))
    refused = abawkit(root, "evaluate", name)
    assert refused.exit_code == 1 and "without the name of the split" in refused.output
    assert abawkit(root, "runs", "import", "stage.pt", "fusion.pt", "other.pt").exit_code == 2
    assert abawkit(root, "submit", "--run", name, "--out", "team.csv").exit_code == 0
