"""The ``abawkit`` program: its commands, and the one place where an error becomes a message and an exit code.

Importing this module must stay cheap (``abawkit --help`` answers at once): commands import what they need when they
run, and no module of this package imports torch, numpy or rich at its top.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from abawkit import __version__
from abawkit.cli import (
    check,
    ensemble,
    evaluate,
    extract,
    features,
    groups,
    models,
    reproduce,
    runs,
    simulate,
    splits,
    start,
    stats,
    submit,
    systems,
    train,
    transcribe,
    validate,
)
from abawkit.cli.options import PLAIN
from abawkit.errors import AbawkitError, Stopped, UsageError

_CONTINUE = "stopped; nothing finished is lost: run the same command again to continue"


class _Group(TyperGroup):
    """Turns errors into one message on stderr (and one JSON document with ``--json``) and their exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Takes ``--plain`` wherever on the line it stands: it is the same for every command."""
        others = [arg for arg in args if arg != "--plain"]
        return super().parse_args(ctx, ["--plain"] * (len(others) < len(args)) + others)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except AbawkitError as error:
            raise _ended(error, error.exit_code, as_json) from error
        except KeyboardInterrupt as error:
            raise _ended(AbawkitError(_CONTINUE), 130, as_json) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            todo = "check the disk and the permissions, then run the command again"
            ended = AbawkitError(error.strerror or str(error), path=error.filename, todo=todo)
            raise _ended(ended, 1, as_json) from error
        except MemoryError as error:
            todo = "run it again with fewer --workers, or on a machine with more memory"
            raise _ended(AbawkitError("not enough memory", todo=todo), 1, as_json) from error
        except Exception as error:
            if type(error).__module__.startswith("typer"):
                message = getattr(error, "format_message", None)
                if as_json and message is not None:  # a bad option, which Typer would report on stderr alone
                    raise _ended(UsageError(message()), 2, as_json) from error
                raise  # Typer's own way to end a command or to report a bad option
            raise _ended(_unforeseen(error), 1, as_json) from error


def _ended(error: AbawkitError, code: int, as_json: bool) -> typer.Exit:
    from abawkit.cli.console import show_error

    show_error(error, code, as_json=as_json)
    return typer.Exit(code)


def _unforeseen(error: Exception) -> AbawkitError:
    """Returns the message for an exception that nobody foresaw; its traceback goes to a file."""
    import tempfile
    import traceback
    from pathlib import Path

    handle, name = tempfile.mkstemp(prefix="abawkit-", suffix=".log")
    os.close(handle)
    Path(name).write_text(traceback.format_exc(), encoding="utf-8")
    return AbawkitError(
        f"this is a defect of abawkit: {type(error).__name__}: {error}",
        todo=f"report it with the file {name}, which says where it happened",
    )


app = typer.Typer(
    name="abawkit",
    cls=_Group,
    help="From the organisers' folders to a checked leaderboard CSV for the EMI challenge.",
    epilog="Begin with: abawkit demo   (makes a small synthetic challenge and runs every step on it)",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help: half the time of rich panels
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"abawkit {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="No bars and no colours, a line per epoch: for logs. May stand anywhere on the line."
        ),
    ] = False,
) -> None:
    PLAIN.set(plain)


for module in (
    *(start, validate, stats, splits, groups, transcribe, extract, models, features),
    *(systems, simulate, train, reproduce, runs, evaluate, ensemble, submit, check),
):
    module.register(app)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(f"{signal.Signals(number).name}: {_CONTINUE}")


def main() -> None:
    """Runs the program: the console script."""
    # Schedulers ask with SIGTERM or SIGUSR1 before they kill; whatever is running is safe to leave at any moment.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _stop)
    try:
        app()
    except BrokenPipeError:
        # The reader of our output went away (`abawkit … | head`): that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except AbawkitError as error:  # a signal between two commands' work
        sys.exit(_ended(error, error.exit_code, "--json" in sys.argv).exit_code)
    except KeyboardInterrupt:
        sys.exit(_ended(AbawkitError(_CONTINUE), 130, "--json" in sys.argv).exit_code)
