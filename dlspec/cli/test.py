"""`dlspec test`: run the test sections of a spec."""

from __future__ import annotations

import argparse

from dlspec.cli import options
from dlspec.cli.output import tell
from dlspec.cli.spec import open_spec
from dlspec.display import escape


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "test", help="run a spec's own tests", description="Run the `test` sections of a spec."
    )
    options.add_spec(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    spec = open_spec(args)
    passed = spec.test()
    if tell(spec.diagnostics, args):
        return 1
    print(f"{escape(args.file)}: {passed} test{'' if passed == 1 else 's'} passed")
    return 0
