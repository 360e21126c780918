from pathlib import Path

import pytest

from abawkit.errors import UsageError
from abawkit.workspace import Workspace, init_workspace


def write(folder: Path, text: str) -> Path:
    (folder / "abawkit.toml").write_text(text)
    return folder


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    write(tmp_path, '[extract]\npreset = "lite"\nworkers = 3\nsegment_clips = 5\n')
    environ = {"ABAWKIT_EXTRACT_WORKERS": "4", "ABAWKIT_EXTRACT_SEGMENT_CLIPS": "6"}
    workspace = Workspace.open(tmp_path, environ=environ, overrides={"extract.segment_clips": 7})
    extract = workspace.settings.extract
    assert (extract.preset, extract.workers, extract.segment_clips, extract.max_failures) == ("lite", 4, 7, "1%")
    sources = {setting.key: setting.source for setting in workspace.resolved()}
    assert sources["extract.preset"] == str(tmp_path / "abawkit.toml")
    assert sources["extract.workers"] == "environment ABAWKIT_EXTRACT_WORKERS"
    assert sources["extract.segment_clips"] == "flag"
    assert sources["extract.max_failures"] == "default"


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, '[extract]\npreest = "lite"\n')
    with pytest.raises(UsageError) as caught:
        Workspace.open(tmp_path, environ={})
    assert caught.value.got == "extract.preest" and caught.value.expected == "extract.preset"
    write(tmp_path, "")
    with pytest.raises(UsageError) as caught:
        Workspace.open(tmp_path, environ={"ABAWKIT_EXTRACT_PRESETT": "lite"})
    assert caught.value.expected == "ABAWKIT_EXTRACT_PRESET"
    with pytest.raises(UsageError, match="unknown setting"):
        Workspace.open(tmp_path, environ={}, overrides={"extract.learning": 1})
    with pytest.raises(UsageError, match="has another name now") as caught:
        Workspace.open(tmp_path, environ={}, overrides={"training.threads": 1})
    assert caught.value.expected == "training.workers"


def test_keys_of_a_system_are_kept_for_it(tmp_path: Path) -> None:
    """What is unknown among them is said when a system is loaded, which has torch's modules to look at."""
    write(tmp_path, '[training]\nlr = 1e-3\n[fusion]\nhidden = 8\n[slots.audio]\nencoder = { kind = "mean" }\n')
    environ = {"ABAWKIT_TRAINING_BATCH_SIZE": "4", "ABAWKIT_FUSION_HIDDEN": "9"}
    opened = Workspace.open(tmp_path, environ=environ, overrides={"training.lr": "1e-4"})
    assert opened.settings.system == {
        "training.lr": "1e-4", "fusion.hidden": "9", "slots.audio.encoder.kind": "mean", "training.batch_size": "4",
    }  # fmt: skip
    assert opened.sources["fusion.hidden"] == "environment ABAWKIT_FUSION_HIDDEN"
    shown = {setting.key: setting.value for setting in opened.resolved()}
    assert shown["training.lr"] == "1e-4" and shown["training.seed"] == 42


@pytest.mark.parametrize(
    "text", ["[extract]\nworkers = -1", "[extract]\npreset = 'huge'", "data = 3", "task = 'nope'", "= 1", "\xff"]
)
def test_bad_values_are_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "abawkit.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        Workspace.open(tmp_path, environ={})
    assert caught.value.path == str(tmp_path / "abawkit.toml") and caught.value.exit_code == 2


def test_it_is_found_from_below(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert Workspace.open(tmp_path / "a" / "b", environ={}).root == tmp_path
    assert Workspace.open(environ={"ABAWKIT_WORKSPACE": str(tmp_path)}).root == tmp_path
    with pytest.raises(UsageError, match="not a workspace"):
        Workspace.open("/", environ={})


def test_the_data_folder_is_no_workspace(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(UsageError, match="never written to"):
        init_workspace(data, data)
    write(data, 'data = "."\n')
    with pytest.raises(UsageError, match="never written to"):
        Workspace.open(data, environ={})


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    data = tmp_path / 'a "quoted" name'
    data.mkdir()
    init_workspace(tmp_path, data)
    assert Workspace.open(tmp_path, environ={}).data == data
    with pytest.raises(UsageError, match="there is one already"):
        init_workspace(tmp_path, data)


def test_without_data_it_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(UsageError, match="no challenge folder is set"):
        _ = Workspace.open(tmp_path, environ={}).data


def test_a_setting_of_two_kinds_names_itself_and_both(tmp_path: Path) -> None:
    (tmp_path / "abawkit.toml").write_text("[extract]\nbatch = 0\n")
    with pytest.raises(UsageError, match=r"bad value of extract\.batch\n") as caught:
        Workspace.open(tmp_path, environ={})
    assert str(caught.value.path) == str(tmp_path / "abawkit.toml")
    assert "'auto'" in str(caught.value.expected) and "greater than or equal to 1" in str(caught.value.expected)
