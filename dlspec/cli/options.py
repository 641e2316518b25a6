"""The options that commands share."""

from __future__ import annotations

import argparse
from typing import Protocol, TypeAlias

Value: TypeAlias = "int | float | str | bool | list[Value] | None"


class Subparsers(Protocol):
    """What argparse's `add_subparsers` returns: its class has no public name."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser: ...


class UsageError(Exception):
    """The command cannot be carried out as asked; told in one line, exit status 2."""


def add_spec(parser: argparse.ArgumentParser) -> None:
    """The spec itself, and how it is checked and its problems are told."""
    parser.add_argument("file", metavar="FILE", help="the spec, a .dls file")
    add_include(parser)
    parser.add_argument("--strict", action="store_true", help="warnings become errors")
    parser.add_argument("--concise", action="store_true", help="problems in one line each")


def add_include(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--include",
        metavar="DIR",
        action="append",
        default=[],
        help="a further folder that imports may come from (repeatable)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="NAME", help="the model, where a file has several: the last otherwise"
    )
    add_set(parser, "a static parameter of the model")


def add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--train", metavar="NAME", help="the training, where a file has several: the last otherwise"
    )
    add_set(parser, "a static parameter or a setting of the training")


def add_unit(parser: argparse.ArgumentParser) -> None:
    """A training section (the default where the file has one) or a model."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--train", metavar="NAME", help="the training section")
    which.add_argument("--model", metavar="NAME", help="a model alone, without its training")
    add_set(parser, "a static parameter, or a setting of the training")


def add_purpose(parser: argparse.ArgumentParser) -> None:
    """What the code is for. The words are those of `dlspec.codegen.inference`, not imported here:
    a command starts without the compiler."""
    parser.add_argument(
        "--for",
        choices=("training", "inference"),
        default="training",
        dest="purpose",
        help="inference: the model alone, batch norm folded (default: training)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of weights and arithmetic, with --for inference (default: float32)",
    )


def check_purpose(args: argparse.Namespace) -> None:
    if args.precision != "float32" and args.purpose != "inference":
        raise UsageError(
            f"--precision {args.precision} is for --for inference; a training says "
            f"`precision {args.precision}` in its section"
        )


def add_set(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        type=setting,
        default=[],
        dest="settings",
        help=f'{what}: a number, true, false, none, "text" or [a, list] (repeatable)',
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def settings(args: argparse.Namespace) -> dict[str, Value]:
    """What `--set` gave; the same key twice is wrong usage."""
    values: dict[str, Value] = {}
    for key, value in args.settings:
        if key in values:
            raise UsageError(f"--set {key}: given twice")
        values[key] = value
    return values


def setting(text: str) -> tuple[str, Value]:
    """`key=value`, the value a literal of the language."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, literal(value)


def literal(text: str) -> Value:
    """The value of a .dls literal: a number, string, true, false, none, inf or a list of them."""
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval")
        return _value(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a literal: write a number, true, false, none, "
            """'"text"' (with its quotes) or [a, list]"""
        ) from None


_NAMES: dict[str, Value] = {"true": True, "false": False, "none": None, "inf": float("inf")}


def _value(node: object) -> Value:
    import ast

    match node:
        case ast.Constant(value=str() | float() as value):
            return value
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _value(operand)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value
        case _:
            pass
    raise ValueError
