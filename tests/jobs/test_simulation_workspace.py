"""The simulated workspace: whole, repeatable, interruptible, and ready for every later step."""

import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from abawkit.challenge import EMI
from abawkit.data.groups import read_groups
from abawkit.data.labels import load_official, read_labels
from abawkit.data.splits.resplit import find_split, resplit
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import MODALITIES, Status
from abawkit.features.store import choose_store
from abawkit.jobs.simulation.constants import constants
from abawkit.jobs.simulation.simulate import HIDDEN, SEED_VIDEOS, SUBJECTS, simulate
from abawkit.jobs.simulation.world import draw_world, split_sizes
from abawkit.layout.folder import ChallengeFolder
from abawkit.progress import Task
from abawkit.workspace import Workspace
from tests.cli.program import run
from tests.known_predictions import give_all_predictions

CLIPS = 120


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated workspace of 120 + 43 clips; do not write into it."""
    root = tmp_path_factory.mktemp("simulated") / "workspace"
    simulate(root, clips=CLIPS, seed=4)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in (".lock", "split.json", "official.lock")
    }


def test_every_later_step_finds_what_it_needs(simulated: Path) -> None:
    workspace = Workspace.open(simulated, environ={})
    official = load_official(ChallengeFolder.open(workspace.data, workspace.task))
    sizes = split_sizes(clips=CLIPS)
    assert (len(official.train), len(official.valid), len(official.test_ids)) == tuple(sizes.values())
    assert official.test_source == "csv" and find_split(workspace, "2:1").subject_safe
    world = draw_world(4, sizes, constants())
    assert np.array_equal(official.valid.values, world.labels[world.rows("valid")])
    for modality in MODALITIES:
        store = choose_store(workspace.features, modality, lite=False)
        assert store.ids == list(world.ids) and store.spec.dtype == "float16" and store.spec.simulated
        store.verify()
        missing = [store.status(clip) is Status.MISSING for clip in world.ids]
        assert missing == (world.silent.tolist() if modality == "text" else [False] * len(world.ids))
    assert [store.spec.dim for store in (choose_store(workspace.features, m, lite=False) for m in MODALITIES)] == [
        *(768, 1024, 768, 23)
    ]
    audio = choose_store(workspace.features, "audio", lite=False)
    assert audio.times(world.ids[1])[:3].tolist() == pytest.approx([0, 0.02, 0.04])
    assert len(audio.frames(world.ids[1])) == int(world.seconds[1] * 50)


def test_everything_says_that_it_is_simulated(simulated: Path) -> None:
    for manifest in simulated.glob("features/*/*/store.json"):
        record = json.loads(manifest.read_text())
        assert record["simulated"] is True and "SIMULATED" in record["spec"]["preprocessing"]["note"]
        assert manifest.parent.name.startswith("simulated-")
    assert "SIMULATED" in json.loads((simulated / "simulation.json").read_text())["note"]
    assert Workspace.open(simulated, environ={}).simulated
    shown = run(simulated, "features", "list", "--json")
    assert shown.stderr.startswith("SIMULATED workspace") and len(json.loads(shown.stdout)["stores"]) == 4


def test_groups_name_persons_and_seed_videos_of_all_clips(simulated: Path) -> None:
    persons, videos = (read_groups(simulated / name, EMI) for name in (SUBJECTS, SEED_VIDEOS))
    assert persons.kind == "subject" and videos.proxy and len(persons.of) == len(videos.of) == 163
    official = load_official(ChallengeFolder.open(simulated / "challenge", EMI))
    sides = [{persons.of[clip] for clip in ids} for ids in (official.train.ids, official.valid.ids, official.test_ids)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_the_truth_of_test_clips_is_in_one_file_only(simulated: Path) -> None:
    hidden = read_labels(simulated / HIDDEN, EMI)
    listed = pd.read_csv(simulated / "challenge" / "test_split.csv", dtype=str)
    assert list(listed.columns) == ["Filename"] and tuple(listed["Filename"]) == hidden.ids
    assert hidden.values.std(axis=0).min() > 0
    rows = (simulated / HIDDEN).read_text().splitlines()[1:]
    others = b"\n".join(data for name, data in contents(simulated).items() if name != HIDDEN)
    assert not any(row.encode() in others for row in rows)
    assert not (simulated / HIDDEN).resolve().is_relative_to((simulated / "challenge").resolve())


def test_another_seed_gives_other_bytes(simulated: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "other", clips=60, seed=5)
    first, second = contents(tmp_path / "other"), contents(simulated)
    assert not {name for name in first if "segment" in name} & set(second)
    assert first["challenge/train_split.csv"][:5000] != second["challenge/train_split.csv"][:5000]


class _Interrupted:
    """A progress that is interrupted (Ctrl-C) after so many steps of the work."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def task(self, what: str, total: int | None = None, unit: str = "clips") -> Iterator[Task]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def say(self, message: str) -> None:
        """Shows nothing."""


def test_an_interrupted_simulation_is_gone_on_with_to_the_same_bytes(simulated: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        simulate(root, clips=CLIPS, seed=4, progress=_Interrupted(after=3))
    there = {path: path.stat().st_mtime_ns for path in root.rglob("segment-*.h5")}
    assert len(there) == 4  # two segments per modality
    with pytest.raises(UsageError, match="another simulation"):
        simulate(root, clips=CLIPS, seed=5)
    simulate(root, clips=CLIPS, seed=4)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert contents(root) == contents(simulated)


def test_a_whole_simulation_is_left_as_it_is(simulated: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in simulated.rglob("*") if path.is_file()}
    done = simulate(simulated, clips=CLIPS, seed=4)
    assert {path: path.stat().st_mtime_ns for path in simulated.rglob("*") if path.is_file()} == before
    assert done.frames["vision"] == done.frames["motion"] and done.persons == {"train": 3, "valid": 2, "test": 2}


def test_a_segment_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    simulate(tmp_path / "world", clips=60)
    segment = next((tmp_path / "world").glob("features/motion/*/segment-0000.h5"))
    before = segment.read_bytes()
    segment.unlink()
    simulate(tmp_path / "world", clips=60)
    assert [path.read_bytes() for path in segment.parent.glob("segment-*.h5")] == [before]


def test_a_folder_that_is_not_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match="not empty"):
        simulate(tmp_path, clips=CLIPS)
    with pytest.raises(UsageError, match="a file"):
        simulate(tmp_path / "photo.jpg", clips=CLIPS)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(AbawkitError, match="not enough room") as caught:
        simulate(tmp_path / "new", clips=CLIPS)
    assert "MiB" in str(caught.value.expected) and not (tmp_path / "new").exists()


def test_a_split_along_persons_or_seed_videos(simulated: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(simulated, root)
    split = resplit(Workspace.open(root, environ={}), "4:1", groups=root / SEED_VIDEOS, free=True)
    assert not split.subject_safe
    persons = resplit(Workspace.open(root, environ={}), "2:1", exact=True, groups=root / SUBJECTS, free=True)
    assert persons.subject_safe
    assert not set(persons.groups.keys(persons.train.ids)) & set(persons.groups.keys(persons.valid.ids))  # type: ignore[union-attr]


def test_the_walk_a_person_types(tmp_path: Path) -> None:
    def said(folder: Path, *arguments: str) -> str:
        result = run(folder, *arguments)
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    words = said(tmp_path, "simulate", "world", "--clips", "60", "--seed", "1")
    assert "SIMULATED" in words and "MiB to write" in words and "abawkit resplit --ratio 4:1" in words
    root = tmp_path / "world"
    assert "48 training, 12 validation, 22 test clips" in said(root, "resplit", "--ratio", "4:1")
    epochs = [f"--set=training.{stage}_epochs=1" for stage in ("text", "audio", "vision", "fusion")]
    assert "22 validation clips" in said(root, "train", "--system", "F1", *epochs)
    name = next((root / "runs").iterdir()).name
    give_all_predictions(Workspace.open(root, environ={}))
    scored = json.loads(run(root, "evaluate", name, "--on", "test", "--labels", HIDDEN, "--json").stdout)
    assert scored["scores"]["test"]["n"] == 22
    said(root, "submit", "--run", name, "--out", "team.csv")
    done = json.loads(run(tmp_path, "simulate", "world", "--clips", "60", "--seed", "1", "--json").stdout)
    assert done["simulated"] is True and done["sizes"] == {"train": 38, "valid": 22, "test": 22}
    assert run(tmp_path, "simulate", "world", "--clips", "300").exit_code == 2
    assert run(tmp_path, "simulate", "new", "--clips", "3", "--json").exit_code == 2
