"""The one writer of a feature store, or of one shard of it.

A shard is one of several parts of the clips that run as jobs of their own and fill one store. The manifest says how
many shards there are and which are done, until all of them are: until then the store cannot be read for training.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from abawkit import __version__
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.segment import read_segment, write_segment
from abawkit.features.spec import ClipFeatures, FeatureSpec
from abawkit.features.store import FORMAT, MANIFEST, NOTE, FeatureStore
from abawkit.fileio import locked, read_json, storage_errors, write_json
from abawkit.progress import Task

_WORKSHOP = ".compact"  # where new segments wait until all of them are there

#: How long a shard waits for another one that names a segment, which takes a moment (seconds).
_PATIENCE = 30.0


class StoreWriter:
    """The one writer of a store, or of one shard of it; made by :func:`open_for_writing`."""

    def __init__(self, path: Path, spec: FeatureSpec, shard: tuple[int, int] | None = None) -> None:
        self.path = path
        self.spec = spec
        self.shard = shard
        if (path / MANIFEST).exists():
            self.store = FeatureStore.open(path)
            if self.store.spec.signature != spec.signature:
                raise AbawkitError("the store in this folder is of another feature", path=path)
        else:
            self.store = FeatureStore(path, spec, {})
            self._write_manifest()
        self._adopt()
        if shard is not None:
            self._enter_shard(*shard)

    def _enter_shard(self, number: int, count: int) -> None:
        before = self.store.shards
        if before is not None and before[0] != count:
            raise UsageError(
                f"these features are being made in {before[0]} shards",
                path=self.path,
                got=f"shard {number}/{count}",
                todo=f"continue with --shard …/{before[0]}, or make the rest without --shard",
            )
        done = before[1] if before is not None else frozenset()
        if before is None or number in done:
            self.store.shards = (count, done - {number})
            self._write_manifest()

    def _adopt(self) -> None:
        """Finishes what a killed process left: enters whole segments, frees those that a compaction replaced.

        Segments that the user deleted because they were damaged are struck off: their clips are made again.
        """
        there = {file.name for file in self.path.glob("segment-*.h5")}
        for name in there.intersection(read_json(self.path / MANIFEST, "a feature store").get("retired", ())):
            (self.path / name).unlink()
            there.remove(name)
        strays = sorted(there - set(self.store.segments))
        gone = sorted(set(self.store.segments) - there)
        for name in strays:
            self.store.segments[name] = list(read_segment(self.path / name, self.spec).ids)
        for name in gone:
            del self.store.segments[name]
        for left in self.path.glob(".tmp-*"):
            left.unlink()
        shutil.rmtree(self.path / _WORKSHOP, ignore_errors=True)
        if strays or gone:
            self._write_manifest()

    def _write_manifest(self, retired: Sequence[str] = ()) -> None:
        shards = self.store.shards
        record = {
            "format": FORMAT,
            "signature": self.spec.signature,
            "spec": self.spec.to_json(),
            "tool": f"abawkit {__version__}",
            **({"simulated": True} if self.spec.simulated else {"note": NOTE}),
            "segments": dict(sorted(self.store.segments.items())),
            **({"retired": list(retired)} if retired else {}),
            **({} if shards is None else {"shards": {"count": shards[0], "done": sorted(shards[1])}}),
        }
        write_json(self.path / MANIFEST, record)

    def add(self, clips: Sequence[ClipFeatures]) -> Path:
        """Writes the clips as the next segment and returns its path."""
        if self.shard is None:
            path = self.path / self._next_name(0)
            write_segment(path, clips, self.spec)
            self._enter(path, clips)
            return path
        # Other shards write at the same time: the file is made apart, and named and entered under the store's lock.
        made = self.path / f".shard-{self.shard[0]}-of-{self.shard[1]}" / "segment.h5"
        write_segment(made, clips, self.spec)
        with locked(self.path, _what(self.spec), wait=_PATIENCE):
            self.store = FeatureStore.open(self.path)
            path = self.path / self._next_name(0)
            made.replace(path)
            self._enter(path, clips)
        return path

    def _enter(self, path: Path, clips: Sequence[ClipFeatures]) -> None:
        self.store.segments[path.name] = [clip.clip for clip in clips]
        self._write_manifest()

    def finish(self) -> None:
        """Notes that all clips of the store, or of the shard, have been done; with the last shard it is whole."""
        if self.shard is None:
            if self.store.shards is not None:
                self.store.shards = None
                self._write_manifest()
            return
        number, count = self.shard
        with locked(self.path, _what(self.spec), wait=_PATIENCE):
            self.store = FeatureStore.open(self.path)
            done = (self.store.shards[1] if self.store.shards is not None else frozenset()) | {number}
            self.store.shards = None if len(done) == count else (count, done)
            self._write_manifest()
        shutil.rmtree(self.path / f".shard-{number}-of-{count}", ignore_errors=True)

    def _next_name(self, after: int) -> str:
        taken = [int(name[len("segment-") : -len(".h5")]) for name in self.store.segments]
        return f"segment-{max(taken, default=-1) + 1 + after:04d}.h5"

    def compact(self, segment_clips: int, task: Task) -> bool:
        """Writes one set of full segments in the place of all, with only the newest version of each clip.

        A reader sees the old segments or the new ones, whole, at any moment; killed at any moment, it can be done
        again. It needs as much free space as the newest versions take; the old files are freed at the end.

        Args:
            segment_clips: Clips per segment.
            task: What to report to, clip by clip.

        Returns:
            Whether there was anything to do.

        Raises:
            AbawkitError: A clip's values are not those that were written (the store stays as it is), or the disk is
                full.
        """
        ids, old = self.store.ids, dict(self.store.segments)
        if len(old) == -(-len(ids) // segment_clips) and sum(map(len, old.values())) == len(ids):
            return False
        workshop = self.path / _WORKSHOP
        made: dict[str, list[str]] = {}
        try:
            for start in range(0, len(ids), segment_clips):
                name, members = self._next_name(len(made)), ids[start : start + segment_clips]
                write_segment(workshop / name, [self.store.features(clip) for clip in members], self.spec)
                made[name] = members
                task.advance(len(members))
            for name in made:
                (workshop / name).replace(self.path / name)  # before the manifest names it, it is a double
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        self.store = FeatureStore(self.path, self.spec, made, self.store.shards)
        self._write_manifest(retired=sorted(old))
        for name in old:
            (self.path / name).unlink()
        self._write_manifest()
        return True


@contextmanager
def open_for_writing(path: Path, spec: FeatureSpec, *, shard: tuple[int, int] | None = None) -> Iterator[StoreWriter]:
    """Yields the one writer of the store in folder ``path``, which is made when it is not there.

    Args:
        path: The store's folder.
        spec: What the features are.
        shard: Number and count: the writer of that shard alone. The writers of other shards can be there at the same
            time, the writer of the whole store cannot.

    Raises:
        AbawkitError: Another process is writing it, or the folder cannot be written to.
        UsageError: It is being made in another number of shards.
    """
    with storage_errors(path), ExitStack() as held:
        if shard is None:
            held.enter_context(locked(path, _what(spec)))
            for folder in sorted(path.glob(".shard-*")):
                held.enter_context(locked(folder, f"writing a shard of these {spec.modality} features"))
            yield StoreWriter(path, spec)
        else:
            folder = path / f".shard-{shard[0]}-of-{shard[1]}"
            with locked(path, _what(spec), wait=_PATIENCE):
                held.enter_context(locked(folder, f"writing shard {shard[0]}/{shard[1]} of these features"))
                writer = StoreWriter(path, spec, shard)
            yield writer


def _what(spec: FeatureSpec) -> str:
    return f"writing these {spec.modality} features"
