"""The console script, and ``python -m abawkit``: from its first line on Ctrl-C ends it with 130 and no traceback."""

try:
    import os
    import signal
    import sys
    from types import FrameType
except KeyboardInterrupt:
    raise SystemExit(130) from None


def main() -> None:
    """Runs the program.

    While its modules are imported, and when it is done, Ctrl-C ends the process on the spot: there is nothing to
    save, and an exception in the midst of an import is often turned into another one by whoever imports.
    """
    interrupted = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # in the background it may be ignored
    try:
        if interrupted:
            signal.signal(signal.SIGINT, _leave)
        from abawkit.cli.app import main as run

        if interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if interrupted:
            signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(130)


if __name__ == "__main__":
    main()
