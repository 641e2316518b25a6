"""`dlspec check`: find what is wrong with a spec, without running anything."""

from __future__ import annotations

import argparse

from dlspec.cli import options
from dlspec.cli.output import print_json, tell, told_json
from dlspec.cli.spec import open_spec
from dlspec.display import escape


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "check", help="check a spec", description="Check every definition and training of a spec."
    )
    options.add_spec(parser)
    options.add_model(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    static = options.settings(args)
    spec = open_spec(args)
    if args.model or static:
        spec.try_model(args.model, static)
    else:
        spec.check()
    if args.json:
        told = told_json(spec.diagnostics, args.strict)
        print_json({**told, "requirements": spec.requirements})
        return int(not told["ok"])
    if tell(spec.diagnostics, args):
        return 1
    print(f"{escape(args.file)}: ok")
    several = len(spec.required) > 1
    for name, requirements in spec.required.items():
        who = f"{escape(name)} requires" if several else "requires"
        for requirement in requirements:
            print(f"  {who} {requirement}")
    return 0
