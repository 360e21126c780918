"""`evaluate` and `runs compare|rm|gc`, as a person types them; all from prediction files alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import run
from tests.evaluation.made_runs import clip_ids, drawn_labels, make_run, make_workspace
from tests.evaluation.test_parts import PREDICTION, TRUTH, N, extra


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    workspace = make_workspace(tmp_path / "workspace")
    ids = clip_ids(0, N)
    make_run(workspace, "F3-official-s1-a", ids, TRUTH, PREDICTION, extra=extra(), train=["09999"])
    other = PREDICTION + 0.8 * drawn_labels(N, 9)
    make_run(workspace, "F4-official-s1-b", ids, TRUTH, other, system="F4", stages={"text": "1" * 12})
    (workspace.stages / "text-222222222222").mkdir(parents=True)
    return workspace.root


def test_evaluate_fits_eighty_columns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(folder, "evaluate", "F3", "--plot", "c.png")
    assert result.exit_code == 0, result.output
    for words in ("Empathic Pain", "percentile [", "saturated %", "By length (audio)", "no text", "change without it"):
        assert words in result.stdout
    assert "clip-level, likely too narrow" in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "…" not in result.stdout and (folder / "c.png").read_bytes().startswith(b"\x89PNG")
    result = run(folder, "runs", "compare", "F3", "F4")
    assert result.exit_code == 0 and max(map(len, result.stdout.splitlines())) <= 80
    assert "F3 − F4 = +." in result.stdout and "p (Holm)" in result.stdout
    for side in ("test", "elsewhere"):
        assert run(folder, "runs", "compare", "F3", "F4", "--on", side).exit_code == 2


def test_evaluate_refuses_what_was_trained_on(folder: Path) -> None:
    path = folder / "runs" / "F3-official-s1-a" / "clips.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train": ["00001", "00002"]}))
    result = run(folder, "evaluate", "F3")
    assert result.exit_code == 1 and "trained on 2 of these clips" in result.stderr and "00001, 00002" in result.stderr


def test_rm_asks_and_gc_lists_first(folder: Path) -> None:
    assert run(folder, "runs", "rm", "F4").exit_code == 1  # nobody said yes
    assert run(folder, "runs", "rm", "F4", "--json").exit_code == 2
    assert (folder / "runs" / "F4-official-s1-b").exists()
    assert run(folder, "runs", "rm", "F4", "--yes").exit_code == 0
    assert not (folder / "runs" / "F4-official-s1-b").exists()
    result = run(folder, "runs", "gc")
    assert "text-222222222222" in result.stdout and (folder / "stages" / "text-222222222222").exists()
    record = json.loads(run(folder, "runs", "gc", "--yes", "--json").stdout)
    assert [Path(one["path"]).name for one in record["removed"]] == ["text-222222222222"]
    assert "every stage checkpoint is used" in run(folder, "runs", "gc").stdout


@pytest.mark.parametrize("line", ["evaluate F3", "runs list", "runs compare F3 F4", "runs gc"])
def test_nothing_heavy_is_imported(folder: Path, line: str) -> None:
    code = (
        "import sys\nfrom abawkit.cli.app import app\n"
        f"try: app({line.split()!r})\nexcept SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy.stats', 'matplotlib', 'h5py', 'cv2', 'av'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    environ = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
