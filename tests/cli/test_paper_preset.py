"""The preset ``paper`` as a person types it, with tiny random-weight models from local folders."""

from pathlib import Path

import numpy as np

from abawkit.features.spec import Status
from abawkit.features.store import list_stores
from abawkit.runs.run import find_run
from abawkit.workspace import Workspace
from tests.cli.program import run
from tests.tiny_models import DIM, bert, dinov2, emotion_wav2vec2


def test_extract_train_and_submit(fresh: Path, tmp_path: Path) -> None:
    config = fresh / "abawkit.toml"
    config.write_text(config.read_text().replace('preset = "lite"\n', ""))  # paper is the default
    models = {"text": bert(tmp_path / "t"), "audio": emotion_wav2vec2(tmp_path / "a"), "vision": dinov2(tmp_path / "v")}
    named = [word for modality, folder in models.items() for word in ("--model", f"{modality}={folder}")]
    chosen = [word for modality in models for word in ("-m", modality)]
    refused = run(fresh, "extract", *chosen)
    assert refused.exit_code == 1 and "thenlper/gte-base" in refused.stderr and "--preset lite" in refused.stderr
    done = run(fresh, "extract", *chosen, *named, "--workers", "1")
    assert done.exit_code == 0, done.output
    stores = list_stores(fresh / "features")
    assert [(store.spec.modality, store.spec.dim) for store in stores] == [(m, DIM) for m in models]
    for store in stores:
        present = [clip for clip in store.ids if store.status(clip) == Status.PRESENT]
        assert len(store) == 72 and len(present) > 60 and store.spec.weights
        assert all(np.isfinite(np.asarray(store.frames(clip), np.float32)).all() for clip in present)
    again = run(fresh, "extract", *chosen, *named, "--workers", "1", "--json")
    assert again.exit_code == 0 and '"extracted": 0' in again.stdout and '"extracted": 7' not in again.stdout
    assert run(fresh, "train", "--system", "F1").exit_code == 0
    run_ = find_run(Workspace.open(fresh, environ={}), "F1")
    assert run_.model.inputs["audio"] == DIM
    (fresh / "features" / "motion").mkdir(exist_ok=True)
    missing = run(fresh, "train", "--system", "F2")
    assert missing.exit_code == 2 and "there are no motion features" in missing.stderr
