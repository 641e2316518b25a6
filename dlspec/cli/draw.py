"""`dlspec draw`: the picture of a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from dlspec.cli import options
from dlspec.cli.options import UsageError
from dlspec.cli.output import write_output
from dlspec.cli.spec import open_model

FORMATS = {".svg": "svg", ".mmd": "mermaid", ".md": "mermaid", ".dot": "dot", ".gv": "dot"}


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "draw",
        help="draw a model",
        description="Draw a model as SVG, or write it as text for Mermaid or Graphviz.",
    )
    options.add_spec(parser)
    options.add_model(parser)
    parser.add_argument("-o", "--output", metavar="PATH", help="the file (default: print it)")
    parser.add_argument(
        "--format",
        choices=sorted(set(FORMATS.values())),
        help="default: by the ending of the output file, else svg",
    )
    parser.add_argument(
        "--depth",
        type=int,
        metavar="N",
        help="open blocks down to this level (default: each kind of block once)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    form = args.format or _by_ending(args.output)
    model = open_model(args)
    if model is None:
        return 1
    from dlspec.render import draw

    write_output(args.output, draw(model, form, depth=args.depth))
    return 0


def _by_ending(path: str | None) -> str:
    if path is None or path == "-":
        return "svg"
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"no picture format for {path}: end it in one of {known}, or say --format")
    return FORMATS[ending]
