"""What ``submit --portfolio`` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from abawkit.workspace import Workspace


def show_portfolio(workspace: Workspace, count: int, as_json: bool) -> None:
    """Prints the proposed entries: scores, correlations, the reason for each, and the commands that write them."""
    from abawkit.cli import console
    from abawkit.evaluation.paired import short
    from abawkit.submission.portfolio import propose

    found = propose(workspace, count)
    if as_json:
        console.print_json(found.to_json())
        return
    screen = console.out()
    rows = []
    for place, one in enumerate(found.proposals, 1):
        value = short(one.score.value) + ("*" if one.parents else "")
        interval = f"[{short(one.score.low, 3)}, {short(one.score.high, 3)}]"
        rows.append([str(place), one.name, value, interval, short(one.gain) if place > 1 else ""])
    score = "mean r" if workspace.task.score == "mean_pearson" else "macro F1"
    console.show_table(
        f"Proposed, on the {found.clips} held-out clips that all share", ["", "entry", score, "95 %", "adds"], rows,
        left=2,
    )  # fmt: skip
    if any(one.parents for one in found.proposals):
        screen.print("* of its parent: a refit has no score of its own")
    screen.print(
        f"expected best of these on the test clips: {short(found.expected)}; errors resampled {found.resampling}"
    )
    if len(found.proposals) > 1:
        shown = [
            [str(place), *(short(r, 3) for r in one.correlations)]
            + [""] * (len(found.proposals) - 1 - len(one.correlations))
            for place, one in enumerate(found.proposals, 1)
            if one.correlations
        ]
        columns = ["", *(str(place) for place in range(1, len(found.proposals)))]
        screen.print()
        console.show_table("Correlation of their test predictions, mean over the targets", columns, shown)
    for place, one in enumerate(found.proposals, 1):
        screen.print(f"{place}  {one.name}: {one.reason}", markup=False)
    if found.left_out:
        screen.print("\nNot proposed", style="bold")
        for name, why in found.left_out.items():
            screen.print(f"   {name}: {why}", markup=False, style="dim")
    if len(found.proposals) < count:
        there = len(found.proposals)
        summary = f"there {'is' if there == 1 else 'are'} {there} different {'entry' if there == 1 else 'entries'}"
        screen.print(f"\n{summary}, not {count}. What would add more:", style="yellow")
        for line in found.more:
            screen.print(f"   {line}", markup=False)
    sent, allowed = found.sent
    if sent and allowed is not None:
        screen.print(f"{sent} of {allowed} entries are sent: {max(allowed - sent, 0)} left", style="yellow")
    steps = {}
    for place, one in enumerate(found.proposals, 1):
        for step, command in enumerate(one.commands, 1):
            steps[command] = f"writes entry {place}" if step == len(one.commands) else f"first, for entry {place}"
    if steps:
        console.next_steps(steps)
