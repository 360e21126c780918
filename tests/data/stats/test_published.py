import numpy as np
import pytest
from scipy import stats as reference

from abawkit.challenge import EMI
from abawkit.data.stats.published import PAPER, beside


def test_p_values_are_those_of_the_statistics() -> None:
    # The transcription holds together: scipy's p of each statistic at the official sizes is the paper's.
    scale = np.sqrt(8072 * 4588 / 12660)
    for target, told in PAPER["ks_p"].items():
        low, high = (reference.kstwobign.sf(scale * (PAPER["ks"][target] + d)) for d in (0.0005, -0.0005))
        assert high < told[1] if isinstance(told, list) else low <= told <= high


def test_figures_hold_together() -> None:
    splits = PAPER["splits"]
    assert splits["train"]["clips"] + splits["valid"]["clips"] == splits["train+valid"]["clips"]
    for split in ("train", "valid"):
        assert list(splits[split]["mean"]) == list(splits[split]["zero_percent"]) == list(EMI.targets)
    both = splits["train+valid"]["lengths"]
    assert both["total_hours"] * 3600 / 12660 == pytest.approx(both["seconds"]["mean"], abs=0.05)
    gaps = {t: splits["valid"]["zero_percent"][t] - splits["train"]["zero_percent"][t] for t in EMI.targets}
    assert all(abs(gap) <= 100 * PAPER["ks"][target] + 0.2 for target, gap in gaps.items())


def test_differences() -> None:
    here = {"mean": {"Joy": 0.5}, "long": 7.0, "inside": 6.3, "low": 5.0, "lengths": None, "p": None}
    told = {"mean": {"Joy": 0.25, "Pain": 1}, "long": [6.2, 6.5], "inside": [6.2, 6.5], "low": [6.2, 6.5]}
    found = beside(here, {**told, "lengths": {"frames": {"median": 65}}, "p": 0.1, "absent": 3})
    assert found.pop("mean") == {"Joy": 0.25}
    assert found == pytest.approx({"long": 0.5, "inside": 0.0, "low": -1.2})
