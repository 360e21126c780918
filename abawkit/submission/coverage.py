"""What the feature stores of a run have for the clips of train, valid and test: checked before anything is submitted.

Test clips come late and are processed separately. Where more of them lack a modality than of the validation clips, the
submission will score lower than the validation score lets expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from abawkit.errors import AbawkitError, FindingsError
from abawkit.features.store import FeatureStore
from abawkit.features.summary import Coverage, coverage
from abawkit.records import Record
from abawkit.runs.run import Ensemble, Run
from abawkit.workspace import Workspace

#: By how much the share of test clips without a modality may exceed that of the validation clips.
_WORSE = 0.02


class CoverageRecord(Record):
    """What the feature stores have, as ``FILE.json`` keeps it.

    Attributes:
        stores: ``modality/folder`` → split → counts.
        unknown: What is not known, one sentence each.
    """

    stores: dict[str, dict[str, Coverage]]
    unknown: list[str]


@dataclass(frozen=True)
class StoreCoverage:
    """What one feature store has.

    Attributes:
        store: ``modality/folder``.
        splits: ``train``, ``valid`` and ``test`` → what it has for their clips.
    """

    store: str
    splits: Mapping[str, Coverage]

    @property
    def worse(self) -> tuple[float, float] | None:
        """Shares of validation and of test clips without frames, where the test clips are clearly worse off; else None.

        Clearly: by over two points, and by over three standard errors, so that one clip of a dozen does not count.
        """
        valid, test = self.splits["valid"], self.splits["test"]
        if not valid.clips or not test.clips:
            return None
        before, after = without(valid), without(test)
        pooled = (before * valid.clips + after * test.clips) / (valid.clips + test.clips)
        error = (pooled * (1 - pooled) * (1 / valid.clips + 1 / test.clips)) ** 0.5
        return (before, after) if after - before > max(_WORSE, 3 * error) else None


@dataclass(frozen=True)
class RunCoverage:
    """What is known of the features behind a submission.

    Attributes:
        stores: One entry per feature store of the run or of its members.
        unknown: What is not known, one sentence each.
    """

    stores: tuple[StoreCoverage, ...]
    unknown: tuple[str, ...]

    def refuse_worse(self) -> None:
        """Raises when the test clips lack a modality clearly more often than the validation clips.

        Raises:
            FindingsError: They do; every such store is named.
        """
        worse = [(each.store, each.worse) for each in self.stores if each.worse is not None]
        lines = [
            f"  {store}: {test:.1%} of the test clips lack it, {valid:.1%} of the validation clips"
            for store, (valid, test) in worse
        ]
        if lines:
            raise FindingsError(
                "the test clips lack more than the validation clips\n" + "\n".join(lines),
                expected=f"at most {100 * _WORSE:.0f} points more",
                todo="check their files and run abawkit extract again, or give --accept-coverage",
            )

    @property
    def record(self) -> CoverageRecord:
        """The same as a record."""
        return CoverageRecord(
            stores={each.store: dict(each.splits) for each in self.stores},
            unknown=list(self.unknown),
        )


def without(found: Coverage) -> float:
    """Returns the share of clips without frames, in [0, 1]; 0 without clips."""
    return 1 - found.present / found.clips if found.clips else 0.0


def run_coverage(workspace: Workspace, run: Run, clips: Mapping[str, Sequence[str]]) -> RunCoverage:
    """Returns what the stores of a run, or of an ensemble's members, have for the clips.

    Args:
        workspace: The workspace.
        run: The run or ensemble.
        clips: ``train``, ``valid`` and ``test`` → ids.
    """
    stores: dict[str, StoreCoverage] = {}
    unknown: dict[str, None] = {}
    for one in base_runs(workspace, run, unknown):
        for name in one.model.features.values():
            try:
                if name not in stores:
                    store = FeatureStore.open(workspace.features / name)
                    stores[name] = StoreCoverage(name, coverage(store, clips))
            except AbawkitError as error:
                unknown[f"what the store {name} has is not known: {error.message}"] = None
    return RunCoverage(tuple(stores[name] for name in sorted(stores)), tuple(unknown))


def base_runs(workspace: Workspace, run: Run, unknown: dict[str, None] | None = None) -> list[Run]:
    """Returns the run, or the runs that predict the test clips of an ensemble in the end, each once.

    Args:
        workspace: The workspace.
        run: The run or ensemble.
        unknown: Where to say which members are gone; None: a member that is gone raises.

    Raises:
        AbawkitError: A member is gone, and ``unknown`` is None.
    """
    if not isinstance(run, Ensemble):
        return [run]
    found: dict[str, Run] = {}
    for name in predicting(run):
        try:
            member = Run.open(workspace.runs / name)
        except AbawkitError as error:
            if unknown is None:
                raise
            unknown[f"member {name} cannot be read: {error.message}"] = None
        else:
            found |= {one.name: one for one in base_runs(workspace, member, unknown)}
    return list(found.values())


def predicting(ensemble: Ensemble) -> list[str]:
    """Returns the names of the runs that predict the test clips: a refit where it takes the place of its parent."""
    return [name for names in ensemble.record.averaged.values() for name in names]
