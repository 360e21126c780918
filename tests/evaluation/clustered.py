"""Simulated runs whose errors belong to persons."""

import numpy as np

from abawkit.evaluation.bootstrap import interval

#: The correlation of truth and prediction over all persons there could be.
TRUE_R = 0.5


def coverage(*, times: int, persons: int, clips_each: int, resamples: int, common: float = 0.7) -> tuple[float, float]:
    """Returns how often the 95 % interval by clip, and that by person, hold the true r.

    Args:
        times: Number of simulated runs.
        persons: Persons in each.
        clips_each: Clips of each person.
        resamples: Bootstrap resamples.
        common: Share of the variance, of truth and of error, that the clips of one person have in common.
    """
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(persons), clips_each)
    keys = [str(person) for person in groups]

    def drawn() -> np.ndarray:
        shared, own = rng.normal(size=(persons, 1)), rng.normal(size=(len(groups), 1))
        return np.sqrt(common) * shared[groups] + np.sqrt(1 - common) * own

    held = np.zeros(2)
    for _ in range(times):
        truth, error = drawn(), drawn()
        prediction = TRUE_R * truth + np.sqrt(1 - TRUE_R**2) * error
        for way, groups_given in enumerate((None, keys)):
            found = interval(truth, prediction, groups=groups_given, resamples=resamples)
            held[way] += found.low <= TRUE_R <= found.high
    by_clip, by_person = held / times
    return float(by_clip), float(by_person)
