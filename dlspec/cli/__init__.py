"""The command line. One module a command, each with `add_parser` and `run`.

Exit status: 0 clean, 1 problems in the user's input, 2 wrong usage or an internal error.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from dlspec import __version__
from dlspec.cli import check, compile_, draw, explain, fmt, summary, test, train, verify
from dlspec.cli.options import UsageError
from dlspec.cli.output import INTERNAL_ERROR, tell_failure
from dlspec.diagnostics import Failure
from dlspec.display import escape

COMMANDS: tuple[ModuleType, ...] = (
    check, compile_, summary, train, verify, test, draw, fmt, explain,
)  # fmt: skip

BROKEN_PIPE = 141  # as a shell reports SIGPIPE
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; never raises."""
    stdout: object = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):  # a Latin-1 terminal gets \uXXXX, not a crash
        stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # what is still buffered would fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return _internal_error(error)


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
    except SystemExit as done:  # --help, --version or wrong usage, already told
        return done.code if isinstance(done.code, int) else 2
    try:
        return args.run(args)
    except Failure as failure:
        return tell_failure(failure, args)
    except UsageError as error:
        print(f"dlspec: error: {escape(str(error))}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dlspec",
        description="Check neural-network specs (.dls) and turn them into readable code.",
        epilog="`dlspec COMMAND --help` shows the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"dlspec {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _internal_error(error: Exception) -> int:
    name = type(error).__name__
    text = escape(" ".join(str(error).split()))
    told = f"{name}: {text}" if text else name
    print(f"internal error[{INTERNAL_ERROR}]: {told}; please report", file=sys.stderr)
    if os.environ.get("DLSPEC_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
        if details := getattr(error, "details", ""):  # what a worker process said
            print(details, file=sys.stderr)
    return 2
