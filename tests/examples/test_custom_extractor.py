"""Extractors of other packages: the example, from the command line to a trained run; and broken ones."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import abawkit
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.store import FeatureStore, choose_store
from tests.cli.program import run
from tests.examples.plugin_package import install

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_extractor"
GROUP = "abawkit.extractors"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the example installed in it."""
    folder = tmp_path / "site"
    folder.mkdir()
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    (module,) = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    code = (EXAMPLE / module).read_text()
    install(folder, module.removesuffix(".py"), code, project["project"]["entry-points"])
    return folder


def program(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns what the program did in a process of its own, as workers have to find the package too."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "abawkit", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)


def test_the_example_makes_a_store_that_training_finds_by_its_name(site: Path, extracted_copy: Path) -> None:
    arguments = ["--modality", "audio", "--extractor", "loudness"]
    plan = program(site, extracted_copy, "extract", *arguments, "--plan", "--json")
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["plan"][0]["todo"] == {"train": 36, "valid": 24, "test": 12}
    done = program(site, extracted_copy, "extract", *arguments, "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["stores"]
    assert report["extracted"] == 72 and report["failed"] == 0 and report["present"] > 60
    store = choose_store(extracted_copy / "features", "audio", lite=True, wanted="loudness")
    assert store.spec.extractor == "plugin/loudness/loudness/1"
    assert store.spec.command == "abawkit extract --extractor loudness"
    clip = next(clip for clip in store.ids if len(store.frames(clip)))
    frames = np.asarray(store.frames(clip), np.float32)
    assert frames.shape[1] == 8 and -3 <= frames.min() < frames.max() <= 4
    again = program(site, extracted_copy, "extract", "--extractor", "loudness", "--json")
    assert json.loads(again.stdout)["stores"][0]["extracted"] == 0
    trained = program(site, extracted_copy, "train", "--system", "F2", "--features", "audio=loudness", "--json")
    assert trained.returncode == 0, trained.stderr
    checks = json.loads(program(site, extracted_copy, "doctor", "--json").stdout)["checks"]
    assert ("extractor loudness", "ok", "it can be used") in {(c["name"], c["state"], c["found"]) for c in checks}


BROKEN = {
    "absent": ("import no_such_library\n", "No module named 'no_such_library'"),
    "number": ("factory = 3\n", "'int' object is not callable"),
    "raises": ("def factory(workspace): raise KeyError('weights')\n", "KeyError: 'weights'"),
    "nothing": ("def factory(workspace): return None\n", "NoneType.spec is not a FeatureSpec"),
    "a_class": (
        "from abawkit.extractors.lite import LiteAudio\ndef factory(workspace): return LiteAudio\n",
        "the class LiteAudio, not an extractor",
    ),
    "workless": (
        "from abawkit.extractors.lite import LiteAudio\n"
        "def factory(workspace): return type('Mine', (), {'spec': LiteAudio().spec})()\n",
        "Mine.workload is not a Workload",
    ),
    "half": (
        "from abawkit.extractors.lite import LiteAudio\n"
        "def factory(workspace):\n"
        "    return type('Mine', (), {'spec': LiteAudio().spec, 'workload': LiteAudio.workload})()\n",
        "Mine has no method source",
    ),
    "smell": (
        "from dataclasses import replace\nfrom abawkit.extractors.lite import LiteAudio\n"
        "class Mine(LiteAudio):\n    spec = replace(LiteAudio().spec, modality='smell')\n"
        "def factory(workspace): return Mine()\n",
        "its modality is 'smell'",
    ),
    "outside": (
        "from dataclasses import replace\nfrom abawkit.extractors.lite import LiteAudio\n"
        "class Mine(LiteAudio):\n    spec = replace(LiteAudio().spec, name='../outside')\n"
        "def factory(workspace): return Mine()\n",
        "its name is '../outside'",
    ),
    "twin": (
        "from abawkit.extractors.lite import LiteAudio\ndef factory(workspace): return LiteAudio()\n",
        "its name is 'lite'",
    ),
    "unwritable": (
        "from dataclasses import replace\nfrom abawkit.extractors.lite import LiteAudio\n"
        "class Mine(LiteAudio):\n"
        "    spec = replace(LiteAudio().spec, name='mine', preprocessing={'window': object()})\n"
        "def factory(workspace): return Mine()\n",
        "TypeError: ",
    ),
    "local": (
        "from abawkit.extractors.lite import LiteAudio\n"
        "from dataclasses import replace\n"
        "def factory(workspace):\n"
        "    class Local(LiteAudio):\n        spec = replace(LiteAudio().spec, name='local')\n"
        "    return Local()\n",
        "local object",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_extractor_is_one_clear_error_when_it_is_used_and_a_line_of_doctor(
    tmp_path: Path, extracted: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code, reason = BROKEN[name]
    install(tmp_path, f"broken_{name}", code, {GROUP: {name: f"broken_{name}:factory"}})
    monkeypatch.syspath_prepend(tmp_path)
    assert run(extracted, "extract", "--help").exit_code == 0
    assert run(extracted, "extract", "--modality", "text").exit_code == 0
    used = run(extracted, "extract", "--extractor", name)
    assert used.exit_code == 1 and used.stderr.startswith(f"error: the extractor {name} cannot be used\n")
    assert reason in used.stderr and "defect of abawkit" not in used.stderr
    checks = json.loads(run(extracted, "doctor", "--json").stdout)["checks"]
    (check,) = [check for check in checks if check["name"] == f"extractor {name}"]
    assert check["state"] == "warning" and reason in check["found"]


def test_a_model_that_an_extractor_misses_is_its_own_message(
    tmp_path: Path, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from abawkit.errors import AbawkitError\n"
        "def factory(workspace): raise AbawkitError('its weights are missing', todo='fetch them')\n"
    )
    install(tmp_path, "broken_weights", code, {GROUP: {"weights": "broken_weights:factory"}})
    monkeypatch.syspath_prepend(tmp_path)
    used = run(extracted, "extract", "--extractor", "weights")
    assert used.exit_code == 1 and "its weights are missing" in used.stderr and "fetch them" in used.stderr


def test_doctor_names_broken_packages_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"encoder": "abawkit.encoders", "fusion": "abawkit.fusions", "loss": "abawkit.losses"}
    for kind, group in groups.items():
        install(tmp_path, f"broken_{kind}", "import no_such_library\n", {group: {"mine": f"broken_{kind}:mine"}})
    good = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Good:\n    kind: str = 'good'\n"
    install(tmp_path, "good_loss", good, {"abawkit.losses": {"good": "good_loss:Good"}})
    monkeypatch.syspath_prepend(tmp_path)
    checks = json.loads(run(tmp_path, "doctor", "--json").stdout)["checks"]
    states = {check["name"]: check["state"] for check in checks}
    assert [states[f"{kind} mine"] for kind in groups] == ["warning"] * 3 and states["loss good"] == "ok"


def test_unknown_and_unfitting_extractors(site: Path, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    workspace = abawkit.Workspace.open(extracted, environ={})
    with pytest.raises(UsageError, match="no installed package has this extractor") as caught:
        abawkit.extract(workspace, extractors=["loud"])
    assert caught.value.expected == "loudness"
    with pytest.raises(UsageError, match="other modalities"):
        abawkit.extract(workspace, modalities=["text"], extractors=["loudness"])
    with pytest.raises(UsageError, match="other modalities"):
        abawkit.extract(workspace, modalities=["text", "audio"], extractors=["loudness"])
    refused = run(extracted, "extract", "--extractor", "loudness", "--preset", "paper", "--faces", "detect")
    assert refused.exit_code == 2 and "--faces" in refused.stderr
    refused = run(extracted, "extract", "--extractor", "loudness", "--preset", "paper", "--model", "audio=x")
    assert refused.exit_code == 2 and "--model audio=" in refused.stderr


MISBEHAVING = """
import numpy as np
from abawkit.features.spec import FeatureSpec, Loaded, Workload

class Mine:
    spec = FeatureSpec("audio", "mine", 2, "mine/1")
    workload = Workload(in_workers=False)

    def __init__(self, kind):
        self.kind = kind

    def source(self, clip):
        if self.kind == "source":
            raise KeyError(clip.id)
        return clip.id

    def load(self, clip):
        return Loaded(np.zeros(int(clip.id) + 1, np.float32))

    def embed(self, batch):
        rows = {"flat": (2,), "wide": (1, 3)}.get(self.kind, (1, 2))
        made = [(np.zeros(rows, np.float32), np.zeros(2 if self.kind == "times" else 1, np.float32)) for _ in batch]
        return made[1:] if self.kind == "fewer" else made

def flat(workspace): return Mine("flat")
def wide(workspace): return Mine("wide")
def times(workspace): return Mine("times")
def fewer(workspace): return Mine("fewer")
def source(workspace): return Mine("source")
"""


@pytest.mark.parametrize("kind", ["flat", "wide", "times", "fewer", "source"])
def test_an_extractor_that_breaks_its_promises(
    tmp_path: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    install(tmp_path, f"bad_{kind}", MISBEHAVING, {GROUP: {kind: f"bad_{kind}:{kind}"}})
    monkeypatch.syspath_prepend(tmp_path)
    workspace = abawkit.Workspace.open(fresh, environ={})
    if kind == "source":
        with pytest.raises(AbawkitError, match=r"mine/1 cannot read the source of clip 00000: KeyError"):
            abawkit.extract(workspace, extractors=[kind], limit=3)
        return
    (report,) = abawkit.extract(workspace, extractors=[kind], limit=3).stores
    assert report.failed == 3 and report.path.is_relative_to(fresh / "features" / "audio")
    wanted = "of 0 clips, not of 1" if kind == "fewer" else "arrays of another shape"
    assert wanted in FeatureStore.open(report.path).note("00000")
