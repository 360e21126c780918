"""What the models are given."""

from pathlib import Path

import numpy as np
import pytest
import torch

from abawkit.errors import AbawkitError
from abawkit.features.spec import ClipFeatures, FeatureSpec, Status
from abawkit.features.store import list_stores
from abawkit.features.writer import open_for_writing
from abawkit.training.batches import Source, load_clips
from abawkit.training.placement import InPlace


def sources(root: Path) -> dict[str, Source]:
    stores = {store.spec.modality: store for store in list_stores(root / "features")}
    return {slot: Source(store, normalize=slot == "text", one_frame=slot == "text") for slot, store in stores.items()}


def test_text_is_normalised_and_missing_text_has_no_frame(extracted: Path) -> None:
    found = sources(extracted)
    store = found["text"].store
    clips = load_clips(found, store.ids[::-1])  # joined by id, whatever the order
    assert clips.ids == tuple(store.ids[::-1])
    there = np.array([store.status(clip) == Status.PRESENT for clip in clips.ids])
    np.testing.assert_array_equal(clips.lengths("text"), there)
    assert 0 < (~there).sum() < len(there)
    for row in np.flatnonzero(there):
        raw = np.asarray(store.frames(clips.ids[row]), np.float32)[0]
        np.testing.assert_allclose(clips.frames["text"][row][0].numpy(), raw / np.linalg.norm(raw), atol=1e-6)
    np.testing.assert_array_equal(clips.present["text"], there)


def test_frames_are_views_and_missing_ones_are_empty(extracted: Path) -> None:
    found = sources(extracted)
    store = found["audio"].store
    clips = load_clips(found, store.ids)
    for row, clip in enumerate(clips.ids):
        assert torch.equal(clips.frames["audio"][row], torch.from_numpy(np.array(store.frames(clip))))
    lengths = clips.lengths("audio")
    assert (lengths == 0).any() and ((lengths == 0) == ~clips.present["audio"]).all()
    (batch,) = InPlace(clips).batches([[2, 0]])
    assert set(batch.inputs.clips) == {"text", "audio", "vision", "motion"}
    packed = batch.inputs.clips["audio"]
    assert torch.equal(packed.frames[1], clips.frames["audio"][0])
    assert packed.frames[0].data_ptr() == clips.frames["audio"][2].data_ptr(), "a view, not a copy"
    assert set(clips.only(["audio"]).frames) == {"audio"}


def test_clips_that_are_not_in_the_store_are_named(extracted: Path) -> None:
    with pytest.raises(AbawkitError, match="1 of 2 clips have no text features") as caught:
        load_clips(sources(extracted), ["00000", "99999"])
    assert caught.value.got == "missing: 99999"


def test_one_vector_per_token_is_refused_where_an_encoder_takes_one_frame(tmp_path: Path) -> None:
    spec = FeatureSpec("text", "tokens", 4, "test/1")
    rows = {"00000": 1, "00001": 3}
    made = [
        ClipFeatures(clip, Status.PRESENT, np.ones((n, 4), np.float16), np.full(n, np.nan, np.float32), "")
        for clip, n in rows.items()
    ]
    with open_for_writing(tmp_path / "store", spec) as writer:
        writer.add(made)
        store = writer.store
    with pytest.raises(AbawkitError, match="several vectors per clip") as caught:
        load_clips({"text": Source(store, one_frame=True)}, list(rows))
    assert "00001 with 3" in str(caught.value) and "--features text=NAME" in str(caught.value)
    assert len(load_clips({"text": Source(store)}, list(rows)).frames["text"][1]) == 3
    assert load_clips({"text": Source(store, one_frame=True)}, ["00000"]).frames["text"]
