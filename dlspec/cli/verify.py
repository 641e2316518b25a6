"""`dlspec verify`: prove on numbers that the backends compute the same."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from dlspec.cli import options
from dlspec.cli.options import UsageError
from dlspec.cli.output import print_json
from dlspec.cli.spec import open_unit

if TYPE_CHECKING:
    from dlspec.api import Model, Trainer
    from dlspec.cli.options import Value
    from dlspec.verification import Verification


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "verify",
        help="compare the backends with each other",
        description="Outputs, loss, gradients and the weights after k steps, between backends, "
        "from the same weights and the same batch in float64.",
    )
    options.add_spec(parser)
    options.add_unit(parser)
    options.add_json(parser)
    parser.add_argument(
        "--backend",
        metavar="NAME",
        action="append",
        help="a backend to compare (repeatable; default: numpy, torch and jax)",
    )
    parser.add_argument(
        "--optimizer",
        metavar="NAME",
        action="append",
        choices=("declared", "sgd", "adam"),
        help="what makes the steps: `declared` (the spec's own), sgd or adam (repeatable; default: "
        "all three)",
    )
    parser.add_argument("--steps", type=int, default=5, help="training steps (default: 5)")
    parser.add_argument(
        "--size",
        metavar="DIM=N",
        action="append",
        type=options.setting,
        default=[],
        dest="sizes",
        help="the size of an open dim, as in --size N=8 (repeatable)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    unit = open_unit(args)
    if unit is None:
        return 1
    parts = unit.phases or (unit,)
    results: dict[str, Verification] = {}
    for part in parts:
        if part.phase and not args.json:
            print(f"phase {part.phase}")
        results[part.phase] = result = verify_one(part, args)
        if not args.json:
            print(result.text())
    if args.json:
        told = {phase: result.to_json() for phase, result in results.items()}
        print_json({"phases": told} if unit.phases else told[""])
    return 0 if all(result.ok for result in results.values()) else 1


def verify_one(unit: Model | Trainer, args: argparse.Namespace) -> Verification:
    from dlspec.training.errors import RunError
    from dlspec.verification import verify

    try:
        return verify(
            unit,
            args.backend,
            steps=args.steps,
            sizes={name: _size(name, value) for name, value in args.sizes},
            optimizers=args.optimizer,
            watch=None if args.json else _watch,
        )
    except RunError as error:
        raise UsageError(str(error)) from error


def _size(name: str, value: Value) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"--size {name}: a size is a whole number of at least 1")
    return value


def _watch(backend: str) -> None:
    print(f"running {backend} …", file=sys.stderr)
