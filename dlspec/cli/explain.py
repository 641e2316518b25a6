"""`dlspec explain`: the page of a diagnostic code."""

from __future__ import annotations

import argparse
import sys

from dlspec.cli import options
from dlspec.cli.options import UsageError
from dlspec.cli.output import INTERNAL_ERROR, print_json


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "explain",
        help="explain a diagnostic code",
        description="What a code means, an example, and how to mend it.",
    )
    parser.add_argument("code", metavar="CODE", nargs="?", help="such as E0301 (default: list all)")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dlspec.codes import CODES

    titles = {code.name: code.title for code in CODES.values()}
    titles[INTERNAL_ERROR] = "internal error"
    if args.code is None:
        _list(titles, args.json)
        return 0
    name = args.code.upper()
    if name not in titles:
        raise UsageError(f"no code {args.code}{_suggestion(name, titles)}")
    text = _page(name)
    if args.json:
        print_json({"code": name, "title": titles[name], "text": text})
    else:
        sys.stdout.write(text)
    return 0


def _list(titles: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(titles)
        return
    for name, title in sorted(titles.items()):
        print(f"{name}  {title}")


def _page(name: str) -> str:
    from dlspec.resources import resources

    return (resources("docs") / "errors" / f"{name}.md").read_text(encoding="utf-8")


def _suggestion(name: str, titles: dict[str, str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, titles, n=1)
    return f"; did you mean {near[0]}?" if near else "; `dlspec explain` lists them all"
