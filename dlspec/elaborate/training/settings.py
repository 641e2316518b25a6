"""Settings: `epochs 3`, `seed 1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.ir.dims import Dim

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section
    from dlspec.elaborate.values import AnyValue
    from dlspec.syntax import ast

SETTINGS = ("epochs", "steps", "seed")


def setting(section: Section, statement: ast.Verb) -> None:
    if len(statement.args) != 1:
        with section.scope.at(statement.span):
            section.fail(codes.BAD_SETTING, f"`{statement.name}` takes one value")
    if statement.name in section.settings:
        with section.scope.at(statement.name_span):
            section.fail(codes.BAD_SETTING, f"`{statement.name}` is set twice")
    with section.scope.at(statement.args[0].span):
        assign(section, statement.name, section.evaluator.evaluate(statement.args[0]))


def assign(section: Section, name: str, value: AnyValue) -> None:
    found = static.raw(value)
    number = section.scope.known(found) if isinstance(found, Dim) else None
    least = 0 if name == "seed" else 1
    if number is None or number < least:
        section.fail(codes.BAD_SETTING, f"`{name}` is a whole number of at least {least}")
    section.settings[name] = number
