import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from abawkit.data.layout import Clip
from abawkit.errors import MediaError, ModalityMissing
from abawkit.extractors.motion import OpenFaceMotion
from abawkit.extractors.openface import COLUMNS


def test_a_real_file_keeps_raw_values_and_times(shared_data: Path) -> None:
    extractor = pickle.loads(pickle.dumps(OpenFaceMotion()))
    loaded = extractor.load(Clip("00000", openface=shared_data / "FACSvatar/raw_demo.csv"))
    ((values, times),) = extractor.embed([loaded])
    assert values.shape == (len(times), extractor.spec.dim) and values.dtype == extractor.spec.dtype
    assert np.abs(values[:, 19]).mean() > 100, "millimetres"
    assert (np.diff(times) > 0).all()


def test_no_file_and_no_face(tmp_path: Path) -> None:
    extractor = OpenFaceMotion()
    with pytest.raises(ModalityMissing, match="no OpenFace CSV"):
        extractor.load(Clip("00000"))
    (tmp_path / "a.csv").write_text(",".join(("success", *COLUMNS)) + "\n" + ",".join(["0"] * 24) + "\n")
    with pytest.raises(ModalityMissing, match="no face"):
        extractor.load(Clip("00000", openface=tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_text("x\n")
    with pytest.raises(MediaError):
        extractor.load(Clip("00000", openface=tmp_path / "b.csv"))


def test_the_source_notices_a_new_file(tmp_path: Path) -> None:
    extractor, path = OpenFaceMotion(), tmp_path / "a.csv"
    assert extractor.source(Clip("00000")) == ""
    path.write_text("a")
    clip = Clip("00000", openface=path)
    before = extractor.source(clip)
    assert before == extractor.source(clip) != ""
    os.utime(path, ns=(1, 1))
    assert extractor.source(clip) != before
