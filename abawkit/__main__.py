"""The console script, and ``python -m abawkit``."""

import sys


def main() -> None:
    """Runs the program; Ctrl-C while it still loads ends it like Ctrl-C later."""
    try:
        from abawkit.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
