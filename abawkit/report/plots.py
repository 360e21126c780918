"""The figures of ``abawkit stats``: lengths, labels, correlation and co-occurrence, as PNG and SVG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from abawkit.data.stats.lengths import FRAMES_PER_SECOND, LONG_FRAMES, Lengths, paper_frames
from abawkit.data.stats.tables import BOTH, Stats
from abawkit.fileio import atomic_path
from abawkit.report.drawing import (
    COLOURS,
    FAINT,
    LINES,
    bar_style,
    draw_box,
    heat_map,
    minus,
    new_figure,
    plain_numbers,
    settle,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_LABELLED = ("train", "valid")

_BOXES = "Box: quartiles and median; whiskers: 5th and 95th percentile; points: the clips beyond."

#: Where a note is put: in the upper corner beside a line, and above a bar.
_CORNER: Mapping[str, Any] = {
    "xycoords": ("data", "axes fraction"),
    "textcoords": "offset points",
    "va": "top",
    "fontsize": 8,
    "color": FAINT,
}
_ABOVE: Mapping[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5}


def write_plots(found: Stats, folder: Path) -> list[Path]:
    """Returns the files that were written into ``folder``: each figure as PNG and as SVG.

    Args:
        found: The figures of the data.
        folder: Is made when it is not there; files of the same names are replaced, each atomically.

    Figures of lengths are left out where no duration is known, those of pairs of targets where there is only
    one, and box plots of labels that are classes.

    Raises:
        AbawkitError: The folder cannot be written to.
    """
    figures: dict[str, Callable[[Stats], Figure]] = {}
    if _measured(found):
        figures |= {"lengths_histogram": length_histogram, "lengths_boxplot": length_boxplot}
    figures |= {"labels_histogram": label_histograms}
    if found.task.score != "macro_f1":
        figures |= {"labels_boxplot": label_boxplots}
    if len(found.targets) > 1:
        figures |= {"correlation": correlation_map, "cooccurrence": cooccurrence_map}
    written = []
    with style():
        for name, make in figures.items():
            figure = make(found)
            settle(figure)
            for kind in ("png", "svg"):
                path = folder / f"{name}.{kind}"
                with atomic_path(path) as temporary:
                    figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
                written.append(path)
    return written


def _measured(found: Stats) -> dict[str, Lengths]:
    """Returns the lengths of the single splits that have any."""
    return {name: split.lengths for name, split in found.splits.items() if name != BOTH and split.lengths is not None}


def _sizes(found: Stats, *splits: str) -> str:
    return ", ".join(f"{found.splits[split].clips:,} {split}" for split in splits) + " clips"


def length_histogram(found: Stats) -> Figure:
    """Returns the distribution of the lengths of each split on a log axis, and the share of longer clips (Sec. 3.4)."""
    from matplotlib.ticker import MaxNLocator

    measured = _measured(found)
    every = np.concatenate([lengths.values for lengths in measured.values()])
    limit = LONG_FRAMES / FRAMES_PER_SECOND
    title = (
        f"Median length {_seconds(np.median(every))}, longest {_seconds(every.max())}; "
        f"{100 * (paper_frames(every) > LONG_FRAMES).mean():.1f} % of the clips exceed {LONG_FRAMES} frames"
    )
    source = (
        "Length by the timestamps of the video's packets; frames as the paper counts them, "
        f"{FRAMES_PER_SECOND:g} per second. Twenty bins for each factor of ten. {_sizes(found, *measured)}."
    )
    figure = new_figure(4.9, title, source)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    low, high = np.floor(20 * np.log10([every.min(), every.max()])) / 20
    edges = 10.0 ** np.arange(low, high + 0.1, 0.05)
    for name, lengths in measured.items():
        values = np.sort(lengths.values)
        shares = 100 * np.histogram(values, edges)[0] / len(values)
        line: dict[str, Any] = {"color": COLOURS[name], "linestyle": LINES[name]}
        top.stairs(shares, edges, linewidth=1.3, label=name, **line)
        if name == "train":
            top.stairs(shares, edges, fill=True, alpha=0.15, color=COLOURS[name])
        longer = 100 * (1 - np.arange(1, len(values) + 1) / len(values))
        below.step(values[:-1], longer[:-1], where="post", linewidth=1.3, **line)
    below.set(xscale="log", yscale="log", xlabel="length of the clip (s)", ylabel="longer clips (%)")
    top.set_ylabel("clips (%)")
    for axes in (top, below):
        axes.axvline(limit, color=FAINT, linewidth=0.9)
        plain_numbers(axes.xaxis, wide=_wide(every))
    plain_numbers(below.yaxis)
    top.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    top.annotate(f"{LONG_FRAMES} frames", (limit, 1.0), (4, -4), **_CORNER)
    _add_frames_axis(top, wide=_wide(every))
    top.legend(loc="upper left")
    figure.align_ylabels()
    return figure


def length_boxplot(found: Stats) -> Figure:
    """Returns box plots of the lengths of each split on a log axis (Sec. 3.4)."""
    measured = _measured(found)
    medians = ", ".join(f"{_seconds(lengths.seconds.median)} ({name})" for name, lengths in measured.items())
    title = f"Median lengths of the splits: {medians}"
    source = f"{_BOXES} Length by the timestamps of the video's packets. {_sizes(found, *measured)}."
    figure = new_figure(1.7 + 0.55 * len(measured), title, source)
    axes = figure.subplots()
    limit = LONG_FRAMES / FRAMES_PER_SECOND
    for place, (name, lengths) in enumerate(measured.items()):
        draw_box(axes, lengths.values, place, 0.55, {"facecolor": COLOURS[name]}, horizontal=True)
    axes.axvline(limit, color=FAINT, linewidth=0.9)
    axes.annotate(f"{LONG_FRAMES} frames", (limit, 1.0), (4, -4), **_CORNER)
    axes.set(xscale="log", xlabel="length of the clip (s)", ylim=(len(measured) - 0.4, -0.6))
    axes.set_yticks(
        range(len(measured)), [f"{name}\n{len(lengths.values):,} clips" for name, lengths in measured.items()]
    )
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    wide = _wide(np.concatenate([lengths.values for lengths in measured.values()]))
    plain_numbers(axes.xaxis, wide=wide)
    _add_frames_axis(axes, wide=wide)
    return figure


def label_histograms(found: Stats) -> Figure:
    """Returns a histogram of each target's labels, training against validation, the zeros separately (Sec. 3.2)."""
    zeros = {split: found.labels(split).zero_percent for split in _LABELLED}
    most, least = int(zeros["train"].argmax()), int(zeros["train"].argmin())
    title = f"In train, {found.targets[most]} is 0 for {zeros['train'][most]:.0f} % of the clips"
    if most != least:
        title += f", {found.targets[least]} for {zeros['train'][least]:.0f} %"
    source = (
        "Grey: the share of clips whose label is exactly 0, on a scale of its own. Beside it the other clips, in bins "
        f"of a tenth of the scale; shares of all clips of a split. {_sizes(found, *_LABELLED)}."
    )
    columns = min(3, len(found.targets))
    rows = -(-len(found.targets) // columns)
    figure = new_figure(1.1 + 1.9 * rows, title, source)
    grid = figure.add_gridspec(rows, 2 * columns, width_ratios=(1, 2.9) * columns)
    low, high = found.task.value_range
    edges = np.linspace(low, high, 11)
    first: Axes | None = None
    for index, target in enumerate(found.targets):
        row, column = divmod(index, columns)
        zero = figure.add_subplot(grid[row, 2 * column])
        rest = first = figure.add_subplot(grid[row, 2 * column + 1], sharey=first)
        zero.set_title(target, fontweight="bold")
        zero.set(ylim=(0, 100), xlim=(-1.25, 1.25), facecolor="#EEEEEE")
        zero.set_xticks([0], ["0"])
        zero.set_yticks([])
        zero.spines[:].set_visible(False)
        for side, split in enumerate(_LABELLED):
            values = found.labels(split).values[:, index]
            place, share = (side - 0.5) * 1.15, zeros[split][index]
            zero.bar(place, share, 1.0, **bar_style(split))
            zero.annotate(f"{share:.0f}", (place, share), (0, 1.5), **_ABOVE, color=COLOURS[split])
            # A label on an edge belongs to the bin below it: 0.1 is in (0, 0.1].
            counts = np.histogram(-values[values != 0] + 1e-9, -edges[::-1])[0][::-1]
            width = (edges[1] - edges[0]) * 0.42
            centres = (edges[1:] + edges[:-1]) / 2 + (side - 0.5) * width
            rest.bar(centres, 100 * counts / len(values), width, label=split, **bar_style(split))
        rest.set_xticks(np.linspace(low, high, 3))
        rest.tick_params(labelleft=column == 0)
        if column == 0:
            rest.set_ylabel("clips (%)")
        if index >= len(found.targets) - columns:
            rest.set_xlabel("label above 0")
        if index == columns - 1:
            rest.legend(loc="best", fontsize=8)
    return figure


def label_boxplots(found: Stats) -> Figure:
    """Returns box plots of the labels above 0 of each target, training against validation."""
    from matplotlib.patches import Patch

    above = {split: [column[column > 0] for column in found.labels(split).values.T] for split in _LABELLED}
    medians = {
        target: float(np.median(values))
        for target, values in zip(found.targets, above["train"], strict=True)
        if len(values)
    }
    title = "No training clip has a label above 0"
    if medians:
        weak, strong = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
        title = f"Median label above 0, in train: {medians[weak]:.2f} ({weak})"
        title += "" if weak == strong else f" to {medians[strong]:.2f} ({strong})"
    source = f"{_BOXES} Only labels above 0; numbers of such clips: training / validation. {_sizes(found, *_LABELLED)}."
    figure = new_figure(4.0, title, source)
    axes = figure.subplots()
    for index in range(len(found.targets)):
        for side, split in enumerate(_LABELLED):
            if len(above[split][index]):
                draw_box(axes, above[split][index], index + (side - 0.5) * 0.4, 0.3, bar_style(split))
    names = []
    for index, target in enumerate(found.targets):
        counts = " / ".join(f"{len(above[split][index]):,}" for split in _LABELLED)
        names.append(f"{counts}\n{target.replace(' ', chr(10))}")
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.tick_params(axis="x", length=0)
    low, high = found.task.value_range
    axes.set(ylabel="label, where above 0", xlim=(-0.6, len(names) - 0.4), ylim=(low, high + 0.03 * (high - low)))
    handles = [Patch(label=split, **bar_style(split)) for split in _LABELLED]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=2, fontsize=8)
    return figure


def correlation_map(found: Stats) -> Figure:
    """Returns the correlation between the targets as a heat map with numbers."""
    matrix = found.labels(BOTH).correlation
    pairs = _pairs(found, matrix)
    if pairs:
        one, other, r = max(pairs, key=lambda pair: abs(pair[2]))
        title = f"The strongest correlation: {one} with {other}, r = {minus(f'{r:.2f}')}"
    else:
        title = "No two targets have a correlation: at most one of them varies"
    limit = max([0.25, *(abs(r) for _, _, r in pairs)])
    source = (
        "Pearson r between the labels of all training and validation clips; the colours run from "
        f"−{limit:.2f} to {limit:.2f}. {_sizes(found, *_LABELLED)}."
    )
    return heat_map(found.targets, matrix, "PuOr_r", (-limit, limit), "Pearson r", ".2f", title, source)


def cooccurrence_map(found: Stats) -> Figure:
    """Returns how often two targets are both above 0 as a heat map with numbers."""
    matrix = found.labels(BOTH).cooccurrence_percent
    one, other, share = max(_pairs(found, matrix), key=lambda pair: pair[2])
    title = f"{one} and {other} occur in the same clip most often, in {share:.0f} % of the clips"
    source = (
        "Share of the training and validation clips in which both labels are above 0, in percent; on the diagonal the "
        f"share in which that one is. {_sizes(found, *_LABELLED)}."
    )
    top = max(1.0, float(matrix.max()))
    return heat_map(found.targets, matrix, "Blues", (0.0, top), "clips (%)", ".0f", title, source)


def _pairs(found: Stats, matrix: Array) -> list[tuple[str, str, float]]:
    """Returns two targets and their number, for each pair that has one."""
    names = found.targets
    rows, columns = np.triu_indices(len(names), 1)
    every = ((names[i], names[j], float(matrix[i, j])) for i, j in zip(rows.tolist(), columns.tolist(), strict=True))
    return [pair for pair in every if not np.isnan(pair[2])]


def _add_frames_axis(axes: Axes, *, wide: bool) -> None:
    """Adds an axis above that counts frames where the one below counts seconds."""

    def to_frames(seconds: ArrayLike) -> ArrayLike:
        return np.asarray(seconds) * FRAMES_PER_SECOND

    def to_seconds(frames: ArrayLike) -> ArrayLike:
        return np.asarray(frames) / FRAMES_PER_SECOND

    above = axes.secondary_xaxis("top", functions=(to_frames, to_seconds))
    above.set_xlabel("frames")
    plain_numbers(above.xaxis, wide=wide)


def _wide(values: Array) -> bool:
    """Whether a logarithmic axis has enough numbers when it has only the powers of ten."""
    return float(values.max()) > 100 * float(values.min())


def _seconds(value: float | np.floating[Any]) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s"
