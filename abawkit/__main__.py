"""``python -m abawkit`` is the same as ``abawkit``."""

from abawkit.cli.app import main

if __name__ == "__main__":
    main()
