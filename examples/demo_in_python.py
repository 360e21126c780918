"""The whole job from Python: what the everyday commands do, as functions."""

from pathlib import Path

import abawkit
from abawkit.jobs.synthetic.challenge import write_challenge


def main() -> None:
    """Writes a small synthetic challenge, trains F1 on it and writes a submission."""
    root = Path("example-workspace")
    write_challenge(root / "challenge", train=80, valid=60, test=20)
    if not (root / "abawkit.toml").exists():
        abawkit.init_workspace(root, root / "challenge", preset="lite")
    workspace = abawkit.Workspace.open(root)

    report = abawkit.validate(workspace.data)
    print(f"{len(report.findings)} findings, errors: {not report.ok}")
    for store in abawkit.extract(workspace).stores:
        print(f"{store.modality}: {store.present} clips with it, {store.missing} without")
    run = abawkit.train(workspace, "F1")
    found = abawkit.evaluate(workspace, run)
    print(f"validation r {found.scores.mean_pearson:.3f} on {found.scores.n} clips")
    made = abawkit.submit(workspace, Path("submissions/team.csv"), run=run, force=True)
    print(f"wrote {made.path}")


if __name__ == "__main__":  # extraction starts worker processes, which import this file
    main()
