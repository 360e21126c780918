"""The style of the figures: one palette, and the parts that several of them have.

The palette is that of Okabe and Ito, whose colours people with any kind of colour vision distinguish; splits differ in
line style or hatching as well. Figures are made without pyplot, so that nothing global changes, and from the defaults
of matplotlib, so that the same data give the same bytes whatever settings the user has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

COLOURS = {"train": "#0072B2", "valid": "#D55E00", "test": "#009E73"}
LINES = {"train": "solid", "valid": (0, (5, 1.5)), "test": (0, (1.5, 1.5))}
HATCHES = {"train": "", "valid": "////", "test": "...."}
_INK, FAINT = "#222222", "#666666"

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.06,
    "font.size": 9,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.hashsalt": "abawkit",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}

#: Width of a figure (inches): the text width of a page.
_WIDTH = 7.2


@contextmanager
def style() -> Iterator[None]:
    """Sets the style of the figures for the block, in which they have to be made and saved."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(height: float, title: str, source: str) -> Figure:
    """Returns a figure with its title above and what one has to know to read it below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height))
    figure.suptitle(fill(title, 76), x=0.012, ha="left", fontsize=10.5, fontweight="bold")
    figure.supxlabel(fill(source, 124), x=0.012, ha="left", fontsize=7.5, color=FAINT)
    return figure


def settle(figure: Figure) -> None:
    """Puts everything in its place, so that it need not be done for each file.

    The places are rounded: the last bits of the layout depend on the run, and would give other bytes each time.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(value, 6) for value in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def heat_map(
    names: Sequence[str],
    matrix: Array,
    colours: str,
    limits: tuple[float, float],
    unit: str,
    number: str,
    title: str,
    source: str,
) -> Figure:
    """Returns a figure of one number per pair of names, as a heat map with the numbers in it.

    Args:
        names: Of the rows and of the columns, N of them.
        matrix: ``[N, N]``; what is nan is shown as ``–`` on white.
        colours: Name of matplotlib's colour map.
        limits: The numbers at its two ends; with a negative one the diagonal stays white.
        unit: What the numbers are.
        number: How they are written, such as ``.2f``.
        title: Of the figure.
        source: What one has to know to read it.
    """
    figure = new_figure(1.6 + 0.62 * len(names), title, source)
    axes = figure.subplots()
    # A target's correlation with itself is always 1: its cell stays white.
    own = np.eye(len(names), dtype=bool) & (limits[0] < 0)
    image = axes.imshow(np.where(own, np.nan, matrix), cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    for row, column in np.ndindex(matrix.shape):
        value = matrix[row, column]
        blank = np.isnan(value) or own[row, column]
        shade = 1.0 if blank else np.dot(image.cmap(image.norm(value))[:3], (0.299, 0.587, 0.114))
        text = "–" if np.isnan(value) else minus(f"{value:{number}}")
        axes.text(column, row, text, ha="center", va="center", color="white" if shade < 0.6 else _INK)
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, label=unit, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    return figure


def bar_style(split: str) -> dict[str, Any]:
    """Returns the style of a split's bars; without colour the hatching distinguishes them."""
    return {"facecolor": COLOURS[split], "edgecolor": "white", "linewidth": 0, "hatch": HATCHES[split]}


def draw_box(
    axes: Axes, values: Array, place: float, width: float, bars: Mapping[str, Any], *, horizontal: bool = False
) -> None:
    """Draws the box plot of ``values [N]``: quartiles and median, whiskers at the 5th and 95th percentile, the rest.

    matplotlib's own would load pyplot.
    """
    low, first, median, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
    bar, along, across = (axes.barh, axes.hlines, axes.vlines) if horizontal else (axes.bar, axes.vlines, axes.hlines)
    colour = bars["facecolor"]
    bar(place, third - first, width, first, **bars)
    along([place, place], [low, third], [first, high], colors=colour, linewidth=1.0)
    across([low, high], place - width / 4, place + width / 4, colors=colour, linewidth=1.0)
    inside = "white" if first < third else colour  # a box without height cannot be seen
    across([median], place - width / 2, place + width / 2, colors=inside, linewidth=2.0)
    beyond = values[(values < low) | (values > high)]
    points = (beyond, np.full(len(beyond), place))
    x, y = points if horizontal else points[::-1]
    axes.plot(x, y, "o", color=colour, markersize=2.2, markeredgewidth=0, alpha=0.4)


def minus(number: str) -> str:
    """Returns the number with a true minus sign, as matplotlib writes those on the axes."""
    return number.replace("-", "−")


def plain_numbers(axis: Axis, *, wide: bool = True) -> None:
    """Writes the numbers of a logarithmic axis as 0.1, 1, 10, 1,000.

    Args:
        axis: The axis; its scale has to be logarithmic already.
        wide: It spans some factors of ten. False: 2, 20 and 5, 50 are written as well.
    """
    from matplotlib.ticker import LogLocator

    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=15))
    axis.set_major_formatter(lambda value, _place: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.set_minor_formatter("")
