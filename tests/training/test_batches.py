"""What the models are given."""

from pathlib import Path

import numpy as np
import pytest
import torch

from abawkit.errors import AbawkitError
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.store import list_stores
from abawkit.features.writer import open_for_writing
from abawkit.training.batches import load_clips


def test_text_is_normalised_and_missing_text_is_zeros(extracted: Path) -> None:
    stores = {store.spec.modality: store for store in list_stores(extracted / "features")}
    ids = stores["text"].ids
    clips = load_clips(stores, ids[::-1])  # joined by id, whatever the order
    assert clips.text is not None and clips.ids == tuple(ids[::-1])
    there = np.array([stores["text"].status(clip) == Status.PRESENT for clip in clips.ids])
    norms = clips.text.norm(dim=1).numpy()
    np.testing.assert_allclose(norms[there], 1, atol=1e-5)
    assert (norms[~there] == 0).all() and 0 < (~there).sum() < len(ids)
    row = int(np.flatnonzero(there)[3])
    raw = np.asarray(stores["text"].frames(clips.ids[row]), np.float32)[0]
    np.testing.assert_allclose(clips.text[row].numpy(), raw / np.linalg.norm(raw), atol=1e-6)
    np.testing.assert_array_equal(clips.present["text"], there)


def test_frames_are_views_and_missing_ones_are_empty(extracted: Path) -> None:
    stores = {store.spec.modality: store for store in list_stores(extracted / "features")}
    clips = load_clips(stores, stores["audio"].ids)
    for row, clip in enumerate(clips.ids):
        expected = stores["audio"].frames(clip)
        assert torch.equal(clips.frames["audio"][row], torch.from_numpy(np.array(expected)))
    lengths = clips.lengths("audio")
    assert (lengths == 0).any() and ((lengths == 0) == ~clips.present["audio"]).all()
    batch = clips.inputs([2, 0], skip={"motion": torch.zeros(0)})
    assert set(batch) == {"text", "audio", "vision"} and torch.equal(batch["audio"][1], clips.frames["audio"][0])
    assert set(clips.only("text").frames) == set() and set(clips.only("audio").frames) == {"audio"}


def test_clips_that_are_not_in_the_store_are_named(extracted: Path) -> None:
    stores = {store.spec.modality: store for store in list_stores(extracted / "features")}
    with pytest.raises(AbawkitError, match="1 of 2 clips have no text features") as caught:
        load_clips(stores, ["00000", "99999"])
    assert caught.value.got == "missing: 99999"


def test_one_vector_per_token_is_refused(tmp_path: Path) -> None:
    spec = FeatureSpec("text", "tokens", 4, "test/1")
    rows = {"00000": 1, "00001": 3}
    made = [
        ClipFeatures(clip, Status.PRESENT, np.ones((n, 4), np.float16), np.full(n, np.nan, np.float32), "")
        for clip, n in rows.items()
    ]
    with open_for_writing(tmp_path / "store", spec) as writer:
        writer.add(made)
        store = writer.store
    with pytest.raises(AbawkitError, match="one vector per token") as caught:
        load_clips({"text": store}, list(rows))
    assert "00001 with 3" in str(caught.value) and "abawkit extract" in str(caught.value)
    assert load_clips({"text": store}, ["00000"]).text is not None
