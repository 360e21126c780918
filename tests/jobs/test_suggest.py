"""Proxy groups of the synthetic challenge, whose persons and seed videos are known."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from abawkit.challenge import EMI
from abawkit.data.groups import Groups, read_groups
from abawkit.data.labels import load_official
from abawkit.data.splits.resplit import resplit
from abawkit.errors import UsageError
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.writer import open_for_writing
from abawkit.jobs.grouping.overlap import cross, overlap
from abawkit.jobs.grouping.suggest import PROXY, suggest
from abawkit.jobs.synthetic.challenge import SyntheticChallenge, plan_challenge
from abawkit.layout.folder import ChallengeFolder
from abawkit.workspace import Workspace

#: What the fixture ``small_challenge`` was written from.
SIZES = {"train": 36, "valid": 24, "test": 12}


@pytest.fixture(scope="module")
def truth() -> SyntheticChallenge:
    return plan_challenge(Path("nowhere"), 1, SIZES, False)[0]


@pytest.fixture
def workspace(extracted_copy: Path) -> Workspace:
    return Workspace.open(extracted_copy, environ={})


def pairs_found_and_right(groups: Groups, true: dict[str, int]) -> tuple[float, float]:
    """Returns the share of true pairs that are in one group, and of pairs in one group that are true."""
    clips = sorted(groups.of)
    guessed = np.array([groups.of[clip] for clip in clips])
    known = np.array([true[clip] for clip in clips])
    upper = np.triu_indices(len(clips), 1)
    together, same = (guessed[:, None] == guessed)[upper], (known[:, None] == known)[upper]
    return (together & same).sum() / same.sum(), (together & same).sum() / max(1, together.sum())


def test_both_files_are_written_and_say_that_they_are_guesses(workspace: Workspace, truth: SyntheticChallenge) -> None:
    made = suggest(workspace)
    seed, person = made.guesses
    assert [guess.groups.path.name for guess in made.guesses] == ["seed.csv", "person.csv"]
    folder = workspace.root / "groups"
    for guess, kind in ((seed, "proxy_seed"), (person, "proxy_person")):
        read = read_groups(folder / guess.groups.path.name, EMI)
        assert read == guess.groups and read.kind == kind and read.proxy
        record = json.loads(guess.groups.path.with_suffix(".json").read_text())
        assert record["note"] == PROXY == "proxy: guessed, not subject ids"
        assert record["digest"] == read.digest and record["method"] and record["tool"].startswith("abawkit")
        assert sum(guess.sizes) + sum(guess.found.ungrouped.values()) == guess.clips == 72
        assert Counter(read.of.values()).most_common(1)[0][1] == guess.sizes[0]
    assert json.loads((folder / "person.json").read_text())["method"]["store"].startswith("vision/lite-")
    assert pairs_found_and_right(seed.groups, dict(truth.seed_videos))[0] > 0.9
    found, right = pairs_found_and_right(person.groups, dict(truth.persons))
    assert found > 0.5 and right > 0.5
    assert made.chosen is person and made.crossing is not None and made.crossing.tied > 0.5 and not made.remarks


def test_clips_without_words_are_in_no_group(workspace: Workspace, truth: SyntheticChallenge) -> None:
    (guess,) = suggest(workspace, ["text"]).guesses
    silent = {*truth.oddities["missing_transcript"], *truth.oddities["empty_transcript"]}
    assert silent.isdisjoint(guess.groups.of)
    assert guess.found.ungrouped["without a transcript of words"] == len(silent)


def test_the_same_again(workspace: Workspace) -> None:
    first = suggest(workspace, split="official", out=workspace.root / "a")
    again = suggest(workspace, out=workspace.root / "b")
    for one, other in zip(first.guesses, again.guesses, strict=True):
        assert one.groups.path.read_bytes() == other.groups.path.read_bytes()
    suggest(workspace, out=workspace.root / "a")  # what it has written it may write again
    names = sorted(set(again.guesses[0].groups.of.values()))
    assert Counter(again.guesses[0].groups.of.values())["seed-0001"] == again.guesses[0].sizes[0]
    assert names[0] == "seed-0001" and len(names) == len(again.guesses[0].sizes)


def test_a_file_of_another_origin_is_not_replaced(workspace: Workspace) -> None:
    (workspace.root / "groups").mkdir()
    mine = workspace.root / "groups" / "person.csv"
    mine.write_text("Filename,who\n00000,ann\n")
    with pytest.raises(UsageError, match="not made by this command"):
        suggest(workspace)
    assert mine.read_text().endswith("ann\n") and not (workspace.root / "groups" / "seed.csv").exists()


def test_the_number_of_persons(workspace: Workspace) -> None:
    (guess,) = suggest(workspace, ["vision"], clusters=18).guesses
    assert len(guess.sizes) == 18 and guess.found.method["clusters"] == 18
    for clusters in (1, 73):
        with pytest.raises(UsageError, match="not a number of persons"):
            suggest(workspace, ["vision"], clusters=clusters)
    with pytest.raises(UsageError, match="one of persons"):
        suggest(workspace, ["text"], clusters=3)


def test_several_stores_have_a_file_each(workspace: Workspace) -> None:
    made = suggest(workspace, ["vision", "motion"])
    assert [guess.groups.path.name for guess in made.guesses] == ["person-vision.csv", "person-motion.csv"]
    assert made.crossing is None
    with pytest.raises(UsageError, match="two feature stores of one modality"):
        suggest(workspace, ["vision/lite", add_store(workspace, "other", np.ones(72))])
    with pytest.raises(UsageError, match="no such feature store"):
        suggest(workspace, ["smell"])
    with pytest.raises(UsageError, match="not a similarity"):
        suggest(workspace, ["text"], similarity=1.5)


def test_several_vision_stores_of_the_preset(fresh: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    for name in ("one", "two"):
        add_store(workspace, name, np.ones(72))
    with pytest.raises(UsageError, match="several stores of vision features") as caught:
        suggest(workspace)
    assert "abawkit groups suggest --by text --by vision/one-" in str(caught.value)


def test_what_is_not_there_is_told(fresh: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(fresh, environ={})
    made = suggest(workspace)
    assert len(made.guesses) == 1 and made.chosen.groups.kind == "proxy_seed"
    assert made.remarks == (
        "there are no vision features, so persons were not guessed: abawkit extract --modality vision",
    )
    with pytest.raises(UsageError, match="no such feature store"):
        suggest(workspace, ["vision"])


def test_nothing_to_guess_from(bare: Workspace) -> None:
    with pytest.raises(UsageError, match="nothing to guess groups from") as caught:
        suggest(bare)
    assert "abawkit transcribe" in str(caught.value) and "abawkit extract --modality vision" in str(caught.value)
    with pytest.raises(UsageError, match="no clip has a transcript of words"):
        suggest(bare, ["text"])
    assert not (bare.root / "groups").exists()


def test_features_that_cannot_be_used(bare: Workspace) -> None:
    rng = np.random.default_rng(0)
    few = add_store(bare, "few", rng.normal(size=7))
    with pytest.raises(UsageError, match="too few clips") as caught:
        suggest(bare, [few])
    assert caught.value.got == "7"
    train_only = add_store(bare, "train", rng.normal(size=36))
    with pytest.raises(UsageError, match="one official side"):
        suggest(bare, [train_only])
    assert len(suggest(bare, [train_only], clusters=4).guesses[0].sizes) == 4
    values = rng.normal(size=72)
    values[5], values[70] = np.nan, np.inf
    (guess,) = suggest(bare, [add_store(bare, "broken", values)]).guesses
    assert guess.found.ungrouped == {"with features that are not finite": 2} and "00005" not in guess.groups.of
    assert any("hardly shows" in warning for warning in guess.warnings)  # noise
    assert guess.to_json()["largest_share"] == guess.sizes[0] / 70


@pytest.fixture
def bare(fresh: Path) -> Workspace:
    """The small challenge's labels and names, and nothing else of it."""
    whole = (fresh / "challenge").resolve()
    (fresh / "challenge").unlink()
    (fresh / "challenge" / "test_data" / "raw").mkdir(parents=True)
    for name in ("train_split.csv", "valid_split.csv"):
        (fresh / "challenge" / name).write_bytes((whole / name).read_bytes())
    for path in (whole / "test_data" / "raw").iterdir():
        (fresh / "challenge" / "test_data" / "raw" / path.name).touch()
    return Workspace.open(fresh, environ={})


def add_store(workspace: Workspace, name: str, values: np.ndarray) -> str:
    """Writes a store of vision features with one number for each of the first clips, and returns its name."""
    spec = FeatureSpec("vision", name, 3, f"test-{name}/1", dtype="float32")
    official = load_official(ChallengeFolder.open(workspace.data, EMI))
    ids = [*official.train.ids, *official.valid.ids, *official.test_ids]
    clips = [
        ClipFeatures(clip, Status.PRESENT, np.full((1, 3), value) * [1, 2, -1], np.zeros(1, np.float32), "")
        for clip, value in zip(ids, values, strict=False)
    ]
    with open_for_writing(workspace.features / "vision" / spec.folder, spec) as writer:
        writer.add(clips)
    return f"vision/{spec.folder}"


def test_overlap_counts_siblings(workspace: Workspace, truth: SyntheticChallenge) -> None:
    persons = Groups(Path("p.csv"), {clip: f"p{who}" for clip, who in truth.persons.items()}, "proxy_person")
    found = overlap("official", persons, truth.splits)
    assert [shared.siblings for shared in found.shared] == [0, 0]  # nobody is in two splits
    assert all(shared.chance > 0.5 for shared in found.shared) and "no group is on two sides" in found.words
    seeds = Groups(Path("s.csv"), {clip: f"s{which}" for clip, which in truth.seed_videos.items()}, "proxy_seed")
    found = overlap("official", seeds, truth.splits)
    for shared in found.shared:
        here, there = ({seeds.of[clip] for clip in truth.splits[side]} for side in (shared.side, "train"))
        assert shared.groups == len(here & there) and shared.clips == SIZES[shared.side]
        assert shared.siblings == sum(seeds.of[clip] in there for clip in truth.splits[shared.side])
        assert shared.share > 0.9
    assert "Not safe by seed video" in found.words and f"of {len(seeds)} guessed seed videos" in found.words


def test_overlap_in_words() -> None:
    groups = Groups(Path("p.csv"), {"a": "1", "b": "1", "c": "2"}, "proxy_person")
    sides = {"train": ["a"], "valid": ["b", "c"], "test": ["x"]}
    found = overlap("4to1-s42", groups, sides)
    assert len(found.shared) == 1 and "Not subject-safe by this guess" in found.words
    assert "1 of 2 guessed persons have clips in training and in validation; 50 %" in found.words
    assert "wrong guesses" in overlap("official", groups, sides).words
    assert "Too few clips" in overlap("x", groups, {"train": ["x"], "valid": ["a"], "test": []}).words


def test_a_random_resplit_is_looked_at_too(workspace: Workspace) -> None:
    split = resplit(workspace, "4:1")
    (guess,) = suggest(workspace, ["vision"], split=split.name).guesses
    assert [found.split for found in guess.overlaps] == ["official", split.name]
    with pytest.raises(UsageError, match="no such split"):
        suggest(workspace, ["vision"], split="nope")


def test_a_split_by_the_guessed_persons(workspace: Workspace) -> None:
    path = suggest(workspace, ["vision"]).chosen.groups.path
    split = resplit(workspace, "4:1", groups=path)
    (guess,) = suggest(workspace, ["vision"], split=split.name).guesses
    (valid,) = [shared for shared in guess.overlaps[1].shared if shared.side == "valid"]
    assert valid.siblings == 0


def test_crossing_written_out() -> None:
    persons = Groups(Path("p.csv"), {"a": "p", "b": "p", "c": "q", "d": "q", "e": "r"}, "proxy_person")
    seeds = Groups(Path("s.csv"), {"a": "1", "b": "2", "c": "1", "d": "1", "e": "3", "x": "9"}, "proxy_seed")
    found = cross(persons, seeds)
    assert found is not None
    assert found.seeds_per_person == 1.5  # p: 2, q: 1; r has one clip
    assert found.persons_per_seed == 2 and found.tied == 4 / 5
    assert "no split can separate both" in found.words
    assert cross(persons, Groups(Path("s.csv"), {"x": "1"}, "proxy_seed")) is None
