"""`dlspec verify`: prove on numbers that the backends compute the same."""

from __future__ import annotations

import argparse

from dlspec.cli import options
from dlspec.cli.output import print_json, tell
from dlspec.cli.spec import open_spec


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "verify",
        help="compare the backends with each other",
        description="Outputs, loss, gradients and the weights after k steps, between backends, "
        "from the same weights and the same batch in float64.",
    )
    options.add_spec(parser)
    options.add_train(parser)
    options.add_json(parser)
    parser.add_argument(
        "--backend",
        metavar="NAME",
        action="append",
        help="a backend to compare (repeatable; default: all that are installed)",
    )
    parser.add_argument("--steps", type=int, default=5, help="training steps (default: 5)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dlspec.verify import verify

    settings = options.settings(args)
    spec = open_spec(args)
    spec.check(strict=args.strict)
    if tell(spec.diagnostics, args):
        return 1
    result = verify(
        spec, train=args.train, backends=args.backend, steps=args.steps, settings=settings
    )
    if args.json:
        print_json(result.to_json())
    else:
        print(result.text())
    return 0 if result.ok else 1
