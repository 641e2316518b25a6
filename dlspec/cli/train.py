"""`dlspec train`: run a training section on a backend."""

from __future__ import annotations

import argparse

from dlspec.cli import options
from dlspec.cli.output import tell
from dlspec.cli.spec import open_spec


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "train",
        help="train on a backend",
        description="Run a training section; Ctrl-C stops it and keeps what was learnt.",
    )
    options.add_spec(parser)
    options.add_train(parser)
    parser.add_argument("--backend", default="numpy", help="numpy (the default), torch, jax, …")
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        help="where metrics, checkpoints and the code that ran go (default: runs/NAME)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = options.settings(args)
    spec = open_spec(args)
    spec.check(strict=args.strict)
    if tell(spec.diagnostics, args):
        return 1
    spec.train(args.train, backend=args.backend, run_dir=args.run_dir, settings=settings)
    return 0
