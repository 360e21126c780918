import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.challenge import EMI
from abawkit.data.checks.clip_files import check_clip, presence
from abawkit.data.checks.validate import validate
from abawkit.errors import UsageError
from abawkit.findings import CODES, DEPTHS, Depth, Report
from abawkit.jobs.synthetic.challenge import MARKER, plan_challenge
from abawkit.layout.folder import ChallengeFolder, Clip
from tests.data.defects import DEFECTS

KINDS = ("video", "audio", "faces", "text", "openface", "vit", "wav2vec2")


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("depth", DEPTHS)
def test_counts_of_the_clean_folder(challenge: Path, depth: Depth) -> None:
    counts = validate(challenge, level=depth).counts
    there = {"video": 1, "audio": 1, "faces": 1, "text": 1, "openface": 0, "vit": 0, "wav2vec2": 0}
    clips = {"train": 12, "valid": 8, "test": 5}
    assert counts == clips | {f"{split}.{kind}": clips[split] * there[kind] for split in clips for kind in KINDS}


def test_counts_say_what_is_there(challenge: Path, media_files: Path) -> None:
    for name in ("zero bytes", "no sound at all", "empty face folder", "linked out", "no faces"):
        DEFECTS[name].plant(challenge, media_files)
    (challenge / "test_data" / "audio" / "00021.mp3").unlink()
    counts = validate(challenge).counts
    assert (counts["train.video"], counts["train.audio"], counts["train.faces"]) == (11, 0, 10)
    assert (counts["valid.video"], counts["valid.audio"], counts["test.audio"]) == (7, 0, 4)
    by_name = validate(challenge, level="quick").counts
    assert by_name["valid.video"] == 8, "nobody looked whether it is empty"
    assert by_name["train.video"] == 11 and by_name["train.faces"] == 10


def test_presence_is_what_validate_counts(challenge: Path, media_files: Path) -> None:
    for name in ("zero bytes", "empty face folder", "linked out", "no faces", "empty transcript", "no OpenFace file"):
        DEFECTS[name].plant(challenge, media_files)
    folder, counts = ChallengeFolder(challenge, EMI), validate(challenge).counts
    splits = {"train": range(12), "valid": range(12, 20), "test": range(20, 25)}
    for split, numbers in splits.items():
        found = [presence(folder.clip(f"{number:05d}"), challenge) for number in numbers]
        assert {kind: counts[f"{split}.{kind}"] for kind in KINDS} == {
            kind: sum(kind in kinds for kinds in found) for kind in KINDS
        }
    assert presence(Clip("00000", video=challenge / "none", faces=challenge / "none"), challenge) == frozenset()


#: Where test ids come from → what the layout says, and the folder of the test clips' files.
SOURCES = {"csv": ".", "test": "test", "test_data": "test_data", "subtraction": ".", "none": "."}
OPTIONAL = {"vit": ".pkl", "wav2vec2": ".pkl", "text": ".txt", "openface": ".csv"}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("valid", ["valid_split.csv", "val_split.csv"])
def test_every_known_layout_is_found_and_has_no_error(
    challenge_template: Path, tmp_path: Path, valid: str, source: str
) -> None:
    splits = {"train_split.csv": range(0, 2), valid: range(12, 14), "test_split.csv": range(20, 22)}
    for number, with_ in enumerate(itertools.product([False, True], repeat=len(OPTIONAL))):
        there = [kind for kind, wanted in zip(OPTIONAL, with_, strict=True) if wanted]
        root = tmp_path / str(number)
        for name, numbers in splits.items():
            test = name == "test_split.csv"
            base = root / (SOURCES[source] if test else ".")
            if test and source == "none":
                continue
            base.mkdir(parents=True, exist_ok=True)
            ids = [f"{k:05d}" for k in numbers]
            if not test:
                rows = [clip + 6 * f",{1 / 6}" for clip in ids]
                (root / name).write_text("\n".join([",".join(EMI.header), *rows]) + "\n")
            elif source == "csv":
                (root / name).write_text("\n".join(["Filename", *ids]) + "\n")
            here = challenge_template / ("test_data" if test else ".")
            for clip in ids:
                for kind, suffix in (("raw", ".mp4"), ("audio", ".mp3")):
                    (base / kind).mkdir(exist_ok=True)
                    shutil.copy(here / kind / (clip + suffix), base / kind)
                shutil.copytree(here / "face_images" / clip, base / "face_images" / clip)
                for kind in there:
                    (base / kind).mkdir(exist_ok=True)
                    (base / kind / (clip + OPTIONAL[kind])).write_text(f"of clip {clip}")
        report = validate(root)
        expected = ["F103"] * (source == "none")
        expected += ["T401"] * (0 if "text" in there else 2 if source.startswith("test") else 1)
        assert sorted(codes(report)) == sorted(expected) and report.ok
        layout = report.about["layout"]
        assert isinstance(layout, dict)
        assert (layout["train_csv"], layout["valid_csv"]) == ("train_split.csv", valid)
        folder = source if source.startswith("test") else None
        assert layout["test_source"] == ("folder" if folder else source) and layout["test_folder"] == folder
        names = ("raw", "audio", "face_images", "text", "openface", "vit", "wav2vec2")
        shown = {name: name not in OPTIONAL or name in there for name in names}
        assert layout["folders"] == {name: {"root": is_, "test": is_ and bool(folder)} for name, is_ in shown.items()}
        words = " ".join(layout["words"])
        said = {"csv": "test_split.csv", "subtraction": "no labels", "none": "no test clips yet"}
        assert valid in words and said.get(source, f"{source}/raw") in words
        clips = {"train": 2, "valid": 2, "test": 0 if source == "none" else 2}
        present = {"video", "audio", "faces", *there}
        assert report.counts == clips | {f"{s}.{k}": clips[s] * (k in present) for s in clips for k in KINDS}


def test_about(challenge: Path) -> None:
    about = validate(challenge, level="quick").about
    assert (about["root"], about["task"], about["level"]) == (str(challenge), "emi", "quick")


def test_not_a_challenge_folder(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    report = validate(tmp_path)
    assert codes(report) == ["F101"] and not report.ok
    with pytest.raises(UsageError):
        validate(tmp_path / "none")
    with pytest.raises(UsageError):
        validate(Path(__file__))


def test_unknown_level(challenge: Path) -> None:
    with pytest.raises(UsageError, match="quick, default, deep"):
        validate(challenge, level="thorough")  # type: ignore[arg-type]


def test_select_and_ignore(challenge: Path, media_files: Path) -> None:
    for name in ("zero bytes", "mute", "no transcript", "stray", "hostile id"):
        DEFECTS[name].plant(challenge, media_files)
    everything = codes(validate(challenge))
    assert sorted(everything) == ["F105", "L204", "M302", "M304", "T401"]
    selected = validate(challenge, select=["M3,t"])
    assert sorted(codes(selected)) == ["M302", "M304", "T401"] and selected.left_out == 2
    ignoring = validate(challenge, ignore=["M302", "L"])
    assert sorted(codes(ignoring)) == ["F105", "M304", "T401"] and ignoring.left_out == 2
    assert ignoring.ok, "what is left out does not count"
    both = validate(challenge, select=["M"], ignore=["M304"])
    assert codes(both) == ["M302"] and not both.ok and both.left_out == 4
    assert both.to_json()["left_out"] == 4
    for wrong in (["M9"], ["M302,x"], ["S501"]):
        with pytest.raises(UsageError, match="no such code"):
            validate(challenge, select=wrong)
        with pytest.raises(UsageError, match="no such code"):
            validate(challenge, ignore=wrong)
    with pytest.raises(UsageError, match="M302"):
        validate(challenge, select=["N302"])


def test_official_counts_are_told_near_the_official_size(challenge: Path) -> None:
    near = replace(EMI, counts={"train": 12, "valid": 9, "test": 5})
    (finding,) = validate(challenge, near, level="quick").findings
    assert (finding.code, finding.got, finding.expected) == ("F107", "8", "9")
    assert validate(challenge, replace(EMI, counts={"train": 40, "valid": 30}), level="quick").findings == []


def test_quick_opens_no_clip_file(challenge: Path) -> None:
    # Every file of a clip is replaced by something that would be found when it was opened.
    for path in challenge.rglob("*"):
        if path.is_file() and path.suffix != ".csv":
            path.write_bytes(b"")
    assert validate(challenge, level="quick").findings == []
    assert {"M302", "T402"} == set(codes(validate(challenge)))


def test_optional_folders_are_of_no_account_until_there_is_one(challenge: Path) -> None:
    (challenge / "openface").mkdir()
    (challenge / "openface" / "00000.csv").write_text("frame, AU01_r\n1, 0.5\n")
    report = validate(challenge, level="quick")
    assert codes(report) == ["M301"] * 19, "the test folder has none, of which nothing is said"
    assert report.counts["train.openface"] == 1
    (challenge / "openface" / "00000.csv").unlink()
    (finding,) = validate(challenge, level="quick").findings
    assert finding.path == challenge / "openface" and "none of 20 clips" in finding.message


def test_pickles_are_not_opened(challenge: Path, tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    hostile = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    for kind in ("vit", "wav2vec2"):
        for number in range(20):
            (challenge / kind).mkdir(exist_ok=True)
            (challenge / kind / f"{number:05d}.pkl").write_bytes(hostile + str(number).encode())
    assert validate(challenge, level="deep").findings == []
    assert not mark.exists()


def test_many_bad_crops_are_one_finding(challenge: Path) -> None:
    folder = challenge / "face_images" / "00003"
    for number in range(2, 50):
        (folder / f"{number}.jpg").write_bytes(b"" if number % 2 else b"no picture")
    found = {finding.code: finding for finding in validate(challenge).findings}
    assert set(found) == {"M302", "M303"}
    assert found["M302"].path == folder / "11.jpg" and "23 more" in found["M302"].message
    assert found["M303"].path == folder / "10.jpg" and "23 more" in found["M303"].message


@pytest.mark.parametrize(
    ("names", "got"),
    [
        (["0.jpg", "1.jpg", "2.png"], None),
        (["1.jpg", "2.jpg"], None),  # some begin at 1
        (["0.jpg", "10.jpg", "2.jpg"], "8 missing: 1, 3 to 9"),
        (["3.jpg", "4.jpg"], "2 missing: 1 to 2"),
        (["0.jpg", "1.jpg", "1.png"], "1 twice: 1"),
        (["0.jpg", "00.jpg", "2.jpg"], "1 missing: 1; 1 twice: 0"),
        ([f"{2 * k}.jpg" for k in range(40)], "39 missing: 1, 3, 5, 7, 9 …"),
        (["0.jpg", "9" * 200 + ".jpg"], f"{'9' * 199}8 missing: 1 to {'9' * 199}8"),
    ],
)
def test_numbers_of_face_crops(tmp_path: Path, names: list[str], got: str | None) -> None:
    folder = tmp_path / "00000"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    found = check_clip(Clip("00000", faces=folder), tmp_path, "quick").findings
    assert [(finding.code, finding.got) for finding in found] == ([] if got is None else [("M318", got)])


def test_links_among_face_crops(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "00000"
    folder.mkdir(parents=True)
    (folder / "0.jpg").touch()
    (folder / "1.jpg").symlink_to("0.jpg")
    assert not check_clip(Clip("00000", faces=folder), tmp_path / "data", "quick").findings, "within the folder"
    (folder / "2.jpg").symlink_to("nowhere.jpg")
    (folder / "3.jpg").symlink_to("3.jpg")
    (folder / "4.jpg").mkdir()
    found = check_clip(Clip("00000", faces=folder), tmp_path / "data", "quick").findings
    assert [(finding.code, finding.path) for finding in found] == [("M309", folder / "2.jpg")]
    assert "2 more" in found[0].message


def test_a_copy_in_another_split_is_called_leakage(challenge: Path, media_files: Path) -> None:
    for name in ("same video", "same sound", "same video in another split"):
        DEFECTS[name].plant(challenge, media_files)
    messages = {str(finding.got): finding.message for finding in validate(challenge).findings}
    assert "of clip 00016" in messages["00017"] and "leakage" not in messages["00017"]
    assert "00010 is in train, 00012 in valid, which is leakage" in messages["00012"]
    assert "00001 is in train, 00020 in test, which is leakage" in messages["00020"]


def test_files_of_the_same_size_and_beginning_are_no_copies(challenge: Path) -> None:
    (challenge / "vit").mkdir()
    for number in range(20):
        (challenge / "vit" / f"{number:05d}.pkl").write_bytes(bytes(20_000) + str(number % 19).encode().zfill(2))
    (finding,) = validate(challenge).findings
    assert (finding.code, finding.path) == ("M320", challenge / "vit" / "00019.pkl")
    assert "of clip 00000" in finding.message


def test_a_picture_with_a_long_header_is_a_picture(challenge: Path) -> None:
    crop = challenge / "face_images" / "00000" / "0.jpg"
    data = crop.read_bytes()
    notes = (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 3  # three comments of 64 KiB before the picture
    crop.write_bytes(data[:2] + notes + data[2:])
    assert validate(challenge, level="deep").findings == []


def test_a_clip_whose_row_is_bad_is_not_called_unlisted(challenge: Path) -> None:
    table = challenge / "train_split.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], "00000,?,0,0,0,0,0", *rows[2:]]) + "\n")
    assert codes(validate(challenge)) == ["L208"]


def test_leftovers_in_the_test_folder_are_no_files_of_training_clips(challenge: Path) -> None:
    (challenge / "test_data" / "audio" / "00003.mp3").write_bytes(b"")
    report = validate(challenge)
    assert [(finding.code, finding.got) for finding in report.findings] == [("F106", "00003")]
    assert ChallengeFolder(challenge, EMI).clip("00003").audio == challenge / "audio" / "00003.mp3"


@given(
    name=st.sampled_from(["clip.mp4", "clip.mp3", "0.jpg"]),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
    start=st.sampled_from([100, 1000, None]),
)
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_are_findings(
    media_files: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    damage: list[tuple[float, int]],
    start: int | None,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged" / "00000"
    folder.mkdir(parents=True, exist_ok=True)
    data = bytearray((media_files / name.replace("0.jpg", "face.jpg")).read_bytes())
    for where, value in damage:
        data[int(where * len(data[:start]))] = value
    path = folder / name
    path.write_bytes(data)
    clips = {
        ".mp4": [Clip("00000", video=path)],
        ".mp3": [Clip("00000", audio=path), Clip("00000", video=path)],
        ".jpg": [Clip("00000", faces=folder)],
    }
    for clip in clips[path.suffix]:
        for depth in DEPTHS:
            assert all(finding.code in CODES for finding in check_clip(clip, folder.parent, depth).findings)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    clip = Clip("00000", video=gone, audio=gone, text=gone, openface=gone, faces=tmp_path / ("x" * 300))
    check = check_clip(clip, tmp_path)
    assert [finding.code for finding in check.findings] == ["F109"] * 5
    assert not check.present and not check.prints


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_folder_that_cannot_be_read(challenge: Path) -> None:
    (challenge / "audio").chmod(0)
    findings = validate(challenge).findings
    (challenge / "audio").chmod(0o755)
    assert [(finding.code, finding.path) for finding in findings] == [("F109", challenge / "audio")]


def test_nothing_is_written(challenge: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [challenge, *challenge.rglob("*")]}
    validate(challenge, level="deep")
    assert before == {path: path.stat().st_mtime_ns for path in [challenge, *challenge.rglob("*")]}


def test_the_demo_s_oddities_are_found_and_nothing_else(small_challenge: Path) -> None:
    sizes = {"train": 36, "valid": 24, "test": 12}
    odd = plan_challenge(small_challenge, 1, sizes, False)[0].oddities
    kinds = {
        "one_frame": [("M306", "raw/{}.mp4"), ("M321", "raw/{}.mp4")],
        "empty_face_folder": [("M308", "face_images/{}")],
        "no_audio_track": [("M301", "audio/{}.mp3"), ("M304", "raw/{}.mp4")],
        "variable_frame_rate": [("M310", "raw/{}.mp4")],
        "stray_file": [("F105", "face_images/{}/Thumbs.db")],
        "missing_transcript": [("T401", "text/{}.txt")],
        "empty_transcript": [("T402", "text/{}.txt")],
    }
    expected = [("F105", MARKER)]
    for oddity, wanted in kinds.items():
        for clip in odd[oddity]:
            base = "test_data/" if int(clip) >= 60 else ""
            expected += [(code, base + path.format(clip)) for code, path in wanted]
    report = validate(small_challenge, level="deep")
    found = [(f.code, str(f.path and f.path.relative_to(small_challenge))) for f in report.findings]
    assert sorted(found) == sorted(expected) and report.ok


def test_reports_are_json(challenge: Path, media_files: Path) -> None:
    for name in ("not UTF-8 in a name", "line end in a name", "not UTF-8"):
        DEFECTS[name].plant(challenge, media_files)
    record = validate(challenge).to_json()
    assert list(record) == ["ok", "about", "findings", "counts", "left_out"]
    json.dumps(record, ensure_ascii=False).encode()


def test_every_code_has_its_level() -> None:
    assert all(about.level in (*DEPTHS, "check") and about.meaning for about in CODES.values())


def test_no_deep_learning_library_is_loaded() -> None:
    code = (
        "import sys, abawkit.data.checks.validate; "
        "print({'torch', 'transformers', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
