"""`dlspec summary`: the layers of a model, their shapes, parameters and operations."""

from __future__ import annotations

import argparse

from dlspec.cli import options
from dlspec.cli.output import print_json
from dlspec.cli.spec import open_model


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "summary",
        help="layers, shapes, parameters, operations",
        description="Show the layers of a model with output shapes, parameters and MACs.",
    )
    options.add_spec(parser)
    options.add_model(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    model = open_model(args)
    if model is None:
        return 1
    summary = model.summary()
    if args.json:
        print_json(summary.to_json())
    else:
        print(summary.text())
    return 0
