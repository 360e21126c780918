"""The demo beats chance honestly: on its hidden test labels, and not when the labels are dealt to other clips."""

from pathlib import Path

import numpy as np
import pytest

from abawkit.jobs.demo import demo

pytestmark = pytest.mark.soak

# Both bounds hold whatever the processor: the means were .59 and .00, seeds differ by hundredths, and chance alone,
# with 3 × 100 clips and six emotions, has a standard deviation of .024.
SEEDS = (0, 1, 2)


def hidden_r(folder: Path, shuffle_labels: bool) -> list[float]:
    """Returns F4's mean r on the hidden test labels, one per seed."""
    scores = []
    for seed in SEEDS:
        done = demo(folder / f"{seed}", seed=seed, shuffle_labels=shuffle_labels)
        (f4,) = [found for found in done.hidden if found.run.record.system == "F4"]
        scores.append(f4.scores.mean_pearson)
    print(f"shuffled: {shuffle_labels}, r: {', '.join(f'{r:.3f}' for r in scores)}")
    return scores


def test_f4_learns(tmp_path: Path) -> None:
    assert np.mean(hidden_r(tmp_path, shuffle_labels=False)) >= 0.3


def test_f4_learns_nothing_from_shuffled_labels(tmp_path: Path) -> None:
    assert abs(np.mean(hidden_r(tmp_path, shuffle_labels=True))) <= 0.1
