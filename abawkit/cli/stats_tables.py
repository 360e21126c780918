"""The tables that ``stats`` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from rich.table import Table

from abawkit.cli import console
from abawkit.data.stats.tables import Stats
from abawkit.layout.folder import KINDS


def show(found: Stats) -> None:
    """Prints all tables, then what they mean."""
    _Tables(found).show()


class _Tables:
    """The paper's figure and the difference to it stand below each figure that has them."""

    def __init__(self, found: Stats) -> None:
        self.found = found
        self.record = found.to_json()
        self.beside = (self.record, self.record["paper"], self.record["difference"])
        self.splits = list(found.splits)
        self.labelled = [name for name in self.splits if found.splits[name].labels is not None]

    def show(self) -> None:
        """Prints all tables, then the verdict."""
        self._missing()
        self._lengths()
        self._labels()
        self._raters()
        self._shift()
        self._say("What it means", self.found.verdict)
        if self.found.official:
            self._say("About the paper's figures", self.record["paper"]["notes"])
        else:
            console.out().print("[dim]Not the official counts, so the paper's figures are not beside these.[/]")

    def _say(self, title: str, sentences: Sequence[str]) -> None:
        points = Table.grid(padding=(0, 1))
        for sentence in sentences:
            points.add_row("•", console.escape(sentence))
        console.out().print(f"[bold]{title}[/]")
        console.out().print(points, "")

    def _rows(self, name: str, paths: Sequence[Sequence[str]], digits: Sequence[int]) -> list[list[str]]:
        """Returns the row of the figures at ``paths`` in the record, and below it the paper's and the difference."""
        made = []
        titles, writers = (name, "  paper", "  difference"), (_number, _published, _signed)
        for title, where, write in zip(titles, self.beside, writers, strict=True):
            values = [_at(where, path) for path in paths]
            if where is self.record or any(value is not None for value in values):
                made.append([title, *(write(value, n) for value, n in zip(values, digits, strict=True))])
        return made

    def _missing(self) -> None:
        from abawkit.cli import console

        rows = self._rows("clips", [("splits", split, "clips") for split in self.splits], [0] * len(self.splits))
        for kind in KINDS:
            rows.append([f"no {kind}", *(self.found.splits[split].missing_words(kind) for split in self.splits)])
            paths = [("splits", split, "missing", kind, "percent") for split in self.splits]
            rows += [
                [title, *(cell if cell == "–" else f"{cell} %" for cell in cells)]
                for title, *cells in self._rows("", paths, [2] * len(paths))[1:]
            ]
        console.show_table("Clips, and how many of them are without a modality", ["", *self.splits], rows)

    def _lengths(self) -> None:
        measured = [name for name in self.splits if self.found.splits[name].lengths is not None]
        figures = ("mean", "std", "min", "median", "p95", "max")
        columns = ["mean", "± std", "min", "median", "95 %", "max"]
        rows: dict[str, list[list[str]]] = {"frames": [], "seconds": []}
        for name in measured:
            where = ("splits", name, "lengths")
            paths = [*((*where, "frames", figure) for figure in figures), (*where, "long_percent")]
            rows["frames"] += self._rows(name, paths, [1, 1, 0, 1, 1, 0, 1])
            paths = [(*where, "total_hours"), *((*where, "seconds", figure) for figure in figures)]
            rows["seconds"] += self._rows(name, paths, [2, 1, 1, 3, 1, 1, 1])
        if measured:
            title = "Frames as the paper counts them: 10 per second of video"
            console.show_table(title, ["", *columns, "over 120 (%)"], rows["frames"])
            console.show_table("Duration of the videos (s)", ["", "hours", *columns], rows["seconds"])
        counted = []
        for name, split in self.found.splits.items():
            if split.crops is not None:
                where = ("splits", name, "crops")
                paths = [(*where, "clips"), *((*where, "count", figure) for figure in figures)]
                counted += self._rows(name, [*paths, (*where, "per_second", "mean")], [0, 1, 1, 0, 1, 1, 0, 2])
        if counted:
            console.show_table("Face crops per clip", ["", "clips", *columns, "per second"], counted)
        reasons = [
            f"[dim]{console.escape(f'{name}: {count:,} of {split.clips:,} durations: {reason}')}[/]"
            for name, split in self.found.splits.items()
            if name != "train+valid"
            for reason, count in split.reasons.items()
        ]
        for line in reasons:
            console.out().print(line)

    def _labels(self) -> None:
        targets = self.found.targets
        columns = ["", *map(_short, targets)]
        for title, key, digits in (
            ("Labels: mean", "mean", 4),
            ("Labels: standard deviation", "std", 4),
            ("Labels: share of zeros (%)", "zero_percent", 1),
        ):
            rows: list[list[str]] = []
            for split in self.labelled:
                rows += self._rows(
                    split, [("splits", split, key, target) for target in targets], [digits] * len(targets)
                )
            console.show_table(title, columns, rows)
        if len(targets) < 2:
            return
        both = ("splits", "train+valid")
        for title, key, digits in (
            ("Both above zero (% of train and valid)", "cooccurrence_percent", 1),
            ("Correlation of the labels (Pearson r, train and valid)", "correlation", 3),
        ):
            rows = []
            for target in targets:
                values = [_at(self.record, (*both, key, target, other)) for other in targets]
                rows.append([target, *(_number(value, digits) for value in values)])
            console.show_table(title, columns, rows)
        if self.found.official:
            self._correlations()

    def _correlations(self) -> None:
        """Prints the paper's correlations beside these: one pair that it names, and a bound for the others."""
        bounded = []
        for pair in combinations(self.found.targets, 2):
            here, paper, difference = (_at(where, ("correlation", *pair)) for where in self.beside)
            if isinstance(paper, list):
                bounded.append((abs(here or 0.0), here, paper, difference, pair))
            else:
                line = (
                    f"{' and '.join(pair)}: {_number(here, 3)}, paper {paper:.3f}, difference {_signed(difference, 3)}."
                )
                console.out().print(line)
        _, here, paper, difference, pair = max(bounded)
        console.out().print(
            f"Every other pair: paper from {paper[0]:g} to {paper[1]:g}; the strongest here {_number(here, 3)} "
            f"({' and '.join(pair)}{', ' + _signed(difference, 3) + ' beyond' if difference else ''}).\n"
        )

    def _raters(self) -> None:
        raters = {name: self.found.labels(name).raters for name in self.labelled}
        numbers = sorted({n for found in raters.values() if found is not None for n in found.fewest})
        if all(found is None for found in raters.values()):
            return

        def share(count: int, split: str) -> str:
            return f"{count:,} ({100 * count / self.found.splits[split].clips:.1f} %)" if count else "0"

        kinds: list[tuple[str, Callable[[Any], int]]] = [
            *((f"{n} or a multiple", lambda found, n=n: found.fewest.get(n, 0)) for n in numbers),
            ("cannot tell: all labels 0", lambda found: found.all_zero),
            ("no number fits", lambda found: found.none_fits),
        ]
        rows = [[title, *(share(count(raters[split]), split) for split in self.labelled)] for title, count in kinds]
        console.show_table("Raters that the labels imply (clips)", ["", *self.labelled], rows)
        parts = []
        for split in self.labelled:
            labels = self.found.labels(split)
            share_above = labels.row_sum_above_one_percent
            parts.append(
                f"{split} mean {labels.row_sum_mean:.2f}, max {labels.row_sum_max:.2f}, {share_above:.1f} % over 1"
            )
        console.out().print("Sum of a clip's labels: " + "; ".join(parts) + "\n")

    def _shift(self) -> None:
        shift, targets = self.found.shift, self.found.targets
        rows = self._rows("KS", [("ks", target) for target in targets], [3] * len(targets))
        for name, key in (("p", "ks_p"), ("p (Holm)", "")):
            paths = [(key, target) if key else ("shift", target, "p_holm") for target in targets]
            here, *paper = self._rows(name, paths, [3] * len(targets))
            here[1:] = [_p_value(_at(self.record, path)) for path in paths]
            rows += [here, *paper[:1]]
        rows.append(["gap at", *(f"≤ {found.value:.3g}" if found.value else "0" for found in shift)])
        for index, split in enumerate(("train", "valid")):
            rows.append([f"  % of {split}", *(f"{found.at_most[index]:.1f}" for found in shift)])
        rows.append(["size, if shown", *(found.size if found.shown else "–" for found in shift)])
        console.show_table("Shift from train to valid (Kolmogorov-Smirnov)", ["", *map(_short, targets)], rows)


def _at(record: Mapping[str, Any] | None, path: Sequence[str]) -> Any:
    """Returns the value under the keys of ``path``; None where there is none."""
    value: Any = record
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _published(value: Any, digits: int) -> str:
    if isinstance(value, list):
        low, high = value
        return f"<{high:g}" if low == 0 else f"{low:g}–{high:g}"
    return _number(value, digits)


def _signed(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value:+,.{digits}f}" if round(value, digits) else _number(0.0, digits)


def _p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _short(target: str) -> str:
    """Returns a name for the head of a narrow column."""
    return "\n".join(word if len(word) <= 8 else f"{word[:6]}." for word in target.split())
