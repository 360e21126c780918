"""What has been published about the official EMI data, and the difference to what is found here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abawkit.challenge import EMI


def _by_target(*values: Any) -> dict[str, Any]:
    return dict(zip(EMI.targets, values, strict=True))


def _correlations() -> dict[str, dict[str, Any]]:
    pair = {"Excitement", "Joy"}
    return {
        one: {other: 0.229 if {one, other} == pair else [-0.15, 0.15] for other in EMI.targets if other != one}
        for one in EMI.targets
    }


#: The published figures, under the same keys as in :meth:`abawkit.data.stats.tables.Stats.to_json`; two numbers are
#: a range.
#: The paper names neither the split nor the clips of its correlations: they are compared with both splits combined.
PAPER: Mapping[str, Any] = {
    "splits": {
        "train": {
            "clips": 8072,
            "mean": _by_target(0.1785, 0.1253, 0.0967, 0.0214, 0.1420, 0.1157),
            "zero_percent": _by_target(55.3, 63.6, 67.5, 89.9, 61.8, 67.5),
            "missing": {"text": {"percent": 5.67}, "audio": {"percent": 0.0}, "faces": {"percent": 0.0}},
            "lengths": {"frames": {"median": 65, "min": 1, "max": 2255}, "long_percent": [6.2, 6.5]},
        },
        "valid": {
            "clips": 4588,
            "mean": _by_target(0.1594, 0.1303, 0.0668, 0.0134, 0.1294, 0.0994),
            "zero_percent": _by_target(60.0, 63.6, 74.9, 92.2, 64.8, 72.3),
            "missing": {"text": {"percent": 6.34}, "audio": {"percent": 0.0}, "faces": {"percent": 0.0}},
            "lengths": {"frames": {"median": 66, "min": 1, "max": 12500}, "long_percent": [6.2, 6.5]},
        },
        "train+valid": {
            "clips": 12660,
            "lengths": {
                "seconds": {"mean": 6.9, "min": 0.064, "p95": 11.5, "max": 1249.9},
                "total_hours": 24 + 19 / 60,
                "long_percent": [6.2, 6.5],
            },
        },
        "test": {"clips": 4586},
    },
    "ks": _by_target(0.047, 0.016, 0.075, 0.022, 0.029, 0.048),
    "ks_p": _by_target([0.0, 0.001], 0.457, [0.0, 0.001], 0.108, 0.013, [0.0, 0.001]),
    "correlation": _correlations(),
}

#: What to know when reading the published figures.
NOTES = (
    "The paper: Tables 1 and 2, Secs. 3.1 to 3.3, and its figure of correlations. Seconds and hours are not in the "
    "paper; they were published elsewhere for the same 12,660 clips.",
    "The published figures do not quite fit together: with 10 frames per second, a 95th percentile of 11.5 s means "
    "that fewer than 5 % of the clips have more than 120 frames, where the paper says 6.2 to 6.5 %.",
    "Missing text in the paper is its authors' speech recogniser's, not the data's.",
)


def beside(here: Any, published: Any) -> Any:
    """Returns ``here - published`` for every number of ``published``, under the same keys.

    Args:
        here: The figures found, a dictionary of dictionaries of numbers.
        published: The same, perhaps with fewer keys; a list of two numbers is a range: the difference is 0 within it,
            else that to its nearer end.

    What is not known here (no such key, None) has no difference: its key is left out.

    >>> beside({"mean": {"Joy": 0.5, "Fear": 0.1}, "long": 7.0}, {"mean": {"Joy": 0.25}, "long": [6.0, 6.5], "p": 1})
    {'mean': {'Joy': 0.25}, 'long': 0.5}
    """
    if isinstance(published, Mapping):
        found = {key: beside(here[key], value) for key, value in published.items() if here and key in here}
        return {key: value for key, value in found.items() if value is not None and value != {}}
    if here is None:
        return None
    low, high = published if isinstance(published, list) else (published, published)
    return min(here - low, 0.0) + max(here - high, 0.0)
