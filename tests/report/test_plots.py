import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abawkit.challenge import EMI, Task
from abawkit.data.stats.lengths import Lengths
from abawkit.data.stats.shift import shifts
from abawkit.data.stats.tables import BOTH, SplitStats, Stats, label_stats
from abawkit.report import plots
from abawkit.report.drawing import settle, style

NAMES = ["lengths_histogram", "lengths_boxplot", "labels_histogram", "labels_boxplot", "correlation", "cooccurrence"]


def made(labels: np.ndarray, task: Task = EMI, seconds: bool = True) -> Stats:
    """Stats of two thirds training and one third validation clips, and as many test clips as training clips."""
    cut = 2 * len(labels) // 3
    rng = np.random.default_rng(0)
    parts = {"train": labels[:cut], "valid": labels[cut:], BOTH: labels, "test": None}
    splits = {}
    for name, part in parts.items():
        clips = cut if part is None else len(part)
        lengths = Lengths(rng.lognormal(1.9, 0.5, clips), 0) if seconds else None
        splits[name] = SplitStats(
            clips, None if part is None else label_stats(part, task.most_raters), {}, lengths, {}, None
        )
    return Stats(task, splits, shifts(task.targets, labels[:cut], labels[cut:]), (), False)


def drawn() -> Stats:
    votes = np.random.default_rng(1).multinomial(10, [0.2, 0.1, 0.1, 0.01, 0.15, 0.1, 0.34], 300)
    return made(votes[:, :6] / 10)


@pytest.fixture(scope="module")
def found() -> Stats:
    return drawn()


@pytest.fixture(scope="module")
def written(found: Stats, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return plots.write_plots(found, tmp_path_factory.mktemp("figures") / "new")


def test_every_figure_as_png_and_svg(written: list[Path]) -> None:
    assert [path.name for path in written] == [f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")]
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(path.name for path in written)
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == 1440 and image.height > 500
        else:
            text = path.read_text()
            assert text.startswith("<?xml") and text.rstrip().endswith("</svg>") and "dc:date" not in text


def test_the_same_data_give_the_same_bytes_whatever_the_settings_are(written: list[Path], tmp_path: Path) -> None:
    # In another process, so that what is loaded and what is left behind can be seen.
    code = """
import sys
from pathlib import Path
from abawkit.report.plots import write_plots
assert "matplotlib" not in sys.modules
from tests.report.test_plots import drawn
import matplotlib
matplotlib.rcParams.update({"font.size": 20, "font.family": "serif", "lines.linewidth": 9})
write_plots(drawn(), Path(sys.argv[1]))
assert matplotlib.rcParams["font.size"] == 20 and matplotlib.rcParams["lines.linewidth"] == 9
assert "matplotlib.pyplot" not in sys.modules
"""
    (tmp_path / written[0].name).write_bytes(b"an older file")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    for path in written:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_everything_is_at_a_rounded_place(found: Stats) -> None:
    # The last bits of the layout differ between runs, and with them the bytes of an SVG file.
    with style():
        figure = plots.label_histograms(found)
        settle(figure)
        before = [axes.get_position().bounds for axes in figure.axes]
        figure.draw_without_rendering()
    assert [axes.get_position().bounds for axes in figure.axes] == before
    assert np.allclose(before, np.round(before, 6), rtol=0, atol=1e-15)


def test_histograms_of_labels_show_all_clips(found: Stats) -> None:
    with style():
        figure = plots.label_histograms(found)
    panels = figure.axes
    assert len(panels) == 12 and [zero.get_title(loc="left") for zero in panels[::2]] == list(EMI.targets)
    for k, (zero, rest) in enumerate(zip(panels[::2], panels[1::2], strict=True)):
        for side, split in enumerate(("train", "valid")):
            values = found.labels(split).values[:, k]
            heights = [patch.get_height() for patch in rest.containers[side].patches]
            assert zero.containers[side].patches[0].get_height() == pytest.approx(100 * (values == 0).mean())
            # A label of k tenths is in the k-th bin.
            expected = [100 * np.mean(np.rint(10 * values) == tenths) for tenths in range(1, 11)]
            assert heights == pytest.approx(expected)


def test_histogram_of_lengths(found: Stats) -> None:
    with style():
        figure = plots.length_histogram(found)
    top, below = figure.axes[:2]
    lengths = found.splits["train"].lengths
    assert lengths is not None
    outline = next(patch for patch in top.patches if patch.get_label() == "train")
    shares, edges, _ = outline.get_data()
    assert sum(shares) == pytest.approx(100)
    expected = [np.mean((lengths.values >= low) & (lengths.values < high)) for low, high in pairwise(edges)]
    assert shares == pytest.approx(100 * np.array(expected))
    assert top.get_xscale() == below.get_xscale() == "log"
    assert [line.get_xdata()[0] for line in top.lines] == [12.0]  # 120 frames, 10 per second
    curve = below.lines[0]
    for x, y in list(zip(*curve.get_data(), strict=True))[:: len(lengths.values) // 7]:
        assert y == pytest.approx(100 * np.mean(lengths.values > x))
    every = np.concatenate([split.lengths.values for name, split in found.splits.items() if name != BOTH])
    assert f"{100 * np.mean(every > 12):.1f} % of the clips exceed 120 frames" in figure.get_suptitle()


def test_box_plots(found: Stats) -> None:
    with style():
        lengths, labels = plots.length_boxplot(found), plots.label_boxplots(found)
    axes = lengths.axes[0]
    assert axes.get_xscale() == "log"
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["train\n200 clips", "valid\n100 clips", "test\n200 clips"]
    for box, points, name in zip(axes.patches, axes.lines, ("train", "valid", "test"), strict=False):
        values = found.splits[name].lengths.values
        assert box.get_x() == pytest.approx(np.quantile(values, 0.25))
        assert box.get_x() + box.get_width() == pytest.approx(np.quantile(values, 0.75))
        low, high = np.quantile(values, [0.05, 0.95])
        assert sorted(points.get_xdata()) == sorted([*values[values < low], *values[values > high]])
    medians = [lines.get_segments()[0][0][1] for lines in labels.axes[0].collections if lines.get_linewidth()[0] == 2.0]
    for side, split in enumerate(("train", "valid")):
        expected = [np.median(column[column > 0]) for column in found.labels(split).values.T]
        assert medians[side::2] == pytest.approx(expected)


def test_heat_maps(found: Stats) -> None:
    with style():
        correlation, together = plots.correlation_map(found), plots.cooccurrence_map(found)
    both = found.labels(BOTH)
    image = np.ma.filled(correlation.axes[0].images[0].get_array(), np.nan)
    assert np.isnan(np.diag(image)).all()
    off = ~np.eye(6, dtype=bool)
    assert image[off] == pytest.approx(both.correlation[off])
    assert np.allclose(together.axes[0].images[0].get_array(), both.cooccurrence_percent)
    written = [text.get_text() for text in together.axes[0].texts]
    assert written == [f"{value:.0f}" for value in both.cooccurrence_percent.ravel()]
    one, other = np.unravel_index(np.argmax(np.where(off, np.abs(both.correlation), 0)), (6, 6))
    r = f"{both.correlation[one, other]:.2f}".replace("-", "−")
    assert correlation.get_suptitle().endswith(f"{EMI.targets[one]} with {EMI.targets[other]}, r = {r}")


def test_one_target_and_no_lengths(tmp_path: Path) -> None:
    task = Task("hesitancy", "made up", ("Hesitant",), score="macro_f1")
    few = made(np.random.default_rng(0).integers(0, 2, (30, 1)).astype(float), task, seconds=False)
    names = {path.stem for path in plots.write_plots(few, tmp_path)}
    assert names == {"labels_histogram"}


def test_odd_data_make_figures() -> None:
    nothing = made(np.zeros((9, 6)))  # no label above 0, no correlation
    few = made(np.eye(6)[:3])  # a single validation clip
    for odd in (nothing, few):
        with style():
            for make in (
                *(plots.length_histogram, plots.length_boxplot, plots.label_histograms),
                *(plots.label_boxplots, plots.correlation_map, plots.cooccurrence_map),
            ):
                make(odd).draw_without_rendering()
