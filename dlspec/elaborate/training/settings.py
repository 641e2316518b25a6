"""Settings: `epochs 3`, `seed 1`."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.ir.dims import Dim
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section
    from dlspec.elaborate.values import AnyValue

WHOLE = {"epochs": 1, "steps": 1, "seed": 0, "accumulate": 1}  # with the least they may be
PRECISIONS = ("float32", "bfloat16")
SETTINGS = (*WHOLE, "clip_norm", "clip_value", "ema", "precision")


def setting(section: Section, statement: ast.Verb) -> None:
    if len(statement.args) != 1:
        with section.scope.at(statement.span):
            section.fail(codes.BAD_SETTING, f"`{statement.name}` takes one value")
    if statement.name in section.settings:
        with section.scope.at(statement.name_span):
            section.fail(codes.BAD_SETTING, f"`{statement.name}` is set twice")
    with section.scope.at(statement.args[0].span):
        arg = statement.args[0]
        if isinstance(arg, ast.Name) and statement.name == "precision":
            assign(section, statement.name, arg.id)  # a word, no name of the spec
            return
        assign(section, statement.name, section.evaluator.evaluate(arg))


def assign(section: Section, name: str, value: AnyValue) -> None:
    if name in WHOLE:
        found = static.raw(value)
        number = section.scope.known(found) if isinstance(found, Dim) else None
        if number is None or number < WHOLE[name]:
            section.fail(codes.BAD_SETTING, f"`{name}` is a whole number of at least {WHOLE[name]}")
        section.settings[name] = number
        return
    if name == "precision":
        if static.raw(value) not in PRECISIONS:
            section.fail(codes.BAD_SETTING, f"`precision` is one of {', '.join(PRECISIONS)}")
        section.settings[name] = static.raw(value)
        return
    number = float(static.number(section.scope, static.raw(value), f"`{name}`"))
    if name == "ema" and not 0 < number < 1:
        section.fail(codes.BAD_SETTING, "`ema` is a number between 0 and 1: ema 0.999")
    if not 0 < number < inf:
        section.fail(codes.BAD_SETTING, f"`{name}` is a number above 0")
    section.settings[name] = number


def check_settings(section: Section) -> None:
    """What may not stand together."""
    for first, second, message in (
        ("epochs", "steps", "`epochs` and `steps` both say how long"),
        ("clip_norm", "clip_value", "`clip_norm` and `clip_value` both limit the gradients"),
    ):
        if first in section.settings and second in section.settings:
            section.fail(codes.BAD_SETTING, message)
