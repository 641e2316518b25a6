"""`dlspec check`: find what is wrong with a spec, without running anything."""

from __future__ import annotations

import argparse

from dlspec import report
from dlspec.cli import options
from dlspec.cli.output import print_json, tell
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
        if spec.diagnostics.ok:
            spec.model(args.model, **static)
    else:
        spec.check(strict=args.strict)
    found = spec.diagnostics
    failed = report.failed(found, args.strict)
    if args.json:
        told = report.to_json(found, args.strict)
        print_json({"ok": not failed, "diagnostics": told, "requirements": spec.requirements})
        return int(failed)
    tell(found, args)
    if not failed:
        print(f"{escape(args.file)}: ok")
        for requirement in spec.requirements:
            print(f"  requires {requirement}")
    return int(failed)
