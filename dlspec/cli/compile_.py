"""`dlspec compile`: write the code of a spec for one backend, or its IR."""

from __future__ import annotations

import argparse

from dlspec.cli import options
from dlspec.cli.options import UsageError
from dlspec.cli.output import write_output
from dlspec.cli.spec import open_unit


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "compile",
        help="write the code for a backend",
        description="Write a spec as a program that runs on its own, for one backend.",
    )
    options.add_spec(parser)
    options.add_unit(parser)
    parser.add_argument("--backend", default="numpy", help="numpy (the default), torch, jax, …")
    parser.add_argument("-o", "--output", metavar="PATH", help="the file (default: print it)")
    parser.add_argument(
        "--emit", choices=("code", "ir"), default="code", help="the program, or the IR as JSON"
    )
    options.add_purpose(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    options.check_purpose(args)
    if args.emit == "ir" and args.purpose == "inference":
        raise UsageError("--emit ir: the IR is that of the spec, not of a file for inference")
    unit = open_unit(args)
    if unit is None:
        return 1
    if unit.phases:
        names = ", ".join(f"{unit.name}.{part.phase}" for part in unit.phases)
        raise UsageError(f"`{unit.name}` has phases, each a program: --train one of {names}")
    if args.emit == "ir":
        write_output(args.output, unit.ir_json())
        return 0
    code = unit.compile(args.backend, purpose=args.purpose, precision=args.precision)
    write_output(args.output, code.source)
    return 0
