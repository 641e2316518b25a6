"""`dlspec fmt`: write specs in the one standard layout."""

from __future__ import annotations

import argparse
import sys

from dlspec.cli import options
from dlspec.cli.output import note, show, write_output
from dlspec.diagnostics import Diagnostics, Failure
from dlspec.files import decode, read_source


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "fmt",
        help="format specs",
        description="Rewrite specs in place in the standard layout; `-` reads standard input "
        "and prints the result.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="a .dls file, or -")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a file would change"
    )
    parser.add_argument("--concise", action="store_true", help="problems in one line each")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    failed = Diagnostics()
    changed = False
    for name in args.files:
        try:
            changed |= _format(name, args.check)
        except Failure as failure:
            failed.add(failure.diagnostic)
    show(failed, concise=args.concise)
    return 1 if failed.found or (args.check and changed) else 0


def _format(name: str, check: bool) -> bool:
    """Format one file; whether that changes it."""
    from dlspec.syntax import format_source

    stdin = name == "-"
    source = decode("<stdin>", sys.stdin.buffer.read()) if stdin else read_source(name)
    after = format_source(source.text, source.name)
    changed = after != source.text
    if check:
        if changed:
            note(f"{name}: would be reformatted")
    elif stdin:
        sys.stdout.write(after)
    elif changed:
        write_output(name, after)
        note(f"{name}: reformatted")
    return changed
